from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib import sql
from profiles import names
from profiles.merge import ProfileUpdate, TimestampedValue, merge_all
from profiles.models.tombstones import Tombstone


class ProfileSource(models.TextChoices):
    """Who answered for a name."""

    WEBHOOK = "webhook", _("webhook")
    USER_INPUT = "user_input", _("named by the person")
    API = "api", _("direct API")
    MANUAL = "manual", _("entered by hand")
    DEFAULT = "default", _("unknown")


_COLUMNS = {
    "first_name": ("is_first_name_real", "first_name_set_at", "first_name"),
    "last_name": ("last_name_set_at", "last_name"),
    "user_provided_name": ("user_provided_name_set_at", "user_provided_name"),
}


def _wins(name: str) -> str:
    """The SQL condition under which the incoming claim is the greater one (sightings.Claim, text by code point)."""
    columns = _COLUMNS[name]
    mine = ", ".join(f"p.{column}" for column in columns)
    theirs = ", ".join(f"EXCLUDED.{column}" for column in columns)
    return f'(EXCLUDED.{name} IS NOT NULL AND (p.{name} IS NULL OR ({theirs} COLLATE "C") > ({mine})))'


# In the model's order: from_db() takes them by position.
_FIELDS = (
    "user_id",
    "first_name",
    "first_name_set_at",
    "is_first_name_real",
    "last_name",
    "last_name_set_at",
    "user_provided_name",
    "user_provided_name_set_at",
    "last_updated",
    "source",
    "is_cache_behind",
)

# One statement for a whole batch; a row is touched only where some claim is greater.
_MERGE = """
INSERT INTO profile_cache AS p (
    user_id, first_name, first_name_set_at, is_first_name_real, last_name, last_name_set_at,
    user_provided_name, user_provided_name_set_at, last_updated, is_cache_behind)
SELECT *, false FROM unnest(
    %b::text[], %b::text[], %b::timestamptz[], %b::boolean[], %b::text[], %b::timestamptz[],
    %b::text[], %b::timestamptz[], %b::timestamptz[])
ON CONFLICT (user_id) DO UPDATE SET
    {assignments},
    last_updated = GREATEST(p.last_updated, EXCLUDED.last_updated),
    is_cache_behind = false
WHERE {condition}
RETURNING {fields}
""".format(
    assignments=",\n    ".join(
        f"{column} = CASE WHEN {_wins(name)} THEN EXCLUDED.{column} ELSE p.{column} END"
        for name, columns in _COLUMNS.items()
        for column in columns
    ),
    condition=" OR ".join(map(_wins, _COLUMNS)),
    fields=", ".join(f"p.{name}" for name in _FIELDS),
)


class ProfileQuerySet(models.QuerySet["Profile"]):
    def merge(self, updates: Iterable[ProfileUpdate]) -> list[Profile]:
        """Merge sightings into the table by one statement; return the profiles that changed."""
        people = merge_all(Tombstone.objects.exclude_erased(updates))
        if not people:
            return []
        columns: list[list[object]] = [[person.user_id for person in people]]
        first_names = [person.first_name for person in people]
        columns += _columns(first_names)
        columns.append([claim.is_real if claim else False for claim in first_names])
        columns += _columns([person.last_name for person in people])
        columns += _columns([person.user_provided_name for person in people])
        columns.append([person.received_at for person in people])
        return [Profile.from_db(self.db, _FIELDS, row) for row in sql.run(_MERGE, columns)]

    def stats(self) -> dict[str, object]:
        by_source = dict(self.values_list("source").annotate(n=models.Count("*")))
        return {
            "total_profiles": sum(by_source.values()),
            "profiles_with_full_name": self.with_full_name().count(),
            "profiles_by_source": by_source,
        }

    def with_full_name(self) -> ProfileQuerySet:
        return self.filter(Q(user_provided_name__gt="") | Q(first_name__gt="", last_name__gt=""))

    def fresh(self) -> ProfileQuerySet:
        return self.filter(last_updated__gt=timezone.now() - settings.PROFILE_TTL)


def _columns(claims: list[TimestampedValue | None]) -> list[list[object]]:
    return [
        [claim.value if claim else None for claim in claims],
        [claim.observed_at if claim else None for claim in claims],
    ]


class Profile(models.Model):
    """What is known of a MAX user. A name is NULL while unknown, ``""`` when known to be none.

    Each name has a clock, the time of the update that said it; ``last_updated`` is the time of *receipt* of the last
    update that changed the row, and its age decides whether the MAX name may be served.
    """

    user_id = models.CharField(_("MAX id"), max_length=64, primary_key=True)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
    first_name_set_at = models.DateTimeField(null=True)
    is_first_name_real = models.BooleanField(
        default=False, help_text=_("false when it was guessed from the deprecated field “name”")
    )
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
    last_name_set_at = models.DateTimeField(null=True)
    user_provided_name = models.CharField(_("own name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
    user_provided_name_set_at = models.DateTimeField(null=True)
    last_updated = models.DateTimeField(_("last updated"))
    source = models.GeneratedField(
        verbose_name=_("source"),
        expression=Case(
            When(~Q(user_provided_name=""), user_provided_name__isnull=False, then=Value(ProfileSource.USER_INPUT)),
            default=Value(ProfileSource.WEBHOOK),
        ),
        output_field=models.CharField(max_length=20, choices=ProfileSource),
        db_persist=True,
    )
    is_cache_behind = models.BooleanField(
        default=True, help_text=_("Redis may hold an older version, or none, until the refill writes it")
    )

    objects: ClassVar[ProfileQuerySet] = ProfileQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "profile_cache"
        indexes: ClassVar = [
            models.Index(fields=["user_id"], name="profile_cache_behind", condition=Q(is_cache_behind=True)),
        ]
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(user_id=""), name="profile_cache_user_id_not_empty"),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}__isnull": True, f"{name}_set_at__isnull": True})
                    | Q(**{f"{name}__isnull": False, f"{name}_set_at__isnull": False}),
                    name=f"profile_cache_{name}_has_clock",
                )
                for name in ("first_name", "last_name", "user_provided_name")
            ),
        ]

    def __str__(self) -> str:
        return self.user_id

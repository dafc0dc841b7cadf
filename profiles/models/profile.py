from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib import sql
from config.postgres.compiled import CompiledQuery, Parameter
from profiles import names
from profiles.merge import ProfileUpdate, merge_all
from profiles.models.tombstones import Tombstone


class ProfileSource(models.TextChoices):
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
    """Return the SQL condition under which an incoming value replaces the stored one, in TimestampedValue's order."""
    stored = ", ".join(f"p.{column}" for column in _COLUMNS[name])
    incoming = ", ".join(f"EXCLUDED.{column}" for column in _COLUMNS[name])
    return f'(EXCLUDED.{name} IS NOT NULL AND (p.{name} IS NULL OR ({incoming} COLLATE "C") > ({stored})))'


# In the order of the model's fields, since from_db() takes values by position.
_FIELDS = (
    *("user_id", "first_name", "first_name_set_at", "is_first_name_real", "last_name", "last_name_set_at"),
    *("user_provided_name", "user_provided_name_set_at", "last_updated", "source", "is_cache_behind"),
)

# One statement writes a whole batch; it updates a stored row only if an incoming value wins.
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
        """Merge updates into the table, except those older than their person's erasure; return the changed profiles."""
        merged = merge_all(Tombstone.objects.exclude_erased(updates))
        if not merged:
            return []
        columns: list[list[object]] = [[update.user_id for update in merged]]
        for name in _COLUMNS:
            values = [getattr(update, name) for update in merged]
            columns.append([value.value if value else None for value in values])
            columns.append([value.observed_at if value else None for value in values])
            if name == "first_name":
                columns.append([value.is_real if value else False for value in values])
        columns.append([update.received_at for update in merged])
        return [Profile.from_db(self.db, _FIELDS, row) for row in sql.run(_MERGE, columns)]

    def stats(self) -> dict[str, object]:
        by_source = dict(self.values_list("source").annotate(n=models.Count("*")))
        with_full_name = Q(user_provided_name__gt="") | Q(first_name__gt="", last_name__gt="")
        return {
            "total_profiles": sum(by_source.values()),
            "profiles_with_full_name": self.filter(with_full_name).count(),
            "profiles_by_source": by_source,
        }

    def fresh(self) -> ProfileQuerySet:
        return self.filter(last_updated__gt=timezone.now() - settings.PROFILE_TTL)


class Profile(models.Model):
    """The names of a MAX user. A name is NULL while it is unknown, and ``""`` if the person has none.

    Each name has the timestamp of its update in ``*_set_at``. ``last_updated`` is the time of *receipt* of the last
    update that changed the row, and determines whether a MAX name is still fresh.
    """

    user_id = models.CharField(_("MAX ID"), max_length=64, primary_key=True)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
    first_name_set_at = models.DateTimeField(null=True)
    is_first_name_real = models.BooleanField(
        _("first name comes from the field first_name"),
        default=False,
        help_text=_("false if the name was guessed from the deprecated field “name”"),
    )
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
    last_name_set_at = models.DateTimeField(null=True)
    user_provided_name = models.CharField(_("user-provided name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001 (NULL: unknown)
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

    @classmethod
    def find(cls, user_id: str) -> Profile | None:
        """Return the person's profile; None if there is none."""
        return _PROFILE.first(user_id=user_id)

    @property
    def set_at(self) -> list[datetime]:
        times = (self.first_name_set_at, self.last_name_set_at, self.user_provided_name_set_at)
        return [time for time in times if time is not None]


# While Redis fails, each look-up of a name needs it; otherwise, each one that misses.
_PROFILE = CompiledQuery(lambda: Profile.objects.filter(user_id=Parameter("user_id")))

# For each phone, the latest link wins; at equal times the greater ID, so that the order of arrival does not matter.
_MERGE_LINKS = """
INSERT INTO phone_links AS l (phone, user_id, said_at)
SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
ON CONFLICT (phone) DO UPDATE SET user_id = EXCLUDED.user_id, said_at = EXCLUDED.said_at
WHERE (EXCLUDED.said_at, EXCLUDED.user_id COLLATE "C") > (l.said_at, l.user_id)
"""


class PhoneLinkQuerySet(models.QuerySet["PhoneLink"]):
    def merge(self, links: Iterable[PhoneLink]) -> None:
        links = sorted(Tombstone.objects.exclude_erased(links), key=lambda link: (link.observed_at, link.user_id))
        latest = {link.phone: link for link in links}
        if latest:
            rows = [latest[phone] for phone in sorted(latest)]
            sql.run(
                _MERGE_LINKS, [[getattr(row, name) for row in rows] for name in ("phone", "user_id", "observed_at")]
            )

    def user_of(self, phone: str) -> str | None:
        """Return the MAX ID of the user who shared this canonical phone as their own; None if nobody did."""
        return self.filter(phone=phone).values_list("user_id", flat=True).first()


class PhoneLink(models.Model):
    """A phone and the MAX user who shared it as their own; a hash from MAX has verified that it is theirs."""

    phone = models.CharField(_("phone"), max_length=16, primary_key=True)
    user_id = models.CharField(_("MAX ID"), max_length=64, db_index=True)
    observed_at = models.DateTimeField(_("contact shared at"), db_column="said_at")

    objects: ClassVar[PhoneLinkQuerySet] = PhoneLinkQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "phone_links"
        verbose_name = _("phone link")
        verbose_name_plural = _("phone links")

    def __str__(self) -> str:
        return self.user_id

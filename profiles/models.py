from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config import statements
from profiles import names
from profiles.sightings import Claim, Sighting, fold
from profiles.tombstones import Tombstone


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
_ABSORB = """
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
    def absorb(self, sightings: Iterable[Sighting]) -> list[Profile]:
        """Merge sightings into the table by one statement; return the profiles that changed."""
        people = fold(Tombstone.objects.outlived(sightings))
        if not people:
            return []
        columns: list[list[object]] = [[person.user_id for person in people]]
        first_names = [person.first_name for person in people]
        columns += _columns(first_names)
        columns.append([claim.is_real if claim else False for claim in first_names])
        columns += _columns([person.last_name for person in people])
        columns += _columns([person.user_provided_name for person in people])
        columns.append([person.received_at for person in people])
        return [Profile.from_db(self.db, _FIELDS, row) for row in statements.run(_ABSORB, columns)]

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


def _columns(claims: list[Claim | None]) -> list[list[object]]:
    return [
        [claim.value if claim else None for claim in claims],
        [claim.said_at if claim else None for claim in claims],
    ]


class Profile(models.Model):
    """What is known of a MAX user. A name is NULL while unknown, ``""`` when known to be none.

    Each name has a clock, the time of the update that said it; ``last_updated`` is the time of *receipt* of the last
    update that changed the row, and its age decides whether the MAX name may be served.
    """

    user_id = models.CharField(_("MAX id"), max_length=64, primary_key=True)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001
    first_name_set_at = models.DateTimeField(null=True)
    is_first_name_real = models.BooleanField(
        default=False, help_text=_("false when it was guessed from the deprecated field “name”")
    )
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001
    last_name_set_at = models.DateTimeField(null=True)
    user_provided_name = models.CharField(_("own name"), max_length=names.NAME_LENGTH, null=True, blank=True)  # noqa: DJ001
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


# The phone of the latest sharing; at equal times the greater id, so that the order of arrival does not matter.
_LINK = """
INSERT INTO phone_links AS l (phone, user_id, said_at)
SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
ON CONFLICT (phone) DO UPDATE SET user_id = EXCLUDED.user_id, said_at = EXCLUDED.said_at
WHERE (EXCLUDED.said_at, EXCLUDED.user_id COLLATE "C") > (l.said_at, l.user_id)
"""


class PhoneLinkQuerySet(models.QuerySet["PhoneLink"]):
    def absorb(self, links: Iterable[PhoneLink]) -> None:
        """Keep the latest sharing of each phone."""
        latest: dict[str, PhoneLink] = {}
        for link in sorted(Tombstone.objects.outlived(links), key=lambda link: (link.said_at, link.user_id)):
            latest[link.phone] = link
        if latest:
            rows = [latest[phone] for phone in sorted(latest)]
            statements.run(_LINK, [[getattr(row, name) for row in rows] for name in ("phone", "user_id", "said_at")])


class PhoneLink(models.Model):
    """The MAX user who shared a phone as their own, verified by the messenger's hash."""

    phone = models.CharField(_("phone"), max_length=16, primary_key=True)
    user_id = models.CharField(_("MAX id"), max_length=64, db_index=True)
    said_at = models.DateTimeField(_("shared at"))

    objects: ClassVar[PhoneLinkQuerySet] = PhoneLinkQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "phone_links"
        verbose_name = _("phone link")
        verbose_name_plural = _("phone links")

    def __str__(self) -> str:
        return self.user_id


class DirectAnswer(models.Model):
    """What the direct API is being asked, or said lately, about a phone; shared by all processes, kept for minutes."""

    class Outcome(models.TextChoices):
        ASKING = "asking", _("being asked")
        FOUND = "found", _("found")
        ABSENT = "absent", _("not in MAX")
        FAILED = "failed", _("no answer")

    phone = models.CharField(_("phone"), max_length=16, primary_key=True)
    asked_at = models.DateTimeField(_("asked at"))
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome)
    user_id = models.CharField(_("MAX id"), max_length=64, blank=True)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, blank=True)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True)

    class Meta:
        db_table = "direct_answers"
        verbose_name = _("answer of the direct API")
        verbose_name_plural = _("answers of the direct API")

    def __str__(self) -> str:
        return self.outcome


class DirectApiPace(models.Model):
    """One row: when the direct API may be asked next, by any process."""

    free_at = models.DateTimeField()

    class Meta:
        db_table = "direct_api_pace"
        verbose_name = _("pace of the direct API")
        verbose_name_plural = _("pace of the direct API")

    def __str__(self) -> str:
        return str(self.free_at)


class ComparisonOutcome(models.TextChoices):
    """What the cache and the direct API said of one person; none is left out of the books."""

    AGREE = "agree", _("agree")
    EQUIVALENT = "equivalent", _("equivalent")
    CACHE_RICHER = "cache_richer", _("the cache knows more")
    API_RICHER = "api_richer", _("the direct API knows more")
    CONFLICT = "conflict", _("conflict")
    CACHE_MISS = "cache_miss", _("not in the cache")
    CACHE_STALE = "cache_stale", _("stale in the cache")
    API_ERROR = "api_error", _("the direct API failed")
    CACHE_ERROR = "cache_error", _("the cache failed")
    TIMEOUT = "timeout", _("the direct API was too slow")
    BOTH_EMPTY = "both_empty", _("nobody knows the person")


class WaitingComparison(models.Model):
    """A lookup that was answered and is still to be compared; deleted, phone and all, when the worker takes it."""

    phone = models.CharField(max_length=16)
    max_id = models.CharField(max_length=64, blank=True, default="")
    university_id = models.BigIntegerField(null=True)
    stage = models.PositiveSmallIntegerField()
    served_source = models.CharField(max_length=20)
    served_ms = models.FloatField()
    # The direct API's answer where it was the one that answered: nobody asks it twice for one lookup.
    api_name = models.CharField(max_length=names.NAME_LENGTH * 2 + 1, blank=True, default="")
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "comparisons_waiting"

    def __str__(self) -> str:
        return str(self.pk)


class Comparison(models.Model):
    """What the cache would have answered, held against the direct API, for one lookup of a hashed phone."""

    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)
    key_hash = models.CharField(_("hash of the phone"), max_length=32)
    bucket = models.PositiveSmallIntegerField(_("bucket"))
    university_id = models.BigIntegerField(_("university id"), null=True)
    stage = models.PositiveSmallIntegerField(_("stage"))
    outcome = models.CharField(_("outcome"), max_length=20, choices=ComparisonOutcome)
    pattern = models.CharField(
        _("pattern"),
        max_length=20,
        blank=True,
        default="",
        help_text=_("how a conflict differs; for a stale name the outcome that it would have had"),
    )
    cache_age_days = models.FloatField(_("age in the cache, days"), null=True)
    cache_name = models.CharField(_("name in the cache, masked"), max_length=40, blank=True, default="")
    api_name = models.CharField(_("name by the direct API, masked"), max_length=40, blank=True, default="")
    served_source = models.CharField(_("answered by"), max_length=20, choices=ProfileSource)
    served_ms = models.FloatField(_("answered within, ms"))

    class Meta:
        db_table = "comparisons"
        ordering: ClassVar = ["-pk"]
        verbose_name = _("comparison")
        verbose_name_plural = _("comparisons")

    def __str__(self) -> str:
        return f"{self.outcome} {self.pk}"

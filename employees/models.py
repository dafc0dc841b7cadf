from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Substr
from django.utils import timezone
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from rest_framework.utils.encoders import JSONEncoder

from config.lib import text as texts
from config.lib.pagination import EXACT, estimate
from config.lib.text import clean
from employees.import_export.stored_files import ImportFile  # noqa: F401 (registers the model)
from profiles import names, phones
from profiles.models import ProfileSource

# These patterns accept ASCII digits only.
validate_inn = RegexValidator(r"^([0-9]{10}|[0-9]{12})\Z", _("Invalid INN “%(value)s”: enter 10 or 12 digits."))
validate_kpp = RegexValidator(r"^[0-9]{9}\Z", _("Invalid KPP “%(value)s”: enter 9 digits."))


def validate_visible(name: str) -> None:
    if not texts.is_visible(name):
        raise ValidationError(_("Enter a name with a letter or a digit."))


PHONE_TAKEN = _("An employee with this phone already exists.")
_UNNAMED = "Неизвестный вуз"
# The matches of a search are not counted if their estimate is above these limits: counting 10,001 rows would cost more
# than the page itself. The limit for one word is lower, because the planner estimates it from a large sample, whereas
# for several conditions it assumes independence.
_ESTIMATE_FROM = 50_000
_ESTIMATE_ONE_WORD_FROM = 20_000
# Up to this number, finding and sorting all matches is faster than scanning in id order until a page is full.
_MAX_SORTED = 5_000
_PREFIX_BELOW = 3
_MAX_WORDS = 8


class UniversityQuerySet(models.QuerySet["University"]):
    def described(self, *, inn: str, kpp: str, university_name: str) -> University:
        """Return the university with this INN and KPP, or with this name if ``inn`` is empty; create it if missing."""
        name = clean(university_name)
        if inn:
            return self.get_or_create(inn=inn, kpp=kpp, defaults={"name": name or _UNNAMED})[0]
        return self.named(name).first() or self.get_or_create(inn="", name=name)[0]

    def as_described(self, *, inn: str, kpp: str, university_name: str) -> UniversityQuerySet:
        return self.filter(inn=inn, kpp=kpp).order_by("pk") if inn else self.named(university_name)

    def named(self, name: str) -> UniversityQuerySet:
        """Return the universities with this name, else those with a name that looks the same (docs/reference/names.md).

        Stored names may not be clean, because earlier releases stored them as they were entered.
        """
        cleaned = clean(name)
        for matches in (self.filter(name=cleaned), self.filter(name__iexact=cleaned)):
            if matches.exists():
                return matches.order_by("pk")
        pks = [
            pk
            for pk, other in self.values_list("pk", "name")
            if texts.look_alike_key(other) == texts.look_alike_key(cleaned)
        ]
        return self.filter(pk__in=pks).order_by("pk")

    def look_alikes(self) -> list[list[int]]:
        """Return the ids of the universities without an INN whose names look the same, in groups."""
        groups = defaultdict(list)
        for pk, name in self.filter(inn="").order_by("pk").values_list("pk", "name"):
            groups[texts.look_alike_key(name)].append(pk)
        return [pks for pks in groups.values() if len(pks) > 1]


class University(models.Model):
    name = models.CharField(pgettext_lazy("of a university", "name"), max_length=500)
    inn = models.CharField(_("INN"), max_length=12, blank=True, default="")
    kpp = models.CharField(_("KPP"), max_length=9, blank=True, default="")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects: ClassVar[UniversityQuerySet] = UniversityQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "universities"
        ordering: ClassVar = ["id"]
        verbose_name = _("university")
        verbose_name_plural = _("universities")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["inn", "kpp"], name="universities_inn_kpp_unique", condition=~Q(inn="")),
            models.UniqueConstraint(fields=["name"], name="universities_name_unique_without_inn", condition=Q(inn="")),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """Limit a user to the employees of one university; the user's group decides what they may do there."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    university = models.ForeignKey(University, models.CASCADE, related_name="members", verbose_name=_("university"))

    class Meta:
        db_table = "memberships"
        ordering: ClassVar = ["id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.university}"


class Role(models.TextChoices):
    CURATOR = "curator", _("curator")
    OPERATOR = "operator", _("operator")


@deconstructible(path="employees.models.SearchText")
class SearchText(models.Func):
    """The indexed search expression: names and the phone's digits in lower case, with a space before each word."""

    template = "lower(' ' || %(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()


SEARCH_TEXT = SearchText(F("last_name"), F("first_name"), F("middle_name"), Substr("phone", 2))


class EmployeeQuerySet(models.QuerySet["Employee"]):
    def of_university(self, pk: int) -> EmployeeQuerySet:
        """Filter by university id; PostgreSQL uses the search index only if the id is cast to bigint."""
        return self.filter(university_id=Cast(Value(pk), models.BigIntegerField()))

    def matching(self, text: str) -> EmployeeQuerySet:
        """Filter by a complete phone, or by parts of names and phone, ignoring case; all words must match.

        Words of fewer than three characters match only at the start of a word.
        """
        text = texts.clean(text)
        try:
            return self.filter(phone=phones.normalize(text))
        except ValueError:
            matches = self.alias(search_text=SEARCH_TEXT)
        for part in text.split()[:_MAX_WORDS]:
            digits = re.fullmatch(r"\+([0-9]+)", part)
            word = digits[1] if digits else part.lower()
            # Not icontains, which applies UPPER to both sides and so would bypass the index.
            matches = matches.filter(search_text__contains=word if len(word) >= _PREFIX_BELOW else f" {word}")
        return matches

    def count_or_estimate(self, *, is_search: bool) -> int:
        """Return the exact number of rows up to 10,000, and the planner's estimate above."""
        rows = self.order_by().select_related(None)
        planned = estimate(rows) if is_search else None
        is_one_word = len(self.query.where.children) == 1
        if planned is None or planned < (_ESTIMATE_ONE_WORD_FROM if is_one_word else _ESTIMATE_FROM):
            count = rows[: EXACT + 1].count()
            if count <= EXACT:
                return count
        return max(estimate(rows) if planned is None else planned, EXACT + 1)

    def sorted_by_id(self, count: int) -> EmployeeQuerySet:
        """Order by id. If ``count``, the number of matches, is small, force a sort instead of a scan in id order."""
        return self.order_by(F("pk") + 0 if count <= _MAX_SORTED else F("pk"))


# The formats that profiles.phones and profiles.user_ids produce, enforced for every writer.
CANONICAL_PHONE = Q(phone__regex=r"^(\+7[0-9]{10}|\+[1-689][0-9]{7,14})$")
CANONICAL_MAX_ID = Q(max_id__regex=r"^[A-Za-z0-9_.-]{1,64}$") & (
    Q(max_id__regex=r"[^0-9]")
    | Q(max_id__regex=r"^[1-9][0-9]{0,17}$")
    | Q(max_id__regex=r"^[1-9][0-9]{18}$", max_id__lte=str(2**63 - 1))
)


class Employee(models.Model):
    """A person in the directory, identified by their phone. ``profile_source`` records where the name came from."""

    phone = models.CharField(_("phone"), max_length=16)
    first_name = models.CharField(_("first name"), max_length=names.NAME_LENGTH, default=names.UNKNOWN)
    last_name = models.CharField(_("last name"), max_length=names.NAME_LENGTH, blank=True, default=names.UNKNOWN)
    middle_name = models.CharField(_("middle name"), max_length=names.NAME_LENGTH, blank=True, default="")
    max_id = models.CharField(_("MAX id"), max_length=64, blank=True, null=True)  # noqa: DJ001 (docs/reference/names.md)
    max_id_updated_at = models.DateTimeField(_("MAX id updated at"), blank=True, null=True)
    university = models.ForeignKey(
        University, models.PROTECT, related_name="employees", db_index=False, verbose_name=_("university")
    )
    role = models.CharField(_("role"), max_length=20, choices=Role, blank=True, default="")
    # A database default, because the previous release inserts rows without this column while both releases run.
    profile_source = models.CharField(
        _("profile source"), max_length=20, choices=ProfileSource, db_default=ProfileSource.MANUAL
    )
    profile_last_updated = models.DateTimeField(_("profile last updated"), blank=True, null=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects: ClassVar[EmployeeQuerySet] = EmployeeQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "employees"
        ordering: ClassVar = ["id"]
        verbose_name = _("employee")
        verbose_name_plural = _("employees")
        indexes: ClassVar = [
            models.Index(fields=["max_id"], name="idx_employees_max_id", condition=Q(max_id__isnull=False)),
            models.Index(fields=["profile_source"], name="idx_employees_profile_source"),
            # Includes the university; otherwise a curator's search would first find the matches of all universities.
            GinIndex(
                F("university"),
                OpClass(SEARCH_TEXT, name="gin_trgm_ops"),
                name="idx_employees_scoped_search",
                fastupdate=False,
            ),
            # For pages of one university in id order.
            models.Index(fields=["university", "id"], name="idx_employees_university_id"),
            models.Index(fields=["role"], name="idx_employees_role", condition=~Q(role="")),
            # For the orderings of the API's list, with their tie-breakers (employees.api.serializers).
            models.Index(fields=["last_name", "first_name", "id"], name="idx_employees_by_last_name"),
            models.Index(fields=["created_at", "id"], name="idx_employees_created_at"),
            # For one university: if it was added late, its employees are at the end of the index above.
            models.Index(fields=["university", "created_at", "id"], name="idx_employees_univ_created"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["phone"], name="employees_phone_unique"),
            models.CheckConstraint(condition=~Q(phone=""), name="employees_phone_not_empty"),
            models.CheckConstraint(condition=~Q(max_id=""), name="employees_max_id_not_empty"),
            models.CheckConstraint(condition=CANONICAL_PHONE, name="employees_phone_canonical"),
            models.CheckConstraint(condition=CANONICAL_MAX_ID, name="employees_max_id_canonical"),
        ]

    def __str__(self) -> str:
        return f"{self.last_name} {self.first_name}"


class MaxIdClaim(models.Model):
    """A MAX id that was entered by hand for an employee, and that the direct API did not give for the phone.

    It does not show the person's profile to users who are limited to the employee's university. ``is_vouched``: it was
    entered by a user who sees all universities, so that the employee may get the person's name.
    """

    employee = models.OneToOneField(Employee, models.CASCADE, primary_key=True, verbose_name=_("employee"))
    max_id = models.CharField(_("MAX id"), max_length=64)
    is_vouched = models.BooleanField(_("entered by a user who sees all universities"), default=False, db_default=False)

    class Meta:
        db_table = "max_id_claims"
        verbose_name = _("claimed MAX id")
        verbose_name_plural = _("claimed MAX ids")

    def __str__(self) -> str:
        return str(self.pk)


class RunStatus(models.TextChoices):
    RUNNING = "running", _("running")
    PAUSED = "paused", _("paused")
    DONE = "done", _("done")
    UNDOING = "undoing", _("undoing")
    UNDONE = "undone", _("undone")


class BatchStatus(models.TextChoices):
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    UNDONE = "undone", _("undone")


# How long a run can be undone; after that, its previous values, which are names, are deleted.
UNDO_FOR = timedelta(days=30)
ONE_AT_A_TIME = "backfill_runs_one_at_a_time"
OPEN = [RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.UNDOING]


class BackfillRunQuerySet(models.QuerySet["BackfillRun"]):
    def pause(self, reason: str) -> int:
        """Pause the runs that are running, which stop before their next batch; return the number of paused runs."""
        return self.filter(status=RunStatus.RUNNING).update(status=RunStatus.PAUSED, paused_because=reason[:200])


class BackfillRun(models.Model):
    """One pass over the employees that sets cached names; each batch updates ``last_id`` in its transaction."""

    status = models.CharField(_("status"), max_length=10, choices=RunStatus, default=RunStatus.RUNNING)
    university = models.ForeignKey(
        University, models.PROTECT, null=True, blank=True, verbose_name=_("university"), help_text=_("empty: all")
    )
    replaces_names = models.BooleanField(
        _("replace names"),
        default=False,
        db_default=False,
        help_text=_(
            "also replace names from the direct API and outdated ones from the cache, for people that the rollout"
            " admits to the cache; otherwise only employees without a name get one"
        ),
    )
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="", db_default="")
    # The login of the user, or of the user of the shell that ran the command.
    started_by = models.CharField(_("started by"), max_length=150, blank=True, default="", db_default="")
    paused_because = models.CharField(_("paused because"), max_length=200, blank=True, default="")
    last_id = models.BigIntegerField(_("done up to id"), default=0)
    until_id = models.BigIntegerField(_("ends at id"))
    rows_total = models.BigIntegerField(_("rows to look at"), default=0)
    rows_seen = models.BigIntegerField(_("rows looked at"), default=0)
    rows_changed = models.BigIntegerField(_("rows changed"), default=0)
    rows_restored = models.BigIntegerField(_("names given back"), default=0, db_default=0)
    batch_size = models.PositiveIntegerField(_("batch size"), default=1000)
    batch_target_ms = models.PositiveIntegerField(_("time target of a batch, ms"), default=30)
    pause_ms = models.PositiveIntegerField(_("pause between batches, ms"), default=20)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("requested by")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    seen_at = models.DateTimeField(_("last batch at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    objects: ClassVar[BackfillRunQuerySet] = BackfillRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "backfill_runs"
        ordering: ClassVar = ["-id"]
        verbose_name = _("backfill")
        verbose_name_plural = _("backfills")
        constraints: ClassVar = [
            models.UniqueConstraint(Value(1), name=ONE_AT_A_TIME, condition=Q(status__in=OPEN)),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.get_status_display()}"

    def progress(self) -> tuple[int, int]:
        """Return the number done and the total: of batches during an undo, otherwise of employees."""
        if self.status == RunStatus.UNDOING:
            batches = self.batches.exclude(status=BatchStatus.FAILED)
            return batches.filter(status=BatchStatus.UNDONE).count(), batches.count()
        return self.rows_seen, max(self.rows_total, self.rows_seen)

    @property
    def rows_left(self) -> int:
        """Return how many employees the run has looked at and left as they were."""
        return max(self.rows_seen - self.rows_changed, 0)

    @property
    def rows_kept(self) -> int:
        """Return how many changed names an undo has left, because somebody has changed them since."""
        return max(self.rows_changed - self.rows_restored, 0) if self.status == RunStatus.UNDONE else 0

    def resume(self) -> None:
        """Set a paused run to running; leave a run with another status unchanged."""
        BackfillRun.objects.filter(pk=self.pk, status=RunStatus.PAUSED).update(
            status=RunStatus.RUNNING, paused_because=""
        )
        self.refresh_from_db()

    @property
    def pause_reason(self) -> str:
        """Return why the run is paused, translated if the system gave the reason; empty if there is no reason."""
        return gettext(self.paused_because) if self.paused_because else ""

    @property
    def is_undo_expired(self) -> bool:
        return self.created_at < timezone.now() - UNDO_FOR

    def undo(self) -> None:
        """Start the undo of a run that is done or paused, unless its previous values have been deleted."""
        if not self.is_undo_expired:
            BackfillRun.objects.filter(pk=self.pk, status__in=[RunStatus.DONE, RunStatus.PAUSED]).update(
                status=RunStatus.UNDOING, finished_at=None, paused_because=""
            )
        self.refresh_from_db()


class BackfillBatch(models.Model):
    """A range of employee ids processed in one transaction; ``changes`` holds each changed row before and after."""

    run = models.ForeignKey(BackfillRun, models.CASCADE, related_name="batches", verbose_name=_("backfill"))
    status = models.CharField(_("status"), max_length=10, choices=BatchStatus, default=BatchStatus.DONE)
    after_id = models.BigIntegerField(_("after id"))
    until_id = models.BigIntegerField(_("until id"))
    rows_seen = models.PositiveIntegerField(_("rows looked at"), default=0)
    rows_changed = models.PositiveIntegerField(_("rows changed"), default=0)
    duration_ms = models.PositiveIntegerField(_("duration, ms"), default=0)
    error = models.CharField(_("error"), max_length=200, blank=True, default="")
    changes = models.JSONField(_("changes"), default=list)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        db_table = "backfill_batches"
        ordering: ClassVar = ["id"]
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "after_id"], name="backfill_batches_range_once"),
        ]

    def __str__(self) -> str:
        return f"{self.after_id}–{self.until_id}: {self.get_status_display()}"


FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)


class JobStatus(models.TextChoices):
    PENDING = "pending", _("pending")
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")


class MaxIdJob(models.Model):
    """A search for missing MAX ids in the direct API; the transaction that stores results also updates ``last_id``."""

    status = models.CharField(_("status"), max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    total = models.PositiveIntegerField(_("total"), default=0)
    done = models.PositiveIntegerField(_("found"), default=0)
    failed = models.PositiveIntegerField(_("not found"), default=0)
    last_id = models.BigIntegerField(default=0)
    outages = models.PositiveIntegerField(_("outages in a row"), default=0)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("requested by")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    next_try_at = models.DateTimeField(_("next try at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    class Meta:
        db_table = "max_id_jobs"
        ordering: ClassVar = ["-id"]
        verbose_name = _("search for MAX ids")
        verbose_name_plural = _("searches for MAX ids")
        constraints: ClassVar = [
            models.UniqueConstraint(Value(1), name="max_id_jobs_one_at_a_time", condition=Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.get_status_display()}"

    def finish(self, status: JobStatus) -> None:
        self.status, self.finished_at = status, timezone.now()


class UnresolvedName(models.Model):
    """An employee whose name still has to be looked up, after an outage or an import; the lookup is retried."""

    employee = models.OneToOneField(Employee, models.CASCADE, primary_key=True, verbose_name=_("employee"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_try_at = models.DateTimeField(_("next try at"), db_index=True)
    request_id = models.CharField(max_length=64, blank=True, db_default="", editable=False)

    class Meta:
        db_table = "unresolved_names"
        verbose_name = _("unresolved name")
        verbose_name_plural = _("unresolved names")

    def __str__(self) -> str:
        return str(self.pk)

    def postpone(self) -> None:
        """Set the time of the next attempt: after one minute, then twice as long each time, up to an hour."""
        self.attempts += 1
        self.next_try_at = timezone.now() + min(FIRST_RETRY * 2 ** min(self.attempts, 10), LONGEST_RETRY)


_REPEATED_FOR = timedelta(hours=24)
# Longer than any request may take: the process of an older request without a response has died.
_ABANDONED_AFTER = timedelta(seconds=60)


class IdempotentRequestQuerySet(models.QuerySet["IdempotentRequest"]):
    def outdated(self) -> IdempotentRequestQuerySet:
        """Filter requests that are too old to be repeated, and requests whose process died before it responded."""
        now = timezone.now()
        is_abandoned = Q(status=None, created_at__lt=now - _ABANDONED_AFTER)
        return self.filter(Q(created_at__lt=now - _REPEATED_FOR) | is_abandoned)


class IdempotentRequest(models.Model):
    """A request with an Idempotency-Key; ``status`` is NULL until the response is stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[IdempotentRequestQuerySet] = IdempotentRequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "idempotent_requests"
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotent_requests_key_once"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def store_answer(self, data: Any) -> None:
        answer = json.loads(json.dumps(data, cls=JSONEncoder))
        IdempotentRequest.objects.filter(pk=self.pk).update(status=201, answer=answer)

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Self

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from waffle.models import AbstractUserFlag

from config.lib.messages import Text, from_columns, localize, to_columns
from profiles.rollout.decision import current_state, decide
from profiles.rollout.phases import BUCKETED, PHASES, SHADOW

REASON_LENGTH = 500
HELD_LENGTH = 300

# Sent in the transaction that saves a flag; its receiver in profiles.rollout.changes enforces the rules.
flag_saving = Signal()


class PercentField(models.DecimalField):  # type: ignore[type-arg]
    """Store None, which means 0 to waffle, as 0: the previous release expects a number in each row."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(Decimal(0) if value is None else value)


class Flag(AbstractUserFlag):
    """Store a phase, the comparison flag, or a flag that behaves as django-waffle documents.

    For a phase, ``percent`` is the share of employees it is on for, by the hash of their phone. Its ``everyone`` is an
    override: true means 100% for this phase and all earlier ones, false means 0% for this phase and all later ones.
    """

    # Criteria of waffle's that do not depend on the phone: they decide the flags that are not bucketed.
    CRITERIA: ClassVar = ("testing", "superusers", "staff", "authenticated", "languages", "rollout")

    percent = PercentField(
        _("percent"),
        max_digits=5,
        decimal_places=2,
        default=None,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("0.00 to 100.00: share of the employees"),
    )
    salt = models.CharField(
        _("salt"),
        max_length=50,
        default="migration",
        help_text=_("flags with the same salt have nested cohorts: whoever is included at 25% is also included at 50%"),
    )
    moved_at = models.DateTimeField(_("percentage since"), default=timezone.now)

    # Who saves or deletes the flag, and why, for the audit row.
    change_by = ""
    change_reason = ""

    class Meta(AbstractUserFlag.Meta):
        abstract = False
        verbose_name = _("flag")
        verbose_name_plural = _("flags")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="rollout_flag_percent_0_100"),
        ]

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any) -> Self:
        flag = super().from_db(db, field_names, values)
        if flag.__dict__.get("percent") == 0 and flag.name not in BUCKETED:
            flag.percent = None
        return flag

    def is_active(self, request: HttpRequest | None, read_only: bool = False) -> bool | None:
        """Return whether the flag is on for the request.

        A bucketed flag is decided by ``request.rollout_phone``, which a view may set, and a client cannot.
        """
        phone, university = getattr(request, "rollout_phone", None), getattr(request, "rollout_university", None)
        if self.name in PHASES:
            return decide(phone, university).stage > PHASES.index(self.name)
        if self.name == SHADOW:
            return current_state().admits(SHADOW, phone)
        # Code without a request passes None, as waffle's own tests do.
        return super().is_active(request, read_only)  # type: ignore[arg-type]

    def is_active_for_user(self, user: AbstractBaseUser) -> bool | None:
        return self.is_active(None) if self.name in BUCKETED else super().is_active_for_user(user)

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            flag_saving.send(Flag, flag=self)
            super().save(*args, **kwargs)


class OnBreach(models.TextChoices):
    """Define what the rollout controller does after three breaches in a row."""

    HOLD = "hold", _("hold")
    ROLL_BACK = "roll-back", _("roll back one step")


class Rollout(models.Model):
    """Store the state of the rollout in a single row, which changes lock; ``revision`` counts the changes."""

    revision = models.BigIntegerField(_("revision"), default=0)
    revised_at = models.DateTimeField(_("revised at"), db_default=Now())
    is_paused = models.BooleanField(_("paused"), default=False)
    held_for = models.CharField(_("held for"), max_length=HELD_LENGTH, blank=True, default="")
    held_sentence = models.JSONField(null=True, editable=False)
    on_breach = models.CharField(_("on a breach"), max_length=10, choices=OnBreach, default=OnBreach.HOLD)
    remembered = models.JSONField(_("percentages before the emergency"), default=dict, blank=True)

    class Meta:
        verbose_name = _("rollout")
        verbose_name_plural = _("rollout")
        permissions: ClassVar = [
            ("operate_rollout", _("Can advance, set, pause and resume the rollout")),
            ("force_rollout", _("Can advance the rollout past gates that do not pass")),
            ("stop_rollout", _("Can stop the rollout in an emergency")),
        ]
        constraints: ClassVar = [models.CheckConstraint(condition=Q(pk=1), name="rollout_is_one_row")]

    def __str__(self) -> str:
        return f"r{self.revision}"

    @property
    def held(self) -> Text:
        """Return why the rollout is paused, translatable for each reader; ``held_for`` is in the site's language."""
        return from_columns(self.held_for, self.held_sentence)

    @held.setter
    def held(self, message: Text) -> None:
        self.held_for, self.held_sentence = to_columns(message, HELD_LENGTH)

    @classmethod
    def current(cls) -> Rollout:
        return Rollout.objects.filter(pk=1).first() or Rollout(pk=1)

    @classmethod
    def locked(cls) -> Rollout:
        Rollout.objects.bulk_create([Rollout(pk=1)], ignore_conflicts=True)
        return Rollout.objects.select_for_update().get(pk=1)


class Action(models.TextChoices):
    SEED = "seed", _("Seeded by the environment")
    SET = "set", _("Percentage set")
    ADVANCE = "advance", _("Step forward")
    SCHEDULE = "schedule", _("Planned step")
    ROLL_BACK = "roll-back", _("Step back")
    SWITCH = "switch", _("Switch changed")
    PAUSE = "pause", _("Paused")
    RESUME = "resume", _("Resumed")
    EMERGENCY = "emergency", _("Emergency stop")
    LATCH = "latch", _("Emergency stop latched")
    ON_BREACH = "on-breach", _("Breach action changed")
    SCOPE = "scope", _("University rule changed")
    SAVE = "save", _("Saved by code")
    FLAG = "flag", _("Flag changed")
    DELETE = "delete", _("Flag deleted")
    PLAN = "plan", _("Step planned")
    CANCEL = "cancel", _("Planned step cancelled")
    REHEARSAL = "rehearsal", _("Rollback checked")
    SCHEMA = "schema", _("Schema rolled back")
    # Of the commands only: the log of the admin records the actions of its users and those over the API.
    BACKFILL_PAUSE = "backfill-pause", _("Backfill paused")
    BACKFILL_RESUME = "backfill-resume", _("Backfill resumed")
    BACKFILL_RETRY = "backfill-retry", _("Failed backfill batches retried")
    BACKFILL_UNDO = "backfill-undo", _("Backfill undone")


class ChangeQuerySet(models.QuerySet[Any]):
    def of_universities(self, ids: Iterable[int]) -> Self:
        """Exclude changes that concern only other universities, that is, their rules and rollback checks."""
        ids = list(ids)
        is_theirs = Q(before__university__in=ids) | Q(after__university__in=ids)
        return self.filter(is_theirs | ~(Q(before__has_key="university") | Q(after__has_key="university")))


class ChangeRecord(models.Model):
    """Hold who changes what, and why. A reason that the system gives is stored in the site's language."""

    at = models.DateTimeField(_("at"), default=timezone.now)
    by = models.CharField(_("by"), max_length=150)
    action = models.CharField(_("action"), max_length=20, choices=Action)
    reason = models.CharField(_("reason"), max_length=REASON_LENGTH)
    sentence = models.JSONField(null=True, editable=False)
    revision = models.BigIntegerField(_("revision"), db_index=True)
    before = models.JSONField(_("from"), default=dict)
    after = models.JSONField(_("to"), default=dict)
    evidence = models.JSONField(_("evidence"), default=list)
    is_forced = models.BooleanField(_("forced"), default=False)

    objects: ClassVar[ChangeQuerySet] = ChangeQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        abstract = True
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"r{self.revision} {self.get_action_display()}"

    @property
    def text(self) -> str:
        return str(self.stored_reason)

    @text.setter
    def text(self, reason: Text) -> None:
        self.reason, self.sentence = to_columns(reason, REASON_LENGTH)

    @property
    def stored_reason(self) -> Text:
        return from_columns(self.reason, self.sentence)


class Change(ChangeRecord):
    """Record a change for audit; a trigger rejects edits and deletions."""

    approved_by = models.CharField(_("approved by"), max_length=150, default="", db_default="")
    approval_reason = models.CharField(_("reason of the approval"), max_length=REASON_LENGTH, default="", db_default="")

    class Meta(ChangeRecord.Meta):
        verbose_name = _("change")
        verbose_name_plural = _("changes")
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(reason=""), name="rollout_change_has_reason")]


class UniversityRuleQuerySet(models.QuerySet["UniversityRule"]):
    def in_force(self) -> UniversityRuleQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


class UniversityRule(models.Model):
    """Admit a university to a phase or exclude it, whatever the percentage; if both rules exist, it is excluded."""

    university_id = models.BigIntegerField(_("university id"))
    phase = models.PositiveSmallIntegerField(_("phase"), choices=[(3, "3"), (4, "4")], default=3)
    is_allowed = models.BooleanField(_("allowed"), default=False)
    reason = models.CharField(_("reason"), max_length=500)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects: ClassVar[UniversityRuleQuerySet] = UniversityRuleQuerySet.as_manager()  # type: ignore[assignment]

    permission_name = "scope"

    class Meta:
        db_table = "rollout_scope"
        default_permissions = ()
        permissions: ClassVar = [
            ("add_scope", "Can add university rule"),
            ("change_scope", "Can change university rule"),
            ("delete_scope", "Can delete university rule"),
            ("view_scope", "Can view university rule"),
        ]
        verbose_name = _("university rule")
        verbose_name_plural = _("university rules")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["university_id", "phase", "is_allowed"], name="rollout_scope_unique"),
            models.CheckConstraint(condition=~Q(reason=""), name="rollout_scope_has_reason"),
            models.CheckConstraint(condition=Q(phase__in=(3, 4)), name="rollout_scope_phase_3_or_4"),
        ]

    def __str__(self) -> str:
        params = {"university": university_name(self.university_id), "phase": self.phase}
        if self.is_allowed:
            return gettext("%(university)s is let into phase %(phase)d") % params
        return gettext("%(university)s is kept out of phase %(phase)d") % params


def university_name(pk: int) -> str:
    """Return the name of a university; by the name of its model, because the rollout imports no other app."""
    names = apps.get_model("employees", "University").objects.filter(pk=pk).values_list("name", flat=True)
    return names.first() or gettext("deleted university")


class PlanState(models.TextChoices):
    QUEUED = "queued", _("waits for the step before it")
    PLANNED = "planned", _("planned")
    WAITING = "waiting", _("waits for approval")
    DONE = "done", _("done")
    DROPPED = "dropped", _("dropped")


class PlanQuerySet(models.QuerySet["Plan"]):
    def open(self) -> PlanQuerySet:
        return self.filter(state__in=(PlanState.QUEUED, PlanState.PLANNED, PlanState.WAITING))

    def of(self, step: Plan) -> PlanQuerySet:
        """Return the steps of the plan that the given step belongs to, in their order."""
        head = step.first_id or step.pk
        return self.filter(Q(pk=head) | Q(first=head)).order_by("pk")


class Plan(models.Model):
    """Store a step of a plan. When it is due, it is judged as any change, and the step after it takes its place.

    ``first`` is the first step of the plan; that step itself has None. With ``waits_for_gates``, the step is tried
    after ``due_at`` until its gates pass; otherwise gates that do not pass end the plan. ``account`` is the number of
    the account that made the plan, also by an API key; None for a plan from the shell or of an earlier release.
    """

    phase = models.PositiveSmallIntegerField(_("phase"))
    percent = models.DecimalField(_("percent"), max_digits=5, decimal_places=2)
    due_at = models.DateTimeField(_("due at"))
    revision = models.BigIntegerField(_("revision"))
    by = models.CharField(_("by"), max_length=150)
    reason = models.CharField(_("reason"), max_length=500)
    state = models.CharField(_("state"), max_length=10, choices=PlanState, default=PlanState.PLANNED)
    outcome = models.CharField(_("outcome"), max_length=REASON_LENGTH, blank=True, default="")
    sentence = models.JSONField(null=True, editable=False)
    first = models.ForeignKey("self", models.CASCADE, null=True, related_name="later", verbose_name=_("first step"))
    waits_for_gates = models.BooleanField(_("waits for the gates"), default=False, db_default=False)
    from_hour = models.PositiveSmallIntegerField(_("from hour"), null=True)
    until_hour = models.PositiveSmallIntegerField(_("until hour"), null=True)
    account = models.BigIntegerField(null=True, editable=False)

    objects: ClassVar[PlanQuerySet] = PlanQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["due_at", "pk"]
        verbose_name = _("planned step")
        verbose_name_plural = _("planned steps")

    def __str__(self) -> str:
        return f"{self.phase}: {localize(str(self.percent))} %"

    @property
    def text(self) -> str:
        return str(from_columns(self.outcome, self.sentence))

    @property
    def hours(self) -> tuple[int, int] | None:
        """Return the hours of the site's day in which the step may be taken; from 22 to 6 is over midnight."""
        return None if self.from_hour is None or self.until_hour is None else (self.from_hour, self.until_hour)

    def is_within_hours(self, at: datetime) -> bool:
        if self.hours is None:
            return True
        (start, end), hour = self.hours, at.astimezone(timezone.get_default_timezone()).hour
        return start <= hour < end if start < end else hour >= start or hour < end

    def conclude(self, state: PlanState, outcome: Text) -> None:
        self.state = state
        self.outcome, self.sentence = to_columns(outcome, REASON_LENGTH)
        self.save()

    def stop(self, why: Text) -> None:
        """Drop this step and those after it."""
        for step in Plan.objects.of(self).open():
            step.conclude(PlanState.DROPPED, why)
        self.refresh_from_db()


APPROVAL_LASTS = timedelta(hours=24)


def approval_end() -> datetime:
    return timezone.now() + APPROVAL_LASTS


class ApprovalState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    APPROVED = "approved", _("approved")
    REFUSED = "refused", _("refused")
    WITHDRAWN = "withdrawn", _("withdrawn")
    EXPIRED = "expired", _("expired")


class ApprovalQuerySet(ChangeQuerySet):
    def waiting(self) -> Self:
        return self.filter(state=ApprovalState.WAITING, expires_at__gt=timezone.now())


class Approval(ChangeRecord):
    """Store a change that waits until a second person approves it (docs/reference/rollout.md).

    ``before``, ``after`` and ``evidence`` are those of the time of the request; an approval judges ``request`` again.
    ``account`` is the number of the requester's account, also by an API key; None in the shell.
    """

    account = models.BigIntegerField(null=True, editable=False)
    request = models.JSONField(editable=False)
    plan = models.ForeignKey(Plan, models.SET_NULL, null=True, related_name="approvals")
    expires_at = models.DateTimeField(_("expires at"), default=approval_end)
    state = models.CharField(_("state"), max_length=10, choices=ApprovalState, default=ApprovalState.WAITING)
    decided_by = models.CharField(_("decided by"), max_length=150, blank=True, default="")
    decided_at = models.DateTimeField(_("decided at"), null=True)
    decision_reason = models.CharField(_("reason of the decision"), max_length=REASON_LENGTH, blank=True, default="")

    objects: ClassVar[ApprovalQuerySet] = ApprovalQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(ChangeRecord.Meta):
        default_permissions = ()
        verbose_name = _("request for approval")
        verbose_name_plural = _("requests for approval")
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="rollout_approval_has_reason"),
            models.CheckConstraint(
                condition=~Q(state=ApprovalState.APPROVED, decided_by=F("by")), name="rollout_approval_by_another"
            ),
        ]

    def conclude(self, state: ApprovalState, by: str, reason: str) -> None:
        self.state, self.decided_by, self.decided_at, self.decision_reason = state, by, timezone.now(), reason
        self.save()


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def with_last_seen_age(self) -> HeartbeatQuerySet:
        """Add how far away the last heartbeat is: a process that ended before a clock was set back is not running."""
        age = Now() - F("seen_at")
        return self.annotate(last_seen_age=Greatest(age, -age, output_field=models.DurationField()))


class Heartbeat(models.Model):
    process = models.CharField(_("process"), max_length=100, primary_key=True)
    revision = models.BigIntegerField(_("revision"))
    revision_seen_at = models.DateTimeField(_("revision seen at"), db_default=Now())
    seen_at = models.DateTimeField(_("seen at"), db_default=Now())

    objects: ClassVar[HeartbeatQuerySet] = HeartbeatQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")

    def __str__(self) -> str:
        return self.process

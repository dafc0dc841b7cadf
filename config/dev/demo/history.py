"""Write two weeks of demo history to the tables, through the models, so that triggers and constraints apply."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.utils import timezone, translation

from config.dev.demo.people import EMPLOYEES, UNIVERSITIES
from config.dev.demo.readings import gate_checks, held_message, readings
from config.dev.demo.simulation import Simulation
from config.dev.demo.story import ADMIN, DENIED, OFFICER, OPERATOR, VOLUNTEER, Story
from config.dev.demo.users import create_users, limit_clerk
from config.lib.messages import Message, Text
from employees.models import BackfillBatch, BackfillRun, Employee, RunStatus, University
from monitoring.alerts.kinds import CHECKS, SENTENCES, Kind, Severity
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading, RoundTrip
from monitoring.rollout_control import gates
from monitoring.rollout_control.controller import CONTROLLER
from monitoring.rollout_control.models import GateCheck, Signature
from monitoring.stats import cached, rollups
from profiles import cache, failures
from profiles.models import Comparison, Profile
from profiles.rollout import rules
from profiles.rollout.decision import forget_state
from profiles.rollout.models import Action, Change, Flag, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay, State

SEED = 7
_BATCH = 1000


class NotEmpty(ImproperlyConfigured):
    """Raised when the database has employees or updates: the demo fills only an empty database."""


def generate(*, employees: int = EMPLOYEES, seed: int = SEED, now: datetime | None = None) -> Simulation:
    """Fill the empty database with users and two weeks of history until now, and compute the statistics for the pages.

    Return the simulation, which contains the rows that were written.
    """
    with transaction.atomic():
        create_users()
        lived = fill(employees=employees, seed=seed, now=now)
        limit_clerk(lived.universities[0])
    measure()
    return lived


@transaction.atomic
def fill(*, employees: int = EMPLOYEES, seed: int = SEED, now: datetime | None = None) -> Simulation:
    """Simulate the two weeks that end now and write them to the tables; return the simulation.

    Raise ImproperlyConfigured in production, and NotEmpty if the database is in use.
    """
    if not settings.DEBUG:
        raise ImproperlyConfigured("The demo is for development: DEBUG is off")
    if Employee.objects.exists() or InboxUpdate.objects.exists():
        raise NotEmpty("The demo needs an empty database: this one has employees or updates")
    story = Story(now or timezone.now())
    universities = University.objects.bulk_create(University(name=name) for name in UNIVERSITIES)
    salt = Flag.objects.get(name=PHASES[2]).salt
    lived = Simulation(story, [one.pk for one in universities], employees, seed, salt).run()
    _directory(lived)
    _webhook(lived)
    _rollout(lived)
    _monitoring(lived)
    return lived


def measure() -> None:
    """Fill the cache, and store the first statistics, indicators and gate checks for the pages.

    Call this after the commit.
    """
    forget_state()
    rollups.roll_up()
    cache.begin_generation()
    cache.write(Profile.objects.all())
    if run_id := cache.needs_filling():
        cache.mark_filled(run_id)
    for name in cached.STATISTICS:
        cached.store(name)
    rounds.take_round(is_worker=False)
    gates.check(3, Decimal(50))


def _backdate(table: str, column: str, moments: Iterable[tuple[int, datetime]]) -> None:
    """Set the times in a column that Django normally fills in itself or that a trigger protects.

    ``moments`` are pairs of ID and time.
    """
    ids, times = map(list, zip(*moments, strict=True))
    with connection.cursor() as cursor:
        # In any other role, the triggers of the audit tables would refuse the change.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            f"UPDATE {table} t SET {column} = w.at FROM unnest(%s::bigint[], %s::timestamptz[]) w (id, at)"  # noqa: S608 (ours)
            " WHERE t.id = w.id",
            [ids, times],
        )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def _directory(lived: Simulation) -> None:
    rows = Employee.objects.bulk_create(lived.employees, batch_size=_BATCH)
    ids = [row.pk for row in rows]
    for column in ("created_at", "updated_at"):
        _backdate("employees", column, zip(ids, lived.created_at, strict=True))
    first = lived.story.start - timedelta(days=900)
    _backdate("universities", "created_at", ((pk, first) for pk in lived.universities))
    Profile.objects.merge(lived.profiles.values())
    _backfill(lived, ids)


def _backfill(lived: Simulation, ids: Sequence[int]) -> None:
    """Write the only backfill run of the two weeks, which filled in missing names.

    Each of its batches has the old and the new values.
    """
    at = lived.story.backfilled_at
    then = [pk for pk, created_at in zip(ids, lived.created_at, strict=True) if created_at < at]
    run = BackfillRun.objects.create(
        status=RunStatus.DONE,
        until_id=then[-1],
        last_id=then[-1],
        rows_total=len(then),
        rows_seen=len(then),
        rows_changed=len(lived.backfilled),
        requested_by=User.objects.filter(username=OPERATOR).first(),
        started_by=OPERATOR,
        reason="Имена для тех, кто написал боту после найма",
        seen_at=at + timedelta(seconds=2),
        finished_at=at + timedelta(seconds=2),
    )
    changed = [[ids[place], before, after] for place, before, after in lived.backfilled]
    batches, after_id = [], 0
    for start in range(0, len(then), _BATCH):
        part = then[start : start + _BATCH]
        changes = [change for change in changed if after_id < change[0] <= part[-1]]
        batch = BackfillBatch(run=run, after_id=after_id, until_id=part[-1], changes=changes)
        batch.rows_seen, batch.rows_changed, batch.duration_ms = len(part), len(changes), 27 + len(changes) % 9
        batches.append(batch)
        after_id = part[-1]
    BackfillBatch.objects.bulk_create(batches)
    _backdate("backfill_runs", "created_at", [(run.pk, at)])
    _backdate("backfill_batches", "created_at", ((batch.pk, at) for batch in batches))


def _webhook(lived: Simulation) -> None:
    lived.updates.sort(key=lambda update: update.received_at)
    InboxUpdate.objects.bulk_create(lived.updates, batch_size=_BATCH)
    DuplicateDelivery.objects.bulk_create(lived.duplicates, batch_size=_BATCH)
    story = lived.story
    replay = Replay.objects.create(
        by=OPERATOR,
        selection="state__exact=dead&reason=OperationalError&update_type=message_created",
        reason="Блокировка снята, повторяем",
        count=4,
    )
    bodies = InboxUpdate.objects.filter(state=State.QUARANTINED).order_by("-pk")
    seen = PayloadAccess.objects.create(
        by=OFFICER, inbox_update_id=bodies[0].pk, update_type=bodies[0].update_type, reason="Жалоба на чужое имя"
    )
    _backdate("webhook_replays", "at", [(replay.pk, story.at(7, 15, 20))])
    _backdate("webhook_raw_looks", "at", [(seen.pk, story.at(3, 12, 5))])


def _rollout(lived: Simulation) -> None:
    """Write an audit row for each change to the rollout, then the settings as they were after the last change."""
    story, revision = lived.story, Rollout.locked().revision
    _backdate("rollout_change", "at", ((pk, story.start) for pk in Change.objects.values_list("pk", flat=True)))
    Flag.objects.update(moved_at=story.start)
    state = RolloutSettings.read(Rollout.current())

    def record(at: datetime, action: Action, reason: Text, *, by: str = OPERATOR, **facts: Any) -> None:
        nonlocal revision
        revision += 1
        row = Change(by=by, action=action, revision=revision, at=at, **facts)
        row.text = reason
        row.save()

    def step(at: datetime, name: str, percent: int, reason: str, by: str = OPERATOR) -> None:
        before = state.as_json()
        state.percents = rules.set_phase(state.percents, name, percent)
        record(at, Action.ADVANCE, reason, by=by, before=before, after=state.as_json())
        Flag.objects.filter(name=name).update(percent=percent, moved_at=at, modified=at)

    def hold(at: datetime, action: Action, held_for: Text, reason: Text, by: str = OPERATOR) -> None:
        before = state.as_json()
        state.held_for = held_for
        record(at, action, reason, by=by, before=before, after=state.as_json())

    step(story.start, PHASES[0], 100, "Схема и адрес вебхука готовы", by=ADMIN)
    step(story.collecting_since, PHASES[1], 100, "Пробное обновление прошло за 40 мс")
    why = held_message(story)
    hold(story.held_at, Action.PAUSE, why, why, by=CONTROLLER)
    hold(story.delivery_gap[1] + timedelta(minutes=20), Action.RESUME, "", "Мессенджер восстановил доставку")
    _rules(lived, record)
    facts = {"university": lived.universities[VOLUNTEER]}
    record(story.rules_since + timedelta(minutes=15), Action.REHEARSAL, "Проверка перед первой группой", after=facts)
    for at, percent, reason in story.steps:
        step(at, PHASES[2], percent, reason)
    Rollout.objects.filter(pk=1).update(revision=revision, revised_at=story.steps[-1][0])


def _rules(lived: Simulation, record: Any) -> None:
    at = lived.story.rules_since
    for place, is_allowed, reason in (
        (VOLUNTEER, True, "Вуз вызвался попробовать первым"),
        (DENIED, False, "Ректорат просил подождать до конца зачисления"),
    ):
        university = lived.universities[place]
        rule = UniversityRule.objects.create(university_id=university, phase=3, is_allowed=is_allowed, reason=reason)
        after = {"university": university, "phase": 3, "allowed": is_allowed, "expires_at": None}
        record(at, Action.SCOPE, reason, after=after)
        _backdate("rollout_scope", "created_at", [(rule.pk, at)])


def _monitoring(lived: Simulation) -> None:
    story = lived.story
    Comparison.objects.bulk_create(lived.comparisons, batch_size=_BATCH)
    IndicatorReading.objects.bulk_create(readings(lived), batch_size=_BATCH)
    GateCheck.objects.bulk_create(gate_checks(lived), batch_size=_BATCH)
    RoundTrip.objects.create(at=story.at(13, 10, 40), took_ms=41.0)
    _alerts(story)
    operator = User.objects.filter(username=OPERATOR).first()
    if operator:
        notes = {"backup_database": "Ночная копия восстановлена", "plan_rollback": "Откат проверен на одном вузе"}
        for item, note in notes.items():
            at = story.at(13, 10)
            Signature.objects.create(
                item=item, by=operator, note=note, signed_at=at, expires_at=at + timedelta(days=90)
            )


def _alerts(story: Story) -> None:
    """Write the alerts of the two weeks of history; only the alert about dead letters is still open."""
    operator = User.objects.filter(username=OPERATOR).first()
    dead = InboxUpdate.objects.filter(state=State.DEAD)
    failed, error, why = {"rate": "6.4%", "limit": "5%"}, "info: ConnectionError", held_message(story)
    with translation.override("en"):
        held = {"why": str(why), SENTENCES: {"why": why.as_json()}}
    count = dead.count()
    past: list[tuple[Kind, Severity, datetime, int, dict[str, Any], dict[str, Any]]] = [
        (Kind.WEBHOOK_ERROR_RATE_HIGH, Severity.CRITICAL, story.at(12, 16, 10), 25, failed,
         {"current_rate": 0.064, "threshold": 0.05, "failed_events": 16, "total_events": 250}),
        (Kind.ROLLOUT_HELD, Severity.WARNING, story.held_at, 24, held, {"reason": held["why"]}),
        (Kind.CACHE_CONNECTION_FAILED, Severity.CRITICAL, story.at(9, 11, 2), 6,
         {"error": error, SENTENCES: {"error": failures.message_for(error).as_json()}}, {"error": error}),
        (Kind.INBOX_LAG_HIGH, Severity.CRITICAL, story.at(6, 18, 31), 11,
         {"lag": "402", "limit": "300", "pending": "118"},
         {"lag_seconds": 402, "threshold_seconds": 300, "pending_events": 118, "processing_enabled": True}),
    ]  # fmt: skip
    for kind, severity, at, minutes, words, data in past:
        resolved_at = at + timedelta(minutes=minutes)
        _alert(
            kind, severity, at, words, data, announced=severity, seen_at=resolved_at, clear_since=resolved_at,
            resolved_at=resolved_at, acknowledged_by=operator, acknowledged_at=at + timedelta(minutes=4),
        )  # fmt: skip
    if count:
        at = dead.order_by("finished_at")[0].finished_at or story.now
        counts = {"dead_letters": count, "total_dead_letters": count}
        _alert(Kind.DEAD_LETTERS, Severity.WARNING, at, {"count": str(count)}, counts, announced=Severity.WARNING)


def _alert(
    kind: Kind, severity: Severity, at: datetime, words: dict[str, Any], data: dict[str, Any], **fields: Any
) -> None:
    with translation.override("en"):
        message = str(Message(CHECKS[kind].text, words))
    Alert.objects.create(kind=kind, severity=severity, message=message, words=words, data=data, fired_at=at, **fields)

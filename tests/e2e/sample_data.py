"""Sample data for browsers: phase 3 at 25%, a month of traffic, and hostile names."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from employees.models import BackfillRun, Employee, RunStatus, University
from employees.naming import update_employee
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading, Level, RoundTrip
from monitoring.rollout_control import gates
from monitoring.rollout_control.models import GateCheck
from monitoring.stats import cached
from profiles import cache
from profiles.models import Profile, ProfileSource
from profiles.rollout.models import Change, Flag, UniversityRule
from profiles.rollout.phases import PHASES
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, Replay, State

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
HOSTILE_ID, HOSTILE_PHONE = "666", "+79160000666"
KNOWN_ID, KNOWN_PHONE = "7", "+79160000007"
PASSWORD = "browser-password-7"
_UNIVERSITIES = (
    "Московский государственный университет", "Санкт-Петербургский политехнический университет Петра Великого",
    "Казанский федеральный университет", "Томский политехнический университет",
    "Новосибирский государственный университет",
)  # fmt: skip
_SHARES = [(0.45, "webhook"), (0.52, "user_input"), (0.78, "api"), (0.95, "manual"), (1.0, "default")]


def operator() -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)


def fill(employees: int = 3000) -> None:
    rng = random.Random(7)
    universities = [University.objects.create(name=name) for name in (*_UNIVERSITIES, f"Вуз {SCRIPT}")]
    _people(universities, employees, rng)
    _rollout(universities)
    _inbox(rng)
    _comparisons(rng)
    _readings(rng)
    _operator_actions(universities)
    for name in cached.STATISTICS:
        cached.store(name)
    rounds.take_round()


def _people(universities: list[University], count: int, rng: random.Random) -> None:
    now = timezone.now()
    rows = []
    for number in range(count):
        draw = rng.random()
        source = next(name for share, name in _SHARES if draw <= share)
        rows.append(
            Employee(
                phone=f"+7926{number:07d}",
                first_name="Анна",
                last_name=f"Иванова{number}",
                max_id=str(10_000 + number) if number % 3 else None,
                university=universities[min(int(rng.expovariate(0.8)), len(universities) - 1)],
                profile_source=source,
                profile_last_updated=now if source in ("webhook", "user_input", "api") else None,
            )
        )
    Employee.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE employees SET created_at = now() - (id %% 31) * interval '1 day' - interval '1 minute'", []
        )
    _profiles(min(count, 1200), rng)
    add_profile(HOSTILE_ID, SCRIPT, IMAGE)
    add_profile(KNOWN_ID, "Мария", "Кузнецова", age=timedelta(days=3))
    for phone, user_id, names in (
        (HOSTILE_PHONE, HOSTILE_ID, (SCRIPT, IMAGE)),
        (KNOWN_PHONE, KNOWN_ID, ("Мария", "Кузнецова")),
    ):
        Employee.objects.create(
            phone=phone,
            max_id=user_id,
            first_name=names[0],
            last_name=names[1],
            university=universities[-1],
            profile_source=ProfileSource.WEBHOOK,
            profile_last_updated=now,
        )


def _profiles(count: int, rng: random.Random) -> None:
    now = timezone.now()
    moments = [now - timedelta(days=rng.expovariate(0.12)) for _ in range(count)]
    Profile.objects.bulk_create(
        Profile(
            user_id=str(10_000 + number),
            first_name="Анна",
            first_name_set_at=at,
            last_name=None if number % 6 == 0 else f"Иванова{number}",
            last_name_set_at=None if number % 6 == 0 else at,
            user_provided_name="Аня Иванова" if number % 9 == 0 else None,
            user_provided_name_set_at=at if number % 9 == 0 else None,
            last_updated=at,
            is_cache_behind=False,
        )
        for number, at in enumerate(moments)
    )
    cache.begin_generation()
    cache.write(Profile.objects.all())
    for number in range(200):
        cache.read(str(10_000 + number if number % 12 else number))


def _rollout(universities: list[University]) -> None:
    author = {"by": "m.orlova", "reason": "Доля согласия держится выше 99 % третий день"}
    for name, percent in zip(PHASES, (100, 100, 25, 0), strict=True):
        for step in (1, 5, 25) if percent == 25 else (percent,):
            change("set", phase=name, percent=Decimal(step), **author)
    scope = UniversityRule(university_id=universities[3].pk, phase=3)
    change("scope", rule=scope, by="m.orlova", reason=f"Просил ректорат {SCRIPT}")
    days = {"phase1_infrastructure": 26, "phase2_collection": 19, "phase3_cache_first": 3, "phase4_cache_primary": 40}
    for name, back in days.items():
        Flag.objects.filter(name=name).update(moved_at=timezone.now() - timedelta(days=back))
    _age_changes((29, 26, 19, 9, 6, 3, 2))


def _age_changes(days: tuple[int, ...]) -> None:
    """Spread the changes over a month; without the role, the trigger of the table refuses."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for pk, back in zip(Change.objects.order_by("-pk").values_list("pk", flat=True), reversed(days), strict=False):
            cursor.execute("UPDATE rollout_change SET at = now() - %s * interval '1 day' WHERE id = %s", [back, pk])
        cursor.execute("SET session_replication_role = DEFAULT")


def _inbox(rng: random.Random) -> None:
    now = timezone.now()
    rows = []
    for number in range(2000):
        at = now - timedelta(hours=24 * rng.random() ** 0.8)
        state = State.DEAD if number % 211 == 0 else State.QUARANTINED if number % 97 == 0 else State.DONE
        rows.append(_update(number, at, state))
    rows += [_update(5000 + number, now - timedelta(seconds=4), State.PENDING) for number in range(3)]
    InboxUpdate.objects.bulk_create(rows)


def _update(number: int, at: Any, state: State) -> InboxUpdate:
    is_bad = state in (State.DEAD, State.QUARANTINED)
    return InboxUpdate(
        dedup_key=b"sample %d" % number,
        body=b'{"update_type": "message_created"}',
        update_type=("message_created", "bot_started", "message_callback")[number % 3],
        state=state,
        user_id=str(10_000 + number),
        received_at=at,
        next_try_at=at,
        finished_at=None if state == State.PENDING else at,
        has_names=not is_bad,
        has_changed_profile=number % 2 == 0 and not is_bad,
        processing_ms=1.4,
        reason="not_json" if state == State.QUARANTINED else "",
        tries=5 if state == State.DEAD else 0,
        error=f"ValueError: {SCRIPT}" if state == State.DEAD else "",
    )


def _readings(rng: random.Random) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for back in range(48):
        at = hour - timedelta(hours=back)
        add_reading("cache_hit_rate", at, 0.87 + rng.random() * 0.06)
        add_reading("cache_memory", at, 2.1e8 - back * 1.2e6)
    for back in range(30):
        at = hour.replace(hour=0) - timedelta(days=back)
        levels = {"webhook": 46 - back, "user_input": 7 - back / 6, "api": 24 + back, "manual": 16, "default": 5}
        by_source = {source: round(max(share, 0) * 30) for source, share in levels.items()}
        add_reading("coverage", at, 0.6, {"employees_by_source": by_source})


def add_reading(name: str, at: datetime, value: float | None, data: dict[str, Any] | None = None) -> None:
    level = Level.ERROR if value is None else Level.OK
    fields = {"measured_at": at, "value": value, "level": level, "data": data or {}, "message": {}}
    IndicatorReading.objects.create(name=name, round_at=at, **fields)


def _comparisons(rng: random.Random) -> None:
    universities = list(University.objects.values_list("pk", flat=True))
    for day in range(18):
        for outcome, count in (("agree", 40 + day), ("equivalent", 6), ("cache_richer", 3), ("cache_miss", 7)):
            fields = {"university_id": rng.choice(universities), "cache_name": "М*** К***", "api_name": "М*** К***"}
            compared(count, outcome, ago=timedelta(days=day, minutes=5), **fields)
        served: dict[str, Any] = {"stage": 3, "served_source": "webhook", "served_ms": 4.0}
        compared(9, ago=timedelta(days=day, minutes=2), **served)
        compared(1 + day % 3, ago=timedelta(days=day, minutes=3), **served | {"served_source": "api"})
    compared(
        1, "conflict", pattern="last_name", cache_name="А*** П***", api_name="А*** С***", university_id=universities[0]
    )
    RoundTrip.objects.create(took_ms=38)
    gates.check(3, Decimal(50))
    GateCheck.objects.update(at=timezone.now() - timedelta(minutes=2))
    Alert.objects.create(
        kind=Kind.DEAD_LETTERS,
        severity=Severity.WARNING,
        message="Dead letters in the last day: 10. Review them and replay them.",
        words={"count": "10"},
        fired_at=timezone.now() - timedelta(minutes=42),
    )


def _operator_actions(universities: list[University]) -> None:
    """Add what operators did: a name changed by hand, a paused backfill, a replay."""
    employee = Employee.objects.order_by("pk")[0]
    update_employee(employee, {"last_name": "Смирнова", "middle_name": SCRIPT})
    run = BackfillRun.objects.create(
        university=universities[0], status=RunStatus.PAUSED, until_id=3000, rows_total=3000, rows_seen=1240,
        rows_changed=312, paused_because="Нагрузка в день зачисления",
    )  # fmt: skip
    run.batches.create(status="failed", after_id=1000, until_id=1240, rows_seen=240, error="LockNotAvailable: timeout")
    change = [
        employee.pk,
        ["Неизвестно", "Неизвестно", "", "default", None, "7"],
        ["Мария", "Кузнецова", "", "webhook", None, "7"],
    ]
    run.batches.create(after_id=0, until_id=1000, rows_seen=1000, rows_changed=1, changes=[change])
    Replay.objects.create(by="m.orlova", selection=f"state__exact=dead {SCRIPT}", reason="Ошибка исправлена", count=10)

"""The demo's two weeks for browsers, with hostile names, a known person and an unfinished backfill added."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from config.dev.demo import history
from config.dev.demo.people import person
from employees.models import BackfillRun, Employee, RunStatus, University
from employees.naming import update_employee
from monitoring.alerts import engine
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.stats.models import Sample
from profiles.models import ProfileSource
from profiles.rollout.models import UniversityRule
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, Replay, State

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
HOSTILE_ID, HOSTILE_PHONE = "666", "+79160000666"
KNOWN_ID, KNOWN_PHONE = "7", "+79160000007"
WITHOUT_PROFILE = next(who.phone for who in map(person, range(300)) if who.account is None)
PASSWORD = "browser-password-7"


def operator() -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)


def fill(employees: int = 3000, *, has_hostile_texts: bool = True) -> None:
    with override_settings(DEBUG=True):
        history.fill(employees=employees)
    if has_hostile_texts:
        _add_hostile_texts()
    _add_paused_backfill()
    history.measure()
    # Otherwise, pages say that alerts are not checked, once the database of the tests is fifteen minutes old.
    Sample.objects.create(name=engine.LAST_CHECK, value=1)


def _add_hostile_texts() -> None:
    hostile = University.objects.create(name=f"Вуз {SCRIPT}")
    _add_people(hostile)
    rule = UniversityRule(university_id=hostile.pk, phase=3)
    change("scope", rule=rule, by="operator", reason=f"Просил ректорат {SCRIPT}")
    InboxUpdate.objects.filter(state=State.DEAD).update(error=f"ValueError: {SCRIPT}")
    Replay.objects.create(by="operator", selection=f"state__exact=dead {SCRIPT}", reason="Ошибка исправлена", count=10)
    compared(1, "conflict", pattern="last_name", cache_name="А*** П***", api_name="А*** С***", university_id=hostile.pk)


def add_reading(name: str, at: datetime, value: float | None, data: dict[str, Any] | None = None) -> None:
    level = Level.ERROR if value is None else Level.OK
    fields = {"measured_at": at, "value": value, "level": level, "data": data or {}, "message": {}}
    IndicatorReading.objects.create(name=name, round_at=at, **fields)


def paused_run() -> BackfillRun:
    return BackfillRun.objects.get(status=RunStatus.PAUSED)


def _add_people(university: University) -> None:
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
            university=university,
            profile_source=ProfileSource.WEBHOOK,
            profile_last_updated=timezone.now(),
        )
    update_employee(Employee.objects.order_by("pk")[0], {"last_name": "Смирнова", "middle_name": SCRIPT})


def _add_paused_backfill() -> None:
    employee = Employee.objects.order_by("pk")[0]
    run = BackfillRun.objects.create(
        university=employee.university, status=RunStatus.PAUSED, until_id=3000, rows_total=3000, rows_seen=1240,
        rows_changed=312, paused_because="Нагрузка в день зачисления",
    )  # fmt: skip
    run.batches.create(status="failed", after_id=1000, until_id=1240, rows_seen=240, error="LockNotAvailable: timeout")
    before, after = (
        ["Неизвестно", "Неизвестно", "", "default", None, "7"],
        ["Мария", "Кузнецова", "", "webhook", None, "7"],
    )
    run.batches.create(
        after_id=0, until_id=1000, rows_seen=1000, rows_changed=1, changes=[[employee.pk, before, after]]
    )

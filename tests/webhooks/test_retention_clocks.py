"""What is deleted by age: PostgreSQL's clock decides, because that of one host may be wrong by months."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from config.lib import clock
from employees.credentials.tasks import prune
from employees.import_export.stored_files import ImportFile
from employees.models import BackfillBatch, BackfillRun, IdempotentRequest, RunStatus
from employees.tasks import forget_idempotent_requests, forget_import_files, forget_prior_values
from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from monitoring.rollout_control import controller
from monitoring.rollout_control.models import GateCheck
from monitoring.stats import rollups
from monitoring.stats.models import Rollup
from profiles.comparison import compare_waiting
from profiles.max_api.users import delete_old_answers
from profiles.models import Comparison, DirectAnswer, WaitingComparison
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.webhooks.inbox_rows import row
from webhooks import retention
from webhooks.models import DuplicateDelivery, InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
DAY = timedelta(days=1)
_NEXT_YEAR = 400 * DAY


def _store_everything() -> None:
    now = timezone.now()
    for state in (State.DONE, State.DEAD):
        row(state)
    DuplicateDelivery.objects.create(dedup_key=b"x", update_type="other", received_at=now)
    Session.objects.create(session_key="k", session_data="", expire_date=now + DAY)
    run = BackfillRun.objects.create(status=RunStatus.DONE, until_id=0)
    BackfillBatch.objects.create(run=run, status="done", after_id=0, until_id=1, rows_seen=1, changes=[[1]])
    compared(1)
    GateCheck.objects.create(phase=3, gate="conflicts", verdict="passed", message="")
    Alert.objects.create(kind="dead_letters", severity="warning", message="m", resolved_at=now)
    DirectAnswer.objects.create(phone="+79165550001", asked_at=now, outcome="absent")
    ImportFile.objects.create(name="f", data=b"")
    rounds.take_round()
    rollups.roll_up()


_DELETIONS: list[tuple[type[Model], Callable[[], Any]]] = [
    (InboxUpdate, retention.prune),
    (DuplicateDelivery, retention.prune),
    (Session, prune),
    (BackfillBatch, forget_prior_values),
    (Comparison, controller.check),
    (GateCheck, controller.check),
    (Alert, engine.check_alerts),
    (DirectAnswer, delete_old_answers),
    (ImportFile, forget_import_files),
    (Rollup, rollups.roll_up),
    (IndicatorReading, rounds.take_round),
]


@pytest.mark.parametrize(("model", "delete"), _DELETIONS)
def test_a_host_whose_clock_is_ahead_deletes_nothing(
    model: type[Model], delete: Callable[[], Any], phases: Phases
) -> None:
    phases(100, 100, 25)  # Before phase 3, a check sends an update, which no rollback would remove.
    _store_everything()
    before = {each.pk: vars(each) | {"_state": None} for each in model._default_manager.all()}
    assert before
    with time_machine.travel(timezone.now() + _NEXT_YEAR):
        delete()
    after = {each.pk: vars(each) | {"_state": None} for each in model._default_manager.all()}
    assert {pk: after.get(pk) for pk in before} == before


def test_a_request_that_can_be_repeated_is_kept(superadmin: Any) -> None:
    IdempotentRequest.objects.create(user=superadmin, key="k", fingerprint="", status=201)
    with time_machine.travel(timezone.now() + DAY * 2):
        assert forget_idempotent_requests() == 0
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert forget_idempotent_requests() == 1


def test_lookups_wait_by_the_clock_of_postgresql() -> None:
    WaitingComparison.objects.create(phone="+79165550001", stage=3, served_source="api", served_ms=1)
    with time_machine.travel(timezone.now() + _NEXT_YEAR):
        compare_waiting(0)
    assert WaitingComparison.objects.exists()


@pytest.mark.parametrize("postgres_ahead", [_NEXT_YEAR, -_NEXT_YEAR, timedelta(minutes=61), timedelta(minutes=59)])
def test_nothing_is_deleted_while_the_clocks_differ(
    postgres_ahead: timedelta, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not known then whose clock is wrong."""
    row(State.DEAD, 91 * DAY)
    right = clock.of_database
    monkeypatch.setattr(clock, "of_database", lambda: right() + postgres_ahead)
    caplog.set_level(logging.ERROR)
    is_trusted = postgres_ahead < timedelta(hours=1) and postgres_ahead > timedelta()
    assert retention.prune().dead_letters == is_trusted
    assert [record.getMessage() for record in caplog.records][:1] == (
        [] if is_trusted else ["nothing deleted by age: clocks differ"]
    )


def test_it_is_the_clock_of_postgresql() -> None:
    with time_machine.travel(timezone.now() + DAY), connection.cursor() as cursor:
        cursor.execute("SELECT abs(extract(epoch FROM clock_timestamp() - %s))", [clock.of_database()])
        assert cursor.fetchone()[0] < 3600

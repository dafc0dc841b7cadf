"""Messages of the worker appear in the reader's language on every surface; older rows as they are."""

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone, translation
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib.messages import Message, from_columns, join_messages, to_columns
from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.audit.audit_log import entries
from monitoring.former_messages import FORMER_MESSAGES
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.gates import ENTERING, STAYING, WIDENING, GateResult
from monitoring.rollout_control.models import GateCheck
from profiles import cache
from profiles.rollout.models import Change, Flag, Plan, Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import ChangeRefused
from tests.config.catalogue import CATALOGUE, messages
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

HELD = {
    "en": "Phase 3 is held at 25%: agreement ≤",
    "ru": "Фаза 3 остаётся на 25 %: совпадение имён ≤",
}
WAITING = {"en": "rollback not rehearsed", "ru": "откат не проверяли"}
EVIDENCE = {
    "en": "Tripwire: fail — agreement ≤",
    "ru": "Предохранитель: не выполнено — совпадение имён ≤",
}


@pytest.fixture
def _russian_site(settings: Settings) -> None:
    # Forgets the language that is active, too.
    settings.LANGUAGE_CODE = "ru"


@pytest.fixture
def _held(_russian_site: None, phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase 3, paused by the controller in a worker that uses the site's language."""
    phases(100, 100, 25)
    compared(300, "conflict")
    with translation.override("ru"), monkeypatch.context() as patch:
        # Nothing changes between the checks: they share the measurements.
        patch.setattr(rounds, "FRESH", timedelta(seconds=10))
        for _ in range(3):
            controller.check()
        rounds.take_round()
        engine.check_alerts()
        controller.check()


def printed(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    # As wide as a line of the table is, whatever it was folded to.
    return " ".join(out.getvalue().split())


@pytest.fixture(params=["en", "ru"])
def language(_russian_site: None, request: pytest.FixtureRequest) -> Iterator[str]:
    with translation.override(request.param):
        yield request.param


PAGES = {
    "/admin/rollout/": (HELD, WAITING),
    "/admin/live/rollout/": (HELD, WAITING),
    "/admin/": (HELD,),
    "/admin/audit/": (HELD,),
    "/admin/rollout/change/": (HELD,),
    "/admin/monitoring/gatecheck/": (HELD,),
    "/admin/steer/resume/": (HELD,),
}


@pytest.mark.long
@pytest.mark.usefixtures("_held")
def test_every_surface_is_in_the_readers_language(
    client: Client, api: APIClient, superadmin: User, language: str
) -> None:
    client.force_login(superadmin)
    for path, texts in PAGES.items():
        page = client.get(path, headers={"Accept-Language": language}).content.decode()
        for text in texts:
            assert {key for key in text if text[key] in page} == {language}, path
    change = Change.objects.get(action="pause")
    response = client.get(f"/admin/rollout/change/{change.pk}/change/", headers={"Accept-Language": language})
    assert EVIDENCE[language] in response.content.decode()
    assert f"paused: {HELD[language]}" in printed("rollout", "status")
    assert WAITING[language] in printed("rollout", "status")
    assert " ".join(HELD[language].split()[:4]) in printed("rollout", "history")
    report = api.get("/monitoring/rollout", headers={"Accept-Language": language}).json()
    assert report["held_for"].startswith(HELD[language])
    assert next(entry for entry in entries(kind="rollout", by="conductor")).reason.startswith(HELD[language])
    assert HELD[language] in Alert.objects.get(kind="rollout_held").text


@pytest.mark.long
@pytest.mark.usefixtures("_held")
def test_texts_are_stored_in_the_sites_language() -> None:
    """Searches and the previous release read them; the payload of an alert is in English."""
    alert = Alert.objects.get(kind="rollout_held")
    assert HELD["en"] in alert.message
    assert alert.data["reason"].startswith(HELD["en"])
    assert alert.words["why"].startswith(HELD["ru"])
    assert Rollout.current().held_for.startswith(HELD["ru"])
    pause = Change.objects.get(action="pause")
    assert pause.reason.startswith(HELD["ru"])
    assert pause.after["held_for"] == Rollout.current().held_for
    assert pause.evidence[0]["message"].startswith("совпадение имён")
    assert GateCheck.objects.filter(message__startswith=HELD["ru"]).exists()
    with translation.override("ru"):
        change("switch", switch="profile_cache", is_on=False, by="t", reason="замер")
    for language in ("en", "ru"):
        with translation.override(language):
            assert str(RolloutSettings.read(Rollout.current()).held_for).startswith(HELD[language])


@pytest.mark.long
def test_the_outcome_of_a_plan_is_translated(phases: Phases, language: str) -> None:
    phases(100, 100, 25)
    outcomes = []
    for spoil in (
        lambda: None,
        lambda: change("pause", by="t", reason="r"),
        lambda: change("emergency", by="t", reason="r"),
    ):
        plan = plan_step(3, 50, timezone.now(), by="t", reason="r")
        spoil()
        Plan.objects.filter(pk=plan.pk).update(revision=Rollout.current().revision)
        with translation.override("ru"):
            controller.fire_due()
        outcomes.append(Plan.objects.get(pk=plan.pk))
        change("resume", by="t", reason="r")
    begins = {
        "en": ["Phase 3 is held at 25%:", "The rollout is paused (r)", "Cancelled by an emergency"],
        "ru": ["Фаза 3 остаётся на 25 %:", "Переход приостановлен (r)", "Отменён из-за аварийной"],
    }
    for plan, russian, text in zip(outcomes, begins["ru"], begins[language], strict=True):
        assert plan.text.startswith(text)
        assert plan.outcome.startswith(russian)


# Older rows


def test_rows_without_a_message_show_their_text(phases: Phases, language: str) -> None:
    check = GateCheck.objects.create(phase=3, gate="dwell", verdict="FAIL", message="старый текст")
    change = Change.objects.create(by="t", action="pause", reason="причина", revision=1)
    plan = Plan(phase=3, percent=1, due_at=timezone.now(), revision=1, outcome="итог")
    assert (check.text, change.text, plan.text) == ("старый текст", "причина", "итог")
    Rollout.objects.update_or_create(pk=1, defaults={"is_paused": True, "held_for": "давно"})
    assert f"paused: {Rollout.current().held}" in printed("rollout", "status")
    assert GateResult.stored_message({"gate": "dwell", "verdict": "FAIL", "message": "давно"}) == "давно"


@pytest.mark.usefixtures("_held")
def test_the_previous_release_may_write_too() -> None:
    """It does not know the new columns: what it inserts has no message, what it updates has an old one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO monitoring_gatecheck (at, phase, gate, verdict, message)"
            " VALUES (now(), 3, 'dwell', 'FAIL', 'x')"
        )
        cursor.execute(
            "INSERT INTO rollout_change (at, by, action, reason, revision, before, after, evidence, is_forced)"
            " VALUES (now(), 'old', 'pause', 'отпуск', 99, '{}', '{}', '[]', false)"
        )
        cursor.execute("UPDATE rollout_rollout SET held_for = 'отпуск'")
    assert str(Rollout.current().held) == Change.objects.get(by="old").text == "отпуск"
    assert GateCheck.objects.get(gate="dwell", message="x").text == "x"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE rollout_rollout SET held_for = '', is_paused = false")
    assert RolloutSettings.read(Rollout.current()).held_for == ""


def test_the_text_of_an_operator_stays(phases: Phases, language: str) -> None:
    change("pause", by="t", reason="ждём ярмарку")
    assert RolloutSettings.read(Rollout.current()).held_for == Change.objects.latest("pk").text == "ждём ярмарку"
    with pytest.raises(ChangeRefused, match="ждём ярмарку"):
        change("set", phase=1, percent=100, by="t", reason="r")


# Messages


def test_a_stored_message_is_read_back() -> None:
    inner = Message("no updates for %(minutes)d min", {"minutes": 18})
    message = Message("Held phase %(phase)d at %(percent)s %%: %(reasons)s")
    message = Message(message.msgid, {"phase": 3, "percent": "12.5", "reasons": [inner, join_messages([inner, inner])]})
    text, stored = to_columns(message, 500)
    assert from_columns(text, json.loads(json.dumps(stored))) == message
    assert text == "Held phase 3 at 12.5 %: no updates for 18 min"


@pytest.mark.parametrize(
    ("stored", "english", "russian"),
    [
        ("98.5 %", "98.5%", "98,5 %"),
        ("1\u202f538", "1,538", "1\u202f538"),
        ("-0.7", "-0.7", "-0,7"),
        ("12.5", "12.5", "12,5"),
        ("25", "25", "25"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("в 2.5 раза", "в 2.5 раза", "в 2.5 раза"),
    ],
)
def test_fractions_have_the_readers_decimal_mark(stored: str, english: str, russian: str) -> None:
    """Older rows store the same text with a point."""
    message = Message.from_json({"msgid": "quality %(score)s ≥ %(limit)s", "words": {"score": stored, "limit": "80.0"}})
    with translation.override("ru"):
        assert str(message) == f"качество {russian} ≥ 80,0"
    with translation.override("en"):
        assert str(message) == f"quality {english} ≥ 80.0"
    assert message.as_json()["words"]["score"] == stored


def test_a_failed_gate_explains_itself(phases: Phases, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = cache.health() | {"redis_connected": False, "last_error": "info: TimeoutError"}
    monkeypatch.setattr(cache, "health", lambda: gone)
    shown = {
        "en": "Evictions could not be measured: timed out",
        "ru": "Вытеснения: измерить не удалось (время ожидания истекло)",
    }
    found = gates.run_gate("few_evictions", gates.transition_step(3, Decimal(1)), rounds.fresh())
    assert str(found.message) == shown[language]


def test_only_the_text_of_a_long_message_is_cut() -> None:
    message = Message("Redis does not answer: %(error)s", {"error": "x" * 500})
    text, stored = to_columns(message, 300)
    assert len(text) == 300
    assert str(from_columns(text, stored)) == str(message)


def msgids(message: Message) -> Iterator[str]:
    yield message.msgid
    for word in message.params.values():
        for one in word if isinstance(word, list) else [word]:
            if isinstance(one, Message):
                yield from msgids(one)


@pytest.mark.long
@pytest.mark.parametrize("has_seen_something", [False, True])
def test_every_gate_message_is_translated(phases: Phases, has_seen_something: bool) -> None:
    phases(100, 100, 25)
    if has_seen_something:
        add_profile("7")
        compared(700, university_id=1)
        compared(60, "conflict", university_id=2, stage=3, served_source="default")
        Flag.objects.update(moved_at=timezone.now() - timedelta(days=2))
        engine.check_alerts()
    translated = {message.text for message in messages(CATALOGUE) if all(message.translations)}
    for phase in ENTERING:
        step, readings = gates.transition_step(phase, Decimal(100)), rounds.fresh()
        for gate in {*ENTERING[phase], *WIDENING.get(phase, ()), *STAYING.get(phase, ())}:
            result = gates.run_gate(gate, step, readings)
            assert set(msgids(result.message)) - {"%(sentences)s"} <= translated, result
            assert result.message


def test_messages_of_the_previous_release_keep_their_translation() -> None:
    with translation.override("ru"):
        assert [message for message in map(str, FORMER_MESSAGES) if not re.search("[а-яё]", message)] == []


_PLANNED = "Cancelled: the rollout has changed since the step was planned (revision %(then)d, now %(now)d)"
# A word that is missing, a form that is none, a message within one, no message.
BROKEN: list[dict[str, Any]] = [
    {"msgid": _PLANNED, "words": {"then": 1}},
    {"msgid": "%(a)", "words": {}},
    {"msgid": "%(a)s", "words": {"a": {"msgid": "%(b)s", "words": {}}}},
    {},
]
MORE_BROKEN: list[dict[str, Any]] = [
    {"msgid": _PLANNED, "words": {"then": "x", "now": 1}},
    {"msgid": "100 %", "words": {"a": 1}},
    {"msgid": "%(a)s", "words": ["a"]},
    {"words": {}},
]


@pytest.mark.long
@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize(
    "broken", [*BROKEN, *(pytest.param(broken, marks=pytest.mark.integration) for broken in MORE_BROKEN)]
)
def test_an_unreadable_message_shows_its_text(
    client: Client, superadmin: User, phases: Phases, broken: dict[str, Any]
) -> None:
    """Another release stored it with parameters that do not fit: no page may fail."""
    client.force_login(superadmin)
    phases(100, 100, 25)
    stored = broken | {"text": "как было"}
    rounds.take_round()
    IndicatorReading.objects.update(message=broken)
    GateCheck.objects.create(phase=3, gate="cohort_speed", verdict="FAIL", message="как было", sentence=stored)
    Alert.objects.create(
        kind="dead_letters", severity="critical", message="как было", words={}, fired_at=timezone.now()
    )
    Change.objects.create(by="t", action="pause", reason="как было", revision=1, sentence=stored)
    Rollout.objects.update_or_create(
        pk=1, defaults={"is_paused": True, "held_for": "как было", "held_sentence": stored}
    )
    for path, count in {"/admin/live/home/": 3, "/admin/rollout/": 3, "/admin/audit/": 1}.items():
        for language in ("en", "ru"):
            response = client.get(path, headers={"Accept-Language": language})
            assert response.status_code == 200, path
            assert response.content.decode().count("как было") >= count, path

"""What the worker says is read in the language of whoever reads it, on every surface; older rows as they are."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone, translation
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib.messages import Message, from_columns, listed, to_columns
from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.audit.audit_log import entries
from monitoring.indicators import rounds
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.gates import ENTERING, STAYING, WIDENING
from monitoring.rollout_control.gates.results import GateResult
from monitoring.rollout_control.models import GateCheck
from profiles import cache
from profiles.rollout.models import Change, Flag, Plan, Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import ChangeRefused
from tests.config.catalogue import CATALOGUE, messages
from tests.conftest import Phases
from tests.monitoring.evidence_rows import compared
from tests.profiles.people import know
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

HELD = {"en": "Phase 3 is held at 25%: agreement at most", "ru": "Фаза 3 удержана на 25 %: согласие не больше"}
ASKED = {"en": "rollback not rehearsed", "ru": "откат не проверяли"}


@pytest.fixture
def _russian_site(settings: Settings) -> None:
    # Forgets the language that is active, too.
    settings.LANGUAGE_CODE = "ru"


@pytest.fixture
def _held(_russian_site: None, phases: Phases) -> None:
    """Phase 3, paused by the conductor in a worker that speaks the site's language."""
    phases(100, 100, 25)
    compared(300, "conflict")
    with translation.override("ru"):
        for _ in range(3):
            controller.check()
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


@pytest.mark.usefixtures("_held")
def test_it_works(operator: Client, language: str) -> None:
    other = {"en": "ru", "ru": "en"}[language]
    for path in ("/admin/rollout/", "/admin/live/rollout/"):
        page = operator.get(path, headers={"Accept-Language": language}).content.decode()
        for told in (HELD, ASKED):
            assert told[language] in page, path
            assert told[other] not in page, path


@pytest.fixture
def operator(client: Client, superadmin: Any) -> Client:
    client.force_login(superadmin)
    return client


PAGES = ["/admin/", "/admin/audit/", "/admin/rollout/change/", "/admin/monitoring/gatecheck/", "/admin/steer/resume/"]


@pytest.mark.usefixtures("_held")
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_in_the_readers_language(operator: Client, language: str, path: str) -> None:
    page = operator.get(path, headers={"Accept-Language": language}).content.decode()
    assert HELD[language] in page
    assert HELD[{"en": "ru", "ru": "en"}[language]] not in page


@pytest.mark.usefixtures("_held")
def test_the_evidence_of_a_change_is_too(operator: Client, language: str) -> None:
    change = Change.objects.get(action="pause")
    page = operator.get(f"/admin/rollout/change/{change.pk}/change/", headers={"Accept-Language": language})
    shown = {"en": "Tripwire: fail — agreement at most", "ru": "Предохранитель: не выполнено — согласие не больше"}
    assert shown[language] in page.content.decode()


@pytest.mark.usefixtures("_held")
def test_the_commands_and_the_api_are_too(api: APIClient, language: str) -> None:
    assert f"paused: {HELD[language]}" in printed("rollout", "status")
    assert ASKED[language] in printed("rollout", "status")
    assert " ".join(HELD[language].split()[:4]) in printed("rollout", "history")
    told = api.get("/monitoring/rollout", headers={"Accept-Language": language}).json()
    assert told["held_for"].startswith(HELD[language])
    assert next(entry for entry in entries(kind="rollout", by="conductor")).reason.startswith(HELD[language])


@pytest.mark.usefixtures("_held")
def test_the_alert_is_too_and_its_payload_is_english(language: str) -> None:
    alert = Alert.objects.get(kind="rollout_held")
    assert HELD[language] in alert.text
    assert HELD["en"] in alert.message
    assert alert.data["reason"].startswith(HELD["en"])
    assert alert.words["why"].startswith(HELD["ru"])


@pytest.mark.usefixtures("_held")
def test_the_texts_are_kept_in_the_sites_language() -> None:
    """For searches, and for the release before this one."""
    assert Rollout.current().held_for.startswith(HELD["ru"])
    change = Change.objects.get(action="pause")
    assert change.reason.startswith(HELD["ru"])
    assert change.after["held_for"] == Rollout.current().held_for
    assert change.evidence[0]["message"].startswith("согласие")
    assert GateCheck.objects.filter(message__startswith=HELD["ru"]).exists()


@pytest.mark.usefixtures("_held")
def test_a_pause_outlasts_other_changes(language: str) -> None:
    with translation.override("ru"):
        change("switch", switch="profile_cache", is_on=False, by="t", reason="замер")
    assert str(RolloutSettings.read(Rollout.current()).held_for).startswith(HELD[language])


def test_what_a_planned_step_came_to_is_read_too(phases: Phases, language: str) -> None:
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
        "ru": ["Фаза 3 удержана на 25 %:", "Переход приостановлен (r)", "Отменено аварийным"],
    }
    for plan, russian, told in zip(outcomes, begins["ru"], begins[language], strict=True):
        assert plan.text.startswith(told)
        assert plan.outcome.startswith(russian)


# What was kept before


def test_rows_without_a_sentence_show_their_text(phases: Phases, language: str) -> None:
    check = GateCheck.objects.create(phase=3, gate="dwell", verdict="FAIL", message="старый текст")
    change = Change.objects.create(by="t", action="pause", reason="причина", revision=1)
    plan = Plan(phase=3, percent=1, due_at=timezone.now(), revision=1, outcome="итог")
    assert (check.text, change.text, plan.text) == ("старый текст", "причина", "итог")
    Rollout.objects.update_or_create(pk=1, defaults={"is_paused": True, "held_for": "давно"})
    assert f"paused: {Rollout.current().held}" in printed("rollout", "status")
    assert GateResult.stored_message({"gate": "dwell", "verdict": "FAIL", "message": "давно"}) == "давно"


@pytest.mark.usefixtures("_held")
def test_the_release_before_goes_on_beside_this_one(language: str) -> None:
    """It names none of the new columns: what it inserts has no sentence, what it updates keeps a strange one."""
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


def test_an_operators_own_words_stay(phases: Phases, language: str) -> None:
    change("pause", by="t", reason="ждём ярмарку")
    assert RolloutSettings.read(Rollout.current()).held_for == Change.objects.latest("pk").text == "ждём ярмарку"
    with pytest.raises(ChangeRefused, match="ждём ярмарку"):
        change("set", phase=1, percent=100, by="t", reason="r")


# Sentences


def test_a_sentence_is_the_same_after_it_was_kept() -> None:
    inner = Message("no updates for %(minutes)d min", {"minutes": 18})
    sentence = Message("Phase %(phase)d is held at %(percent)s%%: %(reasons)s")
    sentence = Message(sentence.msgid, {"phase": 3, "percent": "12.5", "reasons": [inner, listed([inner, inner])]})
    text, kept = to_columns(sentence, 500)
    assert from_columns(text, json.loads(json.dumps(kept))) == sentence
    assert text == "Phase 3 is held at 12.5%: no updates for 18 min"


@pytest.mark.parametrize(
    ("kept", "russian"),
    [
        ("98.5 %", "98,5 %"),
        ("-0.7", "-0,7"),
        ("12.5", "12,5"),
        ("25", "25"),
        ("10.0.0.1", "10.0.0.1"),
        ("в 2.5 раза", "в 2.5 раза"),
    ],
)
def test_a_fraction_has_the_readers_decimal_mark(kept: str, russian: str) -> None:
    """Older rows, too: what they keep is the same text with a point."""
    sentence = Message.from_json({"msgid": "quality %(score)s ≥ %(limit)s", "words": {"score": kept, "limit": "80.0"}})
    with translation.override("ru"):
        assert str(sentence) == f"качество {russian} ≥ 80,0"
    with translation.override("en"):
        assert str(sentence) == f"quality {kept} ≥ 80.0"
    assert sentence.as_json()["words"]["score"] == kept


def test_a_gate_that_cannot_look_says_why_in_words(
    phases: Phases, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = cache.health() | {"redis_connected": False, "last_error": "info: TimeoutError"}
    monkeypatch.setattr(cache, "health", lambda: gone)
    shown = {
        "en": "Evictions could not be measured: no answer in time",
        "ru": "Вытеснения: измерить не удалось (нет ответа вовремя)",
    }
    found = gates.run_gate("few_evictions", gates.transition_step(3, Decimal(1)), rounds.fresh())
    assert str(found.message) == shown[language]


def test_a_long_one_is_cut_in_the_text_alone() -> None:
    sentence = Message("Redis does not answer: %(error)s", {"error": "x" * 500})
    text, kept = to_columns(sentence, 300)
    assert len(text) == 300
    assert str(from_columns(text, kept)) == str(sentence)


def msgids(sentence: Message) -> Iterator[str]:
    yield sentence.msgid
    for word in sentence.words.values():
        for one in word if isinstance(word, list) else [word]:
            if isinstance(one, Message):
                yield from msgids(one)


@pytest.mark.parametrize("has_seen_something", [False, True])
def test_every_gate_says_something_that_is_translated(phases: Phases, has_seen_something: bool) -> None:
    phases(100, 100, 25)
    if has_seen_something:
        know("7")
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
            assert str(result.message)

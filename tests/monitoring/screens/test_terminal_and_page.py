"""The commands and the page present the same phase, condition, change, planned step and rule in the same words."""

from collections.abc import Iterable
from datetime import timedelta
from html import escape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from rich.table import Table

from employees.models import University
from monitoring.rollout_control import gates, terminal
from profiles.rollout.models import UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def printed(parts: Iterable[Any]) -> list[str]:
    """Return the cells of the tables, and the lines beside them."""
    found = []
    for part in parts:
        found += [str(cell) for column in part.columns for cell in column.cells] if isinstance(part, Table) else [part]
    return found


@pytest.fixture
def rollout(operator: Client, phases: Phases, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Phase 3 is at 25%, paused, with a planned step, a rule, and conditions that do not pass."""
    monkeypatch.setitem(gates.ENTERING, 3, ("quality", "rehearsed", "redis_answers"))
    monkeypatch.setitem(gates.WIDENING, 3, ("dwell",))
    phases(100, 100, 25)
    university = University.objects.create(name="Вуз")
    change("scope", rule=UniversityRule(university_id=university.pk, phase=3, is_allowed=True))
    change("switch", switch="service_chat", is_on=False)
    change("set", phase=3, percent="12.5", reason="slower")
    plan_step(3, "25", timezone.now() + timedelta(days=1))
    change("pause", reason="holiday")
    return operator


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Complete", "Paused", "12.5%", "Rollback rehearsal", "inconclusive", "phase 3 to 25% on "]),
        (
            "ru",
            ["Завершена", "Приостановлено", "12,5\u00a0%", "Проверка отката", "мало данных", "25\u00a0%"],
        ),
    ],
)
def test_it_works(rollout: Client, language: str, words: list[str]) -> None:
    response = rollout.get("/admin/rollout/", headers={"Accept-Language": language})
    content, context = response.content.decode(), response.context
    with translation.override(language):
        status, report = printed(terminal.status()), printed(terminal.gate_report("3", is_stored=False))
        history = printed([terminal.history(8)])
    for number, phase in enumerate(context["phases"], 1):
        assert any(cell.endswith(f" {number}, {phase.title}") for cell in status)
        assert phase.status in status
        assert phase.title in content
        assert phase.status in content
    conditions = context["phases"][2].conditions
    assert [condition.tone for condition in conditions] == ["wait", "wait", "wait", "good"]
    for condition in conditions:
        assert condition.title in report
        assert condition.message in report
        assert any(condition.verdict in cell for cell in report)
        assert escape(condition.message) in content
    for row, text, _authors, _reasons in context["changes"]:
        assert text in history
        assert row.text in history
        assert escape(text) in content
    ((planned,),) = context["plans"]
    assert any(planned.step in line for line in status)
    assert planned.step in content
    assert context["convergence"] in status
    for word in words:
        assert any(word in cell for cell in (*status, *report, *history)), (word, status, report)
        assert word in content, word


@pytest.mark.long
def test_a_rule_is_a_change_in_the_same_words(rollout: Client) -> None:
    rule = UniversityRule.objects.get()
    for language in ("en", "ru"):
        with translation.override(language):
            assert str(rule) in printed([terminal.history(8)])
            page = rollout.get("/admin/rollout/", headers={"Accept-Language": language})
            assert escape(str(rule)) in page.content.decode()


def test_the_name_of_a_phase_is_that_of_the_admin(rollout: Client) -> None:
    for language in ("en", "ru"):
        with translation.override(language):
            names = printed(terminal.status())[: len(PHASES)]
        page = rollout.get("/admin/rollout/flag/", headers={"Accept-Language": language}).content.decode()
        assert all(name in page for name in names)

"""The checker of ``make test-chaos`` and ``make soak`` finds what is wrong."""

import random
import time
from typing import Any

import pytest

from tests.chaos.employee_load import UNKNOWN, Created, EmployeeLoad
from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.readers import negative_ages, summary_of
from tests.chaos.responses import Answer, Answers
from tests.chaos.rollout_load import RolloutLoad, served_while_stopped
from tests.chaos.scenario import Fault, Recovery
from tests.chaos.soak import Sample, drift
from tests.chaos.updates import generate


@pytest.mark.parametrize(
    ("answer", "is_unexpected", "is_late"),
    [
        (Answer(200, b"", False, 9.9), False, False),
        (Answer(503, b"", True, 9.9), False, False),
        (Answer("ConnectionRefusedError", b"", False, 0.0), False, False),
        (Answer(500, b"", False, 0.0), True, False),
        (Answer(503, b"", False, 0.0), True, False),
        (Answer("TimeoutError", b"", False, 30.0), False, True),
        (Answer(200, b"", False, 10.1), False, True),
    ],
)
def test_it_judges_an_answer(answer: Answer, is_unexpected: bool, is_late: bool) -> None:
    answers = Answers()
    answers.note("api", "GET /", answer, (200,))
    assert (bool(answers.unexpected), bool(answers.late)) == (is_unexpected, is_late)


@pytest.mark.parametrize(("what", "is_unexpected"), [("PUT /profiles/7", False), ("GET /profiles/7", True)])
def test_only_a_change_may_be_stored_or_not(what: str, is_unexpected: bool) -> None:
    answers = Answers()
    answers.note("api", what, Answer(503, b'{"error":{"code":"MAYBE_STORED"}}', False, 0.1), (200,))
    assert bool(answers.unexpected) is is_unexpected


def test_nobody_answers_for_a_stopped_web_server() -> None:
    answers = Answers()
    now = time.monotonic()
    answers.frozen.append((now - 4, now - 0.5))
    answers.note("ready", "GET /ready", Answer(200, b"", False, 3.4), (200,))
    assert answers.late == []
    answers.note("ready", "GET /ready", Answer(200, b"", False, 5.5), (200,))
    assert len(answers.late) == 1


@pytest.fixture
def load() -> EmployeeLoad:
    choice = random.Random(7)
    client: Any = None
    return EmployeeLoad(client, generate(choice, 50), DirectApi(), choice, seconds=20)


def test_a_name_must_be_from_its_source(load: EmployeeLoad) -> None:
    phone, user = next(iter(load.direct_api.users.items()))
    person = next(user_id for user_id, names in load.updates.names.items() if names["first_name"])
    cached = (load.updates.names[person]["first_name"][0][2], "", "")
    direct = (user["first_name"], user["last_name"], "")
    assert load.has_provider(f"+{phone}", None, "api", *direct)
    assert load.has_provider(f"+{phone}", person, "webhook", *cached)
    assert load.has_provider(f"+{phone}", None, "default", UNKNOWN, UNKNOWN, "")
    assert not load.has_provider(f"+{phone}", person, "webhook", *direct)
    assert not load.has_provider(f"+{phone}", person, "api", *cached)
    assert not load.has_provider(f"+{phone}", "1", "webhook", *cached)
    assert not load.has_provider(f"+{phone}", None, "manual", *direct)
    assert not load.has_provider(f"+{phone}", None, "default", *direct)


@pytest.mark.parametrize(
    ("source", "sent_at", "is_wrong"), [("webhook", 5, True), ("api", 5, False), ("webhook", 1, False)]
)
def test_no_name_from_the_cache_during_a_stop(source: str, sent_at: float, is_wrong: bool) -> None:
    client: Any = None
    load = RolloutLoad(client, random.Random(7), 0)
    load.stops.append((4.0, 7.0))
    created = Created({"phone": "+79165550142", "profile_source": source}, sent_at, sent_at + 1)
    assert bool(served_while_stopped(load, [created])) == is_wrong


def test_reasons_with_an_age_are_one_reason() -> None:
    texts = {
        summary_of(Answer(200, b'{"status": "degraded", "reason": "checked %d s ago"}' % age, False, 0.0))
        for age in (5, 7)
    }
    assert texts == {"200 degraded (checked # s ago)"}


def test_it_finds_negative_ages() -> None:
    report = {"pending_events": 0, "lag_seconds": -1.5, "rows": [{"age_days": -3}, {"change": -1}], "is_stale": False}
    assert negative_ages(report) == ["lag_seconds -1.5", "age_days -3"]


@pytest.mark.parametrize(
    ("name", "recovery", "is_late"),
    [
        # Also after a PostgreSQL that took long to start, because the bounds count from there.
        ("kill -9 postgres", Recovery(20.0, 4.9, 14.0), False),
        ("kill -9 postgres", Recovery(1.0, 5.1, 5.2), True),
        ("locked employees", Recovery(0.0, 1.0, 15.1), True),
        ("locked employees", Recovery(0.0, None, None, "creates"), True),
        # The supervisor waits before it starts a process again.
        ("kill -9 worker", Recovery(0.0, 1.0, 16.0), False),
        ("kill -9 web", Recovery(0.0, 21.0, 21.0), True),
    ],
)
def test_a_recovery_has_a_bound(name: str, recovery: Recovery, is_late: bool) -> None:
    assert bool(Fault(name, 0.0, recovery=recovery).late()) == is_late
    assert bool(Fault(name, 0.0, recovery=Recovery(0.0, 0.0, 0.0), meanwhile=recovery).late()) == is_late


@pytest.mark.parametrize(
    ("name", "values", "is_drift"),
    [
        ("memory of web, MB", (100, 110, 120), False),
        ("memory of web, MB", (100, 110, 140), True),
        ("table webhook_inbox, MB", (1, 50, 100), False),
        ("table webhook_inbox, MB", (1, 50, 130), True),
        ("table rollout_flag, MB", (0, 0, 3), True),
        ("log web.log, MB", (1, 9, 25), True),
        ("open files of web", (50, 100, 110), False),
        ("open files of web", (50, 100, 130), True),
        ("update p99, ms", (5, 20, 75), False),
        ("update p99, ms", (5, 20, 90), True),
    ],
)
def test_it_finds_growth(name: str, values: tuple[float, float, float], is_drift: bool) -> None:
    assert bool(drift(*[Sample({name: value}) for value in values])) == is_drift

"""A clock that is set an hour back or ahead, of one part or of all: everything goes on, and nothing is older than 0."""

import json
import random
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.chaos.readers import REPORTS, negative_ages
from tests.chaos.system import PROGRAMS, System
from tests.chaos.test_worker_faults import await_check, query
from tests.chaos.updates import generate
from tests.chaos.webhook_load import post
from tests.waiting import PATIENCE, seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(240), pytest.mark.alone]

# A clock that matters would make each wait as long.
_HOUR = 3600.0
# A task may have sent some of its own before the stop. They wait too, and are not counted.
_PENDING = "SELECT count(*) FROM webhook_inbox WHERE state = 'pending' AND request_id NOT LIKE 'synthetic-%'"
_INBOX_IS_STOPPED = """
SELECT bool_and(revision = (SELECT revision FROM rollout_rollout)) FROM rollout_heartbeat WHERE process LIKE 'inbox-%'
"""


@pytest.fixture
def system(worked: System) -> Iterator[System]:
    """Return the running system, once all of its processes work; after the test, all clocks are true again."""
    bodies = send(worked, 1)
    seconds_until(lambda: are_processed(worked, bodies))
    await_check(worked, PATIENCE)
    yield worked
    set_clocks(worked, PROGRAMS, 0.0)


def set_clocks(system: System, parts: tuple[str, ...], ahead: float) -> None:
    for part in parts:
        system.set_clock(part, ahead)
    # A token of a clock that is set only after that would not be valid.
    seconds_until(lambda: all(system.has_clock(part, ahead) for part in parts))


def request(system: System, token: str, method: str, path: str, body: Any = None) -> Any:
    client = HTTPConnection("127.0.0.1", system.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    client.request(method, path, json.dumps(body) if body else None, headers)
    response = client.getresponse()
    text = response.read()
    client.close()
    assert response.status in (200, 201), (path, response.status, text)
    return json.loads(text)


def send(system: System, count: int) -> list[bytes]:
    bodies = generate(random.Random(), count).bodies
    assert {post(system, body).answer for body in bodies} == {200}
    return bodies


def are_processed(system: System, bodies: list[bytes]) -> bool:
    with system.database() as database:
        rows = database.execute("SELECT count(*) FROM webhook_inbox WHERE state = 'done' AND body = ANY(%s)", [bodies])
        return rows.fetchone() == (len(bodies),)


def check(system: System) -> None:
    bodies = send(system, 3)
    seconds_until(lambda: are_processed(system, bodies))
    for _ in range(2):
        await_check(system, PATIENCE)
    # One for each clock, because a token is not valid before the time at which it was made.
    token = system.token()
    ready = request(system, token, "GET", "/ready")
    assert ready["status"] == "ok" or ready["reason"].startswith("alerts were last checked"), ready
    phone = f"+7916{random.randrange(10**7):07}"
    request(system, token, "POST", "/employees", {"phone": phone, "university_name": "Часы"})
    for path in REPORTS:
        assert negative_ages(request(system, token, "GET", path)) == [], path


@pytest.mark.parametrize("ahead", [-_HOUR, _HOUR])
@pytest.mark.parametrize("parts", [*[(part,) for part in PROGRAMS], PROGRAMS], ids="+".join)
def test_everything_goes_on(system: System, parts: tuple[str, ...], ahead: float) -> None:
    set_clocks(system, parts, ahead)
    check(system)
    set_clocks(system, parts, 0.0)
    check(system)
    assert request(system, "", "GET", "/ready")["status"] == "ok"


def test_every_waiting_update_is_counted(system: System) -> None:
    request(system, system.token(), "POST", "/monitoring/rollout/emergency", {"reason": "clocks"})
    seconds_until(lambda: query(system, _INBOX_IS_STOPPED))
    bodies: list[bytes] = []
    for ahead in (0.0, _HOUR, -_HOUR):
        set_clocks(system, ("web",), ahead)
        bodies += send(system, 5)
    for parts, ahead in ((("web",), _HOUR), (PROGRAMS, -_HOUR), (PROGRAMS, 0.0)):
        set_clocks(system, parts, ahead)
        report = request(system, system.token(), "GET", "/monitoring/webhook/stats?period=week")
        assert report["pending_events"] == query(system, _PENDING) == 15
        assert negative_ages(report) == []
    request(system, system.token(), "POST", "/monitoring/rollout/resume", {"reason": "clocks"})
    seconds_until(lambda: are_processed(system, bodies))


def test_a_clock_is_really_set(system: System) -> None:
    """Otherwise the other tests would show nothing."""
    for ahead in (_HOUR, -_HOUR, 0.0):
        set_clocks(system, ("web",), ahead)
        [body] = send(system, 1)
        with system.database() as database:
            row = database.execute(
                "SELECT extract(epoch FROM received_at - now()) FROM webhook_inbox WHERE body = %s", [body]
            ).fetchone()
        assert row is not None
        assert float(row[0]) == pytest.approx(ahead, abs=5)

"""A lock on a table that all creates need: they end in 503, and nothing else waits for them."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from tests.chaos.system import System
from tests.chaos.updates import random_bodies

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

_CREATES = 140
_CREATE_SECONDS = 10.0
# It counts employees, so it waits for the lock, but not for as long as a create.
_COVERAGE, _REPORTS, _REPORT_SECONDS = "/monitoring/profiles/coverage", 3, 8.0
# The worker's tasks have no clients, and a limit of their own.
_WAITING = """
SELECT application_name, left(query, 99) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND application_name <> 'directory-worker'
"""


@dataclass(frozen=True)
class Answer:
    path: str
    status: int
    has_retry_after: bool
    seconds: float


def send(system: System, method: str, path: str, token: str = "", **arguments: object) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {"X-Max-Bot-Api-Secret": system.secret}
    started = time.monotonic()
    url = f"http://127.0.0.1:{system.port}{path}"
    answer = requests.request(method, url, headers=headers, timeout=30, **arguments)  # type: ignore[arg-type]
    return Answer(path, answer.status_code, "Retry-After" in answer.headers, time.monotonic() - started)


def create(system: System, token: str, number: int) -> Answer:
    employee = {"phone": f"+7911{number:07d}", "first_name": "Анна", "last_name": "Иванова", "university_name": "Замок"}
    return send(system, "POST", "/employees", token, json=employee)


def ask_others(system: System, token: str) -> list[Answer]:
    return [
        send(system, "POST", "/webhook/max", data=random_bodies(1)[0]),
        send(system, "GET", "/health"),
        send(system, "GET", "/ready"),
        send(system, "GET", "/monitoring/webhook/stats", token),
        send(system, "GET", "/monitoring/rollout", token),
    ]


def test_it_works(system: System) -> None:
    token = system.token()
    assert create(system, token, 0).status == 201
    others: list[Answer] = []
    with ThreadPoolExecutor(_CREATES + _REPORTS) as pool, system.database() as database:
        with database.transaction():
            database.execute("LOCK employees IN ACCESS EXCLUSIVE MODE")
            creates = [pool.submit(create, system, token, number) for number in range(1, _CREATES + 1)]
            counting = [pool.submit(send, system, "GET", _COVERAGE, token) for _ in range(_REPORTS)]
            while not all(future.done() for future in creates):
                others += ask_others(system, token)
            answers, reports = ([future.result() for future in futures] for futures in (creates, counting))
            waiting = database.execute(_WAITING).fetchall()
        assert {(answer.status, answer.has_retry_after) for answer in answers} == {(503, True)}
        assert max(answer.seconds for answer in answers) < _CREATE_SECONDS
        # Nothing waits for the lock on the server after its client got an answer.
        assert waiting == []
        again = create(system, token, 1)
    assert (again.status, again.seconds < 1) == (201, True)
    must_work = {"/webhook/max", "/health", "/ready", "/monitoring/webhook/stats", "/monitoring/rollout"}
    assert [answer for answer in others if answer.path in must_work and answer.status != 200] == []
    assert [answer for answer in others if answer.status != 200 and not answer.has_retry_after] == []
    assert sorted(answer.seconds for answer in others)[len(others) * 95 // 100] < 1
    assert {(answer.status, answer.has_retry_after) for answer in reports} == {(503, True)}
    assert max(answer.seconds for answer in reports) < _REPORT_SECONDS

"""A lock on a table that all creates need: they end in 503, and nothing else waits for them."""

import json
import selectors
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest
import requests

from config.postgres.base import GRACE_SECONDS
from config.rsgi.bridge import API_SECONDS
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.waiting import PATIENCE, WorkingClock

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

# A stall of ten seconds during the lock is not one of the system's waits.
_CLOCK = WorkingClock()
_CREATES = 140
_CREATE_SECONDS = 10.0
# On a busy machine, what follows the wait takes longer than the rest of that, but not than so many times what as many
# creates need that do not wait: each is cancelled by a connection of its own. A second wait would take API_SECONDS.
_TIMES = 2
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
    started = _CLOCK.now()
    url = f"http://127.0.0.1:{system.port}{path}"
    answer = requests.request(method, url, headers=headers, timeout=30, **arguments)  # type: ignore[arg-type]
    return Answer(path, answer.status_code, "Retry-After" in answer.headers, _CLOCK.now() - started)


def begin_create(system: System, token: str, number: int) -> HTTPConnection:
    """Send a request that creates an employee, and leave its answer to await_answers()."""
    employee = {"phone": f"+7911{number:07d}", "first_name": "Анна", "last_name": "Иванова", "university_name": "Замок"}
    client = HTTPConnection("127.0.0.1", system.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    client.request("POST", "/employees", json.dumps(employee), headers)
    return client


def await_answers(clients: dict[HTTPConnection, float]) -> list[Answer]:
    """Return the answers to requests that were sent at these times of _CLOCK.

    One thread waits for all of them: on a busy machine, many threads would add seconds of their own.
    """
    arrived: dict[HTTPConnection, float] = {}
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
        while len(arrived) < len(clients) and (ready := selector.select(PATIENCE)):
            for key, _ in ready:
                arrived[key.data] = _CLOCK.now()
                selector.unregister(key.fileobj)
    answers = []
    for client, sent_at in clients.items():
        response = client.getresponse()
        answers.append(
            Answer("/employees", response.status, "Retry-After" in response.headers, arrived[client] - sent_at)
        )
        client.close()
    return answers


def create(system: System, token: str, number: int) -> Answer:
    [answer] = await_answers({begin_create(system, token, number): _CLOCK.now()})
    return answer


def slowness(system: System, token: str) -> float:
    """Return the seconds that this machine needs now for as many creates that do not wait, and are refused."""
    answers = await_answers({begin_create(system, token, 0): _CLOCK.now() for _ in range(_CREATES)})
    assert {answer.status for answer in answers} == {409}
    return max(answer.seconds for answer in answers)


def ask_others(system: System, token: str) -> list[Answer]:
    return [
        send(system, "POST", "/webhook/max", data=random_bodies(1)[0]),
        send(system, "GET", "/health"),
        send(system, "GET", "/ready"),
        send(system, "GET", "/monitoring/webhook/stats", token),
        send(system, "GET", "/monitoring/rollout", token),
    ]


@pytest.fixture(autouse=True)
def _running_clock() -> Iterator[None]:
    with _CLOCK:
        yield


def test_it_works(system: System) -> None:
    assert API_SECONDS + GRACE_SECONDS < _CREATE_SECONDS
    token = system.token()
    assert create(system, token, 0).status == 201
    others: list[Answer] = []
    before = slowness(system, token)
    with ThreadPoolExecutor(1 + _REPORTS) as pool, system.database() as database:
        with database.transaction():
            database.execute("LOCK employees IN ACCESS EXCLUSIVE MODE")
            clients = {begin_create(system, token, n + 1): _CLOCK.now() for n in range(_CREATES)}
            creates = pool.submit(await_answers, clients)
            counting = [pool.submit(send, system, "GET", _COVERAGE, token) for _ in range(_REPORTS)]
            while not creates.done():
                others += ask_others(system, token)
            answers, reports = creates.result(), [future.result() for future in counting]
            waiting = database.execute(_WAITING).fetchall()
        assert {(answer.status, answer.has_retry_after) for answer in answers} == {(503, True)}
        slow = max(before, slowness(system, token))
        limit = max(_CREATE_SECONDS, API_SECONDS + min(_TIMES * slow, API_SECONDS))
        assert max(answer.seconds for answer in answers) < limit
        # Nothing waits for the lock on the server after its client got an answer.
        assert waiting == []
        again = create(system, token, 1)
    assert (again.status, again.seconds < 1 + slow) == (201, True)
    must_work = {"/webhook/max", "/health", "/ready", "/monitoring/webhook/stats", "/monitoring/rollout"}
    assert [answer for answer in others if answer.path in must_work and answer.status != 200] == []
    assert [answer for answer in others if answer.status != 200 and not answer.has_retry_after] == []
    assert sorted(answer.seconds for answer in others)[len(others) * 95 // 100] < 1
    assert {(answer.status, answer.has_retry_after) for answer in reports} == {(503, True)}
    assert max(answer.seconds for answer in reports) < _REPORT_SECONDS

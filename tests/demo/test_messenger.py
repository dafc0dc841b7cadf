"""The demo's small MAX: the direct API in each of its modes, the page that switches it, and the traffic it sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pytest_django.fixtures import Settings

from config.dev.demo.messenger import SCENES, SWITCHES, TOKEN, Messenger, Traffic
from config.dev.demo.people import person
from profiles.max_api import users
from profiles.max_api.client import MaxError
from tests.loopback import Answer, Asked, serving

KNOWN = next(who for who in map(person, range(1, 99, 2)) if who.direct_name and who.writes)
HIDDEN = next(who for who in map(person, range(999)) if who.account and who.hides_phone)


@pytest.fixture
def messenger(tmp_path: Path) -> Iterator[Messenger]:
    with Messenger(("127.0.0.1", 0), tmp_path / "hired", hired=10) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def url(messenger: Messenger, settings: Settings) -> str:
    settings.MAX_API_URL = f"http://127.0.0.1:{messenger.server_port}"
    settings.MAX_BOT_TOKEN, settings.MAX_API_TIMEOUT = TOKEN, timedelta(minutes=1)
    return str(settings.MAX_API_URL)


@pytest.mark.django_db
def test_it_works(url: str) -> None:
    """The system's own client reads its answer."""
    found = users.fetch_users([KNOWN.phone, HIDDEN.phone, "+79160000001"])
    assert list(found) == [KNOWN.phone]
    user = found[KNOWN.phone]
    assert (user.user_id, (user.first_name, user.last_name)) == (KNOWN.user_id, KNOWN.direct_name)
    assert users.is_served()


@pytest.mark.django_db
def test_while_it_disagrees_a_last_name_is_another(url: str) -> None:
    requests.post(f"{url}/switch/direct_api/disagreeing", timeout=60)
    user = users.fetch_users([KNOWN.phone])[KNOWN.phone]
    assert user.last_name == KNOWN.other_name()[1] != KNOWN.last_name


@pytest.mark.django_db
def test_it_fails_and_recovers(url: str) -> None:
    requests.post(f"{url}/switch/direct_api/failing", timeout=60)
    with pytest.raises(MaxError, match="503"):
        users.fetch_users([KNOWN.phone])
    requests.post(f"{url}/switch/direct_api/healthy", timeout=60)
    assert KNOWN.phone in users.fetch_users([KNOWN.phone])


@pytest.mark.django_db
def test_it_is_slow(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    requests.post(f"{url}/switch/direct_api/slow", timeout=60)
    users.fetch_users([KNOWN.phone])
    assert 4.0 in waits


@pytest.mark.django_db
def test_it_refuses_a_wrong_token(url: str, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = "another"
    with pytest.raises(MaxError, match="Invalid access_token"):
        users.fetch_users([KNOWN.phone])


def test_the_page_has_every_switch_and_shows_its_state(url: str, messenger: Messenger) -> None:
    requests.post(f"{url}/switch/names/wrong", timeout=60)
    page = requests.get(url, timeout=60).text
    for name, values in SWITCHES.items():
        for value in values:
            is_on = str(messenger.switches[name] == value).lower()
            assert f'action="/switch/{name}/{value}"' in page
            assert (
                page.split(f'action="/switch/{name}/{value}"')[1]
                .split("<button aria-pressed=")[1]
                .startswith(f'"{is_on}"')
            )


@pytest.mark.parametrize("path", ["/switch/direct_api/broken", "/switch/x/slow", "/switch", "/", "/else"])
def test_it_refuses_what_is_no_switch(url: str, messenger: Messenger, path: str) -> None:
    before = dict(messenger.switches)
    assert requests.post(url + path, timeout=60).status_code == 404
    assert messenger.switches == before


def test_every_scene_sets_known_switches() -> None:
    for changes in SCENES.values():
        assert all(value in SWITCHES[name] for name, value in changes.items())


class System:
    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []

    def answer(self, asked: Asked, _authorization: str | None) -> Answer:
        self.requests.append((asked.path, asked.body))
        return Answer(201, {})


def test_a_hired_person_writes_first(messenger: Messenger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    system = System()
    messenger.hired = KNOWN.number
    with serving(system.answer) as server:
        traffic = Traffic(messenger, server.url, "s", "k", [11, 12, 13, 14, 15, 16])
        traffic.hire()
    (first, update), (second, employee) = system.requests
    assert (first, update["message"]["sender"]["user_id"]) == ("/webhook/max", int(KNOWN.user_id))
    assert (second, employee["phone"]) == ("/employees", KNOWN.phone)
    assert employee["university_id"] == 11 + KNOWN.university
    assert messenger.hired == KNOWN.number + 1 == int(messenger.state.read_text())


def test_wrong_names_are_put_right_afterwards(messenger: Messenger) -> None:
    system = System()
    with serving(system.answer) as server:
        traffic = Traffic(messenger, server.url, "s", "k", [1] * 6)
        messenger.switches["names"] = "wrong"
        traffic.write(KNOWN)
        messenger.switches["names"] = "right"
        traffic.write(traffic._writer())
    names = [body["message"]["sender"]["last_name"] for _, body in system.requests]
    assert names == [KNOWN.other_name()[1], (KNOWN.account or ("", ""))[1]]
    assert traffic.wrong == []


def test_a_restart_continues_with_the_next_person(messenger: Messenger, tmp_path: Path) -> None:
    messenger.count_hired()
    with Messenger(("127.0.0.1", 0), tmp_path / "hired", hired=10) as again:
        assert again.hired == 11

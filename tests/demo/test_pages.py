"""No page of the demo shows what only a program or its author understands; each offender is listed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings
from redis import Redis

from config.dev.demo import history
from config.dev.demo.story import OPERATOR
from employees.models import BackfillBatch, BackfillRun, Employee
from monitoring.alerts.models import Alert
from monitoring.indicators.models import IndicatorReading
from profiles.models import Profile
from profiles.rollout.models import Change
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES
from tests.config.admin_pages import paths
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.integration, pytest.mark.timeout(900)]

_SHOWN_ATTRIBUTES = ("aria-label", "placeholder", "title", "alt")
_VOID = {"input", "img", "br", "meta", "link", "hr", "base", "wbr", "source"}
_INLINE = {"a", "abbr", "b", "code", "em", "i", "small", "span", "strong", "time"}
_COMMAND = re.compile(r"manage\.py|\brollout (?:status|set|advance|pause|resume|schedule)\b|\s--[a-z]")
_UNIVERSITY = re.compile(
    r"(?i)\b(?:вуз[а-я]*|университет[а-я]*|university)\s*(?:№|#|id)?\s*\d+\b|номер вуза|university (?:id|number)\b"
)
_TIME = re.compile(r"(?<![\d:.])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:])")
_ZONE = re.compile(r"(?:\s*[ap]\.m\.)?\s*(?:UTC|GMT|MSK|МСК|[+−-]\d\d:?\d\d|\(UTC)")


class Reader(HTMLParser):
    """Collects the texts that a reader sees or hears, each block as one; ``<time title>`` may name a zone."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = [""]
        self.open: list[tuple[str, bool]] = []
        self.zones: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        is_hidden = tag in ("script", "style", "template") or "material-symbols" in given.get("class", "")
        if not is_hidden:
            self.texts += [value for name, value in given.items() if name in _SHOWN_ATTRIBUTES and tag != "time"]
            # The zone of a moment that is entered stands beside its field.
            is_shown = given.get("type") not in ("hidden", "password") and "vTimeField" not in given.get("class", "")
            if tag == "input" and is_shown:
                self.texts.append(given.get("value", ""))
        if tag not in _INLINE:
            self.texts.append("")
        if tag == "time":
            self.zones.append(given.get("title", ""))
        if tag not in _VOID:
            self.open.append((tag, is_hidden))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass
        if tag == "time" and self.zones and _ZONE.search(title := self.zones.pop()):
            self.texts[-1] += f" {title.rpartition(' ')[2]}"
        if tag not in _INLINE:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if not any(is_hidden for _, is_hidden in self.open):
            self.texts[-1] += data


def texts_of(page: str) -> list[str]:
    reader = Reader()
    reader.feed(page)
    return [" ".join(text.split()) for text in reader.texts if text.strip()]


def keys_in(value: Any) -> Iterator[str]:
    """Yield the keys of a stored JSON value that no reader's language has: those with an underscore."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner)


def stored_keys() -> set[str]:
    values: list[Any] = [
        *Change.objects.values_list("before", "after", "evidence"),
        *Alert.objects.values_list("words", "data"),
        *IndicatorReading.objects.values_list("data", "message"),
        *BackfillBatch.objects.values_list("changes"),
    ]
    # What has a name of its own in the documents: phases and switches are flags of django-waffle.
    names = {*PHASES, *SWITCHES, EMERGENCY_STOP, SHADOW}
    return {key for value in values for key in keys_in(list(value)) if "_" in key} - names


def offences(text: str, keys: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield the kind of each offence in a text, and the offending part with what stands around it."""
    for kind, pattern in (
        ("command", _COMMAND),
        ("state__exact", re.compile("state__exact")),
        ("university's number", _UNIVERSITY),
        ("JSON key", keys),
        ("JSON", re.compile(r"""[{,]\s*['"]\w+['"]\s*:""")),
    ):
        for found in pattern.finditer(text):
            yield kind, text[max(found.start() - 30, 0) : found.end() + 30]
    for found in _TIME.finditer(text):
        if not _ZONE.match(text, found.end()):
            yield "time without zone", text[max(found.start() - 20, 0) : found.end() + 12]


@pytest.fixture
def reader(settings: Settings, redis: Redis, client: Client) -> Client:
    settings.DEBUG = True
    history.generate(employees=400)
    client.force_login(User.objects.get(username="admin"))
    return client


def every_path() -> list[str]:
    dead = InboxUpdate.objects.filter(state=State.DEAD)[0]
    rows: dict[str, Any] = {
        "employee": Employee.objects.filter(profile_source="webhook")[0].pk,
        "run": BackfillRun.objects.get().pk,
        "update": dead.pk,
        "alert": Alert.objects.open().get().pk,
        "user": User.objects.get(username=OPERATOR).pk,
        "key": 0,
    }
    more = [f"/admin/profiles/profile/{Profile.objects.all()[0].pk}/change/"]
    return [path for path in (*paths(rows, most=3), *more) if "/0/" not in path]


@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize("language", ["ru", "en"])
def test_no_page_shows_what_only_a_program_understands(reader: Client, language: str) -> None:
    keys = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(stored_keys())))})\b")
    found: dict[tuple[str, str], str] = {}
    read = 0
    for path in every_path():
        answer = reader.get(path, headers={"accept-language": language})
        if answer.status_code != HTTPStatus.OK or "text/html" not in answer.headers["Content-Type"]:
            continue
        read += 1
        for text in texts_of(answer.content.decode()):
            for kind, part in offences(text, keys):
                # One line for the same words on several pages; digits differ from row to row.
                found.setdefault((kind, re.sub(r"\d+", "0", part)), f"{kind}: {path}: …{part}…")
    assert read > 80
    assert not found, f"{len(found)} offences:\n" + "\n".join(sorted(found.values()))


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("<p>run <code>manage.py check_alerts</code></p>", ["command"]),
        ("<p>use “rollout resume --reason”</p>", ["command", "command"]),
        ("<p>Rollout status</p>", []),
        ("<td>state__exact=dead</td>", ["state__exact"]),
        ("<a href='?state__exact=dead'>Dead letters</a>", []),
        ("<p>Вуз 6 допущен</p>", ["university's number"]),
        ("<p>university 2: agreement</p>", ["university's number"]),
        ("<p>Вузов: 6</p><p>6 вузов</p>", []),
        ("<label>Номер вуза</label>", ["university's number"]),
        ("<p>employees_by_source</p>", ["JSON key"]),
        ("<pre>{'a': 1}</pre>", ["JSON"]),
        ("<p>29 ноя, 16:30</p>", ["time without zone"]),
        ("<p>29 ноя, 16:30 UTC</p><p>Nov. 29, 2026, 4:30 p.m. UTC</p>", []),
        ("<p>Nov. 29, 2026, 4:30 p.m.</p>", ["time without zone"]),
        ("<p><time title='29 Nov 13:30 UTC'>29 ноя, 16:30</time> · operator</p>", []),
        ("<p><time title='today'>16:30</time></p>", ["time without zone"]),
        ("<script>let a = {'b': '16:30 manage.py'}</script>", []),
    ],
)
def test_it_finds_each_kind(page: str, kinds: list[str]) -> None:
    keys = re.compile(r"\bemployees_by_source\b")
    assert [kind for text in texts_of(page) for kind, _ in offences(text, keys)] == kinds

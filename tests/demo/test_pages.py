"""No page of the demo shows what only a program or its author understands; each offender is listed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from config.dev.demo import history
from config.dev.demo.people import person
from config.dev.demo.readings import held_message
from config.dev.demo.story import ADMIN, Story
from config.dev.demo.users import password_of
from employees.models import BackfillBatch, BackfillRun, Employee
from monitoring.alerts.kinds import CHECKS
from monitoring.alerts.models import Alert
from monitoring.indicators.models import IndicatorReading
from profiles.models import Erasure
from profiles.rollout.models import Change
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES
from tests.access.matrix import TABLES, all_rows
from tests.access.test_matrix import route_of
from tests.config.admin_pages import make_rows, paths
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, Replay, State

pytestmark = [pytest.mark.django_db, pytest.mark.integration, pytest.mark.timeout(900)]

CLERKS = Path(__file__).parents[1] / "employees" / "clerks" / "cases"
ABOUT_THE_ROLLOUT = (
    "/admin/", "/admin/live/home/", "/admin/rollout/", "/admin/live/rollout/", "/admin/steer/resume/",
    "/admin/steer/3/?percent=50", "/admin/steer/3/preview/?percent=50", "/admin/emergency/", "/admin/audit/",
    "/admin/employees/backfillrun/add/", "/admin/employees/backfillrun/add/preview/", "/admin/monitoring/alert/",
)  # fmt: skip
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


def malformed_bodies() -> set[str]:
    """Return the stored texts that are no JSON, which can be shown only as they are."""
    bodies = InboxUpdate.objects.filter(state=State.QUARANTINED).values_list("body", flat=True)
    return {" ".join(bytes(body or b"").decode(errors="replace").split()) for body in bodies}


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
    # The page that sets a second factor up wants a log-in with the password.
    client.post("/admin/login/", {"username": ADMIN, "password": password_of(ADMIN)})
    return client


def add_more_rows() -> list[str]:
    """Add what commands leave, filters with times, and an alert of each kind; return the addresses of the alerts."""
    for selection in ("--state dead --since 2026-11-25T10:30:00+03:00", "received_at_from_0=2026-11-25&q=77"):
        Replay.objects.create(by="анна (manage.py)", selection=selection, reason="сбой", count=1)
    Replay.objects.create(
        by="анна", selection="received_at_to_0=2026-11-25&received_at_to_1=10:30", reason="сбой", count=1
    )
    Erasure.objects.create(person="1" * 64, by="анна (manage.py)", reason="просьба")
    change("set", phase=3, percent=24, by="анна (manage.py)", reason="замер")
    alerts = []
    for kind, check in CHECKS.items():
        words = dict.fromkeys(re.findall(r"%\((\w+)\)", check.text), "7")
        alerts.append(Alert.objects.create(kind=kind, severity="critical", message="", words=words, key="0"))
        Alert.objects.filter(pk=alerts[-1].pk).update(resolved_at=timezone.now())
    return [f"/admin/monitoring/alert/{alert.pk}/change/" for alert in alerts]


def every_path(rows: dict[str, Any]) -> list[str]:
    """Return the addresses of the catalogue of pages and of the access matrix, which has a row for every route."""
    ids = {name: str(pk) for name, pk in rows.items()} | {"phone": "79160000001"}
    # Those of roles cannot be deleted.
    ids["group"] = str(Group.objects.create(name="проверяющие").pk)
    ids["content_type"] = str(ContentType.objects.get_for_model(Employee).pk)
    for label in TABLES:
        first = apps.get_model(label)._default_manager.order_by("pk").values_list("pk", flat=True).first()
        ids.setdefault(label.partition(".")[2], str(first))
    looks = [row.filled_in(ids)[0] for row in all_rows() if row.is_admin and row.verb == "get"]
    # The demo's own rows are shown differently from those of the catalogue, which has one of every table.
    own = [
        f"/admin/webhooks/inboxupdate/{InboxUpdate.objects.filter(state=State.DEAD).earliest('pk').pk}/change/",
        f"/admin/employees/employee/{Employee.objects.filter(profile_source='webhook')[0].pk}/history/",
        f"/admin/monitoring/alert/{Alert.objects.open().earliest('pk').pk}/change/",
        f"/admin/employees/backfillrun/{BackfillRun.objects.earliest('pk').pk}/change/",
    ]
    return [*dict.fromkeys([*paths(rows, most=3), *looks, *own, *add_more_rows()])]


def answers(reader: Client, rows: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each page, some with what was entered, and those about the rollout also while it is held and stopped."""
    for path in every_path(rows):
        # Logging out ends the session of the pages after it.
        if path != "/admin/logout/":
            yield path, reader.get(path)
    for who in (person(1).phone, person(2).user_id, "никто"):
        yield f"person: {who}", reader.post("/admin/person/", {"who": who})
    yield "export of a person", reader.post("/admin/person/export/", {"phone": person(1).phone})
    for name in ("many-errors.csv", "cp1251-headings.csv", "whole-names.csv"):
        file = SimpleUploadedFile(name, (CLERKS / name).read_bytes())
        sent = {"import_file": file, "resource": "0"}
        yield name, reader.post("/admin/employees/employee/import/", sent)
    for form in ("steer/3/", "steer/plan/", "steer/rehearsal/", "steer/pause/", "emergency/", "person/export/"):
        yield f"refused: {form}", reader.post(f"/admin/{form}", {"percent": "77", "reason": ""})
    # A new one can be started only when the others have ended.
    BackfillRun.objects.update(status="done")
    for state in ("pause", "emergency"):
        change(state, by="conductor", reason=held_message(Story(timezone.now())))
        for path in ABOUT_THE_ROLLOUT:
            yield f"{state}: {path}", reader.get(path)


def html_routes() -> set[str]:
    """Return the routes of the matrix that show a superuser a page."""
    others = ("sources.csv", "jsi18n/", "autocomplete/", "template.csv")
    shown = (row for row in all_rows() if row.is_admin and row.verb == "get" and row.ok == 200 and "R" in row.may)
    return {route_of(row) for row in shown if not any(other in row.path for other in others)}


@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize("language", ["ru", "en"])
def test_no_page_shows_what_only_a_program_understands(reader: Client, settings: Settings, language: str) -> None:
    reader.cookies["django_language"] = language
    rows = make_rows(User.objects.get(username=ADMIN))
    settings.ROLLOUT_APPROVALS = True
    keys = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(stored_keys())))})\b")
    found: dict[tuple[str, str], str] = {}
    read: set[str] = set()
    for path, answer in answers(reader, rows):
        if answer.status_code != HTTPStatus.OK or "text/html" not in answer.headers["Content-Type"]:
            continue
        read.add(str(answer.resolver_match.route))
        for text in set(texts_of(answer.content.decode())) - malformed_bodies():
            for kind, part in offences(text, keys):
                # One line for the same words on several pages; digits differ from row to row.
                found.setdefault((kind, re.sub(r"\d+", "0", part)), f"{kind}: {path}: …{part}…")
    problems = [*sorted(found.values()), *(f"not read: {route}" for route in html_routes() - read)]
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems)


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

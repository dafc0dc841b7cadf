"""Every cell of the access matrix: role × route × verb, on a row of the own and of a foreign university."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from employees.credentials.models import ApiKey
from employees.models import BackfillRun, Employee, MaxIdJob, Membership, University, UnresolvedName
from profiles.rollout.approvals import approval_of
from profiles.rollout.decision import forget_state
from profiles.rollout.models import Change, UniversityRule
from tests.access.matrix import GROUPS, LIMITED, LOGGED_OUT, ROLES, TABLES, Row, all_rows
from tests.config.admin_pages import make_rows
from tests.conftest import Phases, client_of
from tests.profiles.people import add_profile
from tests.rollout.changing import request

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
ROWS = all_rows()
_WRITES = ("INSERT", "UPDATE", "DELETE")
# Sessions, and what pages measure for themselves.
_NOT_DATA = (
    *("django_session", "axes_", "RELEASE", 'auth_user" SET "last_login'),
    *("monitoring_keptfigure", "monitoring_indicatorreading"),
)
VERBS = ("get", "post", "put", "patch", "delete", "head", "options")


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield all patterns with their whole routes, spelt as a resolver's match spells them."""
    for pattern in patterns:
        own = str(pattern.pattern)
        route = prefix + (own.removeprefix("^") if prefix else own)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


def route_of(row: Row) -> str:
    path = row.path.partition("?")[0].format_map(dict.fromkeys(_keys(), "1"))
    return str(get_resolver().resolve(f"/{path}").route)


def _keys() -> list[str]:
    return [*(label.partition(".")[2] for label in TABLES), "content_type", "phone"]


def test_every_route_has_a_row() -> None:
    known, there = set(map(route_of, ROWS)), {route for route, _ in routes(get_resolver().url_patterns)}
    assert there - known == set(), "a route has no row in tests/access/matrix.py"
    assert known - there == set(), "the route of a row is gone"


def test_every_verb_of_the_api_has_a_row() -> None:
    known = {(route_of(row), row.verb) for row in ROWS}
    for route, pattern in routes(get_resolver().url_patterns):
        view: Any = pattern.callback
        if hasattr(view, "cls"):
            verbs = set(getattr(view, "actions", None) or VERBS[:5]) - {"head"}
            assert {(route, verb) for verb in verbs if hasattr(view.cls, verb)} <= known


def test_every_table_of_the_admin_has_a_row() -> None:
    assert set(TABLES) == {model._meta.label_lower for model in admin.site._registry}


class World:
    """Rows of each table, two universities with the same data, and a client per role."""

    def __init__(self) -> None:
        root = User.objects.create_superuser("R")
        make_rows(root)
        BackfillRun.objects.all().update(status="done")
        MaxIdJob.objects.all().update(finished_at=timezone.now())
        Group.objects.create(name="auditors")
        key = ApiKey(name="HR", owner=root, expires_at=timezone.now() + timedelta(days=1))
        key.generate()
        key.save()
        self.own, self.foreign = (self._place(number) for number in (1, 2))
        self.clients = {role: self._clients(role, root) for role in ROLES}

    def _place(self, number: int) -> dict[str, str]:
        """Create a university with a row of each table that knows its university; return ids by table name."""
        university = University.objects.create(name=f"Вуз {number}")
        phone, max_id = f"+1202555010{number}", f"70{number}"
        employee = Employee.objects.create(phone=phone, max_id=max_id, university=university)
        add_profile(max_id)
        after = {"university": university.pk, "phase": 3, "allowed": True, "expires_at": None}
        rule = UniversityRule(university_id=university.pk, phase=3, is_allowed=True)
        wanted = approval_of(request("scope", rule=rule), {}, after, 0)
        wanted.save()
        rows: dict[str, Any] = {
            "employee": employee,
            "university": university,
            "unresolvedname": UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now()),
            "backfillrun": BackfillRun.objects.create(university=university, status="done", until_id=0),
            "universityrule": UniversityRule.objects.create(university_id=university.pk, phase=4, reason="r"),
            "change": Change.objects.create(by="t", action="scope", reason="r", revision=0, after=after),
            "approval": wanted,
        }
        ids = {"phone": phone, "profile": max_id, "content_type": str(ContentType.objects.get_for_model(Employee).pk)}
        ids["group"] = str(Group.objects.get(name="auditors").pk)
        for label in TABLES:
            name = label.partition(".")[2]
            model = next(model for model in admin.site._registry if model._meta.label_lower == label)
            row = rows.get(name) or model._default_manager.first()
            assert row is not None, f"no row of {label}"
            ids.setdefault(name, str(row.pk))
        return ids

    def _clients(self, role: str, root: User) -> tuple[Client, Client]:
        """Return a client with a session, and one with a token."""
        if role == "-":
            return Client(), APIClient()
        user = root if role == "R" else User.objects.create_user(f"user {role}", is_staff=role != "P")
        if group := GROUPS.get(role.upper()):
            user.groups.add(Group.objects.get_or_create(name=group)[0])
        if role in LIMITED:
            Membership.objects.create(user=user, university_id=self.own["university"])
        browser, api = Client(), client_of(user)
        browser.force_login(user)
        if role == "i":
            User.objects.filter(pk=user.pk).update(is_active=False, is_superuser=True)
        return browser, api

    def send(self, row: Row, role: str, ids: dict[str, str], verb: str = "") -> tuple[int, list[str], str]:
        """Send the row's request; return the status, the statements that wrote, and the address of a redirect."""
        client = self.clients[role][0 if row.is_admin else 1]
        path, body = row.filled_in(ids)
        more = {} if row.is_admin else {"format": "json"}
        written: list[str] = []
        cookies = SimpleCookie(client.cookies)

        def record(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            if str(sql).lstrip().startswith(_WRITES) and not any(name in str(sql) for name in _NOT_DATA):
                written.append(str(sql))
            return execute(sql, params, many, context)

        with transaction.atomic(), connection.execute_wrapper(record):
            call = getattr(client, verb or row.verb)
            data = (body,) if (verb or row.verb) not in ("get", "head", "options") else ()
            answer = call(path, *data, **more) if data else call(path)
            transaction.set_rollback(True)
        # A log-out of this request is undone as well.
        client.cookies = cookies
        forget_state()
        return answer.status_code, written, answer.get("Location", "")


@pytest.fixture
def world(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")
    phases(100, 100, 100)
    made = World()
    phases(100, 100)
    return made


def check(world: World, row: Row, role: str) -> Iterator[str]:
    """Yield what is wrong about the row's cells for the role."""
    places = {"own": world.own, "foreign": world.foreign}
    if row.filled_in(world.own) == row.filled_in(world.foreign):
        del places["foreign"]
    for place, ids in places.items():
        expected = row.expected(role, is_foreign=place == "foreign")
        status, written, address = world.send(row, role, ids)
        cell = f"{row.verb} {row.path} as {role} ({place})"
        if status != expected:
            yield f"{cell}: {status}, not {expected}"
        is_allowed = expected == row.ok and role in row.may + row.own and role not in LOGGED_OUT
        if row.writes and is_allowed and not written:
            yield f"{cell}: wrote nothing"
        if written and not is_allowed:
            yield f"{cell}: wrote {written[0][:80]}"
        if place == "foreign" and role in row.own:
            unknown = dict.fromkeys(ids, "999999") | {"phone": "+12025559999"}
            there, nowhere = address.replace(ids["employee"], "N"), world.send(row, role, unknown)[2]
            if bool(there) != bool(nowhere):
                yield f"{cell}: a foreign row does not look like an unknown one: {address}"


def test_a_sample_of_the_cells_holds(world: World) -> None:
    """Check every fourth row for one role, so that each role and each kind of page occurs."""
    wrong = [
        error for number, row in enumerate(ROWS[::4]) for error in check(world, row, ROLES[number * 5 % len(ROLES)])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.integration
@pytest.mark.parametrize("role", ROLES)
def test_each_cell_holds(world: World, role: str) -> None:
    wrong = [error for row in ROWS for error in check(world, row, role)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.integration
@pytest.mark.parametrize("role", "-SVaR")
def test_other_verbs_change_nothing(world: World, role: str) -> None:
    """A verb without a row is refused by the API, and is a look at the page in the admin."""
    known, wrong = {(row.path, row.verb) for row in ROWS}, []
    for row in {row.path: row for row in ROWS}.values():
        for verb in ("put", "delete") if row.is_admin else VERBS:
            if (row.path, verb) in known:
                continue
            status, written, _ = world.send(row, role, world.own, verb)
            is_look = verb in ("head", "options") or row.is_admin
            may_write = (row.writes and verb == "head") or row.path == "admin/sources.csv"
            if status >= 500 or (written and not may_write) or (not is_look and status < 300):
                wrong.append(f"{verb} {row.path} as {role}: {status} {written}")
    assert not wrong, "\n".join(wrong)

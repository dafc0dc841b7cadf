"""A PostgreSQL that ends transactions, is out of connections or was read-only: 503, and all is well right after it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections, connection
from django.http import HttpRequest
from django.test import Client
from pytest_django.fixtures import Settings

from employees.models import Employee, University
from tests.config.test_error_pages import shown
from tests.conftest import Phases, client_of
from tests.waiting import seconds_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


def administrator() -> psycopg.Connection:
    """Connect as an administrator, whose transactions may write whatever the role's settings are."""
    parameters = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor, "connect_timeout": 60}
    return psycopg.connect(**parameters, autocommit=True, options="-c default_transaction_read_only=off")


def await_end(admin: psycopg.Connection, pids: list[int]) -> None:
    """Wait until PostgreSQL has ended these sessions."""
    seconds_until(lambda: not admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).fetchone())


def end_by(setting: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET {setting} = '10ms'")
    assert connection.connection is not None
    with administrator() as admin:
        await_end(admin, [connection.connection.info.backend_pid])


def end_idle() -> None:
    end_by("idle_in_transaction_session_timeout")


def end_long() -> None:
    end_by("transaction_timeout")


def terminate() -> None:
    assert connection.connection is not None
    with administrator() as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 60000)", [connection.connection.info.backend_pid])


@contextmanager
def before_insert(fault: Callable[[], None]) -> Iterator[None]:
    """Cause the fault once, in the transaction that inserts an employee."""
    left = [fault]

    def insert(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if left and 'INSERT INTO "employees"' in sql:
            left.pop()()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(insert):
        yield
    assert not left


class Directory:
    """The API and the admin as the web server serves them: it looks at its connections before each request."""

    def __init__(self, user: User, university: University) -> None:
        self.api, self.client = client_of(user), Client(raise_request_exception=False)
        self.client.force_login(user)
        self.api.raise_request_exception = False
        self.university, self.phone = university, 79165550000

    def create(self) -> Any:
        close_old_connections()
        self.phone += 1
        body = {"phone": f"+{self.phone}", "university_id": self.university.pk, "first_name": "А", "last_name": "Б"}
        return self.api.post("/employees", body, format="json")

    def add_university(self) -> Any:
        close_old_connections()
        return self.client.post(
            "/admin/employees/university/add/", {"name": f"У{self.phone}"}, HTTP_ACCEPT_LANGUAGE="en"
        )

    def ready(self) -> Any:
        close_old_connections()
        return self.client.get("/ready")

    def assert_refused(self) -> None:
        answer = self.create()
        refusal = (answer.status_code, answer.json()["error"]["code"], answer["Retry-After"])
        assert refusal == (503, "UNAVAILABLE", "5")
        page = self.add_university()
        assert (shown(page, 503), page["Retry-After"]) == ("Unavailable", "5")


@pytest.fixture
def directory(phases: Phases, superadmin: User, university: University) -> Directory:
    return Directory(superadmin, university)


@pytest.mark.long
@pytest.mark.parametrize("fault", [end_idle, end_long, terminate])
def test_a_transaction_that_is_ended_is_refused(directory: Directory, fault: Callable[[], None]) -> None:
    with before_insert(fault):
        answer = directory.create()
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert not Employee.objects.exists()
    assert directory.create().status_code == 201


@pytest.fixture
def read_only_role(directory: Directory) -> Iterator[Callable[[], None]]:
    """Make new connections read-only, and return a function that ends this."""
    with administrator() as admin:
        admin.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
        connection.close()

        def end() -> None:
            admin.execute("ALTER ROLE postgres RESET default_transaction_read_only")

        yield end
        end()
    connection.close()


def test_a_read_only_connection_is_not_kept(directory: Directory, read_only_role: Callable[[], None]) -> None:
    directory.assert_refused()
    answer = directory.ready()
    assert (answer.status_code, answer.json()["status"], answer["Retry-After"]) == (503, "unavailable", "5")
    assert answer.json()["reason"] == "PostgreSQL is read-only"
    assert directory.api.get("/employees").status_code == 200
    read_only_role()
    assert directory.ready().status_code == 200
    assert directory.create().status_code == 201
    assert directory.add_university().status_code == 302


@pytest.mark.parametrize("age", [0.0, 2.0])
def test_a_connection_that_was_just_checked_is_not_asked_again(
    directory: Directory, age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper: Any = connection
    assert wrapper.is_usable()
    wrapper._checked_at -= age
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'the last query'")
    assert connection.is_usable()
    with administrator() as admin:
        pid = connection.connection.info.backend_pid
        row = admin.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert row == ("SELECT 'the last query'" if age == 0 else "SHOW transaction_read_only",)


@pytest.mark.parametrize("fault", [terminate, end_idle])
def test_a_connection_that_postgresql_has_ended_is_not_usable(directory: Directory, fault: Callable[[], None]) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    if fault == end_idle:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
    fault()
    assert not connection.is_usable()
    connection.close()


def test_a_session_that_becomes_read_only_is_not_usable(directory: Directory) -> None:
    assert connection.is_usable()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        assert not connection.is_usable()
        cursor.execute("SET default_transaction_read_only = off")
        assert connection.is_usable()


@pytest.mark.long
def test_without_a_free_connection_it_is_refused(directory: Directory) -> None:
    connection.close()
    pids: list[int] = []
    with administrator() as admin:
        with ExitStack() as stack:
            with suppress(psycopg.OperationalError):
                while True:
                    pids.append(stack.enter_context(administrator()).info.backend_pid)
            directory.assert_refused()
            assert directory.ready().status_code == 503
        await_end(admin, pids)
    assert directory.ready().status_code == 200
    assert directory.create().status_code == 201


def losing_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Return a middleware whose query finds that the connection is lost, as that of sessions may."""

    def middleware(request: HttpRequest) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.connection is not None
        connection.connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    return middleware


def test_an_error_of_a_middleware_is_refused(directory: Directory, settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.losing_middleware"]
    directory.assert_refused()

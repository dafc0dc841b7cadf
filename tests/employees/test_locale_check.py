"""A database whose locale knows only ASCII letters is refused in words, because no search would ignore case there."""

from collections.abc import Iterator

import pytest
from django.core.checks import Error, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, connections

from employees.assessment import assess
from employees.checks import check_default_locale, check_locale

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ascii_database() -> Iterator[None]:
    """Connect to a database that was created with the locale C."""
    name = f"{connection.settings_dict['NAME']}_ascii"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'")
    # Under the alias of the database that tests may use.
    ascii_connection = connection.copy()
    ascii_connection.settings_dict["NAME"] = name
    connections["ascii"], connections.settings["ascii"] = ascii_connection, ascii_connection.settings_dict
    yield
    ascii_connection.close()
    del connections["ascii"], connections.settings["ascii"]
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def test_it_works() -> None:
    assert check_locale(None, databases=["default"]) == []
    assert check_locale(None) == []


@pytest.mark.long
def test_the_deployment_check_and_assess_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator may restore a dump into a database of their own, which no migration has checked."""
    name = f"{connection.settings_dict['NAME']}_c"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'")
    assert check_default_locale(None) == []
    connection.close()
    with monkeypatch.context() as patched:
        patched.setattr(connection, "settings_dict", connection.settings_dict | {"NAME": name})
        found = [message.id for message in run_checks(include_deployment_checks=True)]
        connection.close()
    assert "employees.E001" in found
    with monkeypatch.context() as patched:
        patched.setattr("employees.assessment.check_default_locale", lambda _: [Error("The locale is C", id="x")])
        assert "The locale is C" in assess()["blockers"]
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@pytest.mark.usefixtures("ascii_database")
def test_it_refuses_a_database_of_ascii_letters() -> None:
    [error] = check_locale(None, databases=["ascii"])
    assert error.id == "employees.E001"
    assert "_ascii is C: searches for names would not ignore case" in error.msg
    with pytest.raises(SystemCheckError, match=r"employees\.E001"):
        call_command("migrate", database="ascii", verbosity=0, skip_checks=False)

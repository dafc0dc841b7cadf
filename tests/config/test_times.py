"""Moments name their zone on every surface; the API and the days of reports stay in UTC."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from config.env import Env, time_zone
from config.lib import times
from employees.models import Employee, University, UnresolvedName
from monitoring import operations_report
from monitoring.alerts.models import Alert
from profiles.rollout import presenters
from profiles.rollout.presenters import audit_rows
from tests.conftest import client_of

AT = datetime(2026, 11, 29, 22, 20, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "shown"), [("en", "30 Nov 2026, 01:20:05 MSK"), ("ru", "30 ноя 2026, 01:20:05 МСК")]
)
def test_one_format_in_each_language(language: str, shown: str) -> None:
    with translation.override(language):
        assert times.text(AT) == shown
        assert times.text(AT, has_seconds=False) == shown.replace(":05", "")
        assert times.clock(AT) == shown.partition(", ")[2].replace(":05", "")


@pytest.mark.parametrize(("language", "zone"), [("en", "MSK"), ("ru", "МСК")])
def test_scripts_can_find_each_time(language: str, zone: str) -> None:
    with translation.override(language):
        found = times.page_format()
        for month, name in enumerate(found["months"], 1):
            assert f" {name} " in times.text(AT.replace(month=month, day=5))
        assert found["zones"] == {zone: 180}
        assert audit_rows.hours(22, 6).endswith(f"6:00 {zone}")


def test_a_command_prints_one_form() -> None:
    with times.for_terminal():
        texts = [times.text(AT), presenters.moment(AT), audit_rows.planned_step(3, "5", AT), presenters.restart(AT)]
    assert all("2026-11-30 01:20:05+03:00" in text and "MSK" not in text for text in texts)
    assert times.text(AT).endswith("MSK")


def test_it_is_in_utc_when_pointed_at() -> None:
    assert times.element(AT) == (
        '<time datetime="2026-11-30T01:20:05+03:00" title="29 Nov 2026, 22:20:05 UTC">30 Nov 2026, 01:20:05 MSK</time>'
    )


def test_the_zone_is_that_of_the_site() -> None:
    with timezone.override("Asia/Yekaterinburg"):
        assert (times.stamp(AT), times.text(AT)) == ("2026-11-30 03:20:05+05:00", "30 Nov 2026, 03:20:05 +05")


@pytest.mark.parametrize("name", ["Moscow", "Europe/moskow", "Europe", "../UTC", "+03:00"])
def test_it_refuses_a_name_of_no_zone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(Env.ENVIRON, "TIME_ZONE", name)
    with pytest.raises(ImproperlyConfigured, match="TIME_ZONE is not a time zone such as Europe/Moscow"):
        Env().read("TIME_ZONE", time_zone, "UTC")


@pytest.mark.django_db
def test_lists_and_pages_of_the_admin_show_it(client: Client, superadmin: User, university: University) -> None:
    employee = Employee.objects.create(phone="+79160000001", university=university)
    UnresolvedName.objects.create(employee=employee, next_try_at=AT)
    LogEntry.objects.log_actions(superadmin.pk, [employee], 1, change_message="x", single_object=True)
    client.force_login(superadmin)
    for path in ("unresolvedname/", f"unresolvedname/{employee.pk}/change/"):
        page = client.get(f"/admin/employees/{path}", headers={"accept-language": "en"}).content.decode()
        assert str(times.element(AT)) in page, path
    page = client.get(f"/admin/employees/employee/{employee.pk}/change/").content.decode()
    assert timezone.localtime(employee.created_at).isoformat(timespec="seconds") in page


@pytest.mark.django_db
def test_the_api_stays_in_utc(superadmin: User, university: University) -> None:
    with time_machine.travel(AT, tick=False):
        employee = Employee.objects.create(phone="+79160000001", university=university)
        answer: dict[str, Any] = client_of(superadmin).get(f"/employees/{employee.pk}").json()
    assert answer["created_at"] == "2026-11-29T22:20:05Z"


@pytest.mark.django_db
def test_commands_print_the_offset() -> None:
    Alert.objects.create(kind="dead_letters", severity="warning", message="", fired_at=AT, words={"count": "3"})
    out = StringIO()
    call_command("alerts", "list", "--all", stdout=out)
    assert "2026-11-30 01:20:05+03:00" in " ".join(out.getvalue().split())


@pytest.mark.django_db
def test_the_days_of_reports_are_those_of_utc(university: University) -> None:
    """At 01:20 in Moscow, an employee of this minute belongs to the day before."""
    with time_machine.travel(AT, tick=False):
        Employee.objects.create(phone="+79160000001", university=university)
        Employee.objects.filter(phone="+79160000001").update(created_at=AT - timedelta(minutes=1))
        charts = {chart.title: chart.points for chart in operations_report.weekly().charts}
        out = StringIO()
        call_command("report", "--weekly", stdout=out)
    assert charts["New employees per day"][-1] == ("2026-11-29", 1.0)
    assert "Days begin and end in UTC." in out.getvalue()

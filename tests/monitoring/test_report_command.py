"""``manage.py report``: each period in each form, and what it refuses."""

import io
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.template.loader import render_to_string
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.lib import clock
from employees.models import Employee, University
from monitoring import operations_report
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.operations_report.rows import TITLES
from monitoring.stats import rollups
from tests.webhooks.inbox_rows import row
from webhooks import retention
from webhooks.models import InboxUpdate, State

pytestmark = pytest.mark.django_db


def report(*options: str) -> str:
    out = io.StringIO()
    call_command("report", *options, stdout=out)
    return out.getvalue()


def rows_of(made: dict[str, Any], title: str) -> dict[str, Any]:
    return dict(next(table["rows"] for table in made["tables"] if table["title"] == title))


@pytest.mark.parametrize("period", operations_report.PERIODS)
def test_it_works(period: str, redis: object) -> None:
    text = report(f"--{period}")
    assert "WEBHOOK" in text
    assert "Received updates" in text
    # Titles and units instead of the names of JSON, and nothing wider than a terminal.
    assert not [name for name in TITLES if "_" in name and name in text]
    assert not re.search(r"[{}\[\]]", text)
    assert max(map(len, text.splitlines())) <= 80


def test_the_daily_report_begins_with_what_is_wrong(redis: object) -> None:
    Alert.objects.create(kind=Kind.INBOX_LAG_HIGH, severity="critical", message="x", fired_at=timezone.now())
    row(State.DEAD, age=timedelta(hours=1))
    row(State.DONE, age=timedelta(hours=1))
    text = report("--daily")
    titles = re.findall(r"^[A-Z][A-Z ]+$", text, re.MULTILINE)
    assert [title.strip() for title in titles[:3]] == ["OPEN ALERTS", "PHASES", "HEALTH"]
    assert re.search(r"Error rate +50\.0%", text)
    assert "Phase 3, Gradual transition" in text


def test_titles_and_units_are_in_the_readers_language(redis: object) -> None:
    text = report("--weekly", "--language", "ru")
    for title in ("ВЕБХУК", "КАЧЕСТВО", "Получено событий", "Доля попаданий в кэш"):
        assert title in text
    assert "Received" not in text


def test_json_has_the_same_numbers(redis: object, university: University) -> None:
    row(age=timedelta(hours=1), has_names=True)
    Employee.objects.create(phone="+79161234567", first_name="Анна", last_name="Иванова", university=university)
    made = json.loads(report("--monthly", "--json"))
    assert (made["period"], rows_of(made, "Webhook")["total_events"]) == ("monthly", 1)
    assert rows_of(made, "Name sources of employees") == {"entered by hand": "1 (100.0%)"}
    assert rows_of(made, "Size of tables")["employees_bytes"] > 0
    charts = {chart["title"]: chart["points"] for chart in made["charts"]}
    # A month leaves out the days without a value.
    assert charts["New employees per day"] == [[timezone.now().date().isoformat(), 1.0]]
    assert charts["Failed updates per day"] == []


def updates_a_day() -> dict[str, list[float]]:
    charts = {chart.title: chart.points for chart in operations_report.weekly().charts}
    return {title: [n for _day, n in charts[title]] for title in ("Updates per day", "Failed updates per day")}


@pytest.mark.long
@time_machine.travel("2026-11-25T09:00Z", tick=False)
def test_pruning_changes_nothing(redis: object, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "of_database", timezone.now)
    for days, state in (
        (6, State.DONE),
        (6, State.DEAD),
        (5, State.SKIPPED),
        (5, State.QUARANTINED),
        (0, State.PENDING),
    ):
        row(state, age=timedelta(days=days))
    row(State.DONE, age=timedelta(days=7))
    expected = {"Updates per day": [2, 2, 0, 0, 0, 0, 1], "Failed updates per day": [1, 1, 0, 0, 0, 0, 0]}
    assert updates_a_day() == expected
    rollups.roll_up()
    assert updates_a_day() == expected
    settings.INBOX_EVENT_RETENTION = settings.INBOX_DEAD_LETTER_RETENTION = timedelta(days=1)
    retention.prune()
    assert InboxUpdate.objects.count() == 1
    assert updates_a_day() == expected
    rollups.roll_up()
    assert updates_a_day() == expected


def test_days_without_anything_are_shown(redis: object) -> None:
    row(age=timedelta(days=3))
    made = operations_report.weekly()
    points = dict(made.charts[0].points)
    assert [points[day] for day in sorted(points)] == [0, 0, 0, 1, 0, 0, 0]


def test_html_loads_nothing(redis: object, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert report("--weekly", "--html", str(path)) == f"Report written to {path}\n"
    text = path.read_text()
    assert text.count('class="bars"') == len(operations_report.weekly().charts)
    assert not re.search(r"https?:|<script|<link|<img|url\(", text)


def test_html_escapes_texts_of_updates() -> None:
    evil = operations_report.OperationsReport(
        "weekly", timezone.now(), [operations_report.Table("Errors", [("<script>alert(1)</script>", 1)])]
    )
    page = render_to_string("operations_report.html", {"report": evil})
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


@pytest.mark.parametrize("options", [(), ("--daily", "--weekly"), ("--daily", "--json", "--html", "x")])
def test_it_refuses(options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        report(*options)


def test_it_reports_an_unwritable_file(redis: object, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        report("--daily", "--html", str(tmp_path / "no" / "report.html"))


def test_redis_may_be_down(redis_server: Any) -> None:
    redis_server.kill()
    assert re.search(r"Redis answers +no", report("--weekly"))


@pytest.mark.integration
@pytest.mark.parametrize("command", ["assess", "validate"])
def test_without_postgresql_the_error_is_one_line(command: str) -> None:
    nowhere = os.environ | {"DATABASE_URL": "postgresql://postgres@/none?host=/nowhere", "DEBUG": "true"}
    words = [sys.executable, "manage.py", command]
    process = subprocess.run(words, env=nowhere, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    assert process.returncode == 1
    assert "PostgreSQL: connection is bad" in process.stderr
    assert "Traceback" not in process.stderr

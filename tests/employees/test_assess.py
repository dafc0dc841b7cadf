"""manage.py assess: the guide's assessment as one report."""

import json
import re
from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings
from redis import Redis

from employees.models import Employee, University
from tests.servers import FaultyServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def assess(*args: str) -> str:
    out = StringIO()
    call_command("assess", *args, stdout=out)
    return out.getvalue()


def test_it_works(university: University, settings: Settings) -> None:
    settings.WEBHOOK_SECRET, settings.MAX_BOT_TOKEN = "very-secret-indeed", "bot-token"
    Employee.objects.create(phone="+12025550100", first_name="Анна", max_id="7", university=university)
    Employee.objects.create(phone="+12025550101", university=university, profile_source="default")
    report = json.loads(assess("--json"))
    assert report["totals"] == {
        "total_employees": 2,
        "employees_with_names": 1,
        "employees_with_max_id": 1,
        "universities": 1,
        "cached_profiles": 0,
    }
    assert report["by_source"] == {"manual": 1, "default": 1}
    assert report["configuration"]["WEBHOOK_SECRET"] == "set"
    assert [report["configuration"][name] for name in ("PROFILE_TTL", "MAX_API_TIMEOUT")] == ["30 days", "5 seconds"]
    assert report["cache"]["projected_bytes"] == 325
    assert report["blockers"] == []
    text = assess()
    assert "Nothing blocks phase 1." in text
    assert "Employees with a name" in text
    assert "_employees" not in text
    assert "very-secret-indeed" not in text


def test_a_redis_without_a_limit_has_none(redis: Redis) -> None:
    limit = str(redis.config_get("maxmemory")["maxmemory"])
    redis.config_set("maxmemory", 0)
    try:
        assert json.loads(assess("--json"))["cache"]["maxmemory_bytes"] == 0
        assert re.search(r"Memory limit +none", assess())
    finally:
        redis.config_set("maxmemory", limit)


def test_it_names_employees_whose_id_is_none(university: University) -> None:
    ids = ["7", "test_user", "TBD", "no", "2024-01-05", "yes.", None]
    made = [
        Employee.objects.create(phone=f"+1202555010{number}", max_id=max_id, university=university)
        for number, max_id in enumerate(ids)
    ]
    of_none = [employee.pk for employee in made[2:6]]
    assert json.loads(assess("--json"))["no_max_ids"] == of_none
    listed = ", ".join(map(str, of_none))
    text = "Employees whose MAX ID is a word, a date or a decimal number, which would be refused today: 4."
    assert f"{text} Correct or clear it in the admin (all IDs: --json): {listed}" in assess()


def test_it_names_what_blocks_phase_1(settings: Settings, redis_server: FaultyServer) -> None:
    settings.MONITORING_ENABLED = False
    redis_server.kill()
    text = assess()
    for blocker in ("Redis is unavailable", "WEBHOOK_SECRET", "MONITORING_ENABLED", "MAX_BOT_TOKEN"):
        assert blocker in text
    assert "None" not in text

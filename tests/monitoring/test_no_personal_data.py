"""Twenty names and phones go through the main paths and their errors; none is in any output, log or server's log."""

import json
import logging
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib.logs import formatter
from employees.backfill import batches
from employees.models import Employee, University
from employees.tasks import retry_unresolved
from monitoring.alerts import engine
from profiles.comparison import compare_waiting
from profiles.models import Profile
from tests.profiles.fake_max import FakeMax
from tests.servers import FaultyServer, servers
from tests.webhooks.sending import send
from webhooks.models import InboxUpdate
from webhooks.processing import process_inbox

NAMES = [f"Канарейка{letter}" for letter in "абвгдежзик"]
# Two that would run where a log is shown in a browser.
NAMES[1], NAMES[4] = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
PHONES = [f"+7916555{number:02d}{number + 13:02d}" for number in range(10, 20)]
# A phone in any spelling: its digits without the last two, which logs may show.
CANARIES = [*NAMES, "alert(1)", "onerror", *(phone[2:-2] for phone in PHONES)]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "cache_first")]


def update(user_id: int, name: str, **more: Any) -> dict[str, Any]:
    user = {"user_id": user_id, "first_name": name, "last_name": name}
    return {"update_type": "bot_started", "timestamp": 1_764_000_000_000, "chat_id": user_id, "user": user} | more


def webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    send(update(1, NAMES[0]))
    send({"type": "message_new", "message": {"from": {"user_id": "2", "first_name": NAMES[1]}, "text": NAMES[1]}})
    send(f'{{"user": "{NAMES[2]} {PHONES[0]}"'.encode())
    send(update(3, NAMES[2], user=f"{NAMES[2]} {PHONES[0]}"))
    send(update(1, NAMES[3]))
    send(update(4, NAMES[3]), x_request_id=PHONES[0])
    process_inbox()

    def fail(*args: object) -> None:
        raise ValueError(f"{NAMES[3]} {PHONES[0]}")

    send(update(5, NAMES[4]))
    with monkeypatch.context() as broken:
        broken.setattr(Profile.objects, "merge", fail)
        broken.setattr("webhooks.processing.Profile.objects", Profile.objects)
        process_inbox()
        InboxUpdate.objects.pending().update(tries=5, next_try_at="2020-01-01T00:00Z")
        process_inbox()


def create(api: APIClient, university: University, direct: FakeMax, redis_server: FaultyServer) -> None:
    def post(phone: str, **fields: Any) -> int:
        body = {"phone": phone, "university_id": university.pk, **fields}
        return int(api.post("/employees", body, format="json").status_code)

    assert post(PHONES[1], max_id="1") == 201
    assert post(PHONES[1]) == 409
    assert post(PHONES[2] + "0000000000") == 400
    assert post(PHONES[2], first_name=NAMES[5], last_name=NAMES[5]) == 201
    assert post(PHONES[3], role=NAMES[5]) == 400
    direct.status = 500
    assert post(PHONES[3]) == 201
    direct.status, direct.body = 200, f'{{"users": [{{"first_name": "{NAMES[6]}"'.encode()
    assert post(PHONES[4], max_id="77") == 201
    redis_server.kill()
    assert post(PHONES[5], max_id="1") == 201
    send(update(6, NAMES[6]))
    process_inbox()
    redis_server.start()
    assert api.get(f"/employees?search={NAMES[6]}").status_code == 200
    assert api.get(f"/employees?search={PHONES[1]}&limit=x{PHONES[1]}").status_code in (200, 400)
    assert api.get(f"/profiles/{NAMES[6]}").status_code in (400, 404)
    assert api.post("/profiles/1/name", {"name": f"{NAMES[6]}{PHONES[1]}"}, format="json").status_code == 400
    first = Employee.objects.get(phone=PHONES[1])
    assert api.patch(f"/employees/{first.pk}", {"phone": PHONES[2]}, format="json").status_code == 409
    retry_unresolved()
    compare_waiting(seconds=60)


def unforeseen(api: APIClient, university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError(f"{NAMES[7]} {PHONES[6]}")

    api.raise_request_exception = False
    with monkeypatch.context() as broken:
        broken.setattr("employees.api.serializers.resolve", fail)
        body = {"phone": PHONES[6], "university_id": university.pk}
        response = api.post(f"/employees?x={PHONES[6]}", body, format="json")
        assert response.status_code == 500


def load(tmp_path: Path, university: University) -> str:
    out = StringIO()
    good = f"phone,last_name,first_name\n{PHONES[7]},{NAMES[8]},{NAMES[8]}\n"
    bad = f"phone,last_name,first_name\n{PHONES[8]}{PHONES[8]},{NAMES[8]},{NAMES[8]}\n{PHONES[7]},{NAMES[7]},x\n"
    for number, text in enumerate((good, bad)):
        file = tmp_path / f"{number}.csv"
        file.write_text(text)
        try:
            call_command("import_employees", str(file), "--university-id", str(university.pk), stdout=out, stderr=out)
        except CommandError as error:
            out.write(str(error))
    return out.getvalue()


def fill(university: University, monkeypatch: pytest.MonkeyPatch) -> str:
    def fail(*args: object) -> None:
        raise DatabaseError(f"{NAMES[9]} {PHONES[9]}")

    out = StringIO()
    Employee.objects.create(phone=PHONES[9], max_id="4", university=university)
    with monkeypatch.context() as broken:
        broken.setattr(batches, "_fill", fail)
        call_command("backfill", "start", "--reason", "tested", stdout=out)
    call_command("backfill", "retry-failed", stdout=out)
    return out.getvalue()


def test_nothing_shows_names_or_phones(
    api: APIClient, university: University, direct: FakeMax, redis_server: FaultyServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    settings: Settings,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    log = servers.folder / "postgres.log"
    before = log.stat().st_size
    webhook(monkeypatch)
    create(api, university, direct, redis_server)
    unforeseen(api, university, monkeypatch)
    printed = load(tmp_path, university) + fill(university, monkeypatch)
    engine.check_alerts()
    line_of = formatter()
    lines = [line_of.format(record) for record in caplog.records]
    shown = {
        "lines": "\n".join(lines),
        "messages": "\n".join(record.getMessage() for record in caplog.records),
        "commands": printed,
        "output": "".join(capfd.readouterr()),
        "postgres": log.read_bytes()[before:].decode(),
    }
    for place, text in shown.items():
        assert [canary for canary in CANARIES if canary in text] == [], place
    lines = shown["lines"].splitlines()
    events = {json.loads(line)["event"] for line in lines}
    assert events >= {
        "profile_extracted",
        "update_failed",
        "employee_created",
        "direct_api_failed",
        "cache_write_failed",
    }
    assert "duplicate key value" in shown["postgres"]
    assert any("ValueError" in json.loads(line).get("traceback", "") for line in lines)


def test_the_worker_logs_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    request_id = "0af7651916cd43dd8448eb211c80319c"
    send(update(1, "Анна"), x_request_id=request_id)
    process_inbox()
    (line,) = [
        json.loads(line)
        for record in caplog.records
        if "extracted" in record.getMessage()
        for line in formatter().format(record).splitlines()
    ]
    assert line["request_id"] == request_id
    assert line["processing_time_ms"] > 0
    assert set(line) == {
        "timestamp", "level", "component", "message", "event", "user_id", "has_first_name", "has_last_name", "source",
        "processing_time_ms", "request_id",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["webhook", "profile_cache", "profile extracted", "ERROR", "profile", "redis"])
def test_the_guides_greps_find_something(
    word: str, api: APIClient, university: University, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    webhook(monkeypatch)
    api.post("/employees", {"phone": PHONES[1], "university_id": university.pk, "max_id": "1"}, format="json")
    assert any(word in formatter().format(record) for record in caplog.records)

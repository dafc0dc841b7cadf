"""Traces of a whole system, as ``make run`` starts it: each process adds its part, without personal data."""

import json

import psycopg
import pytest
import requests

from tests.chaos.fake_direct_api import direct_api
from tests.chaos.system import System
from tests.collector import collecting
from tests.config.test_traces import FIRST, SECOND, family
from tests.monitoring.test_no_personal_data import CANARIES, NAMES, PHONES, update
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(400)]
PERSON, SERVICES = 918273645, {"directory-web", "directory-inbox", "directory-worker"}


def test_traces_lead_through_the_processes() -> None:
    with collecting() as collector, direct_api() as api:
        digits = PHONES[0].lstrip("+")
        api.users[digits] = {"phone_number": digits, "user_id": PERSON, "first_name": NAMES[0], "last_name": NAMES[2]}
        system = System(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **api.settings())
        try:
            system.start()
            receive(system, FIRST)
            assert create(system, SECOND)["profile_source"] == "api"
            with system.database() as database:
                seconds_until(lambda: is_processed(database))
            seconds_until(lambda: {span.service for span in collector.spans()} == SERVICES)
            logs = "".join(path.read_text() for path in (system.data_dir / "logs").glob("*.log"))
        finally:
            assert system.stop() == []
        spans = collector.spans()
    services = [("receive updates", {"directory-web", "directory-inbox"}), ("POST /employees", {"directory-web"})]
    for trace, (name, expected) in zip((FIRST, SECOND), services, strict=True):
        own = [span for span in spans if span.trace == trace]
        (first,) = (span for span in own if not span.parent)
        assert first.name == name
        assert len(family(own, first)) == len(own)
        assert {span.service for span in own} == expected
    assert "INSERT profile_cache" in {span.name for span in spans if span.trace == FIRST}
    asked = [span.attributes["server.address"] for span in spans if span.trace == SECOND and span.name == "POST"]
    assert asked == ["127.0.0.1"]
    (logged,) = (json.loads(line) for line in logs.splitlines() if "profile_extracted" in line)
    assert (logged["request_id"], logged["trace_id"]) == (FIRST, FIRST)
    exported = b"".join(collector.bodies)
    assert [text for text in (*CANARIES, str(PERSON)[:8], system.secret) if text.encode() in exported] == []


def receive(system: System, request: str) -> None:
    headers = {"X-Max-Bot-Api-Secret": system.secret, "X-Request-ID": request}
    url = f"http://127.0.0.1:{system.port}/webhook/max"
    assert requests.post(url, json=update(PERSON + 1, NAMES[3]), headers=headers, timeout=30).status_code == 200


def create(system: System, request: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {system.token()}", "X-Request-ID": request}
    body = {"phone": PHONES[0], "university_name": NAMES[5]}
    answer = requests.post(f"http://127.0.0.1:{system.port}/employees", json=body, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def is_processed(database: psycopg.Connection) -> bool:
    return database.execute("SELECT state FROM webhook_inbox").fetchone() == ("done",)

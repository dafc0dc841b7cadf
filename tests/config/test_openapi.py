"""The committed schema is the one that the code serves, and what is served keeps to it.

``SCHEMA=full`` also sends each operation the boundary values of every parameter and field, hundreds for some.
"""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks

from config.lib.http.throttling import LogInRate, TokenBuckets
from tests.conftest import bearer
from tests.openapi import hooks
from tests.webhooks.sending import wsgi_application

IS_FULL = os.environ.get("FUZZ") == "full"
HAS_BOUNDARIES = IS_FULL or os.environ.get("SCHEMA") == "full"
ROOT = Path(__file__).parent.parent.parent
COMMITTED = json.loads((ROOT / "openapi.json").read_text())


@pytest.mark.django_db
def test_the_committed_schema_is_the_one_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    generated = json.loads(OpenApiJsonRenderer().render(SchemaGenerator().get_schema(public=True)))  # type: ignore[no-untyped-call]
    assert generated == COMMITTED, "the schema has changed: run `make openapi` and commit openapi.json"
    assert "Warning" not in capsys.readouterr().err


def test_a_summary_is_one_sentence_on_one_line() -> None:
    for path, operations in COMMITTED["paths"].items():
        for verb, operation in operations.items():
            summary = operation["summary"]
            assert "\n" not in summary, (path, verb)
            assert ". " not in summary, (path, verb)
            assert 3 < len(summary) <= 120, (path, verb)


def test_it_is_served_without_being_generated(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchemaGenerator, "get_schema", None)
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "public, max-age=300")
    assert answer.json() == COMMITTED
    compressed = client.get("/openapi.json", headers={"Accept-Encoding": "gzip, br"})
    assert json.loads(gzip.decompress(compressed.content)) == COMMITTED
    assert compressed["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in compressed["Vary"]
    assert len(compressed.content) < len(answer.content) / 8


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        *[("gzip;q=0", False), ("gzip; q=0.000, br", False), ("br, gzip;q=0.0", False), ("*;q=0", False)],
        *[("gzip;q=0;x=1", False), ("gzip;x=1;q=0", False), ("gzip;q =0", False), ("gzip ; x; q = 0.00 ;y", False)],
        *[("gzip;q=0.5;x=0", True), ("gzip;x=0", True), ("gzip;xq=0", True), ("br;q=0;x=1, gzip ;x", True)],
        *[("*, gzip;q=0", False), ("identity", False), ("", False), ("gzipped", False), ("GZIP;Q=0", False)],
        *[("gzip;q=0.001", True), ("gzip;q=1", True), ("br;q=0, gzip", True), ("*", True), ("GZip ; q=0.5", True)],
    ],
)
def test_it_is_compressed_only_for_clients_that_accept_it(client: Client, accepted: str, is_compressed: bool) -> None:
    answer = client.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert answer.has_header("Content-Encoding") is is_compressed
    assert json.loads(gzip.decompress(answer.content) if is_compressed else answer.content) == COMMITTED


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_it_is_not_sent_again(client: Client, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    etag = client.get("/openapi.json", headers=headers)["ETag"]
    again = client.get("/openapi.json", headers=headers | {"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_every_operation_is_described() -> None:
    for path, operations in COMMITTED["paths"].items():
        for verb, operation in operations.items():
            assert all(operation[name] for name in ("summary", "description", "operationId", "tags")), (path, verb)
            assert {"400", "401", "405"}.intersection(operation["responses"]), (path, verb)
            is_open = path.startswith("/api/token") or path in ("/health", "/ready")
            assert (operation["security"] == []) == is_open, (path, verb)


def test_ids_are_integers() -> None:
    for path, operations in COMMITTED["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert parameter["schema"]["type"] == ("integer" if parameter["name"] == "id" else "string"), path


def test_bodies_of_the_rollout_require_what_the_rules_do() -> None:
    required = {}
    for path in COMMITTED["paths"]:
        if path.startswith("/monitoring/rollout/") and "post" in COMMITTED["paths"][path]:
            body = COMMITTED["paths"][path]["post"]["requestBody"]
            name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            required[path.rpartition("/")[2]] = (body["required"], COMMITTED["components"]["schemas"][name]["required"])
    reason = (True, ["reason"])
    assert required == {
        "set": (True, ["percent", "phase", "reason"]),
        "plan": (True, ["phase", "reason", "steps"]),
        "cancel": (True, ["plan", "reason"]),
        **dict.fromkeys(("advance", "pause", "resume", "emergency", "approve", "refuse"), reason),
    }


def test_the_exceptions_are_operations() -> None:
    there = {f"{verb.upper()} {path}" for path, verbs in COMMITTED["paths"].items() for verb in verbs}
    assert there >= RULED


def test_every_answer_is_described() -> None:
    for path, operations in COMMITTED["paths"].items():
        for verb, operation in operations.items():
            assert "503" in operation["responses"] or path in ("/health", "/metrics"), (path, verb)
            for status, answer in operation["responses"].items():
                assert status == "204" or answer.get("content"), (path, verb, status)


def test_what_is_no_view_is_described() -> None:
    described = {
        (path, verb): set(operation["responses"])
        for path in ("/webhook/max", "/health", "/ready", "/metrics")
        for verb, operation in COMMITTED["paths"][path].items()
    }
    assert described == {
        ("/webhook/max", "post"): {"200", "401", "413", "415", "503"},
        ("/health", "get"): {"200", "400"},
        ("/ready", "get"): {"200", "400", "503"},
        ("/metrics", "get"): {"200", "400", "401", "404"},
    }


_DECISIONS = ("approvals/{id}/approve", "approvals/{id}/refuse")
ROLLOUT = {
    f"POST /monitoring/rollout/{action}"
    for action in ("set", "advance", "pause", "resume", "emergency", "plan", "cancel", *_DECISIONS)
}
# Rules that no schema expresses: which universities, phones, phases, plans and requests there are.
RULED = ROLLOUT | {"POST /employees", "PUT /employees/{id}", "PATCH /employees/{id}", "POST /monitoring/backfill"}
schema = schemathesis.openapi.from_dict(COMMITTED)
schema.app = wsgi_application
# Boundaries are computed at collection, which each worker of `pytest -n` repeats.
schema.config.phases.coverage.enabled = HAS_BOUNDARIES
# The test sends a valid token instead of generated credentials. A case that breaks these and the query keeps both on
# record, and gets no excuse for a query that is valid as it is sent, such as one that leaves out ``search=[]``.
schema.config.generation.update(with_security_parameters=False)


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        *[({"name": "Вуз"}, True), ({"name": "\u03f9\u03f2"}, True), ({"name": "!"}, False), ({"name": 1}, False)],
        *[({"name": "Вуз", "inn": "x"}, False), ({"name": "😍"}, True), ({"name": "\u200d"}, False), ({}, False)],
    ],
)
def test_a_body_in_any_alphabet_is_valid(fields: dict[str, Any], is_valid: bool) -> None:
    case = schema["/universities"]["POST"].Case(body={"inn": "0000000000", "kpp": "000000000"} | fields)
    case.media_type = "application/json"
    assert hooks.has_valid_body(case) is is_valid


@pytest.fixture
def _nothing_is_kept(db: None) -> Iterator[None]:
    """Keep the connection of the test's transaction, which the end of a WSGI request would close."""
    shared = LogInRate.buckets
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    LogInRate.buckets = shared


# The receiver has an application, and tests, of its own; it writes in a loop that no test's transaction sees.
@schema.exclude(path="/webhook/max").parametrize()
@settings(
    max_examples=500 if IS_FULL else 20 if HAS_BOUNDARIES else 1,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=not IS_FULL,
)
@pytest.mark.usefixtures("_nothing_is_kept", "cache_first")
@pytest.mark.django_db
def test_schemathesis_finds_nothing(case: Any) -> None:
    user = User.objects.filter(username="fuzz").first() or User.objects.create_superuser("fuzz")
    LogInRate.buckets = TokenBuckets()
    operation = f"{case.method} {case.path}"
    excluded: list[Any] = [checks.positive_data_acceptance] if operation in RULED else []
    with transaction.atomic():
        case.call_and_validate(
            headers={"Authorization": bearer(user)},
            excluded_checks=excluded,
        )
        transaction.set_rollback(True)

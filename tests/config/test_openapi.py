"""The committed schema is the one that the code serves, and what is served keeps to it.

``SCHEMA=full`` also sends each operation the boundary values of every parameter and field, hundreds for some.
"""

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
from hypothesis import HealthCheck, Phase, settings
from rest_framework.test import APIClient
from schemathesis.specs.openapi import checks

from config.lib.throttling import LogInRate, TokenBuckets
from config.wsgi import application
from tests.conftest import bearer

IS_FULL = os.environ.get("FUZZ") == "full"
HAS_BOUNDARIES = IS_FULL or os.environ.get("SCHEMA") == "full"
ROOT = Path(__file__).parent.parent.parent
COMMITTED = json.loads((ROOT / "openapi.json").read_text())


@pytest.mark.django_db
def test_the_committed_schema_is_the_one_that_is_served() -> None:
    served = APIClient(HTTP_ACCEPT_LANGUAGE="en").get("/openapi.json").json()
    assert served == COMMITTED, "the schema has changed: run `make openapi` and commit openapi.json"


@pytest.mark.django_db
def test_it_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    APIClient().get("/openapi.json")
    assert "Warning" not in capsys.readouterr().err


def test_the_exceptions_are_operations() -> None:
    there = {f"{verb.upper()} {path}" for path, verbs in COMMITTED["paths"].items() for verb in verbs}
    assert there >= RULED | LENIENT


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
        ("/health", "get"): {"200"},
        ("/ready", "get"): {"200", "503"},
        ("/metrics", "get"): {"200", "401"},
    }


ROLLOUT = {f"POST /monitoring/rollout/{action}" for action in ("set", "advance", "pause", "resume", "emergency")}
# Rules that no schema says: which ids there are, that a phone is one in any spelling, what the phases allow.
RULED = ROLLOUT | {
    "POST /employees", "PUT /employees/{id}", "PATCH /employees/{id}", "GET /employees/by-max-id/{max_id}",
    "GET /profiles/{user_id}", "PUT /profiles/{user_id}", "DELETE /profiles/{user_id}", "POST /profiles/{user_id}/name",
}  # fmt: skip
# More is taken than the schema says: odd pages as the first one, a number for the text that it spells.
LENIENT = ROLLOUT | {
    "GET /employees", "GET /employees/all", "GET /employees/batch-jobs", "GET /universities", "GET /monitoring/alerts",
}  # fmt: skip
schema = schemathesis.openapi.from_dict(COMMITTED)
schema.app = application
# Boundaries are computed at collection, which each worker of `pytest -n` repeats.
schema.config.phases.coverage.enabled = HAS_BOUNDARIES


@pytest.fixture
def _nothing_is_kept(db: None) -> Iterator[None]:
    """Keep the connection of the test's transaction, which the end of a WSGI request would close."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    LogInRate.buckets = TokenBuckets()


# The receiver has an application, and tests, of its own; it writes in a thread that no test's transaction sees.
@schema.exclude(path="/webhook/max").parametrize()
@settings(
    max_examples=500 if IS_FULL else 3,
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
    excluded += [checks.negative_data_rejection] if operation in LENIENT else []
    with transaction.atomic():
        case.call_and_validate(
            headers={"Authorization": bearer(user)},
            excluded_checks=excluded,
        )
        transaction.set_rollback(True)

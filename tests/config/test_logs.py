"""What a line of the log holds, and what is kept out of it."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from django.test import RequestFactory

from config.lib import request_id
from config.lib.logs import formatter

PHONE, NAME = "+79165551023", "Канарейка"


def line_of(message: str, *args: object, name: str = "webhooks.processing", **extra: Any) -> dict[str, Any]:
    has_error = extra.pop("has_error", False)
    record = logging.getLogger(name).makeRecord(
        name, logging.WARNING, __file__, 1, message, args, sys.exc_info() if has_error else None, extra=extra
    )
    line: dict[str, Any] = json.loads(formatter().format(record))
    return line


def test_it_works() -> None:
    token = request_id.current.set("0af7651916cd43dd8448eb211c80319c")
    line = line_of("cache %s", "refilled", event="cache_refilled", user_id="79165551023", took_ms=1.5, is_full=True)
    request_id.current.reset(token)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
    assert line == {
        "level": "WARNING",
        "component": "webhook_handler",
        "event": "cache_refilled",
        "message": "cache refilled",
        "request_id": "0af7651916cd43dd8448eb211c80319c",
        "user_id": "79165551023",
        "took_ms": 1.5,
        "is_full": True,
    }


@pytest.mark.parametrize(
    ("logger", "component"),
    [
        ("webhooks.group_commit", "webhook_handler"),
        ("profiles.cache", "profile_cache"),
        ("profiles.rollout.heartbeat", "rollout"),
        ("employees.api.views", "employee"),
        ("monitoring.alerts.engine", "monitoring"),
        ("celery.worker", "celery"),
    ],
)
def test_the_component_is_that_of_the_module(logger: str, component: str) -> None:
    line = line_of("x", name=logger)
    assert (line["component"], line["event"]) == (component, logger)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"no answer about {PHONE}", "no answer about …23"),
        ("no answer about +7 (916) 555-10-23!", "no answer about …23!"),
        ("no answer about 89165551023", "no answer about …23"),
        ("Not Found: /employees?search=Иванов", "Not Found: /employees…"),
        (
            f"Received unregistered task of type 'x'.\n\nThe contents was:\n{NAME}",
            "Received unregistered task of type 'x'.",
        ),
        ("GET https://example.org/?a=b HTTP", "GET https://example.org/… HTTP"),
        ("took 12345 ms of 1.234567890123 s, at 2026-11-29 06:29:28", None),
        ("ready?", None),
    ],
)
def test_phones_query_strings_and_quotations_are_cut(text: str, kept: str | None) -> None:
    assert line_of("%s", text)["message"] == (kept or text)


def test_the_fields_of_a_line_are_cut_too_but_for_ids() -> None:
    line = line_of("x", error=f"no answer about {PHONE}", user_id=PHONE, request_id="79165551023")
    assert (line["error"], line["user_id"], line["request_id"]) == ("no answer about …23", PHONE, "79165551023")


def test_one_call_writes_many_lines_each_masked() -> None:
    each = [{"user_id": "79165551023", "note": PHONE, "payload": {"name": NAME}}, {"event": "own", "n": 2}]
    record = logging.makeLogRecord(
        {"name": "webhooks.x", "msg": "read", "levelname": "INFO", "line_each": each, "a": 1}
    )
    first, second = map(json.loads, formatter().format(record).splitlines())
    assert {name: first[name] for name in ("user_id", "note", "payload", "message", "a")} == {
        "user_id": "79165551023", "note": "…23", "payload": "dict", "message": "read", "a": 1,
    }  # fmt: skip
    assert (second["event"], second["n"], second["message"], "note" in second) == ("own", 2, "read", False)


def test_of_structures_and_objects_only_the_class_is_left() -> None:
    request = RequestFactory().get(f"/employees?search={NAME}")
    line = line_of("x", request=request, data={"name": NAME}, names=[NAME], at=datetime(2026, 11, 29, tzinfo=UTC))
    assert {name: line[name] for name in ("request", "data", "names", "at")} == {
        "request": "WSGIRequest",
        "data": "dict",
        "names": "list",
        "at": "2026-11-29T00:00:00+00:00",
    }


def fail(error: Exception, *, because: Exception | None = None) -> None:
    try:
        if because:
            raise because
    except type(because or error) as first:
        raise error from first
    raise error


def test_the_text_of_an_error_is_never_written() -> None:
    try:
        fail(ValueError(f"{NAME} {PHONE}"))
    except ValueError as error:
        line = line_of("failed: %r, %s", error, error, has_error=True)
    assert line["message"] == "failed: ValueError, ValueError"
    assert line["traceback"].splitlines()[-1] == "ValueError"
    assert "in fail" in line["traceback"]
    assert NAME not in json.dumps(line, ensure_ascii=False)


def test_a_traceback_shows_what_led_to_it() -> None:
    try:
        fail(ValueError(NAME), because=KeyError(NAME))
    except ValueError:
        trace = line_of("x", has_error=True)["traceback"]
    assert [part.splitlines()[-1] for part in trace.split("\n\nled to\n\n")] == ["KeyError", "ValueError"]
    assert NAME not in trace


def test_a_failed_task_is_logged_without_its_error(caplog: pytest.LogCaptureFixture) -> None:
    """Celery puts the text of the error into the message, and the arguments beside it."""
    app = Celery(set_as_current=False, broker="memory://", task_always_eager=True)

    @app.task(name="greet")
    def greet(name: str) -> None:
        raise ValueError(f"{name} {PHONE}")

    greet.apply(args=(NAME,))
    lines = [formatter().format(record) for record in caplog.records]
    assert any("greet" in line and "ValueError" in line for line in lines)
    assert not [text for text in (NAME, PHONE[2:-2]) if text in "".join(lines)]

"""OpenTelemetry: one trace from a request to all that it causes, nothing personal in it, and nothing at all when off.

Processes that are traced stay so, so each test has one of its own, which exports to a collector on loopback.
"""

import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.dev.processes import BASE_DIR
from config.lib import request_id, tracing
from config.lib.logs import formatter
from employees.models import University, UnresolvedName
from employees.tasks import retry_unresolved
from profiles.max_api import users
from tests import loops
from tests.collector import Collector, Span, collecting
from tests.forked import forked
from tests.monitoring.test_no_personal_data import CANARIES, NAMES, PHONES, unforeseen, update, webhook
from tests.profiles.fake_max import FakeMax
from tests.webhooks import sending
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "cache_first")]
SERVER, CLIENT, CONSUMER = 2, 3, 5
FIRST, SECOND = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319d"

Traced = Callable[[Callable[[], object]], list[Span]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(collector: Collector, settings: Settings, tmp_path: Path) -> Traced:
    """Return a function that runs another in a traced process and returns the spans."""
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = collector.url
    failure = tmp_path / "failure"

    def run(work: Callable[[], object]) -> list[Span]:
        sending.close()
        with forked(partial(_work_traced, work, collector.url, failure)) as process:
            os.waitpid(process.pid, 0)
            process.is_reaped = True
        assert not failure.exists(), failure.read_text()
        return collector.spans()

    return run


def _work_traced(work: Callable[[], object], url: str, failure: Path) -> None:
    try:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        # The thread of the parent's event loop did not survive the fork.
        loops._loop.cache_clear()
        tracing.start("web")
        work()
        tracing.stop()
    finally:
        if sys.exc_info()[0]:
            failure.write_text(traceback.format_exc())


def family(spans: list[Span], first: Span) -> list[Span]:
    """Return a span and all that it has caused."""
    children = [span for span in spans if span.parent == first.id and span.trace == first.trace]
    return [first, *(span for child in children for span in family(spans, child))]


def test_a_trace_leads_from_the_webhook_to_the_profile(traced: Traced) -> None:
    def work() -> None:
        assert send(update(7, "Анна"), x_request_id=FIRST).status == 200
        process_inbox()

    spans = [span for span in traced(work) if span.trace == FIRST]
    (receipt,) = (span for span in spans if not span.parent)
    assert (receipt.service, receipt.name, receipt.kind) == ("directory-web", "receive updates", SERVER)
    assert receipt.attributes == {"http.response.status_code": 200}
    (processed,) = (span for span in spans if span.parent == receipt.id)
    assert (processed.name, processed.kind) == ("process updates", CONSUMER)
    assert processed.attributes == {
        "messaging.batch.message_count": 1,
        "directory.state": "done",
        "directory.update_type": "bot_started",
        "directory.has_names": True,
        "directory.has_changed_profile": True,
        "directory.tries": 0,
    }
    names = {span.name for span in family(spans, processed)}
    assert "INSERT profile_cache" in names
    assert "UPDATE webhook_inbox" in names
    assert any("SET" in name for name in names)
    assert len(family(spans, receipt)) == len(spans)


@pytest.mark.long
def test_each_update_of_a_batch_is_in_its_own_trace(traced: Traced) -> None:
    def work() -> None:
        for number, name in enumerate([FIRST, SECOND], 1):
            send(update(number, "Анна"), x_request_id=name)
        process_inbox()

    spans = traced(work)
    (batch,) = (span for span in spans if span.links == {FIRST, SECOND})
    assert batch.attributes == {"messaging.batch.message_count": 2}
    for name in (FIRST, SECOND):
        receipt, processed = sorted((span for span in spans if span.trace == name), key=lambda span: span.parent)
        assert (processed.parent, processed.links) == (receipt.id, {batch.trace})
        assert processed.attributes["directory.has_changed_profile"] is True


def test_a_trace_leads_from_a_create_to_the_direct_api(
    traced: Traced, api: APIClient, university: University, direct: FakeMax
) -> None:
    direct.knows(PHONES[0], 42)

    def work() -> None:
        request_id.begin(FIRST)
        body = {"phone": PHONES[0], "university_id": university.pk}
        assert api.post("/employees", body, format="json").status_code == 201

    spans = [span for span in traced(work) if span.trace == FIRST]
    (first,) = (span for span in spans if not span.parent)
    assert (first.name, first.kind) == ("POST /employees", SERVER)
    assert first.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "http.route": "employees",
        "url.scheme": "http",
    }
    (asked,) = (span for span in spans if span.kind == CLIENT and "http.request.method" in span.attributes)
    assert (asked.attributes["server.address"], asked.attributes["http.response.status_code"]) == ("127.0.0.1", 200)
    assert "INSERT employees" in {span.name for span in spans}
    assert len(family(spans, first)) == len(spans)


@pytest.mark.long
def test_no_span_has_personal_data(
    traced: Traced, collector: Collector, api: APIClient, university: University, direct: FakeMax,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    person = "max-id-of-a-person"
    direct.status = 500

    def work() -> None:
        webhook(monkeypatch)
        for phone in (PHONES[1], PHONES[1], PHONES[2] + "0000000000"):
            request_id.begin(phone)
            api.post("/employees", {"phone": phone, "university_id": university.pk, "max_id": person}, format="json")
        for path in (f"/profiles/{person}", f"/nothing/{PHONES[3]}", f"/employees?search={NAMES[6]}&x={PHONES[4]}"):
            api.get(path, headers={"tracestate": f"a={PHONES[5]}", "user-agent": NAMES[6], "referer": f"/{person}"})
        unforeseen(api, university, monkeypatch)
        retry_unresolved.apply()

    spans = traced(work)
    assert len(spans) > 60
    assert {"exception.type": "ValueError"} in [event for span in spans for event in span.events]
    exported = b"".join(collector.bodies)
    texts = [*CANARIES, person, "tracestate", "example.org"]
    assert [text for text in texts if text.encode() in exported] == []


def test_a_late_answer_is_in_the_trace_of_the_create(
    traced: Traced, api: APIClient, university: University, direct: FakeMax
) -> None:
    direct.status = 500

    def work() -> None:
        request_id.begin(FIRST)
        body = {"phone": PHONES[0], "university_id": university.pk}
        assert api.post("/employees", body, format="json").status_code == 201
        users.breaker.close()
        UnresolvedName.objects.update(next_try_at="2020-01-01T00:00Z")
        retry_unresolved.apply()

    spans = [span for span in traced(work) if span.trace == FIRST]
    (late,) = (span for span in spans if span.name == "look up unresolved name")
    assert 500 in [span.attributes.get("http.response.status_code") for span in family(spans, late)]


def test_log_lines_have_the_trace(traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def work() -> None:
        handler = logging.FileHandler(log)
        handler.setFormatter(formatter())
        for name in ("webhooks", "access"):
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).setLevel(logging.INFO)
        send(update(7, "Анна"), x_request_id=FIRST)
        process_inbox()

    traced(work)
    (line,) = (line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "profile_extracted")
    assert (line["request_id"], line["trace_id"]) == (FIRST, FIRST)


@pytest.mark.long
@pytest.mark.parametrize("given", ["", "proxy-1", "0" * 32, FIRST.upper()])
def test_every_request_id_has_a_trace(traced: Traced, given: str) -> None:
    def work() -> None:
        send(update(7, "Анна"), x_request_id=given)
        process_inbox()

    spans = [span for span in traced(work) if span.name in ("receive updates", "process updates")]
    assert len({span.trace for span in spans}) == 1
    assert {span.parent for span in spans} == {"", *(span.id for span in spans if not span.parent)}
    assert int(spans[0].trace, 16)


def test_statements_that_belong_to_no_request_are_not_exported(traced: Traced) -> None:
    assert traced(process_inbox) == []


def test_a_share_of_the_requests_is_traced(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last 64 bits of a trace ID decide, so that all processes decide alike."""
    chosen = f"{FIRST[:16]}0{FIRST[17:]}"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")

    def work() -> None:
        for number, name in enumerate([FIRST, chosen], 1):
            send(update(number, "Анна"), x_request_id=name)
        process_inbox()

    # The batch itself is in a trace with an ID at random.
    names = [(span.trace, span.name) for span in traced(work) if span.trace in (FIRST, chosen)]
    assert sorted(names) == [(chosen, "process updates"), (chosen, "receive updates")]


@pytest.mark.long
def test_nothing_is_imported_when_off() -> None:
    # redis-py itself imports the metrics of OpenTelemetry where they are installed.
    ours = ("opentelemetry.instrumentation", "opentelemetry.exporter", "opentelemetry.sdk.trace", "google", "wrapt")
    code = (
        "import sys, config.web, config.celery, webhooks.management.commands.process_inbox\n"
        "from config.lib import tracing\n"
        "tracing.start('web')\n"
        f"print([name for name in sys.modules if name.startswith({ours})])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_missing_packages_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    monkeypatch.setitem(sys.modules, "config.lib.tracing.spans", None)
    with pytest.raises(ImproperlyConfigured, match=r"install requirements-otel\.txt"):
        tracing.start("web")

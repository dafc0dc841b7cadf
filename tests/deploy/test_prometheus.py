"""Rules and dashboards use metrics that /metrics has; every rule has a test and a section of the runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from config import broker
from config.dev.processes import BASE_DIR
from employees.models import Employee, University
from monitoring.alerts.kinds import Kind
from monitoring.api.metrics import exposition
from profiles import breaker, cache, comparison, lookup
from profiles.max_api import users
from profiles.rollout import decision
from profiles.rollout.models import Heartbeat
from tests.profiles.people import add_profile
from webhooks import metrics, receiver

PROMETHEUS = BASE_DIR / "deploy" / "prometheus"
DASHBOARDS = sorted((BASE_DIR / "deploy" / "grafana" / "dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")
_DOCUMENTS = {
    "alerts": "reference/alerts.md",
    "metrics": "reference/metrics.md",
    "runbook": "how-to/runbook.md",
}
DOCS = {name: (BASE_DIR / "docs" / path).read_text() for name, path in _DOCUMENTS.items()}
# A name in an expression that is neither followed by a bracket (a function) nor inside braces (a label).
_METRIC = re.compile(r"\b([a-z][a-z0-9_]*(?::[a-z0-9_:]+)?)\b(?!\s*\()")
_WORDS = {"by", "on", "or", "and", "unless", "le", "stage", "status", "type", "source", "operation", "reason"}
_WORDS |= {"outcome", "instance", "without", "flag", "kind", "channel", "breaker", "view"}


def metrics_in(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", "", bare)
    return set(_METRIC.findall(bare)) - _WORDS


def expressions(rules: str) -> Iterator[str]:
    for match in re.finditer(r"^( *)expr: (\|\n(?:\1 +.*\n)+|.*)$", rules, re.MULTILINE):
        yield match[2].lstrip("|")


def dashboard_expressions() -> Iterator[str]:
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
        yield from (annotation["expr"] for annotation in board["annotations"]["list"])


def exported() -> set[str]:
    for metric, labels in (
        (lookup.resolutions, ("webhook", "3")), (lookup.durations, ("3",)), (decision.decisions, ("SPLIT", "3")),
        (comparison.outcomes, ("agree",)), (users.calls, ("found",)), (cache.operations, ("get", "hit")),
        (metrics.events, ("other", "success")), (receiver.refusals, ("401",)), (breaker.opened, ("cache",)),
        (broker.rejected, ("unreadable",)), (cache.malformed, ("entry",)),
    ):  # fmt: skip
        metric.labels(*labels)
    families = text_string_to_metric_families(exposition().decode())
    return {sample.name for family in families for sample in family.samples} | {"up"}


def fill_metrics(university: University) -> None:
    add_profile("7")
    Employee.objects.create(phone="+79161234567", university=university)
    Heartbeat.objects.create(process="web-host-1", revision=0)
    Client().get("/health")


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_it_exports_every_metric_that_is_used(university: University) -> None:
    fill_metrics(university)
    rules = (PROMETHEUS / "rules.yml").read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    used = {name for text in (*expressions(rules), *dashboard_expressions()) for name in metrics_in(text)}
    assert len(used) > 30
    assert used - recorded - exported() == set()


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_it_adds_up_no_gauge_of_several_hosts(university: University) -> None:
    """Each web host exports the same gauges; only the breakers are those of its own processes."""
    fill_metrics(university)
    families = text_string_to_metric_families(exposition().decode())
    gauges = {family.name for family in families if family.type == "gauge"} - {"breaker_open"}
    assert len(gauges) > 20
    texts = [*expressions((PROMETHEUS / "rules.yml").read_text()), *dashboard_expressions()]
    assert [text for text in texts if metrics_in(without_maxima(text)) & gauges] == []


def without_maxima(expression: str) -> str:
    """Remove what yields one value for all hosts, or is compared within each of them."""
    expression = re.sub(r"absent\([^()]*\)|unless on \(instance\) \w+", "", expression)
    before, found, rest = expression.partition("max without (instance) (")
    if not found:
        return expression
    depths = accumulate({"(": 1, ")": -1}.get(character, 0) for character in f"({rest}")
    end = next(number for number, depth in enumerate(depths) if depth == 0)
    return without_maxima(before + rest[end:])


def test_it_has_a_test_and_a_runbook_section_for_each_rule() -> None:
    rules = (PROMETHEUS / "rules.yml").read_text()
    tested = set(re.findall(r"alertname: (\w+)", (PROMETHEUS / "rules_test.yml").read_text()))
    assert set(re.findall(r"alert: (\w+)", rules)) == tested
    runbook = DOCS["runbook"]
    sections = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", runbook, re.MULTILINE)}
    assert set(re.findall(r"runbook\.md#(\S+)", rules)) <= sections


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian's package prometheus)")
@pytest.mark.parametrize("arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]])
def test_it_passes_promtool(arguments: list[str]) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_it_marks_changes_of_the_rollout_on_dashboards(path: Path) -> None:
    board = json.loads(path.read_text())
    assert any("rollout_revision" in annotation["expr"] for annotation in board["annotations"]["list"])
    assert all(panel["targets"] and panel["title"] for panel in board["panels"])


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_it_documents_every_alert(kind: Kind) -> None:
    assert f"| `{kind}` |" in DOCS["alerts"]
    assert f"\n## {kind}\n" in DOCS["runbook"]


def test_it_names_commands_that_exist() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", "".join(DOCS.values())))
    assert len(named) > 8
    assert named <= set(get_commands())


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_it_exports_every_documented_metric(university: University) -> None:
    fill_metrics(university)
    table = DOCS["metrics"].partition("## Metrics")[2].partition("## Logs")[0]
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:\{[a-z,]+\})?`", table))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    assert len(names) > 30
    assert names - bases == set()

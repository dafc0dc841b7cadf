"""deploy/kubernetes follows Kubernetes' schemas, and starts the same processes with the same checks as Docker."""

import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config import secret_files
from config.alive import CHECKS
from tests.config.test_environment_table import ROOT, in_the_example
from tests.deploy.test_compose import SERVICES

FOLDER = ROOT / "deploy" / "kubernetes"
KUBECTL = shutil.which("kubectl")
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
RESOURCES: list[dict[str, Any]] = [
    resource for name in KUSTOMIZATION["resources"] for resource in yaml.safe_load_all((FOLDER / name).read_text())
]
WORKLOADS = {item["metadata"]["name"]: item["spec"] for item in RESOURCES if "template" in item.get("spec", {})}


def container(workload: str, name: str = "") -> dict[str, Any]:
    pod = WORKLOADS[workload]["template"]["spec"]
    [found] = [item for item in pod["containers"] if item["name"] == (name or workload)]
    return dict(found)


def test_it_lists_every_file() -> None:
    assert set(KUSTOMIZATION["resources"]) == {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"}


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_kubectl_builds_it() -> None:
    command = [str(KUBECTL), "kustomize", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (ours)
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(RESOURCES)
    for resource in built:
        kubernetes_validate.validate(resource, "1.34", strict=True)
        assert resource["metadata"]["namespace"] == KUSTOMIZATION["namespace"]
    (image,) = KUSTOMIZATION["images"]
    assert done.stdout.count(f"image: {image['newName']}:{image['newTag']}\n") == done.stdout.count("image: ") > 6


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_it_follows_the_schema(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_it_runs_the_processes_of_docker() -> None:
    assert set(WORKLOADS) == {*CHECKS, "migrate"} - {"metrics"}
    for name, spec in WORKLOADS.items():
        assert container(name)["args"] == SERVICES[name]["command"]
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container(name)["securityContext"]["readOnlyRootFilesystem"]
        assert "memory" in container(name)["resources"]["limits"]
        assert (
            spec.get("selector", {}).get("matchLabels", {}).items()
            <= spec["template"].get("metadata", {}).get("labels", {}).items()
        )
    for name in ("inbox", "worker", "beat"):
        assert container(name)["livenessProbe"]["exec"]["command"] == SERVICES[name]["healthcheck"]["test"][1:]
    # While PostgreSQL is down, neither restarts nor an empty Service would help.
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container("web")[probe]["httpGet"]["path"] == "/health"


def test_it_takes_secrets_only_by_reference() -> None:
    [settings] = [item["data"] for item in RESOURCES if item["kind"] == "ConfigMap"]
    assert set(settings) <= {*in_the_example(), "PROMETHEUS_MULTIPROC_DIR"}
    assert not set(settings) & set(secret_files.NAMES)
    for name in WORKLOADS:
        assert container(name)["envFrom"] == [
            {"configMapRef": {"name": "directory"}},
            {"secretRef": {"name": "directory"}},
        ]


@pytest.mark.parametrize("workload", ["inbox", "worker"])
def test_pods_without_web_export_their_counters(workload: str) -> None:
    own, exporter, docker = container(workload), container(workload, "metrics"), SERVICES["metrics"]
    assert exporter["args"] == docker["command"]
    assert exporter["livenessProbe"]["exec"]["command"] == docker["healthcheck"]["test"][1:]
    same = ("image", "envFrom", "securityContext", "volumeMounts")
    assert {key: exporter[key] for key in same} == {key: own[key] for key in same}
    # Otherwise both containers would have a process 1, and so one file for its counters.
    assert WORKLOADS[workload]["template"]["spec"]["shareProcessNamespace"]
    [service] = [
        item["spec"] for item in RESOURCES if item["kind"] == "Service" and item["metadata"]["name"] == "metrics"
    ]
    assert service["selector"].items() <= WORKLOADS[workload]["template"]["metadata"]["labels"].items()
    [port] = exporter["ports"]
    assert (port["name"], port["containerPort"]) == (service["ports"][0]["targetPort"], 9101)


def test_one_web_pod_always_serves() -> None:
    web = WORKLOADS["web"]
    assert web["replicas"] >= 2
    assert web["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    [budget] = [item["spec"] for item in RESOURCES if item["kind"] == "PodDisruptionBudget"]
    assert budget["minAvailable"] == 1
    assert budget["selector"] == web["selector"]
    assert WORKLOADS["beat"]["strategy"]["type"] == "Recreate"

"""The manifests agree with their schemas and with the server's limits."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pneumonia.models.devices import HOST_LOST, training_host
from pneumonia.server.limits import Limits, read_limits
from pneumonia.server.shutdown import REFUSING
from tests.pipeline.imports import ROOT

MANIFEST = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/pneumonia.yaml").read_text()))
TRAINING = list(yaml.safe_load_all((ROOT / "deploy/training/kubernetes.yaml").read_text()))
KUBERNETES = ("1.25", kubernetes_validate.latest_version())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [one for one in MANIFEST if one["kind"] == kind]
    return found


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_manifest_holds_to_the_schemas_of_kubernetes(version: str) -> None:
    for one in MANIFEST:
        kubernetes_validate.validate(one, version, strict=True)


# The schemas before 1.29 want both kinds of condition in each rule of a failure policy.
@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_the_training_holds_to_the_schemas_of_kubernetes(version: str) -> None:
    for one in TRAINING:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_see_a_misspelt_key() -> None:
    wrong = copy.deepcopy(of_kind("Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


def test_every_object_of_the_manifest_selects_the_same_pods() -> None:
    deployment = of_kind("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind("Deployment")["metadata"]["name"]


def test_the_container_has_no_more_rights_than_it_needs() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE
    [port] = container["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE


def test_a_shutdown_waits_longer_than_a_request_may_take() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    limits = read_limits(environment)
    assert environment.keys() == {"PNEUMONIA_MAX_SECONDS", "PNEUMONIA_DRAIN_SECONDS"}
    assert pod["terminationGracePeriodSeconds"] > limits.drain_seconds + REFUSING + limits.seconds
    grace = int(COMPOSE["services"]["model"]["stop_grace_period"].rstrip("s"))
    assert grace > Limits().drain_seconds + REFUSING + Limits().seconds


def test_prometheus_asks_the_model_of_the_compose_file() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    [[target]] = [one["targets"] for one in job["static_configs"]]
    name, port = target.split(":")
    assert COMPOSE["services"][name]["ports"] == [f"127.0.0.1:8080:{port}"]


def test_each_pod_of_a_training_finds_its_index() -> None:
    job, service, policy = TRAINING
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = {one["name"]: one.get("value") for one in container["env"]}
    # Kubernetes puts a variable in only where it stands above.
    assert list(given).index("INDEX") < list(given).index("TF_CONFIG")
    places = [
        training_host({"TF_CONFIG": given["TF_CONFIG"].replace("$(INDEX)", str(index))})
        for index in range(job["spec"]["completions"])
    ]
    assert [one.index for one in places] == [*range(job["spec"]["parallelism"])]
    name, port = job["metadata"]["name"], container["ports"][0]["containerPort"]
    domain = service["metadata"]["name"]
    assert pod["subdomain"] == domain
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    for one in places:
        assert one.addresses == tuple(f"{name}-{n}.{domain}:{port}" for n in range(len(places)))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == labels


def test_a_lost_host_does_not_fail_the_others() -> None:
    job = TRAINING[0]["spec"]
    answers = {
        code: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": []})["values"]
    }
    assert answers == {HOST_LOST: "Ignore", 1: "FailJob", 255: "FailJob"}
    [container] = job["template"]["spec"]["containers"]
    stage = next(one["value"] for one in container["env"] if one["name"] == "STAGE")
    assert (ROOT / f"stages/{stage}.py").is_file()

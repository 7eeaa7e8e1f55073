"""compose.yaml, the manifests for Kubernetes and the image's own file: as their schemas have it,
and in agreement with each other and with the server.

That the image is built and runs is seen by scripts/check-image.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from compose_spec import PyCompose

from aionotify import Config, load_config
from aionotify._version import __version__
from tests.deploy.node import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
IMAGE_CONFIG = REPOSITORY / "scripts/container.yaml"
KUBERNETES = REPOSITORY / "scripts/kubernetes.yaml"
STOP_TIMEOUT = 10  # seconds after SIGTERM in which Docker kills, unless it is told otherwise


@pytest.fixture
def objects() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8")))


@pytest.fixture
def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [each["spec"]["template"] for each in objects if each["kind"] == "Deployment"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def pod_config(objects: list[dict[str, Any]], tmp_path: Path) -> Config:
    """What the pods are configured with, less their secrets."""
    [text] = [each["data"]["config.yaml"] for each in objects if each["kind"] == "ConfigMap"]
    (tmp_path / "config.yaml").write_text(text)
    return load_config(tmp_path / "config.yaml", environ={})


@pytest.fixture
def compose() -> dict[str, Any]:
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)  # which resolves `<<`, as Docker Compose does
    assert isinstance(found, dict)
    return found


def nodes(compose: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The services that are nodes."""
    for name, service in compose["services"].items():
        if name.startswith("node-"):
            yield service


def named(expression: str) -> str:
    """What the only group of `expression` is in the Dockerfile."""
    [found] = re.findall(expression, DOCKERFILE, flags=re.MULTILINE)
    return str(found)


def test_manifests_are_what_kubernetes_accepts(objects: list[dict[str, Any]]) -> None:
    assert {each["kind"] for each in objects} >= {"Deployment", "Service", "PodDisruptionBudget"}
    for each in objects:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_key_of_a_manifest_would_be_found(objects: list[dict[str, Any]]) -> None:
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


def test_services_and_budget_select_the_pods(
    objects: list[dict[str, Any]], pod: dict[str, Any]
) -> None:
    labels = pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    ports = {each["name"] for each in container["ports"]}
    for each in objects:
        selector = each.get("spec", {}).get("selector")
        if selector is not None:
            assert selector.get("matchLabels", selector).items() <= labels
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def test_volumes_of_the_pods_are_mounted_where_settings_look(
    objects: list[dict[str, Any]], pod: dict[str, Any]
) -> None:
    """Of the secret's keys the manifest says in its head how to make them."""
    [container] = pod["spec"]["containers"]
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert mounted.keys() == volumes.keys()

    [config_map] = [each for each in objects if each["kind"] == "ConfigMap"]
    assert volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"]
    [place] = [f"{mounted['config']}/{name}" for name in config_map["data"]]
    assert place == named(r"AIONOTIFY_CONFIG=(\S+)")

    text = KUBERNETES.read_text(encoding="utf-8")
    [secret] = re.findall(r"create secret generic (\S+)", text)
    assert volumes["secrets"]["secret"]["secretName"] == secret
    keys = {f"{mounted['secrets']}/{key}" for key in re.findall(r"--from-literal=([\w-]+)", text)}
    assert {each["value"] for each in container["env"]} == keys


def test_names_of_the_pods_variables_are_those_of_settings(
    pod: dict[str, Any], tmp_path: Path
) -> None:
    [container] = pod["spec"]["containers"]
    (tmp_path / "redis-url").write_text("redis://:password@redis.internal:6379/0\n")
    (tmp_path / "publish-keys").write_text("0123456789abcdef\n")
    places = {each["name"]: tmp_path / Path(each["value"]).name for each in container["env"]}
    config = load_config(environ={name: str(place) for name, place in places.items()})
    assert config.redis.url == "redis://:password@redis.internal:6379/0"
    assert len(config.admin.publish_keys) == 1


def test_pods_are_probed_and_drained_as_they_are_configured(
    pod: dict[str, Any], pod_config: Config
) -> None:
    """The cluster has found out that a pod is not ready before it ends its first stream."""
    [container] = pod["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"streams": pod_config.server.port, "admin": pod_config.admin.port}
    assert {pod_config.server.host, pod_config.admin.host} == {"0.0.0.0"}

    ready, alive = container["readinessProbe"], container["livenessProbe"]
    assert ready["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert alive["httpGet"] == container["startupProbe"]["httpGet"]
    assert alive["httpGet"] == {"path": "/healthz", "port": "admin"}

    assert ready["periodSeconds"] * ready["failureThreshold"] < pod_config.server.drain_delay
    assert pod_config.server.drain_delay < pod_config.server.drain
    assert pod_config.server.drain < pod["spec"]["terminationGracePeriodSeconds"]


def test_pods_run_this_version_as_the_images_user(pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    assert container["image"].endswith(f"/aionotify:{__version__}")
    security = pod["spec"]["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == named(r"^USER (\S+)$")
    assert security["runAsNonRoot"]


def test_image_is_configured_for_what_runs_it() -> None:
    """It is probed where it listens, and has stopped when Docker would kill it."""
    config = load_config(IMAGE_CONFIG, environ={})
    assert named(r"^EXPOSE (.+)$") == f"{config.server.port} {config.admin.port}"
    assert f"http://127.0.0.1:{config.admin.port}/healthz" in DOCKERFILE
    assert config.server.drain < STOP_TIMEOUT


def test_compose_file_is_what_its_specification_accepts(compose: dict[str, Any]) -> None:
    PyCompose.from_json(json.dumps(compose))
    compose["services"]["nginx"]["image_"] = "nginx"
    with pytest.raises(ValueError, match="image_"):
        PyCompose.from_json(json.dumps(compose))


def test_compose_services_are_built_or_have_an_image(compose: dict[str, Any]) -> None:
    """Not both: Compose builds all at the same time, and two builds of one name can collide."""
    for service in compose["services"].values():
        assert ("build" in service) != ("image" in service)


def test_compose_services_refer_to_what_is_there(compose: dict[str, Any]) -> None:
    """Services that are waited for, their checks, and files that are mounted."""
    services = compose["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            needs_check = condition["condition"] == "service_healthy"
            assert not needs_check or "healthcheck" in services[name]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (REPOSITORY / source).exists() if source.startswith(".") else False
            assert there or source in compose["volumes"], source

    text = (REPOSITORY / "scripts/compose-nginx.conf").read_text(encoding="utf-8")
    hosts = set(re.findall(r"(?:server |http://)([\w-]+):\d+", text))
    assert hosts == {"node-1", "node-2", "main-host"}
    assert hosts <= services.keys()


def test_compose_nodes_are_configured_for_it(compose: dict[str, Any]) -> None:
    for node in nodes(compose):
        config = load_config(IMAGE_CONFIG, environ=node["environment"])
        assert config.redis.url.startswith("redis://redis:")
        assert config.auth.main_host.url.startswith("http://main-host:")
        [network] = [each["subnet"] for each in compose["networks"]["default"]["ipam"]["config"]]
        assert [str(each) for each in config.server.trusted_proxies] == [network]
        assert f":{config.admin.port}/readyz" in str(node["healthcheck"]["test"])
        assert config.server.drain < int(node["stop_grace_period"].removesuffix("s"))

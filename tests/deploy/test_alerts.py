"""The alert rules and the metrics, as Prometheus' own tool sees them."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.node import REPOSITORY
from tests.deploy.proxies import service
from tests.harness import MainHost, NotifyServer, RedisServer
from tests.integration.talk import ask

RULES = REPOSITORY / "docs/alerts.yml"
NODE = 'aionotify_build_info{job="push", instance="%s", version="1"}'
UP = 'up{job="push", instance="%s"}'


def promtool(*words: str | Path, stdin: bytes = b"") -> str:
    """Run it, and return what it says; an objection fails the test."""
    command = [service("promtool"), *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_metrics_are_as_prometheus_wants_them(
    redis_server: RedisServer, main_host: MainHost, workers: int
) -> None:
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.workers": workers,
    }
    async with NotifyServer(settings) as server:
        text = (await ask(server, "/metrics")).body
    assert promtool("check", "metrics", stdin=text) == ""


def test_the_alert_for_a_node_that_is_down_is_about_that_node_only(tmp_path: Path) -> None:
    """Not about another target of the job that never was a node, nor for ever."""
    series = {
        UP % "down": "1x10 0x2000",
        NODE % "down": "1x10",
        UP % "fine": "1x2010",
        NODE % "fine": "1x2010",
        UP % "something-else": "0x2010",
    }
    alert = {
        "exp_labels": {"job": "push", "instance": "down", "severity": "page"},
        "exp_annotations": next(
            rule["annotations"] | {"summary": "down cannot be scraped"}
            for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
            if rule["alert"] == "AionotifyNodeDown"
        ),
    }
    expected = {"10m": [], "12m": [], "14m": [alert], "23h": [alert], "25h": []}
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "alert_rule_test": [
                    {"eval_time": at, "alertname": "AionotifyNodeDown", "exp_alerts": alerts}
                    for at, alerts in expected.items()
                ],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", file)

"""What somebody may rely on is in docs/: nothing comes without a word about it.

Settings and their page are compared in test_config.py.
"""

import argparse
import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client.metrics_core import Metric

from aionotify import Config, cli, create_app
from aionotify.config import SETTINGS
from aionotify.errors import RequestError
from aionotify.events.page import GapReason
from aionotify.streams.reasons import CloseReason, ResyncReason, StartKind
from aionotify.streams.stream import _EXPIRED
from aionotify.web.metrics import AllWorkers, snapshot
from aionotify.web.services import SERVICES
from tests import logged

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text() for path in DOCS.glob("*.rst")}
MODULES = [ast.parse(path.read_text()) for path in sorted((ROOT / "aionotify").rglob("*.py"))]
MESSAGES = logged.messages(MODULES)


def entry(page: str, term: str) -> str:
    """What definition lists say about a term, which may be one of several on its line."""
    lists = re.findall(r"(?m)^(``.*)\n((?:    .*\n|\n)+)", PAGES[page])
    found = [definition for terms, definition in lists if f"``{term}``" in terms]
    assert found, f"{term} is missing in docs/{page}.rst"
    return " ".join(" ".join(found).split())


@pytest.fixture
def app() -> web.Application:
    return create_app(Config())


# Routes, errors, events, commands


def test_every_route_is_documented(app: web.Application) -> None:
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("*", "OPTIONS", "HEAD")
    }
    assert len(routes) > 5
    assert {route for route in routes if f"``{route}" not in PAGES["protocol"]} == set()


def test_no_route_is_documented_that_does_not_exist(app: web.Application) -> None:
    told = re.findall(r"(?m)^``((?:GET|POST|DELETE|PUT|PATCH) /[^?`]*)", PAGES["protocol"])
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None
    }
    assert set(told) - routes == set()


def errors(base: type[RequestError] = RequestError) -> Iterator[type[RequestError]]:
    for subclass in base.__subclasses__():
        yield from errors(subclass)
        if not subclass.__subclasses__():
            yield subclass


@pytest.mark.parametrize("error", list(errors()))
def test_every_error_is_documented_with_its_status(error: type[RequestError]) -> None:
    assert re.search(rf"(?m)^{error.status}  ``{error.code}``", PAGES["protocol"])


def test_every_control_event_is_documented() -> None:
    events = {
        str(node.args[0].value)
        for module in MODULES
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "control"
        and isinstance(node.args[0], ast.Constant)
    }
    assert events >= {"open", "gap", "expired", "drain"}
    for event in events:
        assert entry("protocol", f"aionotify.{event}")


@pytest.mark.parametrize(
    ("event", "reasons"),
    [("gap", GapReason), ("expired", _EXPIRED)],
)
def test_every_reason_that_a_client_is_told_is_documented(
    event: str, reasons: Iterable[str]
) -> None:
    about = entry("protocol", f"aionotify.{event}")
    assert {reason for reason in reasons if f"``{reason}``" not in about} == set()


[COMMANDS] = [
    action.choices
    for action in cli._parser(None)._actions
    if isinstance(action, argparse._SubParsersAction)
]


def test_every_command_is_documented() -> None:
    told = " ".join(" ".join(PAGES.values()).split())
    assert {command for command in COMMANDS if f"``aionotify {command}" not in told} == set()


def test_no_command_is_documented_that_does_not_exist() -> None:
    told = " ".join(" ".join(PAGES.values()).split())
    found = set(re.findall(r"``(?:\S+/)?aionotify ([a-z]+)[ `]", told))
    assert len(found) > 5
    assert found - set(COMMANDS) == set()


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """As a term with its default, or in a sentence of whatever page."""
    terms = re.findall(r"(?m)^``([\w.]+)``, default", PAGES["configuration"])
    assert sorted(terms) == sorted(SETTINGS)
    sections = "|".join(section for section in {path.partition(".")[0] for path in SETTINGS})
    told = set(re.findall(rf"``((?:{sections})\.[a-z_.]*[a-z_])[:`]", "".join(PAGES.values())))
    assert told - set(SETTINGS) - {"auth.main_host", "auth.jwt"} == set()


def test_every_finding_of_check_is_documented() -> None:
    found = {
        str(node.args[0].value)
        for module in MODULES
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Finding"
        and isinstance(node.args[0], ast.Constant)
    }
    assert found >= {"service", "redis pub/sub", "main host"}
    for name in found:
        assert entry("operations", name)


# The log


def test_the_search_for_log_messages_finds_what_there_is() -> None:
    assert len(MESSAGES) > 30
    assert MESSAGES["stream closed"] == {"user", "request", "reason", "seconds", "events"}
    assert MESSAGES["subscribed to Redis"] == {"redis", "after"}
    assert MESSAGES["listening"] == {"address", "admin", "loop"}
    assert MESSAGES["skipped an invalid event"] == {"from", "reason"}
    assert MESSAGES["main host is failing"] == {"reason", "address", "failures"}
    assert MESSAGES["Redis stores no events"] == {"reason"}


@pytest.mark.parametrize("message", sorted(MESSAGES))
def test_every_log_message_is_documented_with_its_fields(message: str) -> None:
    about = entry("operations", message)
    assert {name for name in MESSAGES[message] if f"``{name}``" not in about} == set()


def test_no_log_message_is_documented_that_nothing_logs() -> None:
    _, _, messages = PAGES["operations"].partition("\nThe messages:\n")
    terms = re.findall(r"(?m)^(``.*``)$", re.split(r"(?m)^-{4,}$", messages)[0])
    told = {message for term in terms for message in re.findall(r"``(.+?)``", term)}
    assert len(told) > 40
    assert told - set(MESSAGES) == set()


# Metrics, dashboard, alerts


@pytest.fixture
def metrics(app: web.Application) -> dict[str, Metric]:
    """What one of several workers tells, by the name that Prometheus has for it."""
    families = AllWorkers({0: snapshot(app[SERVICES])}, 1).collect()
    return {_name(metric): metric for metric in families}


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def labels(metric: Metric) -> dict[str, set[str]]:
    """The values of each label but those that every metric has."""
    found: dict[str, set[str]] = {}
    for sample in metric.samples:
        for name, value in sample.labels.items():
            if name not in ("worker", "le"):
                found.setdefault(name, set()).add(value)
    return found


def test_every_metric_is_documented_with_its_labels(metrics: dict[str, Metric]) -> None:
    assert len(metrics) > 30
    for name, metric in metrics.items():
        about = entry("operations", name)
        for label, values in labels(metric).items():
            assert f"``{label}``" in about, f"label {label} of {name}"
            if name.startswith("aionotify") and label not in ("version", "code"):
                missing = {value for value in values if f"``{value}``" not in about}
                assert not missing, f"{missing} of label {label} of {name}"


def test_no_metric_is_documented_that_does_not_exist(metrics: dict[str, Metric]) -> None:
    """As a term with an explanation, or in a sentence of whatever page."""
    told = set(re.findall(r"``(aionotify_\w+)", "".join(PAGES.values()))) - {"aionotify_server"}
    assert told - set(metrics) == set()


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("aionotify_streams_opened_total", "start", StartKind),
        ("aionotify_streams_closed_total", "reason", CloseReason),
        ("aionotify_gaps_total", "reason", GapReason),
        ("aionotify_catch_ups_total", "reason", ["socket_full", *ResyncReason]),
    ],
)
def test_every_word_of_a_closed_set_is_there_from_the_start(
    metrics: dict[str, Metric], name: str, label: str, words: Iterable[str]
) -> None:
    assert labels(metrics[name])[label] == {str(word) for word in words}


DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
EXPRESSIONS = [*QUERIES, *(rule["expr"] for rule in ALERTS)]
ATTACHED = {"job", "instance"}  # by Prometheus, to all that it scrapes


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_exist(
    expression: str, metrics: dict[str, Metric]
) -> None:
    samples = {sample.name for metric in metrics.values() for sample in metric.samples}
    known: dict[str, dict[str, set[str]]] = {name: {} for name in samples}
    for metric in metrics.values():
        for sample in metric.samples:
            for label, value in sample.labels.items():
                known[sample.name].setdefault(label, set()).add(value)
    asked = re.findall(r"\b((?:aionotify|process|python)_\w+)(?:\{(.*?)\})?", expression)
    assert asked
    for name, selectors in asked:
        assert name in known
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"(.*?)"', selectors):
            assert label in known[name] or label in ATTACHED
            if "$" not in value:
                for each in value.split("|") if operator == "=~" else [value]:
                    assert each in known[name][label]
    # Labels that results are put together by are those of all metrics that are asked for.
    for grouping in re.findall(r"\b(?:by|on) \((.*?)\)", expression):
        for label in grouping.split(", "):
            assert label in ATTACHED or any(label in known[name] for name, _ in asked)


def test_the_dashboard_shows_every_metric(metrics: dict[str, Metric]) -> None:
    queries = " ".join(QUERIES)
    missing = {
        name for name, metric in metrics.items() if not re.search(rf"\b{metric.name}", queries)
    }
    assert missing == set()


def test_the_dashboard_can_be_imported_wherever_the_data_is() -> None:
    assert VARIABLES["datasource"]["type"] == "datasource"
    for thing in (*PANELS, *(target for panel in PANELS for target in panel["targets"])):
        assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$(\w+)", " ".join(QUERIES))) - {"__rate_interval"}
    assert used | {"datasource"} == set(VARIABLES)
    for panel in PANELS:
        legends = " ".join(target["legendFormat"] for target in panel["targets"])
        grouped = " ".join(target["expr"] for target in panel["targets"])
        assert set(re.findall(r"\{\{(\w+)\}\}", legends)) <= set(re.findall(r"\w+", grouped))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_why_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["reason"]) > 40
    title = re.search(rf"(?m)^``{rule['alert']}`` \((\w+)\)$", PAGES["operations"])
    assert title
    assert title[1] == rule["labels"]["severity"]
    assert entry("operations", rule["alert"])


def test_no_alert_is_explained_that_does_not_exist() -> None:
    explained = re.findall(r"(?m)^``(Aionotify\w+)``", PAGES["operations"])
    assert sorted(explained) == sorted(rule["alert"] for rule in ALERTS)

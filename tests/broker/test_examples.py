"""What docs/producers.rst says to write in Python does what it says there.

Django, Flask and Celery are not installed: what the examples take from them stands here in a line
each.
"""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.broker.test_sync_publisher import in_a_child
from tests.docs.snippets import snippet
from tests.harness import RedisServer

EXAMPLES = [
    snippet("docs/producers.rst", 'SyncPublisher("redis://127.0.0.1:6379/0")\npublisher.publish('),
    snippet("docs/producers.rst", "# notifications.py"),
    snippet("docs/producers.rst", "# orders/services.py"),
    snippet("docs/producers.rst", "from flask import Flask"),
    snippet("docs/producers.rst", "from celery import Celery"),
]


def as_given(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class Application:
    """What Flask and Celery are for their examples: decorators."""

    def __init__(self, *name: str, **options: str) -> None: ...

    def task(self, **options: Any) -> Callable[..., Any]:
        return as_given

    def post(self, rule: str) -> Callable[..., Any]:
        return as_given


def run(example: str, server: RedisServer) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(example.replace("redis://127.0.0.1:6379/0", server.url), names)
    return names


def module(name: str, **names: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


@pytest.fixture
def modules(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the examples import."""
    transaction = SimpleNamespace(on_commit=lambda function: function())
    for made in (
        module("django"),
        module("django.conf", settings=SimpleNamespace(AIONOTIFY_REDIS=redis_server.url)),
        module("django.db", transaction=transaction),
        module("flask", Flask=Application),
        module("celery", Celery=Application),
    ):
        monkeypatch.setitem(sys.modules, made.__name__, made)


def stored(server: RedisServer) -> int:
    return int(server.cli("LLEN", "aionotify:{42}:inbox"))


@pytest.mark.usefixtures("modules")
def test_each_example_without_asyncio_stores_its_event(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that was forked after the module was imported, too."""
    script, notifications, services, flask, celery = EXAMPLES
    run(script, redis_server)["publisher"].close()
    assert stored(redis_server) == 1

    publisher = run(notifications, redis_server)["publisher"]
    monkeypatch.setitem(sys.modules, "notifications", module("notifications", publisher=publisher))
    ship = run(services, redis_server)["ship"]
    order = SimpleNamespace(user_id=42, pk=7, save=lambda: None)
    ship(order)
    ship(order)
    in_a_child(lambda: ship(SimpleNamespace(user_id=42, pk=8, save=lambda: None)))
    publisher().close()
    assert stored(redis_server) == 3

    names = run(flask, redis_server)
    names["ship"](order=9)
    names["publisher"].close()
    assert stored(redis_server) == 4

    names = run(celery, redis_server)
    in_a_child(lambda: names["tell"]("42", 10))
    in_a_child(lambda: names["tell"]("42", 10))
    names["publisher"].close()
    assert stored(redis_server) == 5

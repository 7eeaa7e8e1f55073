"""A server for somebody's tests: what it starts with, hands out, and leaves behind."""

import subprocess
import sys
import threading

import pytest

from aionotify import ConfigError, StreamRefused
from aionotify.testing import Server


@pytest.fixture
def server() -> Server:
    return Server({"server": {"max_streams_per_user": 1}, "redis": {"prefix": "p"}})


def test_a_listener_gets_what_is_published_to_its_user(server: Server) -> None:
    """With any prefix; control events are left out."""
    with server, server.listen("42") as listener, server.listen("43") as other:
        server.publisher.publish({"recipient_id": ["42", "7"], "event": "x"})
        event = listener.get()
        assert (event.type, event.data) == ("x", '{"recipient_id":"42","event":"x"}')
        with pytest.raises(TimeoutError, match=r"no event within 0\.05 s"):
            other.get(0.05)
        server.publisher.publish({"recipient_id": "*", "data": 1})
        assert listener.get().data == other.get().data


def test_a_listener_resumes_where_it_is_told(server: Server) -> None:
    with server:
        with server.listen("42") as listener:
            server.publisher.publish_many([{"recipient_id": "42", "n": n} for n in range(3)])
            first = listener.get()
        with server.listen("42", last_event_id=first.id) as listener:
            assert [listener.get().data[-5:-1] for _ in range(2)] == ['n":1', 'n":2']


def test_a_server_starts_empty_and_leaves_nothing(server: Server) -> None:
    """No thread, whoever did not close what."""
    before = threading.active_count()
    for _ in range(2):
        with Server() as each, each.listen("42") as listener:
            each.publisher.publish({"recipient_id": "42", "id": "k"})
            assert listener.get().data
    with pytest.raises(StreamRefused), server, server.listen(""):
        pass
    assert threading.active_count() == before


def test_settings_that_cannot_be_are_refused() -> None:
    before = threading.active_count()
    with (
        pytest.raises(ConfigError, match=r"inbox\.max_events"),
        Server({"inbox": {"max_events": 0}}),
    ):
        pass
    assert threading.active_count() == before


def test_a_listener_whose_stream_does_not_open_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client would try again, this one does not wait for for ever."""
    with server, server.listen("42"):
        monkeypatch.setattr("aionotify.testing.server._TIMEOUT", 0.2)
        with pytest.raises(TimeoutError, match=r"no stream within 0\.2 s"), server.listen("42"):
            pass


def test_a_server_that_was_forgotten_does_not_hold_up_the_process() -> None:
    code = "from aionotify.testing import Server; server = Server().__enter__(); print(server.url)"
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("http://127.0.0.1:")

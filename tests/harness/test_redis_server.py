"""The Redis of the tests can be stopped, killed, frozen and started again."""

import pytest
import redis

from tests.harness import RedisServer


def test_a_restart_keeps_the_port_and_only_what_is_persistent(
    own_redis: RedisServer, durable_redis: RedisServer
) -> None:
    """Of two servers that are restarted, one remembers."""
    for server in (own_redis, durable_redis):
        url = server.url
        server.cli("SET", "key", "value")
        server.restart()
        assert server.url == url
    assert own_redis.cli("GET", "key") is None
    assert durable_redis.cli("GET", "key") == "value"


def test_a_killed_server_is_gone_and_comes_back(durable_redis: RedisServer) -> None:
    """What it acknowledged before SIGKILL is there after it."""
    durable_redis.cli("SET", "key", "value")
    durable_redis.kill()
    with pytest.raises(redis.ConnectionError):
        durable_redis.cli("PING")
    durable_redis.start()
    assert durable_redis.cli("GET", "key") == "value"


def test_a_frozen_server_accepts_and_does_not_answer(own_redis: RedisServer) -> None:
    """A connection is made, an answer comes only after it goes on; stop() works on it too."""
    own_redis.pause()
    with pytest.raises(redis.TimeoutError):
        own_redis.cli("PING", timeout=0.1)
    own_redis.resume()
    assert own_redis.cli("PING")
    own_redis.pause()
    own_redis.stop()


def test_a_server_that_cannot_start_says_why(own_redis: RedisServer) -> None:
    """The error carries the server's log."""
    server = RedisServer(own_redis.directory, options={"port": str(own_redis.port)})
    with pytest.raises(RuntimeError, match="Address already in use"):
        server.start()

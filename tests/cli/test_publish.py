"""``aionotify publish``: what it stores, what it says of each event, and how it ends."""

import json
import os
import re
from typing import Any

import pytest

from tests.cli.helpers import Run
from tests.harness import RedisServer, free_port


def published(redis: RedisServer, recipient: str) -> list[Any]:
    entries = redis.cli("LRANGE", f"aionotify:{{{recipient}}}:inbox", 0, -1)
    return [json.loads(entry.split(" ", 2)[2]) for entry in entries]


def test_an_event_is_published_durably(aionotify: Run, redis_server: RedisServer) -> None:
    result = aionotify(
        *("publish", "42", '{"order": 7}', "--event", "order.shipped", "--id", "order-7"),
        *("--redis.url", redis_server.url),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "event_id": json.loads(result.stdout)["event_id"],
        "online": False,
        "repeated": False,
    }
    assert published(redis_server, "42") == [
        {
            "recipient_id": "42",
            "event": "order.shipped",
            "id": "order-7",
            "data": {"order": 7},
        }
    ]


def test_the_same_id_is_not_published_again(aionotify: Run, redis_server: RedisServer) -> None:
    argv = ("publish", "42", "--id", "once", "--redis.url", redis_server.url)
    first, second = (json.loads(aionotify(*argv).stdout) for _ in range(2))
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["event_id"] == second["event_id"]


@pytest.mark.parametrize(
    "stdin",
    [
        '{"recipient_id": 1, "n": 1}\n\n{"recipient_id": 1, "n": 2}\n',
        '[{"recipient_id": 1, "n": 1},\n {"recipient_id": 1, "n": 2}]',
    ],
)
def test_events_are_read_from_standard_input(
    aionotify: Run, redis_server: RedisServer, stdin: str
) -> None:
    result = aionotify("publish", "--redis.url", redis_server.url, stdin=stdin)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert [event["n"] for event in published(redis_server, "1")] == [1, 2]


def test_a_bad_event_is_told_by_its_number_and_the_others_are_published(
    aionotify: Run, redis_server: RedisServer
) -> None:
    stdin = '{"recipient_id": 1}\n{"recipient": "hunter2"}\nnonsense\n{"recipient_id": 1}\n'
    result = aionotify("publish", "--redis.url", redis_server.url, stdin=stdin)
    assert result.returncode == 1
    assert len(published(redis_server, "1")) == len(result.stdout.splitlines()) == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["event 2", "event 3"]
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize("stdin", ["\n", "[]"])
def test_no_event_at_all_is_an_error(aionotify: Run, stdin: str) -> None:
    result = aionotify("publish", stdin=stdin)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch("aionotify: .*body: (is empty|holds no event)\n", result.stderr)


def test_an_ephemeral_event_is_told_to_whoever_listens_and_not_kept(
    aionotify: Run, redis_server: RedisServer
) -> None:
    result = aionotify("publish", "42", "--ephemeral", "--redis.url", redis_server.url)
    assert (result.returncode, json.loads(result.stdout)) == (0, {"online": False})
    assert redis_server.cli("KEYS", "*42*") == []


def test_an_ephemeral_event_with_an_id_is_refused(
    aionotify: Run, redis_server: RedisServer
) -> None:
    """Nothing keeps it from being delivered twice, whatever its id."""
    argv = ("publish", "42", "--ephemeral", "--id", "once", "--redis.url", redis_server.url)
    result = aionotify(*argv)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "aionotify publish: error: --id is for durable events only: leave out --id or --ephemeral"
    )
    stdin = '{"recipient_id": 42, "id": "once"}\n{"recipient_id": 42}'
    result = aionotify("publish", "--ephemeral", "--redis.url", redis_server.url, stdin=stdin)
    assert (result.returncode, result.stdout) == (1, '{"online":false}\n')
    assert result.stderr == "aionotify: event 1: id: is for durable events only\n"


def test_publishing_without_redis_is_told_in_a_line_and_exits_1(aionotify: Run) -> None:
    port = free_port()
    result = aionotify("publish", "42", "--redis.url", f"redis://:hunter2@127.0.0.1:{port}")
    assert result.returncode == 1
    assert result.stderr.startswith("aionotify: Redis is not available: ")
    assert result.stderr.endswith(f"(redis.url: redis://127.0.0.1:{port}/0)\n")
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def test_the_embedded_server_of_another_process_cannot_be_published_to(aionotify: Run) -> None:
    result = aionotify("publish", "42", "--redis.url", "embedded://")
    assert result.returncode == 2
    assert "expected another address: embedded:// belongs to" in result.stderr


def test_a_reader_of_the_output_that_leaves_is_no_reason_for_a_traceback(
    aionotify: Run, redis_server: RedisServer
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = aionotify("publish", "42", "--redis.url", redis_server.url, stdout=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


def test_an_event_that_too_few_replicas_have_is_told(
    aionotify: Run, redis_server: RedisServer
) -> None:
    given = ("--redis.url", redis_server.url, "--redis.wait_replicas", "2")
    result = aionotify("publish", "42", *given)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "aionotify: only 0 of 2 replicas had it within 0.5 s (redis.url"
    )

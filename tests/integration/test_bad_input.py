"""Whatever is published: the bad is counted and told of, and the good that follows arrives."""

import json
import re
from contextlib import AsyncExitStack

import pytest
from redis import Redis

from aionotify import Publisher
from aionotify.events.event import sole_recipient
from tests.events.test_event import REFUSED
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import CHANNEL, ask, messages, metric, publish, received, stream

DEEP = 50_000
HOSTILE: list[bytes] = [
    b"",
    b"\0" * 100,
    b"\xff" * 1000,
    b"[" * DEEP,
    b'{"a":' * 10_000,
    b'{"recipient_id": "42", "data": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"recipient_id": "42", "data": ' + b'{"recipient_id":' * 900 + b"1" + b"}" * 900 + b"}",
    b'{"recipient_id": ' + b"9" * 60_000 + b"}",
    b'{"recipient_id": "42", "event": ' + b"9" * 60_000 + b"}",
    b'{"recipient_id": "42", "recipient_id": "7"}',
    b'{"recipient_id": "42", "recipient\\u005fid": ["7", "42"]}',
    b'{"\\u0072\\u0065cipient_id": ["7"], "recipient_id": "42"}',
    b'{"recipient_id": "42", "event": "x\\r\\ndata: injected\\r\\n\\r\\nevent: y"}',
    b'{"recipient_id": "42", "event": "x\\u2028data: injected"}',
    b'{"recipient_id": "42", "data": "\xed\xa0\x80"}',
    b'{"recipient_id": "42", "data": "\\ud800"}',
    b'{"recipient_id": "42", "data": "' + b"x" * 70_000 + b'"}',
    b'{"recipient_id": ["42"' + b', "7"' * 1000 + b"]}",
]


def publish_all(redis: RedisServer, published: list[bytes], channel: str = CHANNEL) -> None:
    with Redis(port=redis.port) as client, client.pipeline(transaction=False) as pipeline:
        for message in published:
            pipeline.publish(channel, message)
        pipeline.execute()


async def test_every_way_to_break_the_contract_is_skipped_counted_and_explained(
    serve: Serve, redis_server: RedisServer
) -> None:
    """By nodes that have a stream of the user, if a message names one."""
    server = await serve({"log.format": "json"})
    bad = [m.encode() if isinstance(m, str) else m for m, _, _ in REFUSED] + HOSTILE
    named = {sole_recipient(message) for message in bad} - {None}
    async with AsyncExitStack() as streams, stream(server, "42") as client:
        for user in named:
            await streams.enter_async_context(stream(server, str(user)))
        other = await streams.enter_async_context(stream(server, "7"))
        publish_all(redis_server, bad)
        good = {"recipient_id": "*", "data": "still here"}
        publish(redis_server, good)
        assert await received(client, 1) == [good]
        assert await received(other, 1) == [good]
        assert len(messages(client)) == len(messages(other)) == 1
        assert await metric(server, "aionotify_events_dropped_total", reason="invalid") == len(bad)
        assert client.end is None
    await eventually(lambda: any("skipped an invalid event" in line for line in server.logs))
    warnings = [json.loads(line) for line in server.logs if "skipped an invalid event" in line]
    assert warnings[0]["level"] == "warning"
    assert warnings[0]["fields"]["reason"] == "body: is empty"


async def test_thousands_of_malformed_messages_in_a_row_end_nothing(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
    secret = "a-text-that-nobody-may-log"
    bad = [
        json.dumps({"recipient_id": None, "data": f"{secret} {n}"}).encode() for n in range(5000)
    ]
    async with stream(server, "42") as client:
        publish_all(redis_server, bad)
        good = {"recipient_id": "42", "n": 1}
        publish(redis_server, good)
        assert await received(client, 1) == [good]
    await eventually(lambda: any("skipped an invalid event" in line for line in server.logs))
    lines = [line for line in server.logs if "skipped an invalid event" in line]
    assert 1 <= len(lines) <= 5  # who publishes must not be able to fill the disk
    assert not any(secret in line for line in server.logs)
    assert await metric(server, "aionotify_events_dropped_total", reason="invalid") == 5000
    assert await metric(server, "aionotify_redis_losses_total") == 0


async def test_hostile_messages_on_the_other_channels_end_nothing_either(
    serve: Serve, redis_server: RedisServer
) -> None:
    """The inbox's and the control channel: whoever reaches Redis may publish there."""
    server = await serve()
    event = b'{"recipient_id": "42"}'
    garbage = [
        *HOSTILE,
        b"1",
        b"1 2",
        b"a b " + event,
        b"4 2 {}",
        b"-4 -6 " + event,
        b"0x10 2 " + event,
        b"1_0 2 " + event,
        b"\xd9\xa4 2 " + event,
        b"4.5 2 " + event,
        b"9" * 5000 + b" 2 " + event,
        b"99999999999999999999 2 " + event,
        b'4 2 {"recipient_id": "7"}',
        b'4 2 {"recipient_id": ["42", "7"]}',
        b'4 2 {"recipient_id": ["*"]}',
        b'4 4 {"recipient_id": "42"}',
        b'2 4 {"recipient_id": "*"}',
    ]
    control = [*HOSTILE, b'{"revoke": 42}', b'{"revoke": ["42"]}', b'{"probe": {}}', b'"revoke"']
    control += [b'{"revoke": "*"}', b'{"revoke": ""}', b'{"probe": "somebody"}', b"{}"]
    async with stream(server, "42") as client:
        publish_all(redis_server, garbage, "aionotify:{42}")
        publish_all(redis_server, garbage, "aionotify:{*}")
        publish_all(redis_server, control, "aionotify:control")
        good = {"recipient_id": "42", "n": 1}
        publish(redis_server, good)
        assert await received(client, 1) == [good]
        assert len(messages(client)) == 1
        assert await metric(server, "aionotify_redis_losses_total") == 0
        # The cursor that the client holds is one that it can come back with.
        assert re.fullmatch(
            r"2\.[a-z2-7]{6}\.[0-9a-f]{14}\.[0-9a-f]{14}\.[a-z2-7]{4}", client.last_event_id
        )


def gaps(client: SSEClient) -> list[str]:
    return [each.data for each in client.events if each.event == "aionotify.gap"]


@pytest.mark.parametrize("user", ["42", "*"])
@pytest.mark.parametrize("ahead", [20, 10**9])  # seconds; the latter is in the year 2058
async def test_a_message_from_the_future_silences_nobody(
    serve: Serve, redis_server: RedisServer, user: str, ahead: int
) -> None:
    """What is published after it comes, or is told as lost, live and to whoever comes back."""
    server = await serve()
    async with Publisher(redis_server.url) as publisher:
        async with stream(server, "42") as client:
            kept = {"recipient_id": user, "n": 0}
            await publisher.publish(kept)
            await received(client, 1)
            seconds, micros = redis_server.cli("TIME")
            position = (int(seconds) + ahead) * 10**6 + int(micros) & ~1
            previous = int(redis_server.cli("LINDEX", f"aionotify:{{{user}}}:inbox", -1).split()[0])
            forged = b'%d %d {"recipient_id": "%b", "n": 1}' % (position, previous, user.encode())
            publish_all(redis_server, [forged], f"aionotify:{{{user}}}")
            await received(client, 2)
            cursor = client.last_event_id
            await publisher.publish({"recipient_id": user, "n": 2})
            # It was given a position that is later than all there is, as if Redis had lost that.
            await client.wait_for(lambda _: gaps(client))
            assert gaps(client) == ['{"reason":"lost"}']
            async with stream(server, "42") as fresh:
                await publisher.publish({"recipient_id": user, "n": 3})
                assert [event["n"] for event in await received(fresh, 1)] == [3]
            assert [event["n"] for event in await received(client, 3)] == [0, 1, 3]
        headers = {"Last-Event-ID": cursor}
        async with stream(server, "42", headers=headers) as late:
            await late.wait_for(lambda _: gaps(late))
            await publisher.publish({"recipient_id": user, "n": 4})
            assert [event["n"] for event in await received(late, 1)] == [4]
            assert gaps(late) == ['{"reason":"lost"}']


async def test_an_event_cannot_add_fields_or_frames_to_the_stream(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
    event = {
        "recipient_id": "42",
        "event": "event: x data: y id: z : \\n \x7f \ufeff",
        "data": "a\nid: 1\n\ndata: b\r\n\r\n\u2028\u2029\x85\0\ufeff",
        "id": "id: \n\r\0",
    }
    async with stream(server, "42") as client:
        publish(redis_server, event)
        publish(redis_server, {"recipient_id": "42", "last": True})
        assert await received(client, 2) == [event, {"recipient_id": "42", "last": True}]
        first = messages(client)[0]
        assert first.event == event["event"]
        assert first.id == client.events[0].id
        lines = bytes(client.raw).split(b"\n")
        assert sum(line.startswith(b"data:") for line in lines) == len(client.events)


async def test_a_body_that_is_too_large_or_no_body_at_all_gets_a_clear_error(serve: Serve) -> None:
    key = "a-publisher-key-of-ours"
    server = await serve({"admin.publish_keys": [key], "events.max_bytes": 1000})
    event = b'{"recipient_id": "42", "data": "%b"}'
    for body, status, code in (
        (b"", 400, "invalid_event"),
        (b"\xff\xfe", 400, "invalid_event"),
        (b"[" * 10_000, 400, "invalid_event"),
        (event % (b"x" * 1000), 400, "invalid_event"),
        (event % (b"x" * 20_000), 413, "too_large"),
    ):
        answer = await ask(server, "/publish", "POST", token=key, data=body)
        assert (answer.status, answer.code) == (status, code)
        if status == 400:
            assert answer.json["error"]["fields"]
    await eventually(lambda: _accepts(server.url, key))


async def _accepts(url: str, key: str) -> bool:
    body = b'{"recipient_id": "42"}'
    return (await ask(url, "/publish", "POST", token=key, data=body)).status == 202


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_body_in_another_coding_is_refused(serve: Serve, encoding: str) -> None:
    """Unpacking can cost a thousand times what sending does."""
    key = "a-publisher-key-of-ours"
    server = await serve({"admin.publish_keys": [key]})
    headers = {"Content-Encoding": encoding}
    answer = await ask(
        server, "/publish", "POST", token=key, headers=headers, data=b"\x1f\x8b" + b"\0" * 100
    )
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert answer.headers["Accept-Encoding"] == "identity"
    assert encoding in answer.json["error"]["message"]
    event = b'{"recipient_id": "42"}'
    for coding in ("identity", ""):  # which are none
        headers = {"Content-Encoding": coding}
        answer = await ask(server, "/publish", "POST", token=key, headers=headers, data=event)
        assert answer.status == 202

"""Where catch-up and live meet: orders of events that chance brings about once in a million."""

import asyncio
import contextlib
import json
import time

from aionotify.events import cursor
from aionotify.events.event import decode
from aionotify.events.page import Entry
from tests.chaos.conftest import Start
from tests.chaos.inside import InsideNode, data_of
from tests.harness import SSEClient, eventually


async def expect(client: SSEClient, *seen: object) -> None:
    """The client gets exactly this, and has nothing more by then."""
    with contextlib.suppress(AssertionError):
        await eventually(lambda: len(data_of(client)) >= len(seen), timeout=5)
    assert data_of(client) == list(seen)


async def publish(node: InsideNode, data: object, user: str = "u") -> None:
    await node.publisher.publish({"recipient_id": user, "data": data})


async def test_an_answer_that_overtakes_a_message_does_not_swallow_it(start: Start) -> None:
    """A new stream asks where its inbox ends. The answer names an event whose message is still
    on its way to a stream that is live; that one must get it nevertheless.
    """
    node = await start()
    first = node.keep(1)
    await node.open("somebody else")
    ask = node.hold_question("u")
    connecting = asyncio.create_task(node.open(live=False))
    await eventually(lambda: "u" in node.services.hub)
    resumed = await node.open(last_event_id=node.cursor(first))
    deliver = node.hold_messages()
    await publish(node, 2)
    ask()
    fresh = await connecting
    deliver()
    await publish(node, 3)
    await expect(resumed, 2, 3)
    await eventually(lambda: data_of(fresh)[-1:] == [3])


async def test_an_event_that_was_read_before_it_is_heard_comes_once(start: Start) -> None:
    """A stream finds an event in the inbox while its message is still on its way: neither this
    stream nor one that was live all the while gets it twice.
    """
    node = await start()
    positions = [node.keep(number) for number in (1, 2)]
    live = await node.open()
    deliver = node.hold_messages()
    await publish(node, 3)
    resumed = await node.open(last_event_id=node.cursor(positions[0]))
    await expect(resumed, 2, 3)
    await expect(live, 3)
    deliver()
    await publish(node, 4)
    await expect(resumed, 2, 3, 4)
    await expect(live, 3, 4)


async def test_a_client_that_is_ahead_of_its_node_takes_nothing_from_the_others(
    start: Start,
) -> None:
    """Pub/sub has lost more than fits on one page, and a second stream of the same user comes
    from another node with the last of it: the first one gets it all.
    """
    node = await start()
    behind = await node.open()
    events = [f"{number} {'x' * 40000}" for number in range(4)]
    positions = [node.keep(event) for event in events]
    ahead = await node.open(last_event_id=node.cursor(positions[-1]))
    await publish(node, "live")
    await expect(ahead, "live")
    await expect(behind, *events, "live")


async def test_a_lost_message_is_noticed_with_the_next_one(start: Start) -> None:
    """The next event names its predecessor, which nobody has seen."""
    node = await start()
    one, other = await node.open(), await node.open()
    await publish(node, 1)
    node.keep(2)
    await publish(node, 3)
    await expect(one, 1, 2, 3)
    await expect(other, 1, 2, 3)
    assert node.services.stats.missed == 1


async def test_a_lost_broadcast_is_noticed_with_the_next_one(start: Start) -> None:
    """By everybody; events of their own stay where they were."""
    node = await start()
    clients = [await node.open(user) for user in ("u", "v")]
    await publish(node, "all 1", "*")
    await publish(node, "own", "u")
    node.keep("all 2", "*")
    await publish(node, "all 3", "*")
    await expect(clients[0], "all 1", "own", "all 2", "all 3")
    await expect(clients[1], "all 1", "all 2", "all 3")


async def test_an_event_that_redis_has_lost_is_told_and_asked_for_no_more(start: Start) -> None:
    """The node has heard an event that is not in the inbox any more. A stream that reads the
    inbox would else look for it for ever.
    """
    node = await start()
    position = node.keep(1)
    live = await node.open()
    await publish(node, 2)
    await expect(live, 2)
    node.redis.cli("RPOP", "aionotify:{u}:inbox")
    resumed = await node.open(last_event_id=node.cursor(position))
    await publish(node, 3)
    await expect(resumed, "gap: lost", 3)
    await expect(live, 2, "gap: lost", 3)


async def test_silence_for_longer_than_the_retention_is_no_gap(start: Start) -> None:
    """A live stream has missed nothing, however long there was nothing to miss."""
    node = await start(retention=1)
    client = await node.open()
    for number in range(3):
        await retention_passes(node)
        await publish(node, number)
    await expect(client, 0, 1, 2)
    assert not node.services.stats.missed


async def test_a_new_client_of_an_old_node_may_move(start: Start) -> None:
    """What it is given as its position is not as old as the node's last event, or each deploy
    would tell all clients of a gap.
    """
    old = await start(retention=4)
    await old.open("somebody")
    await publish(old, 0, "*")
    await retention_passes(old)
    client = await old.open()
    new = await start(retention=4)
    moved = await new.open(last_event_id=client.last_event_id)
    await publish(new, 1)
    await expect(moved, 1)


async def test_a_client_that_is_there_all_the_time_has_a_cursor_that_is_not_too_old(
    start: Start,
) -> None:
    """Though nothing comes for longer than events are kept: it is given another one in between."""
    node = await start(retention=4)
    client = await node.open()
    await publish(node, 1)
    await retention_passes(node)
    await retention_passes(node)
    await eventually(lambda: client.events[-1].event == "aionotify.position")
    again = await node.open(last_event_id=await node.leave(client))
    await publish(node, 2)
    await expect(again, 2)
    positions = [each for each in client.events if each.event == "aionotify.position"]
    assert len(positions) <= 12, "once in a quarter of the time will do"


async def test_an_event_for_everyone_carries_a_cursor_that_is_not_too_old(start: Start) -> None:
    """In its user's own inbox there was nothing for longer than events are kept."""
    node = await start(retention=4)
    client = await node.open()
    await publish(node, 1)
    await retention_passes(node)
    await publish(node, 2, "*")
    await expect(client, 1, 2)
    again = await node.open(last_event_id=await node.leave(client))
    await publish(node, 3)
    await expect(again, 3)


async def test_a_redis_that_was_wiped_is_told_to_all_and_repeats_nothing(start: Start) -> None:
    """To those who had seen nothing as well, each once; and what is published before the node
    finds out comes once.
    """
    node = await start()
    one, other = await node.open(), await node.open("v")
    await publish(node, 1)
    await expect(one, 1)
    node.redis.cli("FLUSHALL")
    await publish(node, 2)
    await eventually(lambda: "gap: lost" in data_of(one) and "gap: lost" in data_of(other))
    await publish(node, 3)
    await publish(node, 3, "v")
    await expect(one, 1, 2, "gap: lost", 3)
    await expect(other, "gap: lost", 3)


async def test_a_cursor_of_another_data_set_gets_all_there_is_and_one_gap(start: Start) -> None:
    """Whether it had seen events or nothing; never as unknown."""
    node = await start()
    clients = [await node.open(), await node.open("v")]
    await publish(node, 1)
    await expect(clients[0], 1)
    cursors = [await node.leave(client) for client in clients]
    node.redis.cli("FLUSHALL")
    for number in (2, 3):
        for user in "uv":
            node.keep(number, user)
    await eventually(lambda: node.services.hub.epoch != cursor.epoch_of(cursors[0]))
    for user, last in zip("uv", cursors, strict=True):
        again = await node.open(user, last_event_id=last)
        await publish(node, 4, user)
        await expect(again, "gap: lost", 2, 3, 4)


async def test_what_was_acknowledged_and_is_gone_before_it_was_heard_is_told(
    start: Start,
) -> None:
    """As by a failover that lost what was not copied yet: to whom it was for, and nobody else."""
    node = await start()
    client, other = await node.open(), await node.open("v")
    await publish(node, 1)
    await expect(client, 1)
    node.hold_messages()  # and never deliver them
    await publish(node, 2)
    node.redis.cli("RPOP", "aionotify:{u}:inbox")
    node.redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(lambda: "gap: lost" in data_of(client))
    await node.all_live()
    await expect(client, 1, "gap: lost")
    await expect(other)


async def test_a_response_has_nothing_behind_its_end(start: Start) -> None:
    """An event heard in the same moment as the order to end comes before the end, or never:
    after it, it would be taken for the beginning of the connection's next response.
    """
    node = await start()
    port = int(node.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer u\r\n\r\n")
    await reader.readuntil(b"aionotify.open")
    await eventually(lambda: node.services.hub.streams() and node.services.hub.streams()[0].live)
    hub = node.services.hub
    hub.revoked("u")
    hub.durable("u", Entry(time.time_ns() // 2000 * 2, 0, decode(b'{"recipient_id": "u"}')))
    await reader.readuntil(b"0\r\n\r\n")
    assert await reader.read() == b""
    writer.close()


async def test_an_event_that_grows_by_its_escapes_arrives(start: Start) -> None:
    """U+2028 goes out as six characters for its three bytes: what was small enough when it was
    published is small enough when it is read.
    """
    node = await start()
    text = "\u2028" * 10_000
    message = json.dumps({"recipient_id": "u", "data": text}, ensure_ascii=False).encode()
    client = await node.open()
    for _ in range(2):
        await node.publisher.publish(message)
    await expect(client, text, text)
    again = await node.open(last_event_id=client.events[1].id)
    await expect(again, text)


async def retention_passes(node: InsideNode) -> None:
    until = time.time() + node.services.terms.config.inbox.retention

    def passed() -> bool:
        seconds, micros = map(int, node.redis.cli("TIME"))
        return seconds + micros / 1e6 > until + 0.01

    await eventually(passed)

"""Producers of the benchmark publish every event, and say when one was refused."""

import pytest
import redis

from scripts.bench.comparison import _LINES_HEAD, _post
from scripts.bench.contenders import contender
from scripts.bench.pace import message
from scripts.bench.post import PostFailed, post_each, post_lines

EVENTS = [message(f"user-{number % 10}", number) for number in range(200)]


async def test_events_are_published_in_requests_and_in_lines() -> None:
    """Each event that was answered is in an inbox, once."""
    async with contender("aionotify") as server:
        posts = list(map(_post, EVENTS))
        await post_each(server.port, posts, 4, None)
        await post_each(server.port, posts, 4, 10_000)
        await post_lines(server.port, _LINES_HEAD, EVENTS)
        assert kept(server.redis_port) == 3 * len(EVENTS)


async def test_an_event_that_is_refused_ends_the_round() -> None:
    """Refusing is cheap, and no figure is to be had with it."""
    async with contender("aionotify") as server:
        refused = [*map(_post, EVENTS[:10]), _post(b'{"recipient_id": "bob", "event": 1}')]
        with pytest.raises(PostFailed, match="400"):
            await post_each(server.port, refused, 2, None)
        with pytest.raises(ExceptionGroup) as raised:
            await post_lines(server.port, _LINES_HEAD, [*EVENTS[:10], b"no event"])
        assert raised.group_contains(PostFailed, match="400")


def kept(port: int) -> int:
    """Events in all inboxes."""
    with redis.Redis(port=port) as client:
        inboxes = list(client.scan_iter("*:inbox"))
        return sum(client.llen(key) for key in inboxes)

"""What a node tells an operator of itself, and of one user's streams at it.

Each node answers questions of others with its own report; nobody adds anything up.
"""

import heapq
import os
import socket
from typing import Final

import msgspec

from aionotify._version import __version__
from aionotify.streams.reasons import CloseReason
from aionotify.streams.recipient import StreamReport
from aionotify.web.health import problems
from aionotify.web.services import Services

_SLOW_SHOWN: Final = 20  # streams; an operator looks at the worst
_STREAMS_SHOWN: Final = 1000  # of one user, at one node


class NodeReport(msgspec.Struct):
    """A node. What is counted is counted since it started.

    Attributes:
        node: its host and process.
        worker: its number among several workers, or None.
        started_at: in unix seconds.
        problems: by check of ``/readyz``; those that pass are not in it.
        redis_probe_seconds: what the last probe took through Redis' pub/sub and back.
        refused: requests, by the code in the answer.
        origins_refused: requests of pages whose origin is not allowed.
        fell_behind: times that a stream went back to its inbox because its client was slow.
        dropped: ephemeral events not written because a client was slow.
        stalled: streams ended because their clients took nothing.
        slow_streams: those with most bytes that wait for their clients.
    """

    node: str
    worker: int | None
    version: str
    started_at: float
    streams: int
    users: int
    buffered_bytes: int
    received: int
    delivered: int
    problems: dict[str, str]
    redis_probe_seconds: float
    refused: dict[str, int]
    origins_refused: int
    fell_behind: int
    dropped: int
    stalled: int
    slow_streams: list[StreamReport]


class UserReport(msgspec.Struct):
    """One user's streams at a node."""

    node: str
    streams: list[StreamReport]


def answer(services: Services, user_id: str | None, prefix: str) -> bytes:
    """Return this node's answer to a `Question`: the report of the node, or of a user's streams."""
    if user_id is None:
        return msgspec.json.encode(_of_node(services, prefix))
    streams = services.hub.streams_of(user_id)[:_STREAMS_SHOWN]
    return msgspec.json.encode(UserReport(name(), [stream.report() for stream in streams]))


def name() -> str:
    """Return the name of this node: its host and process."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _of_node(services: Services, prefix: str) -> NodeReport:
    hub, stats, place = services.hub, services.stats, services.worker_peers.place
    waiting = [(stream.buffered(), stream) for stream in hub.streams()]
    slow = [each for each in waiting if each[0] and each[1].recipient.id.startswith(prefix)]
    return NodeReport(
        node=name(),
        worker=place.index if place else None,
        version=__version__,
        started_at=services.started_at,
        streams=len(hub),
        users=hub.users,
        buffered_bytes=sum(size for size, _ in waiting),
        received=stats.events_ephemeral + stats.events_durable,
        delivered=stats.delivered_live + stats.delivered_catch_up,
        problems={check: text for check, text in problems(services).items() if text},
        redis_probe_seconds=services.subscriber.lag,
        refused=dict(stats.refused),
        origins_refused=stats.origins_refused,
        fell_behind=stats.fell_behind,
        dropped=stats.dropped_full,
        stalled=stats.closed[CloseReason.STALLED],
        slow_streams=[
            stream.report()
            for _, stream in heapq.nlargest(_SLOW_SHOWN, slow, key=lambda each: each[0])
        ],
    )

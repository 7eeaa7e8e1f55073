"""Whether enough replicas have what Redis has stored.

A master acknowledges what it has stored itself. If it ends then, a replica takes over without the
last of it. Who waits for replicas loses an event only if all of those end as well.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from aionotify.broker.connection.pipeline import Command, Execute
from aionotify.broker.connection.redis_connections import quoted
from aionotify.errors import BrokerUnavailable

TIMEOUT: Final = 0.5  # seconds; less than it takes for a reply to be late, see `Pipeline`


def on_replicas(execute: Execute, count: int) -> Execute:
    """Have commands carried out, and the replies be errors if not `count` replicas have them.

    One WAIT for all commands: it costs a round trip to the replicas, however many there are. It
    waits for the last write on its own connection, so each of the commands has to be one.

    The error is BrokerUnavailable: a replica that is slow has them later.
    """
    return partial(_execute, execute, count)


async def _execute(execute: Execute, count: int, commands: Sequence[Command]) -> list[Any]:
    *replies, reached = await execute([*commands, wait(count)])
    problem = shortage(reached, count)
    if problem is None:
        return replies
    return [reply if isinstance(reply, Exception) else _unknown(problem) for reply in replies]


def wait(count: int) -> Command:
    """Return the command to wait for `count` replicas."""
    return ("WAIT", count, int(TIMEOUT * 1000))


def shortage(reached: Any, count: int) -> str | None:
    """Say by the reply to `wait` what is amiss, or None if enough replicas were reached."""
    if isinstance(reached, Exception):
        return f"Redis does not wait for replicas: {quoted(reached)}"
    if reached >= count:
        return None
    return f"only {reached} of {count} replicas had it within {TIMEOUT:g} s"


def _unknown(problem: str) -> BrokerUnavailable:
    error = BrokerUnavailable(problem)
    error.__cause__ = TimeoutError(problem)  # who waits behind it would wait as long again
    return error

"""Every server of the comparison does what it is compared in."""

import itertools

import pytest

from scripts.bench.contenders import COMMANDS, contender
from tests.harness import eventually

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_contender_delivers_to_one_and_to_everyone(name: str) -> None:
    """A user's event reaches that user's streams, an event for everyone all, each of them once."""
    numbers = itertools.count(1)
    async with contender(name) as server:
        await server.open(["alice", "alice", "bob"])

        async def all_hear() -> bool:
            await server.load.forget()
            server.publish([("*", next(numbers))])

            async def all_three() -> bool:
                return (await server.load.arrived()).events == 3

            try:
                return bool(await eventually(all_three, timeout=1))
            except AssertionError:
                return False

        await eventually(all_hear)  # some subscribe after they have answered
        await server.load.forget()
        for events, expected in (
            ([("alice", next(numbers)), ("bob", next(numbers))], 3),
            ([("*", next(numbers))], 6),
        ):
            server.publish(events)

            async def all_of_them(expected: int = expected) -> bool:
                return (await server.load.arrived()).events >= expected

            await eventually(all_of_them)
        arrived = await server.load.arrived()
        assert (arrived.events, arrived.repeated, arrived.ended) == (6, 0, 0)
        assert server.cpu() > 0
        assert server.pss() > 2**20
        assert (server.redis_cpu() > 0) == (name != "nchan")

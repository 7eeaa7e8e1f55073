"""Every fault that is survived, on its own: every durable event, once, in order, per stream.

Real servers, a real Redis, real sockets, and a producer at work all the while.
"""

import pytest

from tests.chaos import faults
from tests.chaos.conftest import Play

SHORT = 0.5  # seconds that a fault lasts


@pytest.mark.parametrize(
    "cause",
    [
        faults.restart_redis,
        faults.kill_redis,
        faults.kill_clients_one_by_one,
        faults.kill_all_clients,
        faults.forget_scripts,
        faults.cut_network,
        faults.cut_messages,
        faults.refuse_network,
        faults.stall_readers,
        faults.send_readers_away,
        faults.flap,
        faults.freeze_node,
    ],
    ids=lambda cause: cause.__name__,
)
async def test_a_fault_costs_nobody_anything(play: Play, cause: faults.Cause) -> None:
    """Nothing is missing, repeated or out of order, and nobody is told of a gap."""
    async with play() as scene:
        await cause(scene, SHORT)
        await scene.progress()


async def test_a_killed_node_takes_nothing_with_it(play: Play) -> None:
    """Its clients go on at the other one, and come back when it does."""
    async with play() as scene:
        before = scene.connects
        await faults.kill_node(scene, SHORT)
        await scene.progress()
        assert scene.connects > before


async def test_a_node_that_is_replaced_sends_its_clients_away_in_order(play: Play) -> None:
    async with play() as scene:
        await faults.replace_node(scene, 0)
        await scene.progress()


@pytest.mark.parametrize("cause", [faults.stop_redis, faults.stall_network])
async def test_ten_seconds_of_silence_are_survived(play: Play, cause: faults.Cause) -> None:
    """No connection is lost, and nobody answers: the nodes have to notice by themselves."""
    async with play() as scene:
        await cause(scene, 10 if cause is faults.stop_redis else 5)
        await scene.progress()

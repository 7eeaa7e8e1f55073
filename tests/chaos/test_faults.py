"""Every fault that is survived, on its own: every durable event, once, in order, per stream.

Real servers, a real Redis, real sockets, and a producer at work all the while.
"""

import pytest

from tests.chaos import faults
from tests.chaos.conftest import Play
from tests.chaos.story import Act, Story

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
        faults.slow_network,
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


@pytest.mark.parametrize(
    "causes",
    [
        # A failover each is enough: Sentinel takes ten seconds to make a replica of a master.
        (faults.set_a_clock, faults.lead_to_the_replica, faults.hang_master),
        (faults.set_a_clock, faults.fail_over_to_one_that_lags, faults.fall_back),
        (faults.come_back_empty, faults.fail_over_in_order),
    ],
    ids=lambda causes: " ".join(cause.__name__ for cause in causes),
)
async def test_what_a_replica_or_a_backup_does_not_have_is_told(
    play: Play, causes: tuple[faults.Cause, ...]
) -> None:
    """Nothing else is missing, repeated or out of order; and no clock makes a difference."""
    scene = play(nodes=3, with_replica=True)
    async with scene.running():
        story = Story(scene, seed=0, seconds=0)
        for fault in (fault for cause in causes for fault in faults.FAULTS if fault.cause is cause):
            act = Act({fault: SHORT}, silently=0)
            await story.have_happen(act)
            assert not act.problems, f"{act.name}: {act.problems[:5]}"
            assert not act.judgement.unfounded


@pytest.mark.parametrize(
    "cause",
    [faults.kill_node, faults.freeze_node, faults.kill_redis],
    ids=lambda cause: cause.__name__,
)
async def test_what_is_added_with_xadd_survives_what_all_else_does(
    play: Play, cause: faults.Cause
) -> None:
    """Whichever node takes it: some events come in another way meanwhile."""
    async with play(settings={"publish.stream": True}, added=0.7) as scene:
        await cause(scene, 7 if cause is faults.freeze_node else SHORT)  # longer than a lease
        await scene.progress()

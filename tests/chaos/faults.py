"""What goes wrong: each fault begins, lasts for as long as it is told to, and is over."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

from redis import ResponseError
from redis.asyncio import Redis

from tests.chaos.pair import Pair
from tests.chaos.scene import Scene
from tests.harness import eventually

Cause = Callable[[Scene, float], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        cause: brings it about for some seconds and ends it.
        place: where it happens; two at one place do not happen at once. Without one, it happens
            alone.
        loses: whether Redis loses events, so that clients are told of gaps.
        needs: "" if it is always possible, "a replica", or "clocks" that can be set.
    """

    name: str
    cause: Cause
    place: str
    loses: bool = False
    needs: str = ""

    def possible(self, scene: Scene) -> bool:
        pair = scene.world.pair
        if self.needs == "clocks":
            return pair is not None and pair.clocks is None
        return not self.needs or pair is not None


async def kill_node(scene: Scene, seconds: float) -> None:
    node = scene.random.choice(scene.world.nodes)
    await node.kill()
    await asyncio.sleep(seconds)
    await node.start()


async def replace_node(scene: Scene, seconds: float) -> None:
    """As a deployment does."""
    node = scene.random.choice(scene.world.nodes)
    assert await node.terminate() == 0
    await asyncio.sleep(seconds)
    await node.start()


async def freeze_node(scene: Scene, seconds: float) -> None:
    """Its messages pile up meanwhile, and its clients see nothing."""
    node = scene.random.choice(scene.world.nodes)
    node.freeze()
    await asyncio.sleep(seconds)
    node.thaw()


async def restart_redis(scene: Scene, seconds: float) -> None:
    redis = scene.world.redis
    await asyncio.to_thread(redis.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(redis.start)


async def kill_redis(scene: Scene, seconds: float) -> None:
    redis = scene.world.redis
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(redis.start)


async def stop_redis(scene: Scene, seconds: float) -> None:
    """SIGSTOP: connections stand, and nobody answers."""
    scene.world.redis.pause()
    await asyncio.sleep(seconds)
    scene.world.redis.resume()


async def kill_clients_one_by_one(scene: Scene, seconds: float) -> None:
    async with Redis(port=scene.world.redis.port, protocol=2) as redis:
        me = await redis.client_id()
        clients = await redis.client_list()
        for client in clients:
            if int(client["id"]) != me:
                await redis.client_kill_filter(_id=client["id"])
                await asyncio.sleep(seconds / len(clients))


async def kill_all_clients(scene: Scene, seconds: float) -> None:
    async with Redis(port=scene.world.redis.port, protocol=2) as redis:
        for kind in ("normal", "pubsub"):
            await redis.client_kill_filter(_type=kind, skipme=True)
    await asyncio.sleep(seconds)


async def forget_scripts(scene: Scene, seconds: float) -> None:
    async with Redis(port=scene.world.redis.port, protocol=2) as redis:
        for _ in range(20):
            await redis.script_flush()
            await asyncio.sleep(seconds / 20)


async def cut_network(scene: Scene, seconds: float) -> None:
    """Again and again, all nodes' connections to Redis at once."""
    for _ in range(5):
        for proxy in scene.world.proxies:
            proxy.cut()
        await asyncio.sleep(seconds / 5)


async def cut_messages(scene: Scene, seconds: float) -> None:
    """After some more bytes: mostly in the middle of a message or an answer."""
    for _ in range(10):
        for proxy in scene.world.proxies:
            proxy.cut_after(scene.random.randint(1, 3000))
        await asyncio.sleep(seconds / 10)
    for proxy in scene.world.proxies:
        await proxy.restore()


async def stall_network(scene: Scene, seconds: float) -> None:
    """One node hears nothing more from Redis, and is not told why."""
    proxy = scene.random.choice(scene.world.proxies)
    proxy.stall()
    await asyncio.sleep(seconds)
    await proxy.restore()


async def refuse_network(scene: Scene, seconds: float) -> None:
    """One node cannot reach Redis."""
    proxy = scene.random.choice(scene.world.proxies)
    await proxy.refuse()
    await asyncio.sleep(seconds)
    await proxy.restore()


async def slow_network(scene: Scene, seconds: float) -> None:
    """To Redis and back takes up to a second and a half."""
    for proxy in scene.world.proxies:
        proxy.delay = scene.random.uniform(0.005, 0.7)
    await asyncio.sleep(seconds)
    for proxy in scene.world.proxies:
        await proxy.restore()


async def stall_readers(scene: Scene, seconds: float) -> None:
    some = scene.random.sample(scene.followers, (len(scene.followers) + 1) // 2)
    for follower in some:
        follower.stall()
    await asyncio.sleep(seconds)
    for follower in some:
        follower.flow()


async def reset_readers(scene: Scene, seconds: float) -> None:
    """All at once; they all come back at once."""
    for follower in scene.followers:
        follower.reset()
    await asyncio.sleep(seconds)


async def send_readers_away(scene: Scene, seconds: float) -> None:
    for follower in scene.followers:
        follower.leave()
    await asyncio.sleep(seconds)
    for follower in scene.followers:
        follower.come_back()


async def flap(scene: Scene, seconds: float) -> None:
    """Readers come and go, so that users' subscriptions are dropped and made again."""
    for _ in range(20):
        scene.random.choice(scene.followers).reset()
        await asyncio.sleep(seconds / 20)


async def lose_everything(scene: Scene, seconds: float) -> None:
    """FLUSHALL, while half the readers are away and have missed something.

    Nothing is being published then: what is not known to be stored would be stored again.
    """
    away = scene.random.sample(scene.followers, (len(scene.followers) + 1) // 2)
    for follower in away:
        follower.leave()
    await scene.progress(2)
    await scene.producer.pause()
    await asyncio.to_thread(scene.world.redis.cli, "FLUSHALL")
    scene.producer.resume()
    await scene.progress(2)
    # A node asks once a second which data set it is. Who reads the new one before that is told of
    # the loss by what the inbox says, and again when the node knows.
    await asyncio.sleep(max(seconds, 3.0))
    for follower in away:
        follower.come_back()


async def kill_master(scene: Scene, seconds: float) -> None:
    """Its replica is promoted; it comes back as the master that it was, until it is told."""
    pair = await _at_rest(scene)
    old = pair.master
    await _replaced(pair, old.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(old.start)
    await pair.at_rest()


async def hang_master(scene: Scene, seconds: float) -> None:
    """SIGSTOP: its replica is promoted, and it wakes as the master that it was."""
    pair = await _at_rest(scene)
    old = pair.master
    try:
        await _replaced(pair, old.pause)
        await asyncio.sleep(seconds)
    finally:
        old.resume()
    await pair.at_rest()


async def fail_over(scene: Scene, seconds: float) -> None:
    """The Sentinel promotes the replica; for ten seconds the old master does not know."""
    await _asked_to_fail_over(scene)
    await asyncio.sleep(seconds)


async def fail_over_in_order(scene: Scene, seconds: float) -> None:
    """The old master takes nothing more until the replica has all that it has."""
    await _asked_to_fail_over(scene, "COORDINATED")
    await asyncio.sleep(seconds)


async def fail_over_to_one_that_lags(scene: Scene, seconds: float) -> None:
    """Nothing was copied to the replica for a while when its master is killed."""
    pair = await _at_rest(scene)
    old = pair.master
    await asyncio.to_thread(pair.cut_replica_off)
    await asyncio.sleep(seconds)
    await _replaced(pair, old.kill)
    await asyncio.to_thread(old.start)
    if pair.master is old:
        await asyncio.to_thread(pair.join_replica)
    await pair.at_rest()


async def lead_to_the_replica(scene: Scene, seconds: float) -> None:
    """An address that moves leads to the replica, as one that was not told."""
    pair = await _at_rest(scene)
    for server in (pair.replica, pair.master):
        for proxy in pair.addresses:
            proxy.lead_to(server.port)
            proxy.cut()
        await asyncio.sleep(seconds)


async def set_a_clock(scene: Scene, seconds: float) -> None:
    """Redis' clock is set, or that of its replica, and again: by up to an hour."""
    pair = scene.world.pair
    assert pair is not None
    for server in scene.random.sample((pair.master, pair.replica, pair.master), 2):
        assert server.clock is not None
        by = 3600 ** scene.random.uniform(-0.2, 1)
        server.clock.set(by * scene.random.choice((-1, 1)))
        await asyncio.sleep(seconds / 2)


async def fall_back(scene: Scene, seconds: float) -> None:
    """Redis begins again with an older state, as from a backup."""
    pair = await _at_rest(scene)
    kept = await asyncio.to_thread(pair.master.keep)
    await asyncio.sleep(seconds)
    await pair.come_back(kept)


async def come_back_empty(scene: Scene, seconds: float) -> None:
    """Redis begins again with nothing."""
    pair = await _at_rest(scene)
    await asyncio.sleep(seconds)
    await pair.come_back(None)


async def _at_rest(scene: Scene) -> Pair:
    pair = scene.world.pair
    assert pair is not None
    await pair.at_rest()
    pair.cuts = scene.random.random() < 0.5
    return pair


async def _replaced(pair: Pair, wrong: Callable[[], None]) -> None:
    """Have something be wrong with the master, and the replica promoted."""
    old = pair.master
    pair.expect_failures(True)
    try:
        await asyncio.to_thread(wrong)
        await pair.promoted(old)
    finally:
        pair.expect_failures(False)


async def _asked_to_fail_over(scene: Scene, *how: str) -> None:
    pair = await _at_rest(scene)
    old = pair.master

    def replaced() -> bool:
        # Asked again, for it gives up when something else goes wrong meanwhile.
        with suppress(ResponseError):  # it does not know the replica well enough, or is about to
            if pair.master is old:
                pair.fail_over(*how)
        return pair.master is not old

    await eventually(replaced, interval=1)
    await pair.at_rest()


FAULTS = (
    Fault("a node is killed", kill_node, "node"),
    Fault("a node is replaced", replace_node, "node"),
    Fault("a node is frozen", freeze_node, "node"),
    Fault("Redis is restarted", restart_redis, "Redis"),
    Fault("Redis is killed", kill_redis, "Redis"),
    Fault("Redis is stopped", stop_redis, "Redis"),
    Fault("Redis drops its clients one by one", kill_clients_one_by_one, "Redis"),
    Fault("Redis drops all its clients", kill_all_clients, "Redis"),
    Fault("Redis forgets its scripts", forget_scripts, "Redis"),
    Fault("Redis loses everything", lose_everything, "", loses=True),
    Fault("the master is killed", kill_master, "Redis", loses=True, needs="a replica"),
    Fault("the master hangs", hang_master, "Redis", loses=True, needs="a replica"),
    Fault("a failover", fail_over, "Redis", loses=True, needs="a replica"),
    Fault("a coordinated failover", fail_over_in_order, "Redis", loses=True, needs="a replica"),
    Fault(
        "a failover to a replica that lags",
        fail_over_to_one_that_lags,
        "Redis",
        loses=True,
        needs="a replica",
    ),
    Fault("the address leads to the replica", lead_to_the_replica, "Redis", needs="a replica"),
    Fault("Redis falls back to an older state", fall_back, "Redis", loses=True, needs="a replica"),
    Fault("Redis comes back empty", come_back_empty, "Redis", loses=True, needs="a replica"),
    Fault("a clock is set", set_a_clock, "clock", needs="clocks"),
    Fault("the network is slow", slow_network, "network"),
    Fault("the network is cut", cut_network, "network"),
    Fault("the network is cut within messages", cut_messages, "network"),
    Fault("the network stalls", stall_network, "network"),
    Fault("the network refuses", refuse_network, "network"),
    Fault("readers stall", stall_readers, "readers"),
    Fault("readers lose their connections", reset_readers, "readers"),
    Fault("readers stay away", send_readers_away, "readers"),
    Fault("readers come and go", flap, "readers"),
)

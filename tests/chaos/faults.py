"""What goes wrong: each fault begins, lasts for as long as it is told to, and is over."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from redis.asyncio import Redis

from tests.chaos.scene import Scene

Cause = Callable[[Scene, float], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        cause: brings it about for some seconds and ends it.
        place: where it happens; two at one place do not happen at once. Without one, it happens
            alone.
        loses: whether Redis loses events, so that clients are told of gaps.
    """

    name: str
    cause: Cause
    place: str
    loses: bool = False


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
        for node in scene.world.nodes:
            node.proxy.cut()
        await asyncio.sleep(seconds / 5)


async def cut_messages(scene: Scene, seconds: float) -> None:
    """After some more bytes: mostly in the middle of a message or an answer."""
    for _ in range(10):
        for node in scene.world.nodes:
            node.proxy.cut_after(scene.random.randint(1, 3000))
        await asyncio.sleep(seconds / 10)
    for node in scene.world.nodes:
        await node.proxy.restore()


async def stall_network(scene: Scene, seconds: float) -> None:
    """One node hears nothing more from Redis, and is not told why."""
    node = scene.random.choice(scene.world.nodes)
    node.proxy.stall()
    await asyncio.sleep(seconds)
    await node.proxy.restore()


async def refuse_network(scene: Scene, seconds: float) -> None:
    """One node cannot reach Redis."""
    node = scene.random.choice(scene.world.nodes)
    await node.proxy.refuse()
    await asyncio.sleep(seconds)
    await node.proxy.restore()


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
    await asyncio.sleep(seconds)
    for follower in away:
        follower.come_back()


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
    Fault("the network is cut", cut_network, "network"),
    Fault("the network is cut within messages", cut_messages, "network"),
    Fault("the network stalls", stall_network, "network"),
    Fault("the network refuses", refuse_network, "network"),
    Fault("readers stall", stall_readers, "readers"),
    Fault("readers lose their connections", reset_readers, "readers"),
    Fault("readers stay away", send_readers_away, "readers"),
    Fault("readers come and go", flap, "readers"),
)

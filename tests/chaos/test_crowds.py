"""Many at once, very slow, or very unlucky: every durable event, once, in order, per stream."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.chaos import faults
from tests.chaos.conftest import Play
from tests.chaos.follower import Follower
from tests.chaos.ledger import Track
from tests.chaos.scene import Scene
from tests.chaos.world import World
from tests.harness import SSEClient, eventually
from tests.harness.server import REPOSITORY


async def test_two_thousand_clients_come_back_at_once(play: Play) -> None:
    """Each gets the ten events that it has missed, and then what comes."""
    async with play(users=200, streams=10, rate=2000) as scene:
        await scene.producer.pause()
        before = scene.connects
        for follower in scene.followers:
            follower.leave()
        await eventually(lambda: not any(follower.online for follower in scene.followers))
        for _ in range(10):
            await scene.producer.round([*scene.users])
        for follower in scene.followers:
            follower.come_back()
        scene.producer.resume()
        await scene.all_online()
        assert scene.connects - before == 2000


COUNT = 2500  # events of a publisher that dies on the way


class Visitor(Follower):
    """Opens a stream, sees a few events, leaves, and comes again: with its last id or anew.

    `tracks` has what each of the visits that began anew has seen.
    """

    def __init__(self, scene: Scene, user: str, random: Random) -> None:
        self._groups = scene.world.groups.get(user, ())
        super().__init__(scene.world.nodes, scene.ledger, user, random, groups=self._groups)
        self.tracks: list[Track] = []

    async def run(self) -> None:
        while True:
            if self._random.random() < 0.5:
                self.tracks.append(self.track)
                self.track = Track(self.track._ledger, self.user, self._groups)
                self._last_event_id = ""
            await self._visit(self.track.seen + self._random.randint(0, 3))

    async def _visit(self, goal: int) -> None:
        visit = asyncio.create_task(self._connection())
        await eventually(
            lambda: visit.done() or (self.online and self.track.seen >= goal), interval=0.001
        )
        visit.cancel()
        await asyncio.gather(visit, return_exceptions=True)


async def test_connecting_and_publishing_race(play: Play) -> None:
    """Thousands of streams open and close while their users' events are published, so that
    subscribing, dropping the subscription, reading and publishing fall together in every way.

    None of these is seen to be missed only when the next one comes: that would be too late.
    """
    async with play(nodes=1, users=3, streams=0, rate=3000) as scene:
        visitors = [
            Visitor(scene, user, Random(f"{user} {number}"))
            for user in scene.users
            for number in range(6)
        ]
        tasks = [asyncio.create_task(visitor.run()) for visitor in visitors]
        await eventually(lambda: sum(visitor.connects for visitor in visitors) >= 2500, 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tracks = [track for visitor in visitors for track in (*visitor.tracks, visitor.track)]
        assert sum(track.seen for track in tracks) > 2000
        assert [text for track in tracks for text in track.violations] == []
        assert not any(track.gaps for track in tracks)
        assert await scene.world.nodes[0].metric("aionotify_events_missed_total") == 0


async def test_a_reader_who_stalls_goes_on_where_it_was(play: Play) -> None:
    """It gets a megabyte late, and costs the others nothing meanwhile."""
    async with play(users=1, streams=2, size=4000, receive_buffer=32768) as scene:
        slow, quick = scene.followers
        slow.stall()
        await scene.progress(300)
        await eventually(lambda: quick.track.seen > slow.track.seen + 200)
        slow.flow()
        await scene.settle()
        assert (slow.connects, slow.track.seen) == (1, quick.track.seen)


async def test_a_reader_too_slow_for_its_inbox_is_told(play: Play) -> None:
    """Of one gap: what the inbox has dropped by then. Then it goes on."""
    settings = {"inbox.max_events": 50}
    async with play(
        users=1, streams=2, size=4000, receive_buffer=4096, settings=settings, gaps=("trimmed",)
    ) as scene:
        slow, quick = scene.followers
        slow.stall()
        await scene.progress(300)
        await eventually(lambda: quick.track.seen > 400)
        slow.flow()
        await eventually(lambda: slow.track.missing > 100)
        assert not quick.track.gaps


async def test_an_event_that_redis_loses_is_told(play: Play) -> None:
    """Once, to everyone, as no position means anything any more. Who was there has all events."""
    async with play(gaps=("lost",)) as scene:
        await faults.lose_everything(scene, 0.2)
        await scene.settle()
        assert all(follower.track.gaps == {"lost": 1} for follower in scene.followers)
        there = [follower for follower in scene.followers if follower.connects == 1]
        assert len(there) == len(scene.followers) / 2
        assert sum(follower.track.missing for follower in there) == 0
        assert sum(follower.track.missing for follower in scene.followers) > 0


async def test_lost_messages_are_made_up_for(play: Play) -> None:
    """Of every three messages pub/sub loses one: the next one shows it."""
    async with play(silently=0.3) as scene:
        await scene.progress(100)
        assert scene.producer.unheard > 100


async def test_a_crowd_survives_all_faults_at_once(play: Play) -> None:
    """Lost messages, slow readers, a cut network and a killed node."""
    async with play(silently=0.1, nodes=3, users=20, receive_buffer=8192, size=1000) as scene:
        await asyncio.gather(
            faults.cut_messages(scene, 2),
            faults.stall_readers(scene, 1.5),
            faults.kill_node(scene, 0.5),
            faults.flap(scene, 2),
            faults.forget_scripts(scene, 2),
        )
        await scene.progress()


async def test_a_publisher_that_is_killed_and_repeats_itself_is_heard_once(
    tmp_path: Path,
) -> None:
    """It dies in the middle of many events, and begins again from the first, with the same ids."""
    events = "\n".join(
        json.dumps({"recipient_id": "u", "id": f"k{number}", "n": number})
        for number in range(COUNT)
    )
    async with (
        World(tmp_path, nodes=1) as world,
        SSEClient(f"{world.nodes[0].url}/notify", token="token-u") as client,
    ):
        outputs = [
            await publish_from_shell(world, events.encode(), kill_after=1),
            await publish_from_shell(world, events.encode(), kill_after=700),
            await publish_from_shell(world, events.encode()),
        ]
        await client.wait_for(lambda seen: len(seen) > COUNT, timeout=20)
        numbers = [json.loads(event.data)["n"] for event in client.events[1:]]
    assert numbers == list(range(COUNT))
    repeated = [json.loads(line)["repeated"] for line in outputs[2]]
    assert repeated == sorted(repeated, reverse=True)
    assert repeated.count(True) >= 700
    assert len(outputs[0]) < len(outputs[1]) < COUNT


async def publish_from_shell(
    world: World, events: bytes, *, kill_after: int | None = None
) -> Sequence[bytes]:
    """Run ``aionotify publish``; kill it when it has printed so many lines. Return the lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aionotify", "publish", "--redis.url", world.redis.url),
        *("--inbox.max_events", str(world.inbox.max_events)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        limit=1024,  # so that it cannot be far ahead of what is read
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(events)
    process.stdin.close()
    lines = []
    async for line in process.stdout:
        lines.append(line)
        if len(lines) == kill_after:
            process.kill()  # and read what it has printed, or its end would not be seen
    assert await process.wait() == (0 if kill_after is None else -9)
    return lines

"""A client that always comes back, to any node, with the last id it has seen."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from aionotify.events.event_id import id_at, mark_of
from aionotify.events.group import shard_of
from tests.chaos.ledger import Ledger, Track
from tests.chaos.world import Node
from tests.harness import SSEClient

_FOR_EVER = 86400.0  # seconds


class Follower:
    """One browser tab.

    Attributes:
        track: what it saw.
        connects: how often it got a stream.
        online: whether it has one now.
        away: set to keep it from connecting.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        ledger: Ledger,
        user: str,
        random: Random,
        *,
        receive_buffer: int | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        self.user = user
        self.track = Track(ledger, user, groups)
        self.connects = 0
        self.refused = 0
        self.online = False
        self.away = asyncio.Event()
        self._stalled = False
        self._ledger = ledger
        self._nodes = nodes
        self._random = random
        self._receive_buffer = receive_buffer
        self._last_event_id = ""
        self._client: SSEClient | None = None
        self._back = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if self.away.is_set():
                self._back.clear()
                await self._back.wait()
            try:
                await self._connection()
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.refused += 1
            await asyncio.sleep(self._random.uniform(0.01, 0.1))

    def leave(self) -> None:
        """Vanish, and stay away until `come_back`."""
        self.away.set()
        self.reset()

    def come_back(self) -> None:
        self.away.clear()
        self._back.set()

    def reset(self) -> None:
        """Lose the connection."""
        if self._client is not None:
            with suppress(OSError):  # it has just been closed
                self._client.reset()

    def stall(self) -> None:
        """Stop reading."""
        if self._client is not None:
            self._stalled = True  # what it sees from now on, its node may have known long ago
            self._client.stall()

    def flow(self) -> None:
        if self._client is not None:
            self._client.flow()

    async def _connection(self) -> None:
        node = self._random.choice(self._nodes)
        client = SSEClient(
            f"{node.url}/notify", token=f"token-{self.user}", receive_buffer=self._receive_buffer
        )
        client.last_event_id = self._last_event_id
        await client.connect(timeout=5)
        self._client = client
        try:
            if client.status != 200:
                self.refused += 1
                return
            if not self._last_event_id:
                self.track.opened()
            self.track.connected(node.name)
            self.connects += 1
            self.online = True
            while client.end is None or client.events:
                await client.wait_for(lambda events: events or client.end, _FOR_EVER)
                self._take(client, node.name)
        finally:
            self.online = self._stalled = False
            self._client = None
            await client.close()

    def _take(self, client: SSEClient, node: str) -> None:
        events, client.events = client.events, []
        client.raw.clear()
        for event in events:
            content = json.loads(event.data)
            if event.event == "aionotify.gap":
                self.track.gap(content["reason"])
            elif not event.event.startswith("aionotify."):
                group = content.get("group_id")
                recipient = content["recipient_id"] if group is None else group
                number = content["n"][recipient]
                which = id_at(event.id)
                assert which is not None, event.id
                assert which.mark == mark_of(recipient if group is None else shard_of(group))
                self.track.event(recipient, number, which.position)
                if not self._stalled:
                    self._ledger.knows(node, recipient, number)
            self._last_event_id = event.id

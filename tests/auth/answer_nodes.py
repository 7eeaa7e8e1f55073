"""Answers as nodes on one Redis know them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from aionotify.auth.answer import Key
from aionotify.auth.answers import Answers, Moment
from aionotify.auth.revocations import Revocations
from aionotify.broker.answer_store import RedisAnswerStore
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.control import ControlChannel
from aionotify.broker.keys import Keys
from tests.harness import RedisServer

LONGEST, KEEP = 300.0, 600.0
HOST = "http://main.example/api/"


class Node:
    """One that hears of revocations as soon as it is told to."""

    def __init__(self, client: Redis, prefix: str = "p") -> None:
        keys = Keys(prefix, "")
        self.revocations = Revocations()
        self.revocations.complete = True
        self.control = ControlChannel(by_client(lambda: client), keys, KEEP)
        self.store = RedisAnswerStore(by_client(lambda: client), keys)
        self.now = 0.0  # seconds by its own clock
        self.answers = Answers(
            self.store, self.revocations, longest=LONGEST, keep=KEEP, clock=lambda: self.now
        )

    async def flush(self) -> None:
        """Write what there is to write."""
        while self.answers._timer is not None:
            self.answers._send()
            await asyncio.gather(*self.answers._tasks)

    async def answered(
        self, token: str, user: str = "alice", *, lifetime: float = 3600.0, age: float = 0.0
    ) -> None:
        """Have the main host accept a token, and tell; `age` seconds ago."""
        asked = await self.moment()
        asked = asked._replace(at=asked.at - age)
        self.answers.accepted(Key(HOST, token), user, lifetime, asked)
        await self.flush()

    async def moment(self) -> Moment:
        """Before a question, for which something was looked up."""
        await self.found("nothing")
        moment = self.answers.moment()
        assert moment is not None
        return moment

    async def found(self, token: str, young: float = 30.0, host: str = HOST) -> str | None:
        """Whose a token is by what is kept."""
        found = await self.answers.find(Key(host, token), young)
        return None if found is None else found.user_id

    async def refused(self, token: str) -> None:
        self.answers.refused(Key(HOST, token))
        await self.flush()

    async def hear(self) -> None:
        """Hear of all revocations."""
        kept = await self.control.revoked()
        for user, number in kept.users:
            self.revocations.add(user, number)
        self.revocations.number = kept.number

    async def close(self) -> None:
        await self.answers.close()
        await self.store.close()
        await self.control.close()


@contextlib.asynccontextmanager
async def cluster_of(server: RedisServer, *prefixes: str) -> AsyncIterator[list[Node]]:
    """A node for each prefix."""
    async with Redis(port=server.port, protocol=2) as client:
        made = [Node(client, prefix) for prefix in prefixes]
        yield made
        for node in made:
            await node.close()

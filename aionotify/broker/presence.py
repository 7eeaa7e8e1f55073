"""Whether somebody is connected to any node: asked of Redis, by whose channels are heard."""

from collections.abc import Sequence

from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys


class Presence:
    """Questions about users whose streams may be on any node."""

    def __init__(self, execute: Execute, keys: Keys) -> None:
        self._script = Script(execute, "presence.lua")
        self._keys = keys

    async def online(self, recipient_ids: Sequence[str]) -> dict[str, bool]:
        """Return for each whether it has a stream open on some node.

        Raises:
            BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
        """
        channels = tuple(map(self._keys.live, recipient_ids))
        counts = (await self._script.call((self._keys.epoch,), channels))[1::2]
        return {id: int(count) > 0 for id, count in zip(recipient_ids, counts, strict=True)}

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()

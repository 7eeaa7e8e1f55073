"""Who is connected to any node: asked of Redis, stored nowhere."""

from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from aionotify.broker.connection.endpoint import translated
from aionotify.broker.keys import Keys


class Presence:
    """Questions about users whose streams may be on any node."""

    def __init__(self, client: Callable[[], Redis], keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def online(self, recipient_ids: Sequence[str]) -> dict[str, bool]:
        """Whether each has a stream open on some node.

        Raises:
            BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
        """
        with translated():
            counts = await self._client().pubsub_numsub(*map(self._keys.live, recipient_ids))
        return {id: int(count) > 0 for id, (_, count) in zip(recipient_ids, counts, strict=True)}

"""Publishing from code without an event loop: Django, Flask, Celery, scripts.

A `Publisher` on an event loop in a daemon thread. To write its exchange with Redis a second time,
without asyncio, would save the change of threads, some 80 µs for an event, and have what is known
of failovers, late replies and positions in two places. An event loop in the calling thread could
not run where one runs already, and threads could not share round trips.
"""

import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

from redis import Redis

from aionotify.broker.connection.pipeline import BlockingClient
from aionotify.broker.published import Published, check, merge, valid
from aionotify.broker.publisher import Publisher, PublisherOptions
from aionotify.errors import AionotifyError, BrokerError, BrokerUnavailable
from aionotify.events.event import EVERYONE, Event
from aionotify.loop_thread import LoopThread, StoppedError

T = TypeVar("T")

_EXIT_TIMEOUT: Final = 5.0  # seconds that a publisher nobody has closed may take to close


class SyncPublisher:
    """Publishes events, as `Publisher` does, and waits.

    ::

        publisher = SyncPublisher("redis://127.0.0.1:6379/0")
        publisher.publish({"recipient_id": "42", "data": {"order": 7}})

    One for the whole process will do: threads may share it, and share round trips then. After a
    fork the child has a connection of its own. Nothing connects, and no thread starts, before the
    first event. `close` it, or use it as ``with SyncPublisher(…) as publisher``; at the end of the
    process it is closed by itself.

    In a coroutine it works, and holds up the event loop: there, use `Publisher`.

    Args:
        redis: an address (see `redis.url` in the configuration), or a `redis.Redis` of yours, which
            stays yours to close. If that retries by itself, it may store an event twice that has no
            ``id``.
        options: those of `Publisher`.
    """

    def __init__(self, redis: str | Redis, **options: Unpack[PublisherOptions]) -> None:
        if not isinstance(redis, str | Redis):
            raise TypeError("Publisher takes a redis.asyncio.Redis, SyncPublisher a redis.Redis")
        to = redis if isinstance(redis, str) else BlockingClient(redis)
        self._begin(partial(Publisher, to, **options))

    def _begin(self, make: Callable[[], Publisher]) -> None:
        self._make = make
        # By process, and without a lock: at a fork another thread might hold it, and the child wait
        # for ever.
        self._workers = {os.getpid(): _Worker(make())}
        self._closed = False
        weakref.finalize(self, _close, self._workers, _EXIT_TIMEOUT)

    @classmethod
    def from_url(cls, url: str, **options: Unpack[PublisherOptions]) -> Self:
        """Return a publisher to the Redis at an address."""
        return cls(url, **options)

    @classmethod
    def from_client(cls, client: Redis, **options: Unpack[PublisherOptions]) -> Self:
        """Return a publisher that uses a client of yours."""
        return cls(client, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way, then close the connection if it is our own."""
        self._closed = True
        _close(self._workers)

    def publish(
        self, event: Mapping[str, Any] | bytes | str, *, ephemeral: bool = False
    ) -> Published:
        """Publish one event; see `Publisher.publish`.

        Raises:
            InvalidEvent: it breaks the contract; nothing was published.
            BrokerRefused: Redis will not store it; nothing was published.
            BrokerUnavailable: Redis does not answer. Whether the event was stored is not known:
                publish it again with the same `id`, and it is delivered once.
            PartlyPublished: some of several recipients got it.
        """
        [result] = self.publish_many([event], ephemeral=ephemeral)
        if isinstance(result, AionotifyError):
            raise result
        return result

    def publish_many(
        self, events: Iterable[Mapping[str, Any] | bytes | str], *, ephemeral: bool = False
    ) -> list[Published | AionotifyError]:
        """Publish events in few round trips.

        Returns:
            For each event, in order, what became of it, or the error that `publish` would raise.
        """
        worker = self._worker()
        # Here, for an event may come from something that only this thread may use.
        checked = check(events, worker.publisher.max_bytes, ephemeral=ephemeral)
        return merge(checked, worker.publish(valid(checked), ephemeral=ephemeral))

    def recall(self, event_id: str, recipient_id: str | int = EVERYONE) -> bool:
        """Take a durable event out of its inbox; see `Publisher.recall`."""
        return self._worker().run(lambda publisher: publisher.recall(event_id, recipient_id))

    def _worker(self) -> "_Worker":
        """The one of this process."""
        if self._closed:
            raise BrokerUnavailable("the publisher was closed")
        pid = os.getpid()
        worker = self._workers.get(pid)
        if worker is None:  # a fork made this process
            _forsake_inherited(self._workers)
            worker = self._workers.setdefault(pid, _Worker(self._make()))
        return worker


class _Worker:
    """A publisher, and the thread of the process that it lives in."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.thread = LoopThread("aionotify publisher")

    def publish(self, events: list[Event], *, ephemeral: bool) -> list[Published | BrokerError]:
        if not events:
            return []
        return self.run(lambda publisher: publisher.publish_checked(events, ephemeral=ephemeral))

    def run(self, call: Callable[[Publisher], Coroutine[Any, Any, T]]) -> T:
        """The result of a call of the publisher."""
        try:
            return self.thread.run(partial(call, self.publisher))
        except StoppedError:
            raise BrokerUnavailable("the publisher was closed") from None

    def close(self, timeout: float | None) -> None:
        self.thread.stop(self.publisher.close, timeout)


def _close(workers: dict[int, _Worker], timeout: float | None = None) -> None:
    _forsake_inherited(workers)
    for worker in list(workers.values()):
        worker.close(timeout)


def _forsake_inherited(workers: dict[int, _Worker]) -> None:
    for pid, worker in list(workers.items()):
        # By one thread alone: a second time, the descriptors may be somebody else's.
        if not worker.thread.is_ours and workers.pop(pid, None) is not None:
            worker.thread.forsake()

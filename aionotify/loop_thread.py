"""An event loop in a daemon thread, for callers who have none or may not use theirs.

Knows nothing of what it runs. It belongs to the process that made it, see `forsake`.
"""

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StoppedError(RuntimeError):
    """The thread was stopped."""


class LoopThread:
    """Runs coroutines for other threads, from the first `run` to `stop`.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        self._name = name
        # Opens nothing, and a child shares nothing with its parent, as they would an epoll. For the
        # few descriptors here poll(2) is as fast.
        self._selector = selectors.PollSelector()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    @property
    def is_ours(self) -> bool:
        """Whether this process made it, and not the one that it was forked from."""
        return self._pid == os.getpid()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the coroutine of `work` returns; the calling thread waits.

        Raises:
            StoppedError: it was stopped.
        """
        with self._lock:
            if self._stopped:
                raise StoppedError("the thread was stopped")
            running = asyncio.run_coroutine_threadsafe(work(), self._started())
        try:
            return running.result()
        except BaseException:  # KeyboardInterrupt, a time limit of Celery's
            running.cancel()
            raise

    def stop(
        self,
        last: Callable[[], Coroutine[Any, Any, object]] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Wait for what is under way, carry out `last`, end the thread. Does nothing twice.

        The calling thread waits, for `timeout` seconds at most, unless it is this one: then a
        garbage collection called it.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            before, self._stopped = self._stopped, True
            if loop is None or thread is None:
                return
            if not before:
                asyncio.run_coroutine_threadsafe(_end(last), loop)
        if thread is not threading.current_thread():
            thread.join(timeout)

    def forsake(self) -> None:
        """Let go of connections that a child has from its parent, without a word on them.

        They stay the parent's: whatever closes them here later finds descriptors of nothing.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            for key in self._selector.get_map().values():
                os.dup2(nothing, key.fd, inheritable=False)
        finally:
            os.close(nothing)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.SelectorEventLoop(self._selector)
            self._thread = threading.Thread(
                target=_run, args=(self._loop,), name=self._name, daemon=True
            )
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end(last: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
    try:
        await _others_ended()
        if last is not None:
            await last()
            await _others_ended()
    finally:
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        loop.stop()


async def _others_ended() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)

"""The requests that publish line by line. Their producer ends them, or the node when it leaves."""

import contextlib
from collections.abc import Iterator

from aiohttp import StreamReader


class NodeLeaves(Exception):
    """The node ends; what was not answered is to be published at another one."""


class PublishStreams:
    """All such requests of this process."""

    def __init__(self) -> None:
        self._open: set[StreamReader] = set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def reading(self, content: StreamReader) -> Iterator[None]:
        """Read a request's body; raises NodeLeaves when the node does."""
        if self._ended:
            raise NodeLeaves
        self._open.add(content)
        try:
            yield
        finally:
            self._open.discard(content)

    def end(self) -> None:
        """Have them read no more. What they have read they still answer."""
        self._ended = True
        for content in self._open:
            content.set_exception(NodeLeaves())

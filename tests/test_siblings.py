"""Workers that ask each other for their metrics."""

import asyncio
from pathlib import Path

import pytest

from aionotify.siblings import Place, Siblings


async def test_one_that_cannot_tell_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.siblings._PATIENCE", 60)

    def fail() -> bytes:
        raise RuntimeError("a bug of ours")

    siblings = [Siblings() for _ in range(3)]
    try:
        for index, tell in enumerate((lambda: b"first", fail, lambda: b"last")):
            await siblings[index].join(Place(str(tmp_path), index, 3), tell)
        async with asyncio.timeout(20):
            assert await siblings[0].ask() == {2: b"last"}
    finally:
        for each in siblings:
            await each.leave()

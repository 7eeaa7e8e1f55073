"""Workers that ask each other for their metrics."""

import asyncio
from pathlib import Path

import pytest

from aionotify.telemetry.worker_peers import WorkerPeers, WorkerPlace


async def test_a_peer_that_cannot_tell_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.telemetry.worker_peers._TIMEOUT", 60)

    def fail() -> bytes:
        raise RuntimeError("a bug of ours")

    peers = [WorkerPeers() for _ in range(3)]
    try:
        for index, tell in enumerate((lambda: b"first", fail, lambda: b"last")):
            await peers[index].join(WorkerPlace(str(tmp_path), index, 3), tell)
        async with asyncio.timeout(20):
            assert await peers[0].ask() == {2: b"last"}
    finally:
        for each in peers:
            await each.leave()

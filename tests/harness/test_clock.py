"""A process sees the time that was set for it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness import Clock, RedisServer, eventually

WATCH = """
import sys, time
for line in sys.stdin:
    print(time.time(), flush=True)
"""


def test_a_clock_is_set_while_the_process_runs(tmp_path: Path) -> None:
    """Back and forward; our own stays as it is."""
    clock = Clock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", WATCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | clock.environ,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for off in (0, -3600, 2.5, 86400):
            clock.set(off)
            process.stdin.write("now\n")
            process.stdin.flush()
            assert float(process.stdout.readline()) == pytest.approx(time.time() + off, abs=10)
        process.stdin.close()


async def test_redis_goes_by_its_clock(tmp_path: Path) -> None:
    """It looks at it once in each turn of its event loop."""
    with RedisServer(tmp_path, clock=(clock := Clock(tmp_path))) as redis:

        def goes_by_it() -> bool:
            return abs(float(redis.cli("TIME")[0]) - time.time() - clock.off) < 10

        for step in (-5, 3605):
            clock.step(step)
            await eventually(goes_by_it)
        assert clock.off == 3600

"""What the tests start ends at SIGINT, though they may ignore it themselves."""

import asyncio
import signal
import sys
from contextlib import ExitStack

import pytest

from tests.harness.interrupts import interruptible

pytestmark = pytest.mark.usefixtures("deaf_to_sigint")

HOW = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"


async def hears(heard: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOW), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == heard


async def test_a_process_started_meanwhile_hears_an_interrupt() -> None:
    with interruptible():
        await hears("True")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


async def test_each_process_of_several_started_at_once_hears_an_interrupt() -> None:
    """The first to come may be the first to have been started."""
    first = ExitStack()
    first.enter_context(interruptible())
    with interruptible():
        first.close()
        await hears("True")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_process_started_afterwards_hears_no_interrupt() -> None:
    """Or the test above could not fail."""
    with interruptible():
        pass
    await hears("False")


def test_a_handler_of_interrupts_is_left_alone() -> None:
    signal.signal(signal.SIGINT, print)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is print
    assert signal.getsignal(signal.SIGINT) is print

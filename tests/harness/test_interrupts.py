"""What the tests start ends at SIGINT, though they may ignore it themselves."""

import signal
import subprocess
import sys

import pytest

from tests.harness.interrupts import interruptible

HEARS = (
    sys.executable,
    "-c",
    "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)",
)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("deaf_to_sigint")
def test_a_child_of_tests_that_ignore_it_hears_it() -> None:
    assert output(*HEARS) == "False", "or this test could not fail"
    assert output(*interruptible(*HEARS)) == "True"


def test_tests_that_hear_it_start_their_children_as_they_are() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert interruptible(*HEARS) == HEARS
    finally:
        signal.signal(signal.SIGINT, before)

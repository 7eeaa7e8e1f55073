"""A test that fails is reported, and does not end the run.

For the report pytest has `ast` parse the test's source. On Python 3.11.2 that fails with a
SystemError when it is interrupted by another parsing; and what was left open by a test that failed
is collected, warned about and traced, with `ast` again, whenever the collector runs. So it does not
run in between.
"""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report without collecting garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if enabled:
            gc.enable()

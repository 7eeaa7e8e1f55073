"""Each client does what docs/clients.rst says, with the lines that are shown there."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.clients import page, scenes
from tests.clients.__main__ import play
from tests.clients.catalogue import CLIENTS, COMPILED, Client

HERE = [client for client in CLIENTS if client.where not in COMPILED]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, scenes.Verdicts]:
    """What all clients at once made of the scenes that tell them apart."""
    return asyncio.run(play(HERE, scenes.TESTED, tmp_path_factory.mktemp("clients")))


@pytest.mark.parametrize("client", HERE, ids=lambda client: client.label)
def test_a_client_does_what_the_table_says(
    client: Client, found: dict[str, scenes.Verdicts]
) -> None:
    """None of them loses an event, or gets one twice, whatever ends its stream."""
    written = {
        column: word
        for table in page.read(page.PAGE.read_text("utf-8"))
        for column, word in table[client.name].items()
        if column in found
    }
    assert written.keys() == found.keys()
    made = {column: found[column][client.name] for column in found}
    wrong = {
        column: (verdict.word, verdict.why)
        for column, verdict in made.items()
        if verdict.word != written[column]
        # Who waits for a time of its own may happen to wait as long.
        and (column != "Retry-After" or verdict.word == scenes.NO)
    }
    assert wrong == {}

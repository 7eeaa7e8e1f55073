"""docs/clients.rst shows the programs that are tried, and its tables are those that are written."""

import pytest

from tests.clients import page
from tests.clients.catalogue import CLIENTS, PROGRAMS, Client
from tests.docs.snippets import snippets

TEXT = page.PAGE.read_text("utf-8")
SHOWN = [each.text for each in snippets("docs/clients.rst")]
# Their lines are those of docs/browser.rst.
ELSEWHERE = ("javascript/aionotify.js", "browser.rst#2", "browser.rst#3")


@pytest.mark.parametrize(
    "client",
    [client for client in CLIENTS if client.program not in ELSEWHERE],
    ids=lambda client: client.label,
)
def test_the_lines_of_a_client_are_those_that_are_tried(client: Client) -> None:
    assert page.snippet(PROGRAMS / client.program) in SHOWN


def test_no_other_lines_are_shown() -> None:
    tried = {
        page.snippet(PROGRAMS / client.program)
        for client in CLIENTS
        if client.program not in ELSEWHERE
    }
    assert {*SHOWN} == tried


def test_the_tables_have_all_clients() -> None:
    tables = page.read(TEXT)
    assert len(tables) == len(page.TABLES)
    for table, columns in zip(tables, page.TABLES, strict=True):
        assert [*table] == [client.name for client in CLIENTS]
        assert {tuple(row) for row in table.values()} == {columns}


def test_writing_changes_the_rows_that_were_found_and_no_other() -> None:
    name = CLIENTS[3].name
    words = {column: "new" for columns in page.TABLES for column in columns}
    before, after = page.read(TEXT), page.read(page.write(TEXT, {name: words}))
    for old, new in zip(before, after, strict=True):
        assert {*new[name].values()} == {"new"}
        assert {**new, name: None} == {**old, name: None}
    assert page.write(TEXT, {}) == TEXT

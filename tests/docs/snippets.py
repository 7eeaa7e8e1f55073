"""What README.rst and docs/ say to type or to write, for the tests that do so.

Whoever runs a snippet takes it from here, by the name of its page and words that only it has:
test_snippets.py finds these calls in the source of the tests, and so knows which nobody runs.
"""

import shlex
from dataclasses import dataclass

from docutils import nodes

from tests.docs.pages import parsed


@dataclass(frozen=True)
class Snippet:
    """A literal block of a page. `language` is that of ``code-block``, or empty."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        first, *rest = self.text.splitlines()
        return f"{self.page}: {first}{' …' if rest else ''}"


def snippets(page: str, language: str | None = None) -> list[Snippet]:
    """Every snippet of a page, or those in one language."""
    blocks = parsed(page).findall(nodes.literal_block)
    found = [
        Snippet(page, number, _language(block), block.astext())
        for number, block in enumerate(blocks)
        if not isinstance(block.parent, nodes.system_message)  # what a directive was, is none
    ]
    return [each for each in found if language in (None, each.language)]


def snippet(page: str, words: str) -> str:
    """The text of the only snippet of a page that has these words."""
    [found] = containing(page, words)
    return found.text


def arguments(command: str) -> list[str]:
    """The words of a command as a shell has them, over several lines or on one."""
    return shlex.split(command.replace("\\\n", ""))


def containing(page: str, words: str) -> list[Snippet]:
    return [each for each in snippets(page) if words in each.text]


def _language(block: nodes.literal_block) -> str:
    [*_, last] = block["classes"] or [""]
    return str(last)

"""What docs/browser.rst and the README say to write loses nothing, as it stands, in a browser."""

import json
import re
from collections.abc import Callable

import pytest

from aionotify.events.event_id import id_at
from tests.browser.node import MODULE, run_node
from tests.browser.site import Site, Tab
from tests.docs.snippets import snippet, snippets

EXAMPLES = [
    *(each.text for each in snippets("docs/browser.rst", "javascript")),
    snippet("README.rst", "new Notifications("),
]
# What an example takes for granted. The README's writes to the console.
GIVEN = """
    window.shown = [];
    const userId = "42", getToken = async () => "token-42";
    const show = ({ data }) => shown.push(data);
    console.log = show;
    const reload = () => shown.push("a gap"), signIn = () => shown.push("refused");
    document.cookie = "session=token-42";
"""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[0])
def test_an_example_loses_nothing_while_the_server_is_killed_and_ends_in_order(
    open_site: Callable[..., Site], open_tab: Callable[[str], Tab], example: str
) -> None:
    """Even when it is killed before any event has come."""
    site = open_site(auth__cookie="session", stream__retry=500)
    tab = open_tab(site.page)
    # A function's body cannot hold an import statement.
    code = re.sub(r"import (.*) from (.*);", r"const \1 = await import(\2);", example)
    tab.run(f"(async () => {{ {GIVEN} {code} }})();")

    tab.wait_opened(site, 1)
    sent: list[int] = []
    for times, end in enumerate((site.kill, site.terminate, site.kill), start=2):
        end()
        sent += site.publish(3, event="order.shipped")
        site.start()
        tab.wait_opened(site, times)
        sent += site.publish(1, event="order.shipped")
        text = json.dumps(sent, separators=(",", ":"))
        tab.wait(f"JSON.stringify(shown) === '{text}'", 20)


def test_the_lines_for_replacing_show_the_newest_of_each_key_and_nothing_that_was_recalled() -> (
    None
):
    cursors = [f"2.q5hr2c.0660f7a6a2a8f8.0660f7a6a2a2{number:02x}.5zej" for number in range(1, 6)]
    cursors[3] += ".all"
    ids = [str(id_at(cursor)) for cursor in cursors]
    assert ids[0] != ids[1]
    events = [
        {"data": 1, "aionotify": {"collapse": "a"}},
        {"data": 2},
        {"data": 3, "aionotify": {"collapse": "a"}},
        {"data": 4},
        {"data": 5, "aionotify": {"collapse": "b"}},
    ]
    code = snippet("docs/browser.rst", "aionotify?.collapse")
    code = code.replace("/notify/client.js", MODULE.as_uri())
    shown = run_node(
        f"""
        const notifications = new EventTarget();
        const tell = (type, data, lastEventId) => notifications.dispatchEvent(
          new MessageEvent(type, {{ data: JSON.stringify(data), lastEventId }}));
        {code}
        input.events.forEach((event, index) => tell("liked", event, input.cursors[index]));
        const before = [...shown.keys()];
        tell("aionotify.recalled", {{ reason: "recalled", event_id: input.recalled }}, "");
        const after = [...shown.values()].map((each) => each.data);
        process.stdout.write(JSON.stringify([before, after]));
        """,
        {"events": events, "cursors": cursors, "recalled": ids[3]},
    )
    assert shown == [ids[1:], [2, 3, 5]]

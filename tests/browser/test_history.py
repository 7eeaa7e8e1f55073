"""The module's list and marks in a real Chromium against a real node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aionotify.events.event_id import id_at
from tests.browser.node import run_node
from tests.browser.site import Elsewhere, Site, Tab
from tests.docs.snippets import snippet

MODULE = Path(__file__).parents[2] / "aionotify/web/static/aionotify.js"
TOKEN = "{ token: 'token-42' }"
# Lists, and streams from there; `ids` has what it came to know, in order.
BEGIN = """
    window.ids = []; window.told = [];
    window.page = await m.history(url, options);
    ids.push(...page.events.map((event) => event.event_id).reverse());
    window.n = new m.Notifications(url + "?unread", { ...options, lastEventId: page.cursor });
    n.addEventListener("message", ({ lastEventId }) => ids.push(m.eventId(lastEventId)));
    n.addEventListener("aionotify.read", ({ data }) => told.push(JSON.parse(data)));
    n.addEventListener("aionotify.open", ({ data }) => (window.unread = JSON.parse(data).unread));
"""


def begin(tab: Tab, url: str, options: str = TOKEN) -> None:
    body = f"window.m = await import(url + '/client.js'); const options = {options}; {BEGIN}"
    assert result(tab, f"(async (url) => {{ {body} return 'began' }})('{url}/notify')") == "began"


def result(tab: Tab, script: str) -> Any:
    """What a promise comes to, or its error's status."""
    tab.run(
        f"window.found = undefined; ({script})"
        ".then((value) => (found = [value]), (error) => (found = [error.status ?? `${error}`]))"
    )
    [value] = tab.wait("window.found")
    return value


def test_the_id_of_an_event_is_in_the_cursor_that_comes_with_it() -> None:
    everyone, shards, own = f"{2:014x}", ".".join(f"{n:014x}" for n in (4, 6, 8, 10)), f"{12:014x}"
    cursors = [f"2.abcdef.{everyone}.{own}.5zej", f"3.abcdef.{everyone}.{shards}.{own}.5zej"]
    cursors += [f"{each}.all" for each in cursors] + [f"{cursors[1]}.g{n}" for n in (1, 4)]
    script = f"""
        const {{ eventId }} = await import("{MODULE.as_uri()}");
        console.log(JSON.stringify({cursors}.map(eventId)));
    """
    assert run_node(script) == [str(id_at(each)) for each in cursors]


def test_a_page_that_lists_and_then_streams_has_each_event_once(tab: Tab, site: Site) -> None:
    site.publish(3)
    begin(tab, site.url)
    assert tab.run("return page.unread") == 3
    site.publish(2)
    tab.wait("ids.length === 5")
    assert tab.run("return new Set(ids).size") == 5
    listed = result(tab, "n.history({ order: 'oldest', limit: 100 })")
    assert [event["event_id"] for event in listed["events"]] == tab.run("return ids")
    newest = result(tab, "n.history({ limit: 2, event: ['message', 'other'] })")
    assert newest["next"] == tab.run("return ids.at(-2)")
    assert result(tab, "n.history({ event: 'other' })")["events"] == []
    assert result(tab, "n.history({ limit: 0 })") == 400


def test_what_is_marked_in_one_tab_is_read_in_another(
    open_tab: Callable[[str], Tab], site: Site
) -> None:
    site.publish(3)
    tabs = [open_tab(site.page) for _ in range(2)]
    for tab in tabs:
        begin(tab, site.url)
        tab.wait("window.unread === 3")
    one, other = tabs
    assert result(one, "n.markRead({ ids: [ids[1]] })") == {"unread": 2}
    other.wait("told.length === 1")
    assert other.run("return ids.map((id) => m.isRead(told[0], id))") == [False, True, False]
    assert result(one, "n.markRead()") == {"unread": 0}
    other.wait("told.length === 2")
    assert other.run("return ids.map((id) => m.isRead(told[1], id))") == [True, True, True]
    other.load(site.page)
    begin(other, site.url)
    other.wait("told.length === 2")
    assert other.run("return page.events.map((event) => event.read)") == [True] * 3
    assert other.run("return ids.every((id) => told.some((each) => m.isRead(each, id)))")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("{ token: 'made-up' }", 401),
        ("{ getToken: () => 'made-up' }", 401),
        ("{ getToken: (refused) => (refused ? 'token-42' : 'made-up') }", []),
        ("{ getToken() { throw new Error('no') } }", "Error: no"),
        ("{}", 403),
    ],
)
def test_a_list_is_asked_for_with_the_credentials_of_a_stream(
    tab: Tab, site: Site, options: str, wanted: object
) -> None:
    url = f"{site.url}/notify"
    listed = f"import('{url}/client.js').then((m) => m.history('{url}', {options}))"
    assert result(tab, f"{listed}.then(({{ events }}) => events)") == wanted


def test_a_page_of_another_origin_lists_and_marks(
    open_site: Callable[..., Site], open_tab: Callable[[str], Tab], elsewhere: Elsewhere
) -> None:
    site = open_site(cors__origins=[elsewhere.url])
    site.publish()
    tab = open_tab(elsewhere.url)
    begin(tab, site.url)
    assert result(tab, "n.markRead()") == {"unread": 0}
    tab.wait("told.length > 0")


def test_the_lines_of_the_page_show_what_there_was_what_comes_and_what_is_read_elsewhere(
    open_tab: Callable[[str], Tab], site: Site
) -> None:
    site.publish(2, event="order.shipped")
    code = snippet("docs/browser.rst", "await history(").replace(
        'import { Notifications, eventId, history, isRead } from "/notify/client.js"',
        'const { Notifications, eventId, history, isRead } = await import("/notify/client.js")',
    )
    assert "await import" in code
    given = """
        const getToken = () => "token-42";
        const bell = (window.bell = document.createElement("button"));
        const draw = (list, unread) => {
          window.shown = list.map(({ data, read }) => [data.data, read]);
          if (unread !== undefined) window.unread = unread;
        };
    """
    tabs = [open_tab(site.page) for _ in range(2)]
    for tab in tabs:
        tab.run(f"(async () => {{ {given} {code}\n window.begun = 1 }})()")
        tab.wait("window.begun && window.unread === 2")
    site.publish(1, event="order.shipped")
    for tab in tabs:
        tab.wait("shown.length === 3")
        assert tab.run("return shown") == [[2, False], [1, False], [0, False]]
    tabs[0].run("bell.click()")
    for tab in tabs:
        tab.wait("shown.every(([, read]) => read)")


@pytest.mark.parametrize("recipients", [[], ["42"], ["*"], ["42", "*"]])
def test_tabs_that_list_first_share_a_stream(
    open_tab: Callable[[str], Tab], site: Site, recipients: list[str]
) -> None:
    """Whether or not the cursor of the list is the very id that the stream has."""
    tabs = []
    for number in range(3):
        tabs.append(open_tab(site.page))
        begin(tabs[-1], site.url, "{ token: 'token-42', share: '42' }")
        tabs[-1].wait("n.readyState === 1")
        assert site.streams() == 1
        for recipient in recipients if number == 0 else ():
            site.publish(user=recipient)
            tabs[0].wait(f"ids.length === {recipients.index(recipient) + 1}")
    site.publish(2)
    for tab in tabs:
        tab.wait(f"ids.length === {len(recipients) + 2}")
        assert tab.run("return ids") == tabs[0].run("return ids")
    assert site.streams() == 1

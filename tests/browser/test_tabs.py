"""One stream for all tabs of a browser, whatever becomes of the tab that reads it.

In none of them a durable event is lost or doubled.
"""

import time
from collections.abc import Callable, Sequence

import pytest

from tests.browser.site import FAST, Site, Tab

SHARED = "{ token: 'token-42', share: '42' }"
HANG = 12  # seconds; silence is noticed after three


@pytest.fixture
def tabs(open_tab: Callable[[str], Tab], site: Site) -> list[Tab]:
    """Three tabs with one stream; the first one reads it."""
    tabs = [open_tab(site.page) for _ in range(3)]
    for tab in tabs:
        tab.run(FAST)
        tab.listen(SHARED)
    assert site.streams() == 1
    return tabs


def all_have(tabs: Sequence[Tab], numbers: Sequence[int]) -> None:
    for tab in tabs:
        tab.wait_published(numbers)


def test_ten_tabs_have_one_stream(open_tab: Callable[[str], Tab], site: Site) -> None:
    """Over HTTP/1.1 the seventh would wait for ever."""
    tabs = []
    for _ in range(10):
        tabs.append(open_tab(site.page))
        tabs[-1].listen(SHARED)
    sent = site.publish(3)
    all_have(tabs, sent)
    assert site.streams() == 1
    while len(tabs) > 7:
        tabs.pop(0).close()
        sent += site.publish(3)
        all_have(tabs, sent)
    tabs[0].wait_streams(site, 1)
    ids = {tab.run("return n.lastEventId") for tab in tabs}
    assert len(ids) == 1


def test_ephemeral_events_reach_all_tabs(tabs: list[Tab], site: Site) -> None:
    site.ephemeral("now")
    for tab in tabs:
        tab.wait("published()[0] === 'now'")


def test_each_tab_hears_where_the_stream_begins(tabs: list[Tab]) -> None:
    for tab in tabs:
        assert tab.run("return [opened, seen[0].type, n.readyState]") == [1, "aionotify.open", 1]
        assert tab.run("return seen[0].lastEventId === n.lastEventId")


@pytest.mark.parametrize("how", ["closed", "crashed", "frozen", "left", "hung"])
def test_when_the_tab_that_reads_is_gone_the_next_goes_on(
    tabs: list[Tab], site: Site, how: str
) -> None:
    sent = site.publish(3)
    all_have(tabs, sent)
    reader, *others = tabs
    match how:
        case "closed":
            reader.close()
        case "crashed":
            reader.crash()
        case "frozen":
            reader.cdp("Page.setWebLifecycleState", state="frozen")
        case "left":
            reader.load("about:blank")
        case "hung":
            # As an alert() would have it: it holds the lock, and hears of nothing.
            reader.run(
                "real(() => {"
                "  localStorage.hung = 1;"
                f" const end = Date.now() + {HANG}e3;"
                "  while (Date.now() < end);"
                "}, 1000)"  # or the debugger waits with it
            )
            others[0].wait("localStorage.hung")
    began = time.monotonic()
    sent += site.publish(3)
    all_have(others, sent)
    assert time.monotonic() - began < HANG
    site.kill()
    sent += site.publish(3)
    site.start()
    all_have(others, sent)
    if how in ("frozen", "hung"):
        reader.cdp("Page.setWebLifecycleState", state="active")
        reader.wait_published(sent)
        sent += site.publish(3)
        all_have(tabs, sent)
    others[0].wait_streams(site, 1)


def test_events_under_way_while_the_tab_that_reads_is_closed(
    open_tab: Callable[[str], Tab], site: Site
) -> None:
    """Whether the next has heard an event from the one before it or reads it, it has it once."""
    tabs = [open_tab(site.page) for _ in range(5)]
    for tab in tabs:
        tab.listen(SHARED)
    sent: list[int] = []
    for _ in range(4):
        sent += site.publish(20)
        tabs.pop(0).close()
        sent += site.publish(20)
    all_have(tabs, sent)


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_server_that_ends_and_comes_back_loses_nothing_in_any_tab(
    tabs: list[Tab], site: Site, how: str
) -> None:
    sent: list[int] = []
    for round in range(2, 4):
        getattr(site, how)()
        sent += site.publish(2)
        site.start()
        all_have(tabs, sent)
        for tab in tabs:
            tab.wait(f"n.readyState === 1 && opened === {round} && errors.length")
    tabs[0].wait_streams(site, 1)


def test_a_tab_that_was_away_is_told_what_it_missed(tabs: list[Tab], site: Site) -> None:
    """By the one that reads: no other stream is opened for that."""
    sent = site.publish(2)
    all_have(tabs, sent)
    tabs[2].run("n.close()")
    sent += site.publish(3)
    all_have(tabs[:2], sent)
    opened = site.opened()
    tabs[2].run("n.open()")
    tabs[2].wait_published(sent)
    sent += site.publish(1)
    all_have(tabs, sent)
    tabs[0].run("n.close()")  # and what the next one reads is opened after any other
    tabs[1].wait_opened(site, opened + 1)
    assert site.opened() == opened + 1


def test_a_tab_that_was_away_for_long_reads_for_itself_until_it_is_where_the_others_are(
    tabs: list[Tab], site: Site
) -> None:
    sent = site.publish(2)
    all_have(tabs, sent)
    tabs[2].run("n.close()")
    sent += site.publish(2)
    all_have(tabs[:2], sent)
    # None of those that are there now has seen what it missed.
    for tab in tabs[:2]:
        tab.load(site.page)
        tab.listen(SHARED)
    opened = site.opened()
    tabs[2].run("n.open()")
    tabs[2].wait_published(sent)
    tabs[2].wait_opened(site, opened + 1)
    later = site.publish(1)
    tabs[2].wait_published(sent + later)
    tabs[2].wait_streams(site, 1)
    later += site.publish(2)
    tabs[2].wait_published(sent + later)
    all_have(tabs[:2], later)


def test_a_tab_that_is_loaded_again_misses_nothing(tabs: list[Tab], site: Site) -> None:
    """Each keeps its own id; here the one that reads, and one that does not."""
    options = "{ token: 'token-42', share: 42, storage: sessionStorage }"
    for tab in tabs:
        tab.load(site.page)
        tab.listen(options)
    all_have(tabs, site.publish(1))
    for tab in tabs[:2]:
        tab.load("about:blank")
        missed = site.publish(2)
        tab.load(site.page)
        tab.listen(options)
        tab.wait_published(missed)
    tabs[0].wait_streams(site, 1)


def test_what_a_tab_has_heard_already_it_does_not_show_again(tabs: list[Tab], site: Site) -> None:
    """The next that reads may not have heard the last words of the one before, and says them anew.

    Which that is depends on milliseconds; here somebody takes the lead who is two events behind.
    """
    sent = site.publish(3)
    all_have(tabs, sent)
    tabs[0].run(
        """
        const channel = new BroadcastChannel(`aionotify 1 ${location.origin}/notify 42`);
        const events = seen.slice(-3).map(({ type, data, lastEventId }) => {
          return { type, data, id: lastEventId };
        });
        channel.postMessage({ from: 2, at: events[0].id });
        const others = events.slice(1).map((event) => ({ ...event, id: `${event.id}x` }));
        const next = { type: "message", data: JSON.stringify({ data: 3 }), id: "next" };
        channel.postMessage({ from: 2, events: [others[0], next, others[1]] });
        channel.postMessage({ from: 2, events: [{ ...others[1], id: "last" }] });
        """
    )
    all_have(tabs[1:], [0, 1, 2, 3, 2])  # a third 2 is no repetition
    assert tabs[1].run("return n.lastEventId") == "last"


def test_what_is_not_told_again_hides_nothing_that_is_like_it(tabs: list[Tab], site: Site) -> None:
    """It was recalled before the next tab read it, and then published once more."""
    sent = site.publish(3)
    all_have(tabs, sent)
    tabs[0].run(
        """
        const channel = new BroadcastChannel(`aionotify 1 ${location.origin}/notify 42`);
        const [first, second, third] = seen.slice(-3).map(({ type, data, lastEventId }) => {
          return { type, data, id: lastEventId };
        });
        const later = third.id.split(".");
        later[3] = `${later[3].slice(0, 4)}ffffffffff`;
        channel.postMessage({ from: 2, at: first.id });
        channel.postMessage({ from: 2, events: [third, { ...second, id: later.join(".") }] });
        """
    )
    all_have(tabs[1:], [0, 1, 2, 1])


def test_a_recalled_event_is_told_in_all_tabs(tabs: list[Tab], site: Site) -> None:
    event_id = site.recalled()
    for tab in tabs:
        tab.wait("seen.some(({ type }) => type === 'aionotify.recalled')")
        told = "seen.find(({ type }) => type === 'aionotify.recalled').data"
        assert tab.run(f"return JSON.parse({told})") == {
            "reason": "recalled",
            "event_id": event_id,
        }


def test_two_users_of_one_browser_have_a_stream_each(tabs: list[Tab], site: Site) -> None:
    tabs[2].load(site.page)
    tabs[2].listen("{ token: 'token-43', share: '43' }")
    assert site.streams() == 2
    for_42, for_43 = site.publish(2, "42"), site.publish(2, "43")
    all_have(tabs[:2], for_42)
    tabs[2].wait_published(for_43)


def test_tabs_with_another_query_have_a_stream_of_their_own(tabs: list[Tab], site: Site) -> None:
    tabs[2].load(site.page)
    tabs[2].listen(SHARED, "/notify?x=1")
    assert site.streams() == 2


def test_without_a_share_each_tab_has_a_stream_of_its_own(tabs: list[Tab], site: Site) -> None:
    for tab in tabs:
        tab.load(site.page)
        tab.listen("{ token: 'token-42' }")
    assert site.streams() == 3
    all_have(tabs, site.publish(2))


def test_where_there_are_no_locks_each_tab_has_a_stream_of_its_own(
    tabs: list[Tab], site: Site
) -> None:
    for tab in tabs[1:]:
        tab.load(site.page)
        tab.run("Object.defineProperty(navigator, 'locks', { value: undefined })")
        tab.listen(SHARED)
    assert site.streams() == 3
    all_have(tabs, site.publish(2))


def test_when_somebody_else_signs_in_no_tab_shows_what_is_theirs(
    open_tab: Callable[[str], Tab], site: Site
) -> None:
    """With one name for two users: each tab that reads, in its turn, finds that it is not his."""
    tabs = [open_tab(site.page) for _ in range(3)]
    for tab in tabs:
        tab.run("window.token = 'token-42'")
        tab.listen("{ getToken: () => token, share: 'app' }")
    sent = site.publish(1)
    all_have(tabs, sent)
    for tab in tabs:
        tab.run("token = 'token-43'")
    site.kill()
    site.publish(1, "43")
    site.start()
    for tab in tabs:
        tab.wait("n.readyState === 2")
        assert tab.run("return errors.at(-1).message") == "the stream is another user's"
        tab.wait_published(sent)


def test_a_tab_that_hears_of_another_user_leaves(tabs: list[Tab], site: Site) -> None:
    """As a tab in which somebody else has signed in would say it, having taken the lead."""
    tabs[0].run(
        """
        const channel = new BroadcastChannel(`aionotify 1 ${location.origin}/notify 42`);
        channel.postMessage({ from: 2, at: n.lastEventId });
        const events = [
          { type: "aionotify.open", data: JSON.stringify({ user_id: "43", heartbeat: 1 }) },
          { type: "message", data: JSON.stringify({ data: "for 43" }) },
        ];
        channel.postMessage({ from: 2, events });
        """
    )
    for tab in tabs[1:]:
        tab.wait("n.readyState === 2")
        assert tab.run("return errors[0].message") == "the stream is another user's"
        assert tab.run("return published()") == []
    sent = site.publish(1)
    tabs[0].wait_published(sent)


def test_the_reader_whose_token_is_refused_makes_way(tabs: list[Tab], site: Site) -> None:
    site.main_host.refused.add("token-42")
    tabs[0].wait("n.readyState === 1")
    site.main_host.answers["other-42"] = {"user_id": "42"}
    tabs[2].load(site.page)
    tabs[2].listen("{ token: 'other-42', share: '42' }")
    sent = site.publish(1)
    all_have(tabs, sent)
    site.end_streams()
    for tab in tabs[:2]:
        tab.wait("n.readyState === 2 && errors.at(-1).status === 401")
    sent += site.publish(2)
    tabs[2].wait_published(sent)
    assert tabs[2].run("return n.readyState") == 1


def test_the_same_page_can_share_with_itself(tab: Tab, site: Site) -> None:
    tab.listen(SHARED)
    tab.run(
        "window.second = [];"
        "window.other = new n.constructor('/notify', { token: 'token-42', share: '42' });"
        "other.addEventListener('*', ({ data }) => second.push(data))"
    )
    tab.wait("other.readyState === 1")
    sent = site.publish(3)
    tab.wait_published(sent)
    tab.wait("second.length === 4")
    tab.run("n.close()")
    site.publish(1)
    tab.wait("second.filter((data) => !data.includes('heartbeat')).length === 4")
    tab.wait_streams(site, 1)

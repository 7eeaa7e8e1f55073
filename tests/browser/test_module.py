"""The browser's module in a real Chromium against a real node: one tab, each option and fault."""

from collections.abc import Callable

import pytest

from tests.browser.site import FAST, Background, Elsewhere, Site, Tab
from tests.harness import TcpProxy

TOKEN = "{ token: 'token-42' }"


KEEP_REQUESTS = """
    window.sent = []; const real = fetch;
    window.fetch = (url, init) => {
      sent.push({ url: `${url}`, headers: init.headers });
      return real(url, init);
    };
"""


# --- who one is ----------------------------------------------------------------------------------


def test_a_token_travels_in_a_header_and_in_no_address(tab: Tab, site: Site) -> None:
    tab.run(KEEP_REQUESTS)
    tab.listen(TOKEN)
    tab.wait_published(site.publish())
    [request] = tab.run("return sent")
    assert request["url"] == f"{site.url}/notify"
    assert request["headers"]["Authorization"] == "Bearer token-42"


def test_a_function_is_asked_for_a_token_at_each_connect(tab: Tab, site: Site) -> None:
    tab.run("window.asked = []")
    tab.listen("{ getToken: async (refused) => { asked.push(refused); return 'token-42'; } }")
    sent = site.publish()
    tab.wait_published(sent)
    site.end_streams()
    tab.wait("opened === 2")
    tab.wait_published(sent + site.publish())
    assert tab.run("return asked") == [False, False]


@pytest.mark.parametrize("later", ["token-42", "refused-too"])
def test_after_a_401_a_token_is_asked_for_anew_and_once(tab: Tab, site: Site, later: str) -> None:
    """A page that keeps its token learns that it was refused. The second refusal is final."""
    tab.run("window.asked = []; window.later = arguments[0]", later)
    tab.listen(
        "{ getToken: (refused) => { asked.push(refused); return refused ? later : 'stale'; } }"
    )
    if later == "token-42":
        tab.wait_published(site.publish())
        assert tab.run("return errors") == []
    else:
        tab.wait("n.readyState === 2")
        [error] = tab.run("return errors")
        assert (error["status"], error["final"]) == (401, True)
        assert error["message"].startswith("401 ")
    assert tab.run("return asked") == [False, True]


def test_a_token_that_is_refused_is_not_tried_again(tab: Tab, site: Site) -> None:
    tab.listen("{ token: 'made-up' }")
    tab.wait("n.readyState === 2")
    [error] = tab.run("return errors")
    assert (error["status"], error["final"]) == (401, True)
    assert site.main_host.asked_about["made-up"] == 1


@pytest.mark.parametrize(
    "fails",
    [
        *("throw new Error('no')", "throw undefined", "return ''", "return new Promise(() => 0)"),
        *(f"return Promise.reject({reason})" for reason in ("", "null", "'no'")),
    ],
)
def test_a_token_that_fails_to_come_is_an_error_and_is_asked_for_again(
    tab: Tab, site: Site, fails: str
) -> None:
    tab.run(FAST)
    tab.run("window.asked = 0; window.unhandled = 0; onunhandledrejection = () => unhandled++;")
    tab.listen(f"{{ getToken() {{ if (asked++) return 'token-42'; {fails}; }} }}")
    tab.wait("opened === 1")
    [error] = tab.run("return errors")
    assert (error["status"], error["final"]) == (0, False)
    assert error["message"]
    tab.wait_published(site.publish())
    assert tab.run("return unhandled") == 0


def test_a_cookie_goes_without_an_authorization(
    open_site: Callable[..., Site], open_tab: Callable[[str], Tab]
) -> None:
    site = open_site(auth__cookie="session")
    tab = open_tab(site.page)
    tab.run("document.cookie = 'session=token-42'")
    tab.run(KEEP_REQUESTS)
    tab.listen("{ withCredentials: true }")
    tab.wait_published(site.publish())
    [request] = tab.run("return sent")
    assert list(request["headers"]) == ["Accept"]


@pytest.mark.parametrize("how", ["token: 'token-42'", "withCredentials: true", "ticket"])
def test_a_page_of_another_origin_has_module_and_stream(
    open_site: Callable[..., Site],
    open_tab: Callable[[str], Tab],
    elsewhere: Elsewhere,
    how: str,
) -> None:
    site = open_site(auth__cookie="session", cors__origins=[elsewhere.url], server__drain=0)
    tab = open_tab(elsewhere.url)
    tab.run("document.cookie = 'session=token-42'")  # of the same host, and so of the same site
    options = "{ token: 'token-42', ticket: true }" if how == "ticket" else f"{{ {how} }}"
    tab.listen(options, f"{site.url}/notify", f"{site.url}/notify/client.js")
    sent = site.publish()
    tab.wait_published(sent)
    site.terminate()
    sent += site.publish()
    site.start()
    tab.wait_published(sent)
    assert tab.run("return seen.at(-1).origin") == site.url


def test_a_stream_that_has_become_another_users_ends(tab: Tab, site: Site) -> None:
    tab.run("window.token = 'token-42'")
    tab.listen("{ getToken: () => token }")
    tab.wait_published(site.publish())
    tab.run("window.token = 'token-43'")
    site.kill()
    site.publish(user="43")
    site.start()
    tab.wait("n.readyState === 2")
    assert tab.run("return errors.at(-1).message") == "the stream is another user's"
    assert len(tab.run("return published()")) == 1


# --- what is heard -------------------------------------------------------------------------------


def test_all_types_can_be_heard_and_each_by_its_name(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    tab.run("window.shipped = []; n.addEventListener('order.shipped', (e) => shipped.push(e.data))")
    tab.wait("opened === 1")
    for type in ("order.shipped", "never.heard.of", "*"):
        site.publish(event=type)
    site.publish()
    tab.wait_published([0, 1, 2, 3])
    types = tab.run("return seen.map(({ type }) => type)")
    assert types == ["aionotify.open", "order.shipped", "never.heard.of", "*", "message"]
    assert len(tab.run("return shipped")) == 1
    assert tab.run("return seen.at(-1).lastEventId === n.lastEventId && n.lastEventId.length > 9")


def test_a_listener_that_throws_ends_nothing(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    tab.run("n.addEventListener('message', () => { throw new Error('a bug of the page'); })")
    tab.wait_published(site.publish(3))
    assert tab.run("return errors") == []


def test_a_loop_gets_all_and_ends_with_close(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    tab.run(
        "window.got = []; (async () => { for await (const { type, data } of n)"
        " got.push(type === 'message' ? JSON.parse(data).data : type); got.push('over'); })()"
    )
    site.publish(3)
    tab.wait("got.length === 3")
    tab.run("n.close()")
    tab.wait("got.length === 4")
    assert tab.run("return got") == [0, 1, 2, "over"]


def test_a_loop_throws_what_is_final(tab: Tab, site: Site) -> None:
    tab.listen("{ token: 'made-up' }")
    tab.run(
        "(async () => { for await (const event of n); })()"
        ".catch((error) => { window.thrown = error.status; })"
    )
    tab.wait("window.thrown === 401")


def test_a_loop_that_is_left_listens_no_more(tab: Tab, site: Site) -> None:
    tab.run(
        "window.removed = 0; const real = EventTarget.prototype.removeEventListener;"
        "EventTarget.prototype.removeEventListener ="
        " function (...all) { removed++; return real.apply(this, all); };"
    )
    tab.listen(TOKEN)
    tab.run("(async () => { for await (const event of n) break; })()")
    sent = site.publish(2)
    tab.wait("removed === 1")
    tab.wait_published(sent)


def test_closed_in_a_listener_it_says_nothing_more_and_goes_on_from_there(
    tab: Tab, site: Site
) -> None:
    tab.listen(TOKEN)
    site.kill()
    tab.run("n.addEventListener('message', () => n.close(), { once: true })")
    sent = site.publish(3)  # they come together
    site.start()
    tab.wait_published(sent[:1])
    assert tab.run("return n.readyState") == 2
    tab.run("n.open()")
    tab.wait_published(sent)


# --- where it goes on ----------------------------------------------------------------------------


def test_an_earlier_pages_last_id_is_where_it_goes_on(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    tab.wait_published(site.publish())
    id = tab.run("const id = n.lastEventId; n.close(); return id")
    missed = site.publish(2)
    tab.load(site.page)
    tab.listen(f"{{ token: 'token-42', lastEventId: '{id}' }}")
    tab.wait_published(missed)


def test_with_a_storage_a_reload_misses_nothing(tab: Tab, site: Site) -> None:
    options = "{ token: 'token-42', storage: sessionStorage }"
    tab.listen(options)
    tab.wait("opened === 1")
    tab.load("about:blank")
    missed = site.publish(2)
    tab.load(site.page)
    tab.listen(options)
    tab.wait_published(missed)


@pytest.mark.parametrize("storage", ["{ getItem() { throw 1; }, setItem() { throw 2; } }", "null"])
def test_a_storage_that_is_forbidden_is_done_without(tab: Tab, site: Site, storage: str) -> None:
    tab.listen(f"{{ token: 'token-42', storage: {storage} }}")
    tab.wait_published(site.publish(2))


@pytest.mark.parametrize("options", [TOKEN, "{ token: 'token-42', ticket: true }"])
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_server_that_ends_and_comes_back_loses_nothing(
    tab: Tab, site: Site, how: str, options: str
) -> None:
    """Even before any event has come: the stream has said where it begins."""
    tab.listen(options)
    tab.wait("opened === 1")
    sent: list[int] = []
    for round in range(2, 4):
        getattr(site, how)()
        sent += site.publish(3)
        site.start()
        tab.wait(f"opened === {round}")
        sent += site.publish()
        tab.wait_published(sent)


def test_a_gap_is_told_and_what_is_left_follows(
    open_site: Callable[..., Site], open_tab: Callable[[str], Tab]
) -> None:
    site = open_site(max_events=2)
    tab = open_tab(site.page)
    tab.listen(TOKEN)
    site.publish()
    tab.wait_published([0])
    site.kill()
    site.publish(5)
    site.start()
    tab.wait_published([0, 4, 5])  # of six
    types = tab.run("return seen.map(({ type }) => type)")
    assert (
        types
        == ["aionotify.open", "message"] + ["aionotify.open", "aionotify.gap"] + ["message"] * 2
    )


def test_a_token_that_expires_is_renewed_and_nothing_is_lost(tab: Tab, site: Site) -> None:
    for number in range(100):
        # Long enough to be used on a busy machine: two refused in a row would be final.
        site.main_host.answers[f"short-{number}"] = {"user_id": "42", "expires_in": 3}
    tab.run("window.asked = 0")
    tab.listen("{ getToken: () => `short-${asked++}` }")
    tab.wait("opened === 1")
    sent: list[int] = []
    for times in (2, 3):
        while tab.run("return opened") < times:
            sent += site.publish()
        tab.wait_published(sent)
    assert tab.run("return seen.some(({ type }) => type === 'aionotify.expired')")
    assert tab.run("return errors.every(({ final }) => !final)")


# --- when to come back ---------------------------------------------------------------------------


def test_the_server_says_how_long_to_wait(tab: Tab, site: Site) -> None:
    """`retry:` is 200 ms here; then the pauses double, each with jitter."""
    tab.listen(TOKEN)
    site.kill()
    tab.wait("errors.length === 4")
    for number, error in enumerate(tab.run("return errors")):
        assert 200 * 2**number <= error["retryIn"] <= 300 * 2**number


@pytest.mark.parametrize(
    ("how", "status", "least"), [("busy", 429, 7_000), ("later", 503, 3_600_000)]
)
def test_retry_after_is_waited_for(
    open_tab: Callable[[str], Tab],
    site: Site,
    elsewhere: Elsewhere,
    how: str,
    status: int,
    least: int,
) -> None:
    """In seconds or as a date (RFC 9110 section 10.2.3), and no longer than an hour."""
    tab = open_tab(elsewhere.url)
    tab.listen(
        "{}",
        f"/fake/{how}",
        f"{site.url}/notify/client.js",
    )
    tab.wait("errors.length")
    [error] = tab.run("return errors")
    assert (error["status"], error["final"]) == (status, False)
    assert least <= error["retryIn"] <= 1.5 * least


@pytest.mark.parametrize(
    ("how", "final", "message"),
    [
        ("page", False, "the answer is no event stream but text/html"),
        ("nothing", True, "the answer is no event stream but null"),
        ("endless", True, "an event is too long"),
    ],
)
def test_an_answer_that_is_no_event_stream_is_named(
    open_tab: Callable[[str], Tab],
    site: Site,
    elsewhere: Elsewhere,
    how: str,
    final: bool,
    message: str,
) -> None:
    """A page of some proxy may be gone in a moment; what nobody means to send ends it."""
    tab = open_tab(elsewhere.url)
    tab.listen(
        "{}",
        f"/fake/{how}",
        f"{site.url}/notify/client.js",
    )
    tab.wait("errors.length", 30)
    error = tab.run("return errors[0]")
    assert error["message"].startswith(message)
    assert error["final"] is final


def test_a_stream_that_ends_at_once_is_a_failure_and_moves_no_position(
    open_tab: Callable[[str], Tab], site: Site, elsewhere: Elsewhere
) -> None:
    """So answers a proxy behind which nobody is: each pause is longer, whatever it asks for."""
    tab = open_tab(elsewhere.url)
    tab.listen(
        "{lastEventId: 'here'}",
        "/fake/empty",
        f"{site.url}/notify/client.js",
    )
    tab.wait("errors.length === 4")
    waits = [error["retryIn"] for error in tab.run("return errors")]
    assert all(wait >= 100 * 2**number for number, wait in enumerate(waits))
    assert {request.headers["Last-Event-ID"] for request in elsewhere.asked} == {"here"}
    assert tab.run("return n.lastEventId") == "here"


@pytest.mark.parametrize("after", ["the stream began", "nothing"])
def test_a_proxy_that_keeps_what_it_gets_is_a_loss(
    tab: Tab, site: Site, background: Background, after: str
) -> None:
    """After two and a half heartbeats without a word; after half a minute without the first."""
    proxy = TcpProxy(int(site.url.rpartition(":")[2]))
    background.call(proxy.__aenter__())
    try:
        if after == "nothing":
            tab.run(FAST)
            tab.load(f"http://127.0.0.1:{proxy.port}/healthz")
            tab.run(FAST)
            tab.run("return import('/notify/client.js')")  # now it is there
            background.loop.call_soon_threadsafe(proxy.stall)
            tab.run("start({ token: 'token-42' })")
        else:
            tab.load(f"http://127.0.0.1:{proxy.port}/healthz")
            tab.listen(TOKEN)
            tab.wait("opened === 1")
            background.loop.call_soon_threadsafe(proxy.stall)
        sent = site.publish()
        tab.wait("errors.length")
        ms = 30000 if after == "nothing" else 2500
        assert tab.run("return errors[0].message") == f"nothing came for {ms} ms"

        async def restore() -> None:
            proxy.cut()
            await proxy.restore()

        background.call(restore())
        tab.wait("n.readyState === 1")
        if after != "nothing":
            tab.wait_published(sent)
    finally:
        background.call(proxy.__aexit__())


def test_offline_is_told_and_online_is_no_time_to_wait(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    tab.cdp("Network.enable")
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.cdp("Network.emulateNetworkConditions", offline=True, **network)
    tab.wait("errors[0]?.message === 'the browser is offline'")
    sent = site.publish(2)
    tab.wait("errors.length === 5")  # the next attempt is seconds away
    tab.cdp("Network.emulateNetworkConditions", offline=False, **network)
    tab.wait_published(sent)
    assert len(tab.run("return errors")) <= 6


def test_it_sleeps_and_wakes_with_its_page(tab: Tab, site: Site) -> None:
    tab.listen(TOKEN)
    sent = site.publish()
    tab.wait_published(sent)
    tab.cdp("Page.setWebLifecycleState", state="frozen")
    tab.wait_streams(site, 0)
    sent += site.publish(2)
    tab.cdp("Page.setWebLifecycleState", state="active")
    tab.wait_published(sent)
    assert tab.run("return errors") == []


def test_a_page_that_is_left_and_comes_back_goes_on(tab: Tab, site: Site) -> None:
    """Whether the browser has kept the page (pageshow) is up to it; here it has."""
    tab.listen("{ token: 'token-42', share: '42' }")
    sent = site.publish()
    tab.wait_published(sent)
    tab.browser.get(f"{site.url}/readyz")
    tab.wait_streams(site, 0)
    sent += site.publish(2)
    tab.browser.back()
    tab.wait("window.n?.readyState === 1")
    tab.wait_published(sent)


def test_with_a_ticket_types_are_heard_that_somebody_asked_for(tab: Tab, site: Site) -> None:
    tab.listen("{ token: 'token-42', ticket: true }")
    tab.run("n.addEventListener('early', () => 0)")
    tab.wait("opened === 1")
    tab.run("n.addEventListener('late', () => 0)")
    for type in ("early", "late", "unheard"):
        site.publish(event=type)
    site.publish()
    tab.wait_published([0, 1, 3])


def test_a_ticket_can_come_from_the_application(tab: Tab, site: Site) -> None:
    """As the page itself then has no token at all."""
    tab.run(
        "window.give = async () => (await (await fetch('/notify/ticket', { method: 'POST',"
        " headers: { Authorization: 'Bearer token-42' } })).json()).ticket"
    )
    tab.listen("{ ticket: give }")
    sent = site.publish()
    tab.wait_published(sent)
    site.kill()
    sent += site.publish()
    site.start()
    tab.wait_published(sent)

"""A node with a main host and a Redis, and tabs that use the module, for tests that are not async.

Selenium blocks whoever calls it, so what is asynchronous runs on a thread of its own.
"""

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar
from urllib.request import Request, urlopen

from aiohttp import hdrs, web
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

from aionotify import Publisher
from aionotify.config import InboxConfig
from aionotify.streams.response import HEADERS
from tests.harness import MainHost, NotifyServer, RedisServer, free_port

T = TypeVar("T")
KEY = "publisher-key-of-the-tests"

# In a page: `start(options, url)` makes `window.n`, and keeps what it says.
SCRIPT = """
    window.seen = []; window.errors = []; window.opened = 0;
    window.start = async (options, url, module = "/notify/client.js") => {
      const { Notifications } = await import(module);
      window.n = new Notifications(url ?? "/notify", options);
      n.addEventListener("*", (event) => seen.push(event));
      n.addEventListener("open", () => opened++);
      n.addEventListener("error", ({ detail }) => errors.push(detail));
    };
    window.published = () =>
      seen
        .filter(({ type }) => !type.startsWith("aionotify."))
        .map(({ data }) => JSON.parse(data).data);
"""

# Half a minute is long for a test: this makes a second and a half of it, and leaves alone what is
# short: heartbeats come as they did.
FAST = """
    window.real = setTimeout;
    window.setTimeout = (act, ms) => real(act, ms > 3000 ? ms / 20 : ms);
"""


class Background:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="background")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)


class Site:
    """A node with its main host and its Redis; ``token-42`` is user ``42``."""

    def __init__(
        self,
        background: Background,
        redis: RedisServer,
        main_host: MainHost,
        max_events: int = 100,
        **settings: object,
    ) -> None:
        self.main_host = main_host
        self.redis = redis
        self._background = background
        self.server = NotifyServer(
            {
                "redis.url": redis.url,
                "auth.main_host.url": main_host.url,
                "auth.main_host.cache_ttl": 0,
                "auth.main_host.refusal_ttl": 0,
                "stream.retry": 200,
                "server.drain": 0.2,
                "admin.publish_keys": [KEY],
                "inbox.max_events": max_events,
                **{name.replace("__", "."): value for name, value in settings.items()},
            }
        )
        self._publisher = Publisher(redis.url, inbox=InboxConfig(max_events=max_events))
        self._number = 0

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def page(self) -> str:
        """Of the node's own origin, and empty."""
        return f"{self.url}/healthz"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._background.call(self._publisher.close())
        self._background.call(self.server.aclose())

    def start(self) -> None:
        self._background.call(self.server.start())

    def terminate(self) -> None:
        assert self._background.call(self.server.terminate()) == 0

    def kill(self) -> None:
        self._background.call(self.server.kill())

    def publish(self, count: int = 1, user: str = "42", **members: object) -> list[int]:
        """Publish durable events, whose data are the next numbers; the node may be down."""
        numbers = list(range(self._number, self._number + count))
        self._number += count
        for number in numbers:
            event = {"recipient_id": user, "data": number, **members}
            self._background.call(self._publisher.publish(event))
        return numbers

    def recalled(self, user: str = "42") -> str:
        """Publish a durable event and take it back; return its id."""
        published = self._background.call(self._publisher.publish({"recipient_id": user}))
        assert self._background.call(self._publisher.recall(published.event_id, user))
        return published.event_id

    def ephemeral(self, data: object, user: str = "42") -> None:
        event = json.dumps({"recipient_id": user, "data": data})
        self.redis.cli("PUBLISH", "push_notifications", event)

    def streams(self) -> int:
        """How many are open at the node."""
        with urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        [line] = [line for line in text.splitlines() if line.startswith("aionotify_streams ")]
        return round(float(line.split()[1]))

    def opened(self) -> int:
        """How many streams the node has opened, by its log."""
        return sum("stream opened" in line for line in self.server.logs)

    def end_streams(self, user: str = "42") -> None:
        """Close the user's streams, as when somebody signs out everywhere."""
        headers = {"Authorization": f"Bearer {KEY}"}
        with urlopen(Request(f"{self.url}/streams/{user}", None, headers, method="DELETE")):
            pass


class Elsewhere:
    """A site of another origin: an empty page, and answers that no node gives.

    `/asked` counts what was asked under `/fake/`; each of these says how it answers.
    """

    def __init__(self, background: Background) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[web.Request] = []
        self._background = background
        app = web.Application()
        app.add_routes([web.get("/", self._page), web.get("/fake/{how}", self._fake)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    def __enter__(self) -> Self:
        self._background.call(self._start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._background.call(self._runner.cleanup())

    async def _start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html>", content_type="text/html")

    async def _fake(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        match request.match_info["how"]:
            case "page":
                return web.Response(text="<title>Sign in</title>", content_type="text/html")
            case "nothing":
                return web.Response(status=204)
            case "busy":
                return web.Response(status=429, headers={hdrs.RETRY_AFTER: "7"})
            case "later":
                # The year 2096; no longer than an hour is waited.
                date = "Sun, 01 Jan 2096 00:00:00 GMT"
                return web.Response(status=503, headers={hdrs.RETRY_AFTER: date})
            case "endless":
                response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream"})
                await response.prepare(request)
                await response.write(b"data: ")
                try:
                    while True:
                        await response.write(b"x" * 2**20)
                except ConnectionError:
                    return response
            case "empty":
                # Says nothing and ends, as often as it is asked, and wants no pause.
                return web.Response(body=b"retry: 0\n", headers=HEADERS)
            case how:
                raise AssertionError(how)


class Tab:
    """A tab of the browser in which the module runs."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        self.load(url)

    def load(self, url: str) -> None:
        """Go to a page, or load it again."""
        self.browser.switch_to.window(self.handle)
        self.browser.get(url)
        self.browser.execute_script(SCRIPT)

    def run(self, script: str, *arguments: object) -> Any:
        self.browser.switch_to.window(self.handle)
        return self.browser.execute_script(script, *arguments)

    def listen(self, options: str, *where: str) -> None:
        """Make the Notifications with these options, as JavaScript has them.

        Returns when it is open: whoever comes for the first time gets what is published from then
        on; or when something is wrong.
        """
        self.run(f"return start({options}, ...arguments)", *where)
        self.wait("opened || errors.length")

    def wait(self, condition: str, timeout: float = 15) -> Any:
        """Return what a JavaScript expression gives once that is true."""
        try:
            return WebDriverWait(self.browser, timeout, 0.05).until(
                lambda _: self.run(f"return {condition}")
            )
        except Exception as error:
            state = self.run(
                "return {published: published(), errors, opened, types: seen.map((e) => e.type),"
                " state: window.n?.readyState, id: window.n?.lastEventId}"
            )
            raise AssertionError(f"{condition} does not come true: {state}") from error

    def wait_published(self, numbers: Sequence[int]) -> None:
        """Return when these are all, in this order; fail when they do not become it."""
        text = json.dumps(list(numbers), separators=(",", ":"))
        self.wait(f"JSON.stringify(published()) === '{text}'")

    def wait_streams(self, site: Site, count: int) -> None:
        """Return when the node has so many open."""
        WebDriverWait(self.browser, 15, 0.05).until(lambda _: site.streams() == count)

    def wait_opened(self, site: Site, count: int) -> None:
        """Return when the node has opened so many."""
        WebDriverWait(self.browser, 15, 0.05).until(lambda _: site.opened() >= count)

    def cdp(self, command: str, **arguments: object) -> Any:
        """Have the browser's debugger do something to this tab."""
        self.browser.switch_to.window(self.handle)
        return self.browser.execute_cdp_cmd(command, arguments)

    def crash(self) -> None:
        """End its process, as when the machine has no memory left."""
        # The debugger does not answer, for there is nobody who could.
        with suppress(WebDriverException):
            self.cdp("Page.crash")

    def close(self) -> None:
        self.browser.switch_to.window(self.handle)
        self.browser.close()

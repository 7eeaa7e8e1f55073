"""Clients in Chromium: each in a tab at a host of its own, so that they share no cookie."""

import asyncio
import json
import re
import shutil
import textwrap
from tempfile import TemporaryDirectory
from typing import Self

from aiohttp import web
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.clients.catalogue import BUILT, PROGRAMS, ROOT, Client
from tests.clients.running import Run
from tests.harness import free_port

FLAGS = (
    "--headless",
    "--no-sandbox",  # it refuses to run as root with one, and CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # One tab is in front, and the others are to be as quick.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
# Where the packages have what a browser can import.
PACKAGES = {
    "@microsoft/fetch-event-source": "@microsoft/fetch-event-source/lib/esm/index.js",
    "reconnecting-eventsource": "reconnecting-eventsource/build/esm/reconnecting-eventsource.js",
    "sse.js": "sse.js/lib/sse.js",
}
# It has no module, and so do those who load it with a <script>.
POLYFILL = "event-source-polyfill/src/eventsource.js"
BROWSER_RST = (ROOT / "docs/browser.rst").read_text("utf-8")
EXAMPLES = re.findall(r"\.\. code-block:: javascript\n\n((?:    .*\n|\n)+)", BROWSER_RST)
HEARS = 'hear("order.shipped", ({ data }) => show(JSON.parse(data)));'

PREPARE = """
const [site, lastId, done] = arguments;
const map = document.createElement("script");
map.type = "importmap";
map.textContent = JSON.stringify({ imports: site.imports });
document.head.append(map);
const socket = new WebSocket(site.heard);
socket.onopen = done;
window.contract = {
  url: "/notify",
  lastId,
  getToken: async () => (await fetch(site.token)).text(),
  heard: (line) => socket.send(line),
};
"""
# The names that the examples of docs/browser.rst take for granted.
EXAMPLE = """
(async () => {
  const { getToken, show: tell, signIn, types } = await import(arguments[0]);
  const show = ({ type, data }) => tell(type, data), reload = () => {};
  %s
})();
"""


class Browser:
    """A Chromium, and the site that its pages have their programs from."""

    def __init__(self) -> None:
        self.port = free_port()
        self.runs: dict[str, Page] = {}
        self.lock = asyncio.Lock()  # the driver does one thing at a time, in one tab
        self._profile = TemporaryDirectory(prefix="chromium-")
        self._chrome: Chrome | None = None
        app = web.Application()
        app.add_routes(
            [
                web.get("/heard/{name}", self._heard),
                web.get("/token/{name}", self._token),
                web.get("/{folder:programs|packages}/{path:.+}", self._file),
                web.get("/event-source-polyfill.js", self._polyfill),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def chrome(self) -> Chrome:
        assert self._chrome is not None
        return self._chrome

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def imports(self) -> dict[str, str]:
        """Where a page finds the packages by their names."""
        found = {name: f"{self.url}/packages/{path}" for name, path in PACKAGES.items()}
        return found | {"event-source-polyfill": f"{self.url}/event-source-polyfill.js"}

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self._chrome = await asyncio.to_thread(self._start)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.chrome.quit)
        await self._runner.cleanup()
        self._profile.cleanup()

    def _start(self) -> Chrome:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(flag)
        return Chrome(options, Service(shutil.which("chromedriver") or ""))

    async def _heard(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=2**20)
        await socket.prepare(request)
        run = self.runs[request.match_info["name"]]
        async for message in socket:
            run.take(message.data)
        return socket

    async def _token(self, request: web.Request) -> web.Response:
        return _open(web.Response(text=self.runs[request.match_info["name"]].token))

    async def _file(self, request: web.Request) -> web.Response:
        home = PROGRAMS if request.match_info["folder"] == "programs" else BUILT / "node_modules"
        path = home / request.match_info["path"]
        # As bundlers do: "./parse" is "./parse.js".
        path = path if path.suffix in (".js", ".mjs") else path.with_name(f"{path.name}.js")
        return _script(path.read_text("utf-8"))

    async def _polyfill(self, request: web.Request) -> web.Response:
        source = (BUILT / "node_modules" / POLYFILL).read_text("utf-8")
        names = "export const { EventSourcePolyfill } = globalThis;"
        return _script(f"(function () {{ {source} }}).call(globalThis); {names}")


class Page(Run):
    """A tab in which a client runs."""

    def __init__(self, client: Client, user: str, browser: Browser) -> None:
        super().__init__(client, user)
        self.token = ""
        self._browser = browser
        self._handle = ""
        # Of a label each at most 63 characters long; the last one leads a browser to the loopback.
        self._host = f"{re.sub(r'[^a-z0-9-]+', '-', client.label)}-{user}.localhost"

    async def start(self, url: str, token: str, last_id: str) -> None:
        self.token = token
        self._browser.runs[self._host] = self
        at = f"http://{self._host}:{url.rpartition(':')[2]}/healthz"
        async with self._browser.lock:
            await asyncio.to_thread(self._open, at, last_id)

    async def set_token(self, token: str) -> None:
        self.token = token
        async with self._browser.lock:
            await asyncio.to_thread(self._set_cookie)

    async def stop(self) -> None:
        if self._handle:
            async with self._browser.lock:
                await asyncio.to_thread(self._close)

    def _open(self, at: str, last_id: str) -> None:
        chrome, site = self._browser.chrome, self._browser.url
        chrome.switch_to.new_window("tab")
        self._handle = chrome.current_window_handle
        chrome.get(at)
        self._set_cookie()
        told = {
            "imports": self._browser.imports,
            "heard": f"{site.replace('http', 'ws')}/heard/{self._host}",
            "token": f"{site}/token/{self._host}",
        }
        chrome.execute_async_script(PREPARE, told, last_id)
        if self.client.program.startswith("browser.rst#"):
            example = EXAMPLES[int(self.client.program.rpartition("#")[2])]
            assert HEARS in example
            code = textwrap.dedent(example)
            code = code.replace(HEARS, "for (const type of types) hear(type, show);")
            if last_id:
                code = code.replace("let cursor = null;", f"let cursor = {json.dumps(last_id)};")
            chrome.execute_script(EXAMPLE % code, f"{site}/programs/javascript/contract.js")
        else:
            chrome.execute_script("import(arguments[0])", f"{site}/programs/{self.client.program}")

    def _set_cookie(self) -> None:
        if self.client.token == "cookie":
            self._browser.chrome.switch_to.window(self._handle)
            self._browser.chrome.execute_script(
                "document.cookie = `session=${arguments[0]}`", self.token
            )

    def _close(self) -> None:
        chrome = self._browser.chrome
        chrome.switch_to.window(self._handle)
        self._handle = ""
        chrome.close()
        chrome.switch_to.window(chrome.window_handles[0])


def _open(response: web.Response) -> web.Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def _script(text: str) -> web.Response:
    return _open(web.Response(text=text, content_type="text/javascript"))

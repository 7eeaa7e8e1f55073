"""The shop's page as a person uses it."""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.request import Request, urlopen

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.harness.demo import Demo
from tests.harness.wait import PATIENCE

T = TypeVar("T")
USERS: Final = ("alice", "bob")

# What is in a list, also behind "Show all"; the newest first.
LISTED = """
    return [...document.querySelectorAll(`#of-${arguments[0]} .list li`)].map((item) => ({
      title: item.querySelector("bdi").textContent,
      text: item.querySelector(".text").textContent,
      away: item.querySelector(".away") !== null,
      unread: item.classList.contains("unread"),
    }));
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class Item:
    """A notification in a list."""

    title: str
    text: str
    away: bool
    unread: bool


class Page:
    """The page, with all streams connected.

    What was in the lists before it was opened is left out, unless the demo is new (`is_new`): an
    announcement, which is read everywhere, marks the beginning.
    """

    def __init__(
        self, browser: Chrome, demo: Demo, users: tuple[str, ...] = USERS, *, is_new: bool = False
    ) -> None:
        self.browser = browser
        self.demo = demo
        self.users = users
        self.before = ""
        self.load()
        if is_new:
            return
        self.before = f"the beginning of {next(_numbers)}"
        now = time.time_ns() // 1_000_000
        self.publish("*", {"text": self.before}, event="announcement", sent_at=now)
        for user in users:
            self.wait_heard(user, self.before)
            self.press(f"#of-{user} .bell")
        self.run("for (const toast of document.querySelectorAll('.toast')) toast.remove()")

    def load(self, path: str | None = None) -> None:
        """Open the page, or load it again."""
        if path is None:
            path = "" if len(self.users) > 1 else self.users[0]
        self.browser.get(f"{self.demo.url}{path}")
        for user in self.users:
            self.wait_state(user, "Connected")

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of an element, also of one that is not seen."""
        return self.find(selector).get_attribute("textContent") or ""

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def press(self, selector: str) -> None:
        """Click where no toast is in the way."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({ block: 'center' })", element)
        element.click()

    def buy(self, user: str, product: str) -> str:
        """Buy something, and return what the page says of it."""
        self.press(f'#of-{user} [aria-label="Buy {product}"]')
        return self.said(f"#of-{user} .bought")

    def write(self, user: str, text: str) -> str:
        """Have a user write to the other one, and return what the page says of it."""
        self.fill(f"#of-{user} .message input", text)
        self.press(f"#of-{user} .message button")
        return self.said(f"#of-{user} .message .result")

    def announce(self, text: str) -> str:
        self.fill("#announcement", text)
        self.press("#announce button")
        return self.said("#announce .result")

    def fill(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def said(self, selector: str) -> str:
        """Return the answer, when it is there."""
        return self.wait(lambda: self.find(selector).text.strip("…"))

    def state(self, user: str) -> str:
        return self.find(f"#of-{user} .bar .state").text

    def unread(self, user: str) -> int:
        """The number at the bell."""
        return int(self.text(f"#of-{user} .count") or 0)

    def items(self, user: str) -> list[Item]:
        """The notifications since the page was opened, in the order in which they came."""
        items = [Item(**each) for each in self.run(LISTED, user)]
        texts = [item.text for item in items]
        if self.before in texts:
            items = items[: texts.index(self.before)]
        return items[::-1]

    def publish(self, recipient_id: str, data: object, **members: object) -> None:
        """Publish as another program would."""
        self.publish_many([{"recipient_id": recipient_id, "data": data, **members}])

    def publish_many(self, events: Sequence[Mapping[str, object]]) -> None:
        """Publish these events in one request."""
        assert self._post(f"{self.demo.server_url}publish", events) == 202

    def ask(self, path: str, body: object) -> None:
        """Ask the shop, as the page does behind the counter."""
        assert self._post(f"{self.demo.url}{path}", body) == 201

    def _post(self, url: str, body: object) -> int:
        headers = {"Authorization": f"Bearer {self.demo.key}"}
        with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=PATIENCE) as answer:
            status: int = answer.status
            return status

    def streams(self) -> int:
        """How many are open at the server."""
        with urlopen(f"{self.demo.server_url}metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        [line] = [line for line in text.splitlines() if line.startswith("aionotify_streams ")]
        return round(float(line.split()[1]))

    def wait(self, condition: Callable[[], T]) -> T:
        """Return what `condition` returns once that is true."""
        return WebDriverWait(self.browser, PATIENCE, 0.02).until(lambda _: condition())

    def wait_state(self, user: str, state: str) -> None:
        self.wait(lambda: self.state(user) == state)

    def wait_unread(self, user: str, count: int) -> None:
        """Return when the bell shows so many."""
        self.wait(lambda: self.unread(user) == count)

    def wait_heard(self, user: str, text: str) -> None:
        """Return when this was announced, in whatever words around it."""
        self.wait(lambda: text in self.text(f"#of-{user} .heard"))

    def wait_texts(self, user: str, *texts: str) -> None:
        """Return when these are the texts of all items; fail when they do not become it."""

        def is_there() -> bool:
            listed = [each["text"] for each in self.run(LISTED, user)]
            return (not self.before or self.before in listed) and (
                [item.text for item in self.items(user)] == list(texts)
            )

        try:
            self.wait(is_there)
        except Exception as error:
            found = [item.text for item in self.items(user)]
            raise AssertionError(f"{user} has {found}, not {list(texts)}") from error

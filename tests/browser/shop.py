"""A browser in front of an example of the guides."""

from collections.abc import Callable
from http.cookies import SimpleCookie

import httpx
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.harness import NotifyServer
from tests.harness.example import Example


class Shop:
    """An example that runs, with a node beside it, and a browser that looks at it."""

    def __init__(self, example: Example, server: NotifyServer, browser: Chrome) -> None:
        self.example = example
        self._server = server
        self._browser = browser

    def sign_in(self, url: str, *credentials: str) -> None:
        """Open a page of it and sign in; return when its stream is open."""
        opened = self._opened()
        self._browser.get(url)
        self._wait(lambda: len(self._fields()) == len(credentials))
        for field, text in zip(self._fields(), credentials, strict=True):
            field.send_keys(text)
        self.click("form button")
        self._wait(lambda: self._opened() > opened)

    def click(self, button: str) -> None:
        self._browser.find_element(By.CSS_SELECTOR, button).click()

    def sign_out(self) -> None:
        """Return when there is the form to sign in with."""
        self.click("form button")
        self._wait(lambda: self._browser.find_elements(By.CSS_SELECTOR, "[type=password]"))

    def told(self, count: int) -> list[str]:
        """What the user has been told, when it is so much."""
        self._wait(lambda: len(self._lines()) >= count)
        return self._lines()

    def cookies(self) -> SimpleCookie:
        found = SimpleCookie()
        for cookie in self._browser.get_cookies():
            found[cookie["name"]] = cookie["value"]
            found[cookie["name"]]["httponly"] = cookie["httpOnly"]
            found[cookie["name"]]["samesite"] = cookie.get("sameSite", "")
        return found

    def whose(self, token: str) -> object:
        """What the application answers to aionotify about a token; None for a refusal."""
        url = f"http://127.0.0.1:{self.example.port}/api/v1/is_user_auth/"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in (200, 401)
        return answer.json()["user_id"] if answer.status_code == 200 else None

    def _fields(self) -> list[WebElement]:
        return self._browser.find_elements(By.CSS_SELECTOR, "input:not([type=hidden])")

    def _lines(self) -> list[str]:
        lines = self._browser.find_elements(By.CSS_SELECTOR, "#notifications li")
        return [line.text for line in lines]

    def _opened(self) -> int:
        return sum("stream opened" in line for line in self._server.logs)

    def _wait(self, condition: Callable[[], object]) -> None:
        try:
            WebDriverWait(self._browser, 20, 0.05).until(lambda _: condition())
        except Exception as error:
            page = self._browser.page_source
            console = self._browser.get_log("browser")  # type: ignore[no-untyped-call]
            raise AssertionError(f"{page}\n{console}\n{self._server}") from error

"""The demo page as a person uses it."""

from collections.abc import Callable
from typing import TypeVar

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")


class Page:
    """The page, freshly opened, with both streams connected."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        for user in ("alice", "bob"):
            self.wait_state(user, "Connected")

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def panel(self, user: str) -> WebElement:
        return self.find(f'[data-user="{user}"]')

    def press(self, user: str, button: str) -> None:
        """Click on ``cut`` or ``reconnect``."""
        self.panel(user).find_element(By.CLASS_NAME, button).click()

    def state(self, user: str) -> str:
        return self.panel(user).find_element(By.CLASS_NAME, "state").text

    def cursor(self, user: str) -> str:
        return self.panel(user).find_element(By.CSS_SELECTOR, ".cursor code").text

    def events(self, user: str) -> list[list[str]]:
        """The lines of each event, the newest first."""
        items = self.panel(user).find_elements(By.TAG_NAME, "li")
        return [item.text.split("\n") for item in items]

    def texts(self, user: str) -> list[str]:
        """The text of each event, in the order in which they came."""
        items = self.panel(user).find_elements(By.CSS_SELECTOR, "li .text")
        return [item.text for item in reversed(items)]

    def send(self, to: str, text: str, how: str = "durable", type: str | None = None) -> str:
        """Publish, and return what the page says of it."""
        for value in (to, how):
            self.find(f'.segments label:has([value="{value}"])').click()
        fields = {"text": text} if type is None else {"text": text, "type": type}
        for name, value in fields.items():
            field = self.find(f'[name="{name}"]')
            field.clear()
            field.send_keys(value)
        self.browser.execute_script("document.querySelector('#result').textContent = ''")
        self.find("button.primary").click()
        return self.wait(lambda: self.find("#result").text)

    def wait(self, condition: Callable[[], T]) -> T:
        """Return what `condition` returns once that is true."""
        return WebDriverWait(self.browser, 10, 0.02).until(lambda _: condition())

    def wait_state(self, user: str, state: str) -> None:
        self.wait(lambda: self.state(user) == state)

    def wait_texts(self, user: str, *texts: str) -> None:
        """Return when these are the texts of all events; fail when they do not become it."""
        try:
            self.wait(lambda: self.texts(user) == list(texts))
        except Exception as error:
            raise AssertionError(f"{user} has {self.texts(user)}, not {list(texts)}") from error

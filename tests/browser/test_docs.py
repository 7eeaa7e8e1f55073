"""What docs/browser.rst says to write works in a browser as it stands."""

import re
import textwrap
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

from tests.harness.demo import Demo

TEXT = (Path(__file__).parents[2] / "docs/browser.rst").read_text("utf-8")
[EXAMPLE] = re.findall(r"\.\. code-block:: javascript\n\n((?:    .*\n|\n)+)", TEXT)
PUBLISH = """
    const [key, data, done] = arguments;
    fetch("/publish", {
      method: "POST",
      headers: { Authorization: `Bearer ${key}` },
      body: JSON.stringify({ recipient_id: "alice", event: "order.shipped", data }),
    }).then((answer) => done(answer.status));
"""


def test_the_example_shows_what_is_published_also_after_a_reconnect(
    browser: Chrome, demo: Demo
) -> None:
    browser.get(f"{demo.url}healthz")  # a page of the same origin, and empty
    # A function's body cannot hold an import statement.
    code = re.sub(r"import (.*) from (.*);", r"const \1 = await import(\2);", EXAMPLE)
    browser.execute_script(
        f"""
        window.shown = [];
        (async (token, show, refetch, signIn) => {{
            {textwrap.dedent(code)}
        }})("alice-token", ({{ data }}) => shown.push(data), console.error, console.error);
        """
    )
    wait = WebDriverWait(browser, 20, 0.05)

    def publish(data: int) -> None:
        assert browser.execute_async_script(PUBLISH, demo.key, data) == 202

    def online(_: Chrome) -> bool:
        script = """
            const [key, done] = arguments;
            fetch("/presence?recipient_id=alice", { headers: { Authorization: `Bearer ${key}` } })
              .then((answer) => answer.json()).then(({ alice }) => done(alice));
        """
        return bool(browser.execute_async_script(script, demo.key))

    wait.until(online)
    publish(1)
    wait.until(lambda _: browser.execute_script("return shown") == [1])
    browser.execute_async_script(
        """
        const [key, done] = arguments;
        fetch("/streams/alice", { method: "DELETE", headers: { Authorization: `Bearer ${key}` } })
          .then(done);
        """,
        demo.key,
    )
    publish(2)
    wait.until(lambda _: browser.execute_script("return shown") == [1, 2])
    browser.get("about:blank")
    browser.get_log("browser")  # type: ignore[no-untyped-call]

"""The pusher-js that this package ships, in a real Chromium."""

from typing import Any

import pytest
from playwright.sync_api import Page, TimeoutError, sync_playwright

from tests.browsers import find_chromium
from tests.clients.pusherjs import PATIENCE, PusherJs, PusherJsContract

pytestmark = pytest.mark.browser


class InChromium(PusherJs):
    """A pusher-js in a page of its own."""

    def __init__(self, page: Page, options: dict[str, Any]) -> None:
        self._page = page
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(options["site"])
        page.evaluate(
            """(options) => {
                window.heard = [];
                window.driven = drive(Pusher, options, (...entry) => heard.push(entry));
            }""",
            options,
        )

    def do(self, name: str, *given: Any) -> Any:
        return self._page.evaluate("([name, given]) => driven[name](...given) ?? null", [name, given])

    def wait_for(self, *entry: Any) -> None:
        while list(entry) not in (heard := self.everything()):
            self._wait_for_more(heard, entry)

    def wait_for_count(self, source: str, count: int) -> None:
        heard = self.everything()
        while sum(where == source for where, *_ in heard) < count:
            self._wait_for_more(heard, source)
            heard = self.everything()

    def everything(self) -> list[list[Any]]:
        return self._page.evaluate("heard")

    def _wait_for_more(self, heard: list[list[Any]], wanted: object) -> None:
        try:
            self._page.wait_for_function("(count) => heard.length > count", arg=len(heard))
        except TimeoutError as timeout:
            raise AssertionError((wanted, heard)) from timeout


# Playwright keeps a running event loop in this thread: it has to be gone when the tests of other modules run.
@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class TestPusherJsInChromium(PusherJsContract):
    @pytest.fixture
    def open_pusherjs(self, chromium):
        context = chromium.new_context()
        yield lambda options: InChromium(context.new_page(), options)
        context.close()

"""What the tests of this room wait for, in place of time."""

from typing import Any

from playwright.sync_api import Page

#: Seconds until what never comes true fails.
PATIENCE = 30


def wait_for_state(page: Page, state: str = "connected") -> None:
    page.wait_for_selector(f"html[data-pusherable={state}]", state="attached")


def wait_for_subscriptions(page: Page) -> None:
    """Wait until the server has confirmed every subscription in the page."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('pusherable-subscribe')]"
        ".every((element) => element.hasAttribute('subscribed'))"
    )


def heard(page: Page, count: int) -> Any:
    """What the page has noted in its list ``heard``, as soon as that holds ``count`` entries."""
    page.wait_for_function("(count) => heard.length >= count", arg=count)
    return page.evaluate("heard")

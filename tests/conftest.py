"""Fixtures and rules for every test; those of one room live in that room's own ``conftest.py``."""

import os
from pathlib import Path

import pytest

from tests.browsers import explain_absence, find_chromium, is_browser_required

BROWSER_TESTS = Path(__file__).parent / "browser"
SKIPPED = pytest.StashKey[int]()

# What a developer's shell says of a service must not reach the tests.
for name in ("PUSHER_URL", "PUSHERABLE_LOCAL_SERVER", "PUSHERABLE_LOCAL_SAME_ORIGIN"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def loud_failures() -> None:
    """What one test has logged must not keep the next one's log quiet."""
    from pusherable.failures import quiet

    quiet.reset()


def pytest_report_header() -> str:
    chromium = find_chromium()
    return f"chromium: {chromium}" if chromium else f"THE BROWSER TESTS CANNOT RUN. {explain_absence()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    browser_tests = [item for item in items if BROWSER_TESTS in item.path.parents]
    for item in browser_tests:
        item.add_marker("browser")
    if not browser_tests or find_chromium():
        return
    if is_browser_required():
        raise pytest.UsageError(f"The browser tests are required. {explain_absence()}")
    config.stash[SKIPPED] = len(browser_tests)
    for item in browser_tests:
        item.add_marker(pytest.mark.skip(reason="no Chromium was found"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash.get(SKIPPED, 0)
    if skipped:
        terminalreporter.section(f"{skipped} BROWSER TESTS WERE SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.write_line(explain_absence())

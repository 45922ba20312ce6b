"""Hooks for pytest: what to do with the tests of a browser or of PostgreSQL where there is none."""

from pathlib import Path

import pytest

from tests import clusters
from tests.browsers import explain_absence, find_chromium, is_browser_required

BROWSER_TESTS = Path(__file__).parent / "browser"
SKIPPED = pytest.StashKey[int]()
SKIPPED_CLUSTER = pytest.StashKey[int]()


def pytest_report_header() -> list[str]:
    chromium, postgresql = find_chromium(), clusters.find_postgresql() if clusters.can_run() else None
    return [
        f"chromium: {chromium}" if chromium else f"THE BROWSER TESTS CANNOT RUN. {explain_absence()}",
        f"postgresql: {postgresql}"
        if postgresql
        else f"THE POSTGRESQL TESTS CANNOT RUN. {clusters.explain_absence()}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _skip_without_browser(config, items)
    _skip_without_postgresql(config, items)


def _skip_without_postgresql(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = [item for item in items if item.get_closest_marker("postgresql")]
    if not tests or clusters.can_run():
        return
    if clusters.is_required():
        raise pytest.UsageError(f"The PostgreSQL tests are required. {clusters.explain_absence()}")
    config.stash[SKIPPED_CLUSTER] = len(tests)
    for item in tests:
        item.add_marker(pytest.mark.skip(reason="no PostgreSQL was found"))


def _skip_without_browser(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if BROWSER_TESTS in item.path.parents:
            item.add_marker("browser")
    browser_tests = [item for item in items if item.get_closest_marker("browser")]
    if not browser_tests or find_chromium():
        return
    if is_browser_required():
        raise pytest.UsageError(f"The browser tests are required. {explain_absence()}")
    config.stash[SKIPPED] = len(browser_tests)
    for item in browser_tests:
        item.add_marker(pytest.mark.skip(reason="no Chromium was found"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash.get(SKIPPED_CLUSTER, 0)
    if skipped:
        terminalreporter.section(f"{skipped} POSTGRESQL TESTS WERE SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.write_line(clusters.explain_absence())
    skipped = config.stash.get(SKIPPED, 0)
    if skipped:
        terminalreporter.section(f"{skipped} BROWSER TESTS WERE SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.write_line(explain_absence())

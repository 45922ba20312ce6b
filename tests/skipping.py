"""Hooks for pytest: what to do with tests of a browser, of PostgreSQL or of Redis where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import clusters, redis_servers
from tests.browsers import explain_absence, find_chromium, is_browser_required

BROWSER_TESTS = Path(__file__).parent / "browser"


class Need(NamedTuple):
    """Something that the tests with the marker ``marker`` need; ``find`` returns where it is, if it is there."""

    marker: str
    what: str
    tests: str
    find: Callable[[], Path | None]
    is_required: Callable[[], bool]
    explain_absence: Callable[[], str]


NEEDS = (
    Need("browser", "Chromium", "browser", find_chromium, is_browser_required, explain_absence),
    Need(
        "postgresql",
        "PostgreSQL",
        "PostgreSQL",
        lambda: clusters.find_postgresql() if clusters.can_run() else None,
        clusters.is_required,
        clusters.explain_absence,
    ),
    Need(
        "redis",
        "Redis",
        "Redis",
        lambda: redis_servers.find_redis() if redis_servers.can_run() else None,
        redis_servers.is_required,
        redis_servers.explain_absence,
    ),
)
SKIPPED = {need: pytest.StashKey[int]() for need in NEEDS}


def pytest_report_header() -> list[str]:
    return [
        f"{need.what.lower()}: {found}"
        if (found := need.find())
        else f"THE {need.tests.upper()} TESTS CANNOT RUN. {need.explain_absence()}"
        for need in NEEDS
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if BROWSER_TESTS in item.path.parents:
            item.add_marker("browser")
    for need in NEEDS:
        _skip_without(need, config, items)


def _skip_without(need: Need, config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = [item for item in items if item.get_closest_marker(need.marker)]
    if not tests or need.find():
        return
    if need.is_required():
        raise pytest.UsageError(f"The {need.tests} tests are required. {need.explain_absence()}")
    config.stash[SKIPPED[need]] = len(tests)
    for item in tests:
        item.add_marker(pytest.mark.skip(reason=f"no {need.what} was found"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for need in NEEDS:
        skipped = config.stash.get(SKIPPED[need], 0)
        if skipped:
            heading = f"{skipped} {need.tests.upper()} TESTS WERE SKIPPED"
            terminalreporter.section(heading, sep="!", red=True, bold=True)
            terminalreporter.write_line(need.explain_absence())

"""Fixtures and rules for every test; those of one room live in that room's own ``conftest.py``."""

import os
from pathlib import Path

import pytest

from tests.browsers import explain_absence, find_chromium, is_browser_required

pytest_plugins = ["pytester"]

BROWSER_TESTS = Path(__file__).parent / "browser"

# What a developer's shell says of a service must not reach the tests.
for name in ("PUSHER_URL", "PUSHERABLE_LOCAL_SERVER", "PUSHERABLE_LOCAL_SAME_ORIGIN"):
    os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    browser_tests = [item for item in items if BROWSER_TESTS in item.path.parents]
    for item in browser_tests:
        item.add_marker("browser")
    if find_chromium():
        return
    if browser_tests and is_browser_required():
        raise pytest.UsageError(f"The browser tests are required. {explain_absence()}")
    for item in browser_tests:
        item.add_marker(pytest.mark.skip(reason="no Chromium was found"))

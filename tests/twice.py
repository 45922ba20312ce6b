"""What runs a second time against two processes that are one server, and which tests do not, and why."""

import pytest

ONE_PROCESS = "one process"
TWO_PROCESSES = "two processes"

#: For a fixture that gives a server: the second kind needs Redis.
PROCESSES = (
    ONE_PROCESS,
    pytest.param(TWO_PROCESSES, marks=[pytest.mark.redis, pytest.mark.two_processes]),
)

#: By the end of their names, the tests that run against one process alone.
EXEMPT = {
    "TestShutdown::test_http_is_answered_until_the_departures_are_told": (
        "It looks into the order of what one process does when it stops; another would answer in its place."
    ),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the second run of whatever is exempt."""
    exempt = [item for item in items if _is_exempt(item)]
    if exempt:
        config.hook.pytest_deselected(items=exempt)
        items[:] = [item for item in items if item not in exempt]


def _is_exempt(item: pytest.Item) -> bool:
    name, _, _ = item.nodeid.partition("[")
    return item.get_closest_marker("two_processes") is not None and any(map(name.endswith, EXEMPT))

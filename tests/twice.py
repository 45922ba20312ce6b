"""What runs a second time, against two processes or two hubs that are one server; which tests do not, and why."""

import pytest

ONE_PROCESS = "one process"
TWO_PROCESSES = "two processes"
ALONE = "alone"
WITH_A_TWIN = "with a twin"

#: For a fixture that gives a server; the second kind needs Redis.
PROCESSES = (
    ONE_PROCESS,
    pytest.param(TWO_PROCESSES, marks=[pytest.mark.redis, pytest.mark.two_processes]),
)
#: For one that gives a hub.
HUBS = (ALONE, pytest.param(WITH_A_TWIN, marks=pytest.mark.two_processes))

#: The tests that run once all the same.
EXEMPT = {
    "TestShutdown::test_http_is_answered_until_the_departures_are_told": (
        "It looks into the order of what one process does when it stops; another would answer in its place."
    ),
    "TestConnect::test_a_socket_id_in_use_is_not_given_twice": (
        "Each process draws by itself, from so many numbers that two never draw the same."
    ),
    "TestHistories::test_events_are_kept_though_nobody_listens_just_now": (
        "Several processes keep the events of all channels: a stream may have been at any of them."
    ),
    "TestHistories::test_time_makes_an_end_of_them": "The same: there is no channel that is not kept.",
    "TestEvents::test_a_stream_is_told_what_happens_on_its_channels": (
        "It counts the events of channels that have streams; several processes count all."
    ),
    "TestComingBack::test_of_a_channel_that_is_new_to_the_stream_nothing_was_missed": (
        "One process does not know what came before a channel's first stream; several know it of all channels."
    ),
    "test_a_server_that_starts_anew": "It is about the one process that starts anew.",
    "TestPysher::test_comes_back_to_a_server_that_starts_anew": "The same.",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the second run of whatever is exempt."""
    exempt = [item for item in items if _is_exempt(item)]
    if exempt:
        config.hook.pytest_deselected(items=exempt)
        items[:] = [item for item in items if item not in exempt]


def _is_exempt(item: pytest.Item) -> bool:
    name, _, _ = item.nodeid.partition("[")
    return item.get_closest_marker("two_processes") is not None and name.endswith(tuple(EXEMPT))

"""Fixtures and rules for every test; those of one room live in that room's own ``conftest.py``."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import twice
from tests.certificates import Certificate, make_certificate
from tests.redis_servers import RedisServer, running_redis
from tests.skipping import pytest_collection_modifyitems, pytest_report_header, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_report_header", "pytest_terminal_summary"]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(twice)


# On a machine that is busy, a property that holds would fail for being slow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What a developer's shell says of a service must not reach the tests.
for name in ("PUSHER_URL", *(name for name in os.environ if name.startswith("PUSHERABLE_LOCAL_"))):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def loud_failures() -> None:
    """What one test has logged must not keep the next one's log quiet."""
    from pusherable.failures import quiet

    quiet.reset()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for this machine."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis for tests that leave it alone; each has a prefix of its own."""
    with running_redis() as server:
        yield server

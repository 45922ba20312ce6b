"""Fixtures and rules for every test; those of one room live in that room's own ``conftest.py``."""

import os

import pytest
from hypothesis import settings

from tests.certificates import Certificate, make_certificate
from tests.skipping import pytest_collection_modifyitems, pytest_report_header, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_report_header", "pytest_terminal_summary"]

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

"""The pytest fixture, found by its entry point; it imports nothing before it is used."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pusherable.events import Event


@pytest.fixture
def pusherable_outbox() -> "Iterator[list[Event]]":
    """An empty outbox; what the test publishes ends there.

    Under pytest-django's ``db`` events wait for a commit that never comes: publish inside its
    ``django_capture_on_commit_callbacks(execute=True)``, or ask for ``transactional_db``.
    """
    from pusherable.testing import capture_events

    with capture_events() as events:
        yield events

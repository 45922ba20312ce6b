"""Keep events in a list instead of delivering them: for tests (see ``pusherable.testing``)."""

from typing import Final

from pusherable.backends import BaseBackend
from pusherable.events import Event

#: What was delivered, oldest first; the same list for the life of the process.
outbox: Final[list[Event]] = []


class LocmemBackend(BaseBackend):
    """Every event ends in ``outbox``."""

    def deliver(self, event: Event) -> None:
        outbox.append(event)

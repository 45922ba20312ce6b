"""Keep events in a list instead of delivering them: for tests (see ``pusherable.testing``)."""

from typing import Final

from pusherable.backends import BaseBackend
from pusherable.events import Event

#: What was delivered, oldest first; the same list for the life of the process.
outbox: Final[list[Event]] = []
#: The ids of the users that were sent away, oldest first; as ``outbox``.
disconnected: Final[list[str]] = []


class LocmemBackend(BaseBackend):
    """Every event ends in ``outbox``, every user who is sent away in ``disconnected``."""

    def deliver(self, event: Event) -> None:
        outbox.append(event)

    def disconnect(self, user_id: str) -> None:
        disconnected.append(user_id)

"""Write events to standard output instead of delivering them: for a first look, with no service at all."""

import sys

from pusherable.backends import BaseBackend
from pusherable.events import Event


class ConsoleBackend(BaseBackend):
    """One line for each event: its name, its channels and its data."""

    def deliver(self, event: Event) -> None:
        # One call, so that lines of several threads do not mix.
        sys.stdout.write(f"[pusherable] {event.name} on {', '.join(event.channels)}: {event.data}\n")
        sys.stdout.flush()

    def disconnect(self, user_id: str) -> None:
        sys.stdout.write(f"[pusherable] disconnect the user {user_id}\n")
        sys.stdout.flush()

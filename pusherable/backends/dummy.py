"""Deliver nothing: for places that must stay silent."""

from pusherable.backends import BaseBackend
from pusherable.events import Event


class DummyBackend(BaseBackend):
    """Every event is forgotten."""

    def deliver(self, event: Event) -> None:
        pass

    def disconnect(self, user_id: str) -> None:
        pass

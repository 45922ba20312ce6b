"""How many events this process has sent, and what has become of the others."""

import os
import threading
from typing import Final, NamedTuple


class DeliveryStats(NamedTuple):
    """Of this process since its start: ``queued`` wait now, the others are counted up.

    ``retried`` counts requests beyond the first of an event. An event that travels in parts is counted by its parts.
    """

    queued: int = 0
    sent: int = 0
    retried: int = 0
    dropped: int = 0


class Counters:
    """Numbers that several threads count up."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # It may be entered again by a signal, while the same thread holds it.
        self._lock = threading.RLock()
        self._queued = self._sent = self._retried = self._dropped = 0

    def count(self, *, queued: int = 0, sent: int = 0, retried: int = 0, dropped: int = 0) -> None:
        """Add to the numbers; ``queued`` may be negative."""
        with self._lock:
            self._queued += queued
            self._sent += sent
            self._retried += retried
            self._dropped += dropped

    def read(self) -> DeliveryStats:
        with self._lock:
            return DeliveryStats(self._queued, self._sent, self._retried, self._dropped)


counters: Final = Counters()

# A fork begins anew: what its parent has queued is not its own.
os.register_at_fork(after_in_child=counters.reset)


def delivery_stats() -> DeliveryStats:
    """What has become of the events of this process; see ``DeliveryStats``."""
    return counters.read()

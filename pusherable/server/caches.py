"""The last event of each cache channel, for as long as it counts and as there is room."""

from dataclasses import dataclass
from sys import getsizeof


@dataclass(frozen=True, slots=True)
class CachedEvent:
    """The event that a new subscriber is given; ``expires`` is on the clock of whoever asks."""

    name: str
    data: str
    expires: float


class Cache:
    """Events by channel, kept ``ttl`` seconds, whether anybody listens or not (protocol A.44).

    Past ``size`` bytes in all, the oldest give way.
    """

    def __init__(self, *, ttl: float, size: int) -> None:
        self._ttl = ttl
        self._limit = size
        self._size = 0
        # In the order in which they were published, which is that in which they expire.
        self._events: dict[str, CachedEvent] = {}

    def put(self, channel: str, name: str, data: str, now: float) -> None:
        """Remember an event in the place of the last one of its channel."""
        self._drop(channel)
        event = self._events[channel] = CachedEvent(name, data, now + self._ttl)
        self._size += _size_of(channel, event)
        while self._size > self._limit:
            self._drop(next(iter(self._events)))

    def get(self, channel: str, now: float) -> CachedEvent | None:
        event = self._events.get(channel)
        return event if event is not None and event.expires > now else None

    def purge(self, now: float) -> None:
        """Give back the memory of what has expired."""
        while self._events:
            channel, event = next(iter(self._events.items()))
            if event.expires > now:
                return
            self._drop(channel)

    def _drop(self, channel: str) -> None:
        event = self._events.pop(channel, None)
        if event is not None:
            self._size -= _size_of(channel, event)


def _size_of(channel: str, event: CachedEvent) -> int:
    return sum(map(getsizeof, (channel, event.name, event.data, event)))

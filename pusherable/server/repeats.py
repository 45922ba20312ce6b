"""Which events have been carried out already, by the ids that their publishers gave them."""

from collections import OrderedDict
from typing import Final

#: For how many seconds this is known, and of how many events: longer than publishers try again, by default.
AGE: Final = 600.0
COUNT: Final = 100_000


class Repeats:
    """Tells an event that comes again from a new one. It is told the time, and never asks for it."""

    def __init__(self, *, age: float = AGE, count: int = COUNT) -> None:
        self._age = age
        self._count = count
        # In the order in which they came, which is that of their times.
        self._times: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_repeat(self, id: str, channel: str, now: float) -> bool:
        """Whether an event with this id came on this channel before; from now on it has."""
        self.purge(now)
        if (id, channel) in self._times:
            return True
        self._times[id, channel] = now
        if len(self._times) > self._count:
            self._times.popitem(last=False)
        return False

    def purge(self, now: float) -> None:
        """Give back the memory of what is too old to come again."""
        while self._times and next(iter(self._times.values())) <= now - self._age:
            self._times.popitem(last=False)

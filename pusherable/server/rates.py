"""How often something may happen. They are told the time, and never ask for it."""

from collections import deque


class Rate:
    """Allows at most ``limit`` happenings within any ``period`` seconds."""

    __slots__ = ("_limit", "_period", "_times")

    def __init__(self, limit: int, *, period: float = 1.0) -> None:
        self._limit = limit
        self._period = period
        self._times: deque[float] = deque(maxlen=limit)

    def allows(self, now: float) -> bool:
        """Whether one more may happen; if so it counts."""
        times = self._times
        if len(times) >= self._limit and not (times and now - times[0] >= self._period):
            return False
        times.append(now)
        return True


class Throttle:
    """When to tell what has changed: at once, or for a name told within ``period`` seconds at the end of these."""

    def __init__(self, *, period: float) -> None:
        self._period = period
        self._told: dict[str, float] = {}
        self._postponed: set[str] = set()

    def allows(self, name: str, now: float, *, is_urgent: bool = False) -> bool:
        """Whether to tell of ``name`` now, as what is urgent always may; if not, it will be ``due``."""
        told = self._told.get(name)
        if not is_urgent and told is not None and now - told < self._period:
            self._postponed.add(name)
            return False
        self._note(name, now)
        return True

    def due(self, now: float) -> list[str]:
        """The names to tell of, as their time has come; each counts as told."""
        names = [name for name in self._postponed if now - self._told[name] >= self._period]
        for name in names:
            self._note(name, now)
        return sorted(names)

    def forget(self, name: str) -> None:
        self._told.pop(name, None)
        self._postponed.discard(name)

    def _note(self, name: str, now: float) -> None:
        self._told[name] = now
        self._postponed.discard(name)

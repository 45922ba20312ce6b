"""How long to leave a service alone that is in trouble. No thread and no clock of its own."""

import random
import threading
from collections.abc import Callable
from typing import Final

#: Seconds before the second attempt; each further pause is twice as long.
FIRST_PAUSE: Final = 0.25
#: Seconds that no pause exceeds.
LONGEST_PAUSE: Final = 10.0
#: Failures in a row after which nothing is tried but a probe.
FAILURES_TO_OPEN: Final = 5


def backoff(attempts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many attempts, scattered so that processes do not come back all at once."""
    pause = min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 16), LONGEST_PAUSE)
    return pause * (0.5 + chance() / 2)


class Circuit:
    """Closed while the service answers; open after failures in a row, but for one probe after each pause.

    The workers of a process share it. Times are seconds of any one clock.
    """

    def __init__(self, *, chance: Callable[[], float] = random.random) -> None:
        self._lock = threading.Lock()
        self._chance = chance
        self._failures = 0
        self._openings = 0
        self._until = 0.0
        self._is_probed = False

    @property
    def is_closed(self) -> bool:
        return self._openings == 0

    def wait(self, now: float) -> float:
        """Seconds until somebody may try; somebody else may be quicker."""
        return max(0.0, self._until - now)

    def admit(self, now: float) -> float:
        """0.0 where this caller may try now, and has to tell how it went; else seconds to wait."""
        with self._lock:
            if now < self._until:
                return self._until - now
            if self.is_closed:
                return 0.0
            if self._is_probed:
                return FIRST_PAUSE
            self._is_probed = True
            return 0.0

    def succeed(self) -> None:
        """The service has answered, be it with a refusal."""
        with self._lock:
            self._failures = self._openings = 0
            self._is_probed = False

    def fail(self, now: float, *, is_telling: bool = True, retry_after: float | None = None) -> None:
        """There was no answer, or the service is in trouble, or asks for a pause of ``retry_after`` seconds.

        One event that fails again and again tells nothing of the service: then ``is_telling`` is false.
        """
        with self._lock:
            self._failures += is_telling
            # Those who were under way when it opened tell nothing new.
            if self._is_probed or (self._failures >= FAILURES_TO_OPEN and now >= self._until):
                self._is_probed = False
                self._openings += 1
                self._pause(now + backoff(self._openings + 1, chance=self._chance))
            if retry_after is not None:
                self._pause(now + retry_after)

    def _pause(self, until: float) -> None:
        self._until = max(self._until, until)

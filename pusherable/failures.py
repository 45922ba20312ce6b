"""What cannot be delivered is never lost in silence: one signal for each event, one log line per cause and minute."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from pusherable.events import Event
from pusherable.exceptions import PusherableError
from pusherable.signals import publish_failed

logger = logging.getLogger("pusherable")

#: Seconds in which a cause that was logged is only counted.
QUIET_PERIOD: Final = 60.0


@dataclass
class _Cause:
    """When it was logged last, how often it has come since, and what the latest line would have been."""

    since: float
    kept: int = 0
    line: str = ""
    level: int = logging.ERROR


class _Quiet:
    """Which causes were logged a moment ago. What is kept quiet is told as a number, once the moment is over."""

    def __init__(self) -> None:
        self._exits_told_by: int | None = None
        self.forget()

    def reset(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self.forget()

    def forget(self) -> None:
        """Begin anew in a process that was forked off: no timer lives on in it."""
        # Another thread may have held the lock at that moment.
        self._lock = threading.Lock()
        self._timers: dict[str, threading.Timer] = {}
        self._causes: dict[str, _Cause] = {}

    def count(self, cause: str, now: float, *, line: str = "", level: int = logging.ERROR) -> int | None:
        """How many of this cause were kept quiet, or ``None`` where this one is to be kept quiet too."""
        with self._lock:
            known = self._causes.get(cause)
            if known is None or now - known.since >= QUIET_PERIOD:
                self._causes[cause] = _Cause(now)
                return known.kept if known else 0
            known.kept += 1
            known.line, known.level = line, level
            if cause not in self._timers:
                self._tell_later(cause, known.since + QUIET_PERIOD - now)
            return None

    def tell(self, cause: str) -> None:
        """Log how many of this cause were kept quiet, if there are any."""
        with self._lock:
            self._timers.pop(cause, None)
            known = self._causes.get(cause)
            if known is None or not known.kept:
                return
            self._causes[cause] = _Cause(time.monotonic())
        logger.log(known.level, "%d more like it since the last line, at last: %s", known.kept, known.line)

    def tell_all(self) -> None:
        for cause in list(self._causes):
            self.tell(cause)

    def _tell_later(self, cause: str, seconds: float) -> None:
        if self._exits_told_by != os.getpid():
            self._exits_told_by = os.getpid()
            # After what a backend reports when the process ends.
            Finalize(None, self.tell_all, exitpriority=-1)
        timer = threading.Timer(seconds, self.tell, [cause])
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # No thread is left to give; the next line, or the end of the process, tells the number.
            return
        self._timers[cause] = timer


quiet: Final = _Quiet()

os.register_at_fork(after_in_child=quiet.forget)


def log_quietly(message: str, *, cause: str, error: Exception | None = None, level: int = logging.ERROR) -> None:
    """Log an error, unless one of the same ``cause`` was logged within a minute: then it is counted.

    The number is in the next line, which comes at the end of that minute, or of the process. The traceback of
    ``error`` is logged with it, unless its message says all that there is to know.
    """
    kept = quiet.count(cause, time.monotonic(), line=message, level=level)
    if kept is not None:
        more = f" ({kept} more like it since the last line)" if kept else ""
        is_explained = error is None or isinstance(error, (PusherableError, ImproperlyConfigured))
        logger.log(level, "%s%s", message, more, exc_info=None if is_explained else error)


def report_disconnect_failure(user_id: str, error: Exception) -> None:
    """Log that a user could not be sent away, unless the cause was logged within a minute.

    There is no signal: it is no event.
    """
    reason = getattr(error, "reason", type(error).__name__)
    log_quietly(
        f"The user {user_id!r} could not be disconnected: {error}", cause=f"{reason} disconnecting", error=error
    )


def report_failure(event: Event | None, error: Exception, *, sender: type[Any], name: str = "") -> None:
    """Send ``publish_failed``, and log the cause unless it was logged within a minute.

    ``event`` is ``None`` where it could not even be composed; ``name`` says then which one. Receivers that
    fail are logged by Django and harm nobody.
    """
    reason = getattr(error, "reason", type(error).__name__)
    what = f"{event.name!r} on {', '.join(event.channels)}" if event else repr(name)
    log_quietly(f"The event {what} was not delivered: {error}", cause=f"{reason} {name}", error=error)
    publish_failed.send_robust(sender=sender, event=event, reason=reason, exception=error)

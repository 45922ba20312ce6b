"""What cannot be delivered is never lost in silence: one signal for each event, one log line per cause and minute."""

import logging
import os
import threading
import time
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from pusherable.events import Event
from pusherable.exceptions import PusherableError
from pusherable.signals import publish_failed

logger = logging.getLogger("pusherable")

#: Seconds in which a cause that was logged is only counted.
QUIET_PERIOD: Final = 60.0


class _Quiet:
    """When each cause was logged last, and how often it has come since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._causes: dict[str, tuple[float, int]] = {}

    def count(self, cause: str, now: float) -> int | None:
        """How many of this cause were kept quiet, or ``None`` where this one is to be kept quiet too."""
        with self._lock:
            since, kept = self._causes.get(cause, (float("-inf"), 0))
            if now - since < QUIET_PERIOD:
                self._causes[cause] = (since, kept + 1)
                return None
            self._causes[cause] = (now, 0)
            return kept

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


quiet: Final = _Quiet()

# Another thread may have held the lock while this process was forked off.
os.register_at_fork(after_in_child=quiet.reset)


def log_quietly(message: str, *, cause: str, error: Exception | None = None, level: int = logging.ERROR) -> None:
    """Log an error, unless one of the same ``cause`` was logged within a minute: then it is counted.

    The traceback of ``error`` is logged with it, unless its message says all that there is to know.
    """
    kept = quiet.count(cause, time.monotonic())
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

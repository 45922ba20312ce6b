"""Deliver in the publisher's thread: for scripts, and for tests against a real service."""

from pusherable.backends import BaseBackend
from pusherable.backends.counting import counters
from pusherable.client import deliver
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_failure


class InlineBackend(BaseBackend):
    """Each event costs its publisher one request, up to ``PUSHER_TIMEOUT`` seconds."""

    def deliver(self, event: Event) -> None:
        try:
            deliver([event])
        except (DeliveryFailed, SettingsError) as error:
            counters.count(dropped=1)
            report_failure(event, error, sender=type(self))
        else:
            counters.count(sent=1)

"""Signals, and what each of them carries."""

from typing import Final

from django.dispatch import Signal

#: An event that will not reach the service. Sent with ``event`` (the ``Event``, or ``None`` where it could
#: not even be composed), ``reason`` (a word, see ``DeliveryFailed.reason``) and ``exception``. It may be sent
#: in the delivery thread, outside of any request; the sender is the backend's class, or the view's.
publish_failed: Final = Signal()

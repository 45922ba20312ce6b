"""Signals, and what each of them carries."""

from typing import Final

from django.dispatch import Signal

#: An event that will not reach the service. Sent with ``event`` (the ``Event``, or ``None`` where it could
#: not even be composed), ``reason`` (a word, see ``DeliveryFailed.reason``) and ``exception``. It may be sent
#: in the delivery thread, outside of any request; the sender is the backend's class, or the view's.
publish_failed: Final = Signal()

#: Somebody has subscribed at this project's own ``runpushserver``. Sent with ``request`` (an ``HttpRequest`` made of
#: the one that opened the connection, with the visitor's ``session`` and ``user``), ``channel`` and ``socket_id``.
#: It is sent in a thread of its own, one after the other, outside of any request; receivers that fail are logged.
channel_subscribe: Final = Signal()

#: Somebody is subscribed no longer, by unsubscribing or by leaving. Sent as ``channel_subscribe`` is.
channel_unsubscribe: Final = Signal()

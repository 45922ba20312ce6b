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

# The signals below are the service's webhooks. Their sender is the model whose channel it is, or ``None``. All are
# sent with ``channel``; ``model`` (that class, or ``None``) and ``pk`` (text, or ``None`` for the channel of the whole
# model); ``time``, when the service signed it, aware and in UTC; and ``event_id``, the same whenever the same event
# comes again. Where a receiver raises, the service sends the event again to all of them.

#: A channel has its first subscription.
channel_occupied: Final = Signal()

#: A channel has lost its last subscription.
channel_vacated: Final = Signal()

#: Somebody has joined a presence channel, with ``user_id``: the user's primary key as text.
member_added: Final = Signal()

#: Somebody has left a presence channel with the last of their tabs; ``user_id`` says who.
member_removed: Final = Signal()

#: A browser has sent an event to others: ``event`` is its name, ``data`` text that may be anything, ``socket_id`` the
#: connection, and ``user_id`` on presence channels who it was, ``None`` on others.
client_event: Final = Signal()

#: A cache channel had no last event for somebody who has subscribed. It is the moment to publish one.
cache_miss: Final = Signal()

#: How many subscriptions a channel has: ``subscription_count``.
subscription_count: Final = Signal()

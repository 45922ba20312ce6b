"""What has happened at the server, as values for whoever observes it: logs, hooks, metrics, a console."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """``protocol`` is the version that the client named, ``None`` if it named none (protocol A.3)."""

    app_id: str
    socket_id: str
    protocol: str | None = "7"


@dataclass(frozen=True, slots=True)
class Disconnected:
    app_id: str
    socket_id: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """``user_id`` is who somebody is on a presence channel, and ``None`` on any other."""

    app_id: str
    socket_id: str
    channel: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    app_id: str
    socket_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Occupied:
    """A channel has its first subscriber."""

    app_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Vacated:
    """A channel has lost its last subscriber."""

    app_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """An event has been handed to every subscriber of one channel; ``receivers`` is how many at this process.

    ``is_ours`` is whether it was published here, and not at another process of the same server.
    """

    app_id: str
    channel: str
    event: str
    data: str
    receivers: int
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class MemberAdded:
    """A user has the first connection in a presence channel."""

    app_id: str
    channel: str
    user_id: str


@dataclass(frozen=True, slots=True)
class MemberRemoved:
    """A user has lost the last connection in a presence channel."""

    app_id: str
    channel: str
    user_id: str


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """A client's own event has been handed to the other subscribers; ``user_id`` on presence channels only."""

    app_id: str
    channel: str
    event: str
    data: str
    socket_id: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class CacheMissed:
    """Somebody subscribed to a cache channel of which no event is remembered."""

    app_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class CountChanged:
    """Subscribers have been told how many they are; ``count`` is of subscriptions."""

    app_id: str
    channel: str
    count: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A connection has shown whose it is."""

    app_id: str
    socket_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class WebhooksTold:
    """Webhooks with these events were sent, or given up, by one of the processes of a server.

    It has none to send any more of what stands before ``place`` in their log.
    """

    app_id: str
    marks: tuple[tuple[int, int], ...]
    place: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection was closed by us, with ``code``, before or after it was established."""

    code: int
    reason: str
    socket_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request to the HTTP API was answered by an error; ``request`` is its method and path."""

    request: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Complained:
    """A client was told that something it sent is wrong; its connection goes on."""

    app_id: str
    socket_id: str
    reason: str


Fact = (
    Connected
    | Disconnected
    | Subscribed
    | Unsubscribed
    | Occupied
    | Vacated
    | Broadcast
    | MemberAdded
    | MemberRemoved
    | ClientEvent
    | CacheMissed
    | CountChanged
    | SignedIn
    | WebhooksTold
    | Refused
    | Rejected
    | Complained
)

#: Called in the server's thread, in the order in which things happen; it must neither block nor raise.
Observer = Callable[[Fact], None]

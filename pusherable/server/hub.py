"""Who is connected and who is subscribed, and who therefore receives what. Synchronous: no locks, no awaiting."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from pusherable.server.config import App, ServerConfig
from pusherable.server.facts import (
    Broadcast,
    Complained,
    Connected,
    Disconnected,
    Fact,
    Observer,
    Occupied,
    Subscribed,
    Unsubscribed,
    Vacated,
)
from pusherable.server.messages import Message, channel_event, quote, subscription_succeeded
from pusherable.server.protocol import CloseCode, Command, Objection, Refusal, Reply, Subscribe, Unsubscribe

_SOCKET_ID_RANGE: Final = 10**9


class Client(Protocol):
    """The far end of a connection, as the hub sees it."""

    def deliver(self, message: Message) -> None:
        """Send ``message`` on, without waiting and without raising."""


@dataclass(eq=False, slots=True)
class Connection:
    """One client of one app; ``channels`` are those it is subscribed to."""

    app: App
    socket_id: str
    client: Client
    channels: set[str] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class _Channel:
    """An occupied channel. The dict keeps its subscribers in the order in which they came."""

    subscribers: dict[Connection, None] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Tenant:
    """What belongs to one app; no app ever sees another's."""

    connections: dict[str, Connection] = field(default_factory=dict)
    channels: dict[str, _Channel] = field(default_factory=dict)


class Hub:
    """All connections and subscriptions of a server; one thread uses it."""

    def __init__(self, config: ServerConfig, *, observers: Iterable[Observer] = ()) -> None:
        self.config = config
        self._observers = tuple(observers)
        self._tenants = {app.id: _Tenant() for app in config.apps}

    def connect(self, app: App, client: Client) -> Connection:
        """Take in a client under a new socket id; raises ``Refusal`` where the app is full."""
        connections = self._tenants[app.id].connections
        if app.max_connections is not None and len(connections) >= app.max_connections:
            raise Refusal("The app has reached its limit of connections", code=CloseCode.OVER_CONNECTIONS)
        connection = Connection(app, _new_socket_id(connections), client)
        connections[connection.socket_id] = connection
        self.tell(Connected(app.id, connection.socket_id))
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Forget a client and all its subscriptions; a second time does nothing."""
        tenant = self._tenants[connection.app.id]
        if tenant.connections.pop(connection.socket_id, None) is None:
            return
        for channel in sorted(connection.channels):
            self._leave(connection, channel)
        self.tell(Disconnected(connection.app.id, connection.socket_id))

    def carry_out(self, connection: Connection, command: Command) -> None:
        """Do what a client asked for; raises ``Objection`` where it cannot be done."""
        match command:
            case Reply(message):
                connection.client.deliver(message)
            case Subscribe(channel):
                self.subscribe(connection, channel)
            case Unsubscribe(channel):
                self.unsubscribe(connection, channel)

    def object(self, connection: Connection, objection: Objection) -> None:
        """Tell a client that what it sent is wrong."""
        for reply in objection.replies:
            connection.client.deliver(reply)
        self.tell(Complained(connection.app.id, connection.socket_id, str(objection)))

    def subscribe(self, connection: Connection, channel: str) -> None:
        """Subscribe and say so; raises ``Objection`` if it is subscribed already (protocol A.20)."""
        if channel in connection.channels:
            raise Objection(f"Existing subscription to channel {quote(channel)}")
        channels = self._tenants[connection.app.id].channels
        is_first = channel not in channels
        if is_first:
            channels[channel] = _Channel()
        channels[channel].subscribers[connection] = None
        connection.channels.add(channel)
        connection.client.deliver(subscription_succeeded(channel))
        if is_first:
            self.tell(Occupied(connection.app.id, channel))
        self.tell(Subscribed(connection.app.id, connection.socket_id, channel))

    def unsubscribe(self, connection: Connection, channel: str) -> None:
        """Unsubscribe without an answer; raises ``Objection`` if it is not subscribed (protocol A.21)."""
        if channel not in connection.channels:
            raise Objection(f"No current subscription to channel {quote(channel)}, or subscription in progress")
        self._leave(connection, channel)

    def publish(
        self, app: App, *, channels: Iterable[str], name: str, data: str, socket_id: str | None = None
    ) -> None:
        """Send an event to every subscriber of ``channels``, but for the connection ``socket_id``."""
        tenant = self._tenants[app.id]
        excluded = tenant.connections.get(socket_id) if socket_id else None
        for channel in dict.fromkeys(channels):
            receivers = 0
            if channel in tenant.channels:
                message = channel_event(name, channel, data)
                receivers = _broadcast(message, tenant.channels[channel].subscribers, excluded)
            self.tell(Broadcast(app.id, channel, name, data, receivers))

    def occupied_channels(self, app: App, *, prefix: str = "") -> Iterator[str]:
        """The channels of ``app`` that have subscribers."""
        return (name for name in self._tenants[app.id].channels if name.startswith(prefix))

    def subscription_count(self, app: App, channel: str) -> int:
        found = self._tenants[app.id].channels.get(channel)
        return len(found.subscribers) if found else 0

    def connection_count(self, app: App) -> int:
        return len(self._tenants[app.id].connections)

    def tell(self, fact: Fact) -> None:
        """Let the observers know."""
        for observe in self._observers:
            observe(fact)

    def _leave(self, connection: Connection, channel: str) -> None:
        channels = self._tenants[connection.app.id].channels
        connection.channels.discard(channel)
        subscribers = channels[channel].subscribers
        del subscribers[connection]
        self.tell(Unsubscribed(connection.app.id, connection.socket_id, channel))
        if not subscribers:
            del channels[channel]
            self.tell(Vacated(connection.app.id, channel))


def _broadcast(message: Message, subscribers: dict[Connection, None], excluded: Connection | None) -> int:
    """Hand out one message; returns to how many. The hot loop of the server: nothing else belongs in it."""
    if excluded not in subscribers:
        for connection in subscribers:
            connection.client.deliver(message)
        return len(subscribers)
    for connection in subscribers:
        if connection is not excluded:
            connection.client.deliver(message)
    return len(subscribers) - 1


def _new_socket_id(taken: dict[str, Connection]) -> str:
    """Two random numbers, so that an id is not met again after a restart (protocol A.10)."""
    while True:
        socket_id = f"{secrets.randbelow(_SOCKET_ID_RANGE)}.{secrets.randbelow(_SOCKET_ID_RANGE)}"
        if socket_id not in taken:
            return socket_id

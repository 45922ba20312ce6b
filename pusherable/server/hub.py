"""Who is connected and who is subscribed, and who therefore receives what. Synchronous: no locks, no awaiting."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from pusherable.channels import kind_of
from pusherable.server import facts
from pusherable.server.caches import Cache, CachedEvent
from pusherable.server.config import App, ServerConfig
from pusherable.server.connections import Client, Connection, new_socket_id
from pusherable.server.credentials import Member, User
from pusherable.server.histories import Histories
from pusherable.server.messages import cache_miss, channel_event, error, quote
from pusherable.server.presence import Presence
from pusherable.server.protocol import CloseCode, ErrorCode, Objection, Refusal, Relay, refuse_subscription
from pusherable.server.rates import Rate, Throttle
from pusherable.server.subscriptions import OccupiedChannel
from pusherable.server.users import Users


@dataclass(eq=False, slots=True)
class _Tenant:
    """What belongs to one app; no app ever sees another's."""

    app: App
    cache: Cache
    counts: Throttle
    users: Users = field(default_factory=Users)
    connections: dict[str, Connection] = field(default_factory=dict)
    channels: dict[str, OccupiedChannel] = field(default_factory=dict)
    #: Who has to show a signature still, and by when, the first one first (protocol A.52).
    strangers: dict[Connection, float] = field(default_factory=dict)


class Hub:
    """All connections and subscriptions of a server; one thread uses it. ``clock`` gives seconds since whenever."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        observers: Iterable[facts.Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._observers = tuple(observers)
        self._clock = clock
        limits = config.limits
        #: What streams that lost their connection have missed.
        self.histories = Histories(limits, clock=clock)
        # Whose streams are over, though their addresses may be valid still; the longest ago first.
        self._terminated: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._tenants = {
            app.id: _Tenant(
                app,
                cache=Cache(ttl=limits.cache_ttl, size=limits.cache_size),
                counts=Throttle(period=limits.count_period),
            )
            for app in config.apps
        }

    def connect(self, app: App, client: Client, *, protocol: str | None = "7") -> Connection:
        """Take in a client under a new socket id; raises ``Refusal`` where the app or the server is full."""
        tenant, limits = self._tenants[app.id], self.config.limits
        connections = tenant.connections
        if len(connections) >= limits.connections:
            raise Refusal("The app has reached its limit of connections", code=CloseCode.OVER_CONNECTIONS)
        if limits.capacity is not None and self._count_all() >= limits.capacity:
            # Unlike an app's quota this passes, so that pusher-js is to come back (protocol A.55).
            raise Refusal("The server has no room for more connections", code=CloseCode.OVER_CAPACITY)
        connection = Connection(app, new_socket_id(connections), client)
        connections[connection.socket_id] = connection
        if app.authorization_timeout is not None:
            tenant.strangers[connection] = self._clock() + app.authorization_timeout
        self.tell(facts.Connected(app.id, connection.socket_id, protocol))
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Forget a client and all its subscriptions; a second time does nothing."""
        tenant = self._tenants[connection.app.id]
        if tenant.connections.pop(connection.socket_id, None) is None:
            return
        tenant.strangers.pop(connection, None)
        for channel in sorted(connection.channels):
            self._leave(connection, channel)
        tenant.users.sign_out(connection)
        self.tell(facts.Disconnected(connection.app.id, connection.socket_id))

    def object(self, connection: Connection, objection: Objection) -> None:
        """Tell a client that what it sent is wrong."""
        for reply in objection.replies:
            connection.client.deliver(reply)
        self.tell(facts.Complained(connection.app.id, connection.socket_id, str(objection)))

    def subscribe(self, connection: Connection, channel: str, member: Member | None = None) -> None:
        """Subscribe and say so; ``member`` is for presence channels, and only for these.

        Raises ``Objection`` if it is subscribed already (protocol A.20), if the channel is full (A.36), or if it
        is subscribed to as many as it may be.
        """
        if channel in connection.channels:
            raise Objection(f"Existing subscription to channel {quote(channel)}")
        self._check_subscriptions(connection, channel)
        tenant, app_id = self._tenants[connection.app.id], connection.app.id
        occupied = tenant.channels.get(channel)
        is_first = occupied is None
        if occupied is None:
            occupied = OccupiedChannel(channel, Presence() if member else None)
        self._check_room(occupied, member)
        tenant.channels[channel] = occupied
        if tenant.strangers and kind_of(channel).needs_authorization:
            tenant.strangers.pop(connection, None)
        is_new_user = occupied.add(connection, member)
        if is_first:
            self.tell(facts.Occupied(app_id, channel))
        self.tell(facts.Subscribed(app_id, connection.socket_id, channel, occupied.user_of(connection)))
        if member is not None and is_new_user:
            self.tell(facts.MemberAdded(app_id, channel, member.user_id))
        if _is_cache(channel):
            self._recall(connection, channel)
        self._count(tenant, occupied)

    def unsubscribe(self, connection: Connection, channel: str) -> None:
        """Unsubscribe without an answer; raises ``Objection`` if it is not subscribed (protocol A.21)."""
        if channel not in connection.channels:
            raise Objection(f"No current subscription to channel {quote(channel)}, or subscription in progress")
        self._leave(connection, channel)

    def relay(self, connection: Connection, event: Relay) -> None:
        """Pass a client's event on to everybody else in its channel (protocol A.38).

        Raises ``Objection`` if the client is not in there itself, or sends too often (A.41).
        """
        if event.channel not in connection.channels:
            raise Objection(f"Client event rejected - you are not subscribed to channel {quote(event.channel)}")
        if connection.rate is None:
            connection.rate = Rate(self.config.limits.client_events_per_second)
        if not connection.rate.allows(self._clock()):
            reason = "Client event rejected due to rate limit"
            raise Objection(reason, replies=(error(reason, code=ErrorCode.CLIENT_EVENT_RATE),))
        channel, app_id = self._tenants[connection.app.id].channels[event.channel], connection.app.id
        # Never what the client itself says of who it is (protocol A.39).
        user_id = channel.user_of(connection)
        message = channel_event(event.event, event.channel, event.data, user_id=user_id)
        self.histories.record(app_id, message)
        channel.broadcast(message, excluded=connection)
        self.tell(facts.ClientEvent(app_id, event.channel, event.event, event.data, connection.socket_id, user_id))

    def sign_in(self, connection: Connection, user: User) -> None:
        """Take ``connection`` for the user's; tell it, and those who watch the user (protocol A.47, A.51)."""
        limit = self.config.limits.watchlist_length
        self._tenants[connection.app.id].strangers.pop(connection, None)
        self._tenants[connection.app.id].users.sign_in(connection, user, watchlist=user.watchlist[:limit])
        self.tell(facts.SignedIn(connection.app.id, connection.socket_id, user.id))
        if len(user.watchlist) > limit:
            reason = f"The watchlist has {len(user.watchlist)} users; the first {limit} are watched"
            self.object(connection, Objection(reason, replies=(error(reason, code=ErrorCode.WATCHLIST_LENGTH),)))

    def publish(
        self, app: App, *, channels: Iterable[str], name: str, data: str, socket_id: str | None = None
    ) -> None:
        """Send an event to every subscriber of ``channels``, but for the connection ``socket_id``."""
        tenant = self._tenants[app.id]
        excluded = tenant.connections.get(socket_id) if socket_id else None
        for channel in dict.fromkeys(channels):
            receivers = 0
            occupied = tenant.channels.get(channel)
            if occupied is not None or self.histories.keeps(app.id, channel):
                message = channel_event(name, channel, data)
                self.histories.record(app.id, message)
                receivers = occupied.broadcast(message, excluded=excluded) if occupied is not None else 0
                if excluded is not None and channel in excluded.channels:
                    excluded.client.skip()
            if _is_cache(channel):
                tenant.cache.put(channel, name, data, self._clock())
            self.tell(facts.Broadcast(app.id, channel, name, data, receivers))

    def terminate(self, app: App, user_id: str) -> None:
        """Send every connection away that is signed in as this user (protocol A.53)."""
        self._terminated.pop((app.id, user_id), None)
        self._terminated[app.id, user_id] = self._clock()
        refusal = Refusal("The user's connections were terminated", code=CloseCode.UNAUTHORIZED)
        for connection in self._tenants[app.id].users.connections_of(user_id):
            connection.client.dismiss(refusal)

    def was_terminated(self, app: App, user_id: str, *, within: float) -> bool:
        """Whether a user was sent away in the last ``within`` seconds, which are no more than a stream's lifetime."""
        terminated = self._terminated.get((app.id, user_id))
        return terminated is not None and self._clock() - terminated <= within

    def tick(self) -> None:
        """Do what time alone brings about; whoever runs the hub calls it about once a second, or more often."""
        now = self._clock()
        self.histories.purge()
        over = now - self.config.limits.stream_lifetime - self.config.timestamp_window
        while self._terminated and next(iter(self._terminated.values())) < over:
            self._terminated.popitem(last=False)
        for tenant in self._tenants.values():
            tenant.cache.purge(now)
            self._dismiss_strangers(tenant, now)
            for channel in tenant.counts.due(now):
                self._tell_count(tenant, tenant.channels[channel])

    def occupied_channels(self, app: App, *, prefix: str = "") -> Iterator[str]:
        """The channels of ``app`` that have subscribers."""
        return (name for name in self._tenants[app.id].channels if name.startswith(prefix))

    def channels(self, app: App) -> dict[str, int]:
        """The subscriptions of each occupied channel, as they are now."""
        return {name: len(channel.subscribers) for name, channel in self._tenants[app.id].channels.items()}

    def connections(self, app: App) -> tuple[Connection, ...]:
        """Everybody, in the order in which they came."""
        return tuple(self._tenants[app.id].connections.values())

    def members(self, app: App, channel: str) -> dict[str, Mapping[str, Any]]:
        """The users in a presence channel by their ids, with what is known of each."""
        found = self._tenants[app.id].channels.get(channel)
        return found.presence.members if found and found.presence else {}

    def cached(self, app: App, channel: str) -> tuple[CachedEvent, float] | None:
        """What a cache channel remembers, and for how many seconds still."""
        now = self._clock()
        event = self._tenants[app.id].cache.get(channel, now)
        return None if event is None else (event, event.expires - now)

    def subscription_count(self, app: App, channel: str) -> int:
        found = self._tenants[app.id].channels.get(channel)
        return len(found.subscribers) if found else 0

    def connection_count(self, app: App) -> int:
        return len(self._tenants[app.id].connections)

    def tell(self, fact: facts.Fact) -> None:
        """Let the observers know."""
        for observe in self._observers:
            observe(fact)

    def _count_all(self) -> int:
        return sum(len(tenant.connections) for tenant in self._tenants.values())

    def _dismiss_strangers(self, tenant: _Tenant, now: float) -> None:
        """Send away who has shown no signature in time (protocol A.52)."""
        refusal = Refusal("Connection not authorized within timeout", code=CloseCode.UNAUTHORIZED)
        for connection, _ in list(takewhile(lambda stranger: stranger[1] <= now, tenant.strangers.items())):
            del tenant.strangers[connection]
            connection.client.dismiss(refusal)

    def _check_subscriptions(self, connection: Connection, channel: str) -> None:
        """Raise where a connection has as many subscriptions as it may have."""
        limit = self.config.limits.channels_per_connection
        if len(connection.channels) >= limit:
            reason = f"This connection has {limit} subscriptions, which is the limit"
            raise refuse_subscription(channel, reason, type="LimitReached", status=403, config=self.config)

    def _check_room(self, channel: OccupiedChannel, member: Member | None) -> None:
        """Raise where a presence channel has no room for one more user (protocol A.36)."""
        limit, presence = self.config.limits.members_per_channel, channel.presence
        if member is None or presence is None or member.user_id in presence or len(presence) < limit:
            return
        reason = f"Channel {channel.name} has {limit} members, which is the limit"
        raise refuse_subscription(channel.name, reason, type="LimitReached", status=403, config=self.config)

    def _recall(self, connection: Connection, channel: str) -> None:
        """Give a new subscriber the last event (protocol A.44)."""
        event = self._tenants[connection.app.id].cache.get(channel, self._clock())
        if event is None:
            connection.client.deliver(cache_miss(channel))
            self.tell(facts.CacheMissed(connection.app.id, channel))
        else:
            connection.client.deliver(channel_event(event.name, channel, event.data))

    def _leave(self, connection: Connection, channel: str) -> None:
        tenant, app_id = self._tenants[connection.app.id], connection.app.id
        occupied = tenant.channels[channel]
        user_id = occupied.remove(connection)
        self.tell(facts.Unsubscribed(app_id, connection.socket_id, channel))
        if user_id is not None:
            self.tell(facts.MemberRemoved(app_id, channel, user_id))
        if occupied.subscribers:
            self._count(tenant, occupied)
            return
        del tenant.channels[channel]
        tenant.counts.forget(channel)
        self.tell(facts.Vacated(app_id, channel))

    def _count(self, tenant: _Tenant, channel: OccupiedChannel) -> None:
        """Tell subscribers how many they are, or have it told when it is time (protocol A.45)."""
        if not tenant.app.has_subscription_counts or channel.presence is not None:
            return
        is_small = len(channel.subscribers) <= self.config.limits.count_threshold
        if tenant.counts.allows(channel.name, self._clock(), is_urgent=is_small):
            self._tell_count(tenant, channel)

    def _tell_count(self, tenant: _Tenant, channel: OccupiedChannel) -> None:
        self.tell(facts.CountChanged(tenant.app.id, channel.name, channel.tell_count()))


def _is_cache(channel: str) -> bool:
    # Of each published event this is asked: most names are done with by the first half.
    return "cache-" in channel and kind_of(channel).is_cache

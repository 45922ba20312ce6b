"""Who is connected and who is subscribed, and who therefore receives what. Synchronous: no locks, no awaiting.

What clients and the HTTP API ask for is checked here, entered in the ledger, and done when the ledger says so.
"""

import time
from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from typing import Any, Final

from pusherable.channels import kind_of
from pusherable.server import facts
from pusherable.server.caches import Cache, CachedEvent
from pusherable.server.commands import Command, Depart, Join, Leave, Publish, SignIn, Tell, Terminate, Whisper
from pusherable.server.config import App, ServerConfig
from pusherable.server.connections import NOBODY, Client, Connection, Presentation, new_socket_id
from pusherable.server.credentials import Member, User
from pusherable.server.histories import Histories
from pusherable.server.ledger import Ledger, Outcome, OwnLedger
from pusherable.server.messages import cache_miss, channel_event, error, quote, resync
from pusherable.server.presence import Presence
from pusherable.server.protocol import CloseCode, ErrorCode, Objection, Refusal, Relay, refuse_subscription
from pusherable.server.rates import Rate, Throttle
from pusherable.server.repeats import Repeats
from pusherable.server.subscriptions import OccupiedChannel
from pusherable.server.users import Users

# Seconds that a message of another process may take, by which its times appear to be later.
_DELAY: Final = 1.0


@dataclass(eq=False, slots=True)
class _Tenant:
    """What belongs to one app; no app ever sees another's."""

    app: App
    cache: Cache
    counts: Throttle
    users: Users = field(default_factory=Users)
    #: Of every process; ``here`` counts those of this one.
    connections: dict[str, Connection] = field(default_factory=dict)
    here: int = 0
    channels: dict[str, OccupiedChannel] = field(default_factory=dict)
    repeats: Repeats = field(default_factory=Repeats)
    #: The last wish of a connection to be in a presence channel, until it is fulfilled or not.
    wishes: dict[tuple[str, str], Join] = field(default_factory=dict)
    #: Who has to show a signature still, and by when, the first one first (protocol A.52).
    strangers: dict[Connection, float] = field(default_factory=dict)


class Hub:
    """All connections and subscriptions of a server; one thread uses it. ``clock`` gives seconds since whenever.

    ``observers`` are told what happens at this process, ``witnesses`` what happens at any process of the server.
    What the methods below return is ``None`` where everything is done already, and otherwise can be awaited.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        observers: Iterable[facts.Observer] = (),
        witnesses: Iterable[facts.Observer] = (),
        ledger: Ledger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._witnesses = tuple(witnesses)
        self._observers = (*observers, *self._witnesses)
        # Whose command is being carried out: another process's, or ours.
        self._peer: str | None = None
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
        #: The order of all that changes the hub.
        self.ledger = ledger or OwnLedger()
        self.ledger.open(self)

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
        tenant.here += 1
        if app.authorization_timeout is not None:
            tenant.strangers[connection] = self._clock() + app.authorization_timeout
        self.tell(facts.Connected(app.id, connection.socket_id, protocol))
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Forget a client and all its subscriptions; a second time does nothing."""
        if connection.client is NOBODY:
            return
        # Nothing may be sent to it any more, though it is subscribed until the ledger says so.
        connection.client = NOBODY
        self._tenants[connection.app.id].strangers.pop(connection, None)
        departure = Depart(connection.app.id, connection.socket_id)
        if connection.is_shared:
            self.ledger.enter(departure)
        else:
            self.apply(departure)

    def object(self, connection: Connection, objection: Objection) -> None:
        """Tell a client that what it sent is wrong."""
        for reply in objection.replies:
            connection.client.deliver(reply)
        self.tell(facts.Complained(connection.app.id, connection.socket_id, str(objection)))

    def subscribe(self, connection: Connection, channel: str, member: Member | None = None) -> Outcome:
        """Subscribe and say so; ``member`` is for presence channels, and only for these.

        Raises ``Objection`` if it is subscribed already (protocol A.20), if the channel is full (A.36), or if it
        is subscribed to as many as it may be.
        """
        if channel in connection.channels:
            raise Objection(f"Existing subscription to channel {quote(channel)}")
        self._check_subscriptions(connection, channel)
        tenant = self._tenants[connection.app.id]
        self._check_room(tenant, connection, channel, member)
        if tenant.strangers and kind_of(channel).needs_authorization:
            tenant.strangers.pop(connection, None)
        connection.channels.add(channel)
        join = Join(connection.app.id, connection.socket_id, channel, member)
        if member is not None:
            tenant.wishes[connection.socket_id, channel] = join
        return self._enter(connection, join)

    def unsubscribe(self, connection: Connection, channel: str) -> None:
        """Unsubscribe without an answer; raises ``Objection`` if it is not subscribed (protocol A.21)."""
        if channel not in connection.channels:
            raise Objection(f"No current subscription to channel {quote(channel)}, or subscription in progress")
        connection.channels.remove(channel)
        self._enter(connection, Leave(connection.app.id, connection.socket_id, channel))

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
        self._enter(
            connection, Whisper(connection.app.id, connection.socket_id, event.channel, event.event, event.data)
        )

    def sign_in(self, connection: Connection, user: User) -> Outcome:
        """Take ``connection`` for the user's; tell it, and those who watch the user (protocol A.47, A.51)."""
        self._tenants[connection.app.id].strangers.pop(connection, None)
        return self._enter(connection, SignIn(connection.app.id, connection.socket_id, user))

    def publish(
        self,
        app: App,
        *,
        channels: Iterable[str],
        name: str,
        data: str,
        socket_id: str | None = None,
        id: str | None = None,
    ) -> Outcome:
        """Send an event to every subscriber of ``channels``, but for the connection ``socket_id``.

        What comes again with the same ``id`` on the same channel is not sent again.
        """
        return self.ledger.enter(Publish(app.id, tuple(channels), name, data, socket_id, id))

    def terminate(self, app: App, user_id: str) -> Outcome:
        """Send every connection away that is signed in as this user (protocol A.53)."""
        return self.ledger.enter(Terminate(app.id, user_id))

    def apply(self, command: Command, *, peer: str | None = None) -> None:
        """Carry out what the ledger has come to; ``peer`` is the process that it comes from, if not from this one.

        Raises ``Objection`` where a client of this process wants into a presence channel that is full (protocol
        A.36). What concerns an app or a connection that nobody knows is passed over.
        """
        tenant = self._tenants.get(command.app_id)
        if tenant is None:
            return
        outer, self._peer = self._peer, peer
        try:
            match command:
                case Publish():
                    self._publish(tenant, command)
                case Whisper():
                    self._whisper(tenant, command)
                case Join():
                    self._join(tenant, command)
                case Leave():
                    self._unsubscribe(tenant, command)
                case Depart():
                    self._depart(tenant, command)
                case SignIn():
                    self._sign_in(tenant, command)
                case Terminate():
                    self._terminate(tenant, command)
                case Tell(app_id, marks, place):
                    self._tell(self._witnesses, facts.WebhooksTold(app_id, marks, place))
        finally:
            # To send somebody away is to have them depart, in the middle of this.
            self._peer = outer

    def present(self) -> Iterator[Presentation]:
        """The clients of this process that others have heard of, as the ledger has them."""
        for app_id, tenant in self._tenants.items():
            channels: dict[Connection, dict[str, Member | None]] = {
                connection: {}
                for connection in tenant.connections.values()
                if connection.is_shared and connection.peer is None
            }
            for name, occupied in tenant.channels.items():
                for connection in occupied.subscribers:
                    channels[connection][name] = occupied.member_of(connection)
            for connection, found in channels.items():
                yield Presentation(app_id, connection.socket_id, connection.user, found)

    def reconcile(
        self, peer: str, presentations: Iterable[Presentation], terminated: Iterable[tuple[str, str, float]] = ()
    ) -> None:
        """Bring what is known of another process's clients to what it says itself; what has changed is told."""
        given = {(item.app_id, item.socket_id): item for item in presentations}
        # Arrivals first: a user who has come back in another way was never away.
        for presentation in given.values():
            for command in self._changes(presentation):
                self.apply(command, peer=peer)
        for app_id, tenant in self._tenants.items():
            for socket_id, connection in list(tenant.connections.items()):
                if connection.peer == peer and (app_id, socket_id) not in given:
                    self.apply(Depart(app_id, socket_id), peer=peer)
        now = self._clock()
        for app_id, user_id, seconds in sorted(terminated, key=lambda item: -item[2]):
            self._catch_up_with_termination(app_id, user_id, now - seconds)

    def _catch_up_with_termination(self, app_id: str, user_id: str, then: float) -> None:
        """Do what another process was told to do, if it is news: who was sent away before knows no other way."""
        if app_id not in self._tenants or then <= self._terminated.get((app_id, user_id), -inf) + _DELAY:
            return
        self._note_termination(app_id, user_id, then)
        for connection in self._tenants[app_id].users.connections_of(user_id):
            if connection.signed_in_at < then:
                connection.client.dismiss(_terminated())

    def _note_termination(self, app_id: str, user_id: str, then: float) -> None:
        self._terminated.pop((app_id, user_id), None)
        self._terminated[app_id, user_id] = then

    def terminated(self) -> list[tuple[str, str, float]]:
        """Who was sent away, and how many seconds ago."""
        now = self._clock()
        return [(app_id, user_id, now - then) for (app_id, user_id), then in self._terminated.items()]

    def resync(self, channels: Iterable[tuple[str, str]] | None = None) -> None:
        """Tell clients that they may have missed something on these channels of apps; ``None`` is all of them."""
        if channels is None:
            channels = [(app_id, name) for app_id, tenant in self._tenants.items() for name in tenant.channels]
        for app_id, name in channels:
            tenant, message = self._tenants.get(app_id), resync(name)
            self.histories.record(app_id, message)
            if tenant is not None and name in tenant.channels:
                tenant.channels[name].broadcast(message)

    def remember(self, app_id: str, channel: str, name: str, data: str, *, seconds: float) -> None:
        """Let a cache channel have an event that was published before, for so many seconds still."""
        if app_id in self._tenants:
            now = self._clock() - self.config.limits.cache_ttl + seconds
            self._tenants[app_id].cache.put(channel, name, data, now)

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
            tenant.repeats.purge(now)
            self._dismiss_strangers(tenant, now)
            for channel in tenant.counts.due(now):
                self._tell_count(tenant, tenant.channels[channel])

    def occupied_channels(self, app: App, *, prefix: str = "") -> Iterator[str]:
        """The channels of ``app`` that have subscribers."""
        return (name for name in self._tenants[app.id].channels if name.startswith(prefix))

    def channels(self, app: App) -> dict[str, int]:
        """The subscriptions of each occupied channel, as they are now."""
        return {name: len(channel) for name, channel in self._tenants[app.id].channels.items()}

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
        return len(found) if found else 0

    def connection_count(self, app: App) -> int:
        """How many are connected to this process."""
        return self._tenants[app.id].here

    def tell(self, fact: facts.Fact) -> None:
        """Let the observers know of what has happened here."""
        self._tell(self._observers, fact)

    def _note(self, fact: facts.Fact) -> None:
        """Tell of a command that is carried out: of another process's only the witnesses."""
        self._tell(self._observers if self._peer is None else self._witnesses, fact)

    def _tell(self, observers: tuple[facts.Observer, ...], fact: facts.Fact) -> None:
        for observe in observers:
            observe(fact)

    def _enter(self, connection: Connection, command: Command) -> Outcome:
        if connection.client is NOBODY:
            # To the others, who is heard of once more would be somebody new.
            return None
        connection.is_shared = True
        outcome = self.ledger.enter(command)
        if outcome is not None:
            self._count_waiting(connection, outcome)
        return outcome

    def _count_waiting(self, connection: Connection, outcome: Future[bool]) -> None:
        """Send away who asks for more than can be done: all that it has asked for waits in memory."""
        connection.waiting += 1
        outcome.add_done_callback(connection.note_done)
        if connection.waiting > self.config.limits.channels_per_connection * 2:
            connection.client.dismiss(Refusal("You ask for too much at once", code=CloseCode.OVER_CAPACITY))

    def _count_all(self) -> int:
        return sum(tenant.here for tenant in self._tenants.values())

    def _dismiss_strangers(self, tenant: _Tenant, now: float) -> None:
        """Send away who has shown no signature in time (protocol A.52)."""
        refusal = Refusal("Connection not authorized within timeout", code=CloseCode.UNAUTHORIZED)
        for connection, _ in list(takewhile(lambda stranger: stranger[1] <= now, tenant.strangers.items())):
            del tenant.strangers[connection]
            connection.client.dismiss(refusal)

    def _changes(self, given: Presentation) -> Iterator[Command]:
        """What has to be done so that a connection of another process is as it presents itself."""
        app_id, socket_id, user, channels = given
        tenant = self._tenants.get(app_id)
        known = tenant.connections.get(socket_id) if tenant is not None else None
        if user is not None and (known is None or known.user != user):
            yield SignIn(app_id, socket_id, user)
        for channel, member in channels.items():
            if known is not None and tenant is not None and channel in known.channels:
                if tenant.channels[channel].user_of(known) == (None if member is None else member.user_id):
                    continue
                # It has left, and come back as somebody else.
                yield Leave(app_id, socket_id, channel)
            yield Join(app_id, socket_id, channel, member)
        for channel in sorted(known.channels - channels.keys()) if known is not None else ():
            yield Leave(app_id, socket_id, channel)

    def _check_subscriptions(self, connection: Connection, channel: str) -> None:
        """Raise where a connection has as many subscriptions as it may have."""
        limit = self.config.limits.channels_per_connection
        if len(connection.channels) >= limit:
            reason = f"This connection has {limit} subscriptions, which is the limit"
            raise refuse_subscription(channel, reason, type="LimitReached", status=403, config=self.config)

    def _check_room(self, tenant: _Tenant, connection: Connection, channel: str, member: Member | None) -> None:
        """Raise where a presence channel has no room for one more user (protocol A.36)."""
        limit, members = self.config.limits.members_per_channel, self.members(tenant.app, channel)
        if member is None or member.user_id in members or len(members) < limit:
            return
        reason = f"Channel {channel} has {limit} members, which is the limit"
        raise refuse_subscription(channel, reason, type="LimitReached", status=403, config=self.config)

    def _recall(self, connection: Connection, channel: str) -> None:
        """Give a new subscriber the last event (protocol A.44)."""
        event = self._tenants[connection.app.id].cache.get(channel, self._clock())
        if event is None:
            connection.client.deliver(cache_miss(channel))
            self._note(facts.CacheMissed(connection.app.id, channel))
        else:
            connection.client.deliver(channel_event(event.name, channel, event.data))

    def _publish(self, tenant: _Tenant, event: Publish) -> None:
        app_id, name, data = event.app_id, event.name, event.data
        excluded = tenant.connections.get(event.socket_id) if event.socket_id else None
        for channel in dict.fromkeys(event.channels):
            if event.id is not None and tenant.repeats.is_repeat(event.id, channel, self._clock()):
                self.histories.skip()
                continue
            receivers = 0
            occupied = tenant.channels.get(channel)
            if occupied is not None or self.histories.keeps(app_id, channel):
                message = channel_event(name, channel, data)
                self.histories.record(app_id, message)
                receivers = occupied.broadcast(message, excluded=excluded) if occupied is not None else 0
                if excluded is not None and occupied is not None and excluded in occupied:
                    excluded.client.skip()
            if _is_cache(channel):
                tenant.cache.put(channel, name, data, self._clock())
            self._tell_broadcast(facts.Broadcast(app_id, channel, name, data, receivers, self._peer is None))

    def _tell_broadcast(self, fact: facts.Broadcast) -> None:
        """Whoever has handed it to somebody tells of it, not only who has published it."""
        self._tell(self._observers if fact.is_ours or fact.receivers else self._witnesses, fact)

    def _whisper(self, tenant: _Tenant, event: Whisper) -> None:
        connection, channel = tenant.connections.get(event.socket_id), tenant.channels.get(event.channel)
        if connection is None or channel is None or connection not in channel:
            return
        # Never what the client itself says of who it is (protocol A.39).
        user_id = channel.user_of(connection)
        message = channel_event(event.event, event.channel, event.data, user_id=user_id)
        self.histories.record(event.app_id, message)
        channel.broadcast(message, excluded=connection)
        self._note(facts.ClientEvent(event.app_id, event.channel, event.event, event.data, event.socket_id, user_id))

    def _join(self, tenant: _Tenant, command: Join) -> None:
        key = command.socket_id, command.channel
        is_last_wish = tenant.wishes.get(key) is command
        if is_last_wish:
            del tenant.wishes[key]
        connection = self._find(tenant, command.socket_id)
        if connection is None:
            return
        app_id, channel, member = command.app_id, command.channel, command.member
        occupied = tenant.channels.get(channel)
        is_first = occupied is None
        if occupied is None:
            occupied = OccupiedChannel(channel, Presence() if member else None)
        if connection in occupied:
            return
        if connection.peer is None:
            self._take_seat(tenant, connection, command, is_last_wish=is_last_wish)
        else:
            connection.channels.add(channel)
        tenant.channels[channel] = occupied
        is_new_user = occupied.add(connection, member)
        if is_first:
            self._note(facts.Occupied(app_id, channel))
        self._note(facts.Subscribed(app_id, connection.socket_id, channel, occupied.user_of(connection)))
        if member is not None and is_new_user:
            self._note(facts.MemberAdded(app_id, channel, member.user_id))
        if _is_cache(channel):
            self._recall(connection, channel)
        self._count(tenant, occupied)

    def _take_seat(self, tenant: _Tenant, connection: Connection, command: Join, *, is_last_wish: bool) -> None:
        """Raise where others were faster. Whether there is room, the process alone decides whose client it is:
        what the others know of the channel may be something else for a moment.
        """
        channel = command.channel
        try:
            self._check_room(tenant, connection, channel, command.member)
        except Objection:
            # It may have left meanwhile and be about to come again, when there is room.
            if is_last_wish:
                connection.channels.discard(channel)
                self._enter(connection, Leave(tenant.app.id, connection.socket_id, channel))
            raise

    def _unsubscribe(self, tenant: _Tenant, command: Leave) -> None:
        connection = tenant.connections.get(command.socket_id)
        if connection is not None:
            self._leave(tenant, connection, command.channel)
            if connection.peer is not None:
                connection.channels.discard(command.channel)

    def _depart(self, tenant: _Tenant, command: Depart) -> None:
        connection = tenant.connections.pop(command.socket_id, None)
        if connection is None:
            return
        if connection.peer is None:
            tenant.here -= 1
        for channel in sorted(connection.channels):
            self._leave(tenant, connection, channel)
        connection.channels.clear()
        tenant.users.sign_out(connection)
        self._note(facts.Disconnected(command.app_id, connection.socket_id))

    def _sign_in(self, tenant: _Tenant, command: SignIn) -> None:
        connection, user = self._find(tenant, command.socket_id), command.user
        if connection is None:
            return
        limit = self.config.limits.watchlist_length
        connection.signed_in_at = self._clock()
        tenant.users.sign_in(connection, user, watchlist=user.watchlist[:limit])
        self._note(facts.SignedIn(command.app_id, connection.socket_id, user.id))
        if len(user.watchlist) > limit and connection.peer is None:
            reason = f"The watchlist has {len(user.watchlist)} users; the first {limit} are watched"
            self.object(connection, Objection(reason, replies=(error(reason, code=ErrorCode.WATCHLIST_LENGTH),)))

    def _terminate(self, tenant: _Tenant, command: Terminate) -> None:
        self._note_termination(command.app_id, command.user_id, self._clock())
        for connection in tenant.users.connections_of(command.user_id):
            connection.client.dismiss(_terminated())

    def _find(self, tenant: _Tenant, socket_id: str) -> Connection | None:
        """A connection that something is told of; one of another process is met in this way the first time."""
        connection = tenant.connections.get(socket_id)
        if connection is None and self._peer is not None:
            connection = Connection(tenant.app, socket_id, NOBODY, peer=self._peer)
            tenant.connections[socket_id] = connection
        return connection

    def _leave(self, tenant: _Tenant, connection: Connection, channel: str) -> None:
        occupied, app_id = tenant.channels.get(channel), tenant.app.id
        if occupied is None or connection not in occupied:
            return
        user_id = occupied.remove(connection)
        self._note(facts.Unsubscribed(app_id, connection.socket_id, channel))
        if user_id is not None:
            self._note(facts.MemberRemoved(app_id, channel, user_id))
        if len(occupied):
            self._count(tenant, occupied)
            return
        del tenant.channels[channel]
        tenant.counts.forget(channel)
        self._note(facts.Vacated(app_id, channel))

    def _count(self, tenant: _Tenant, channel: OccupiedChannel) -> None:
        """Tell subscribers how many they are, or have it told when it is time (protocol A.45)."""
        if not tenant.app.has_subscription_counts or channel.presence is not None:
            return
        is_small = len(channel) <= self.config.limits.count_threshold
        if tenant.counts.allows(channel.name, self._clock(), is_urgent=is_small):
            self._tell_count(tenant, channel)

    def _tell_count(self, tenant: _Tenant, channel: OccupiedChannel) -> None:
        self._note(facts.CountChanged(tenant.app.id, channel.name, channel.tell_count()))


def _terminated() -> Refusal:
    return Refusal("The user's connections were terminated", code=CloseCode.UNAUTHORIZED)


def _is_cache(channel: str) -> bool:
    # Of each published event this is asked: most names are done with by the first half.
    return "cache-" in channel and kind_of(channel).is_cache

"""Hubs that are one server, by a log in memory: for tests that know of one hub, and for those of the log's order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any

from pusherable.server.caches import CachedEvent
from pusherable.server.commands import Command, decode_values, encode_values, read_command, write_command
from pusherable.server.config import App, ServerConfig
from pusherable.server.connections import Client, Connection
from pusherable.server.credentials import Member, User
from pusherable.server.facts import Broadcast, Complained, Connected, CountChanged, Fact, Observer, Refused, Rejected
from pusherable.server.histories import Histories
from pusherable.server.hub import Hub
from pusherable.server.ledger import Outcome, Replica
from pusherable.server.protocol import Objection, Relay

EPOCH = "0123abcd"
#: What is told where it happens alone.
LOCAL = (Connected, Complained, Refused, Rejected)


class LogInMemory:
    """Entries that all its ledgers read, in one order; ``on_entry`` is called as soon as there is one more."""

    def __init__(self, *, on_entry: Callable[[], None] = lambda: None) -> None:
        self.entries: list[tuple[MemoryLedger, Command]] = []
        self.ledgers: list[MemoryLedger] = []
        self.on_entry = on_entry


class MemoryLedger:
    """One hub's ledger: it carries out a command where it reads it in the log."""

    place: int | None = None
    is_in_charge = True
    processes = 1
    is_alone = False

    def __init__(self, log: LogInMemory) -> None:
        self._log = log
        self._name = str(len(log.ledgers))
        self._read = 0
        log.ledgers.append(self)

    @property
    def behind(self) -> int:
        """How many entries it has not read yet."""
        return len(self._log.entries) - self._read

    def open(self, hub: Replica) -> None:
        self.hub = hub

    def enter(self, command: Command) -> Outcome:
        self._log.entries.append((self, command))
        self._log.on_entry()
        return None

    def read_next(self) -> Objection | None:
        """Do what the next entry says; returns what the hub objects to."""
        origin, command = self._log.entries[self._read]
        self._read += 1
        self.place = self._read
        try:
            if origin is self:
                self.hub.apply(command)
            else:
                # As it comes from a log.
                content = encode_values(write_command(command))
                self.hub.apply(read_command(decode_values(content)), peer=origin._name)
        except Objection as objection:
            return objection
        finally:
            self.place = None
        return None

    def enter_soon(self, command: Command) -> None: ...

    async def catch_up(self) -> None: ...

    async def start(self) -> None: ...

    def depart(self) -> None: ...

    async def stop(self) -> None: ...


class Twins:
    """Two hubs in the place of one: clients come to one and the other in turn, and so do the site's requests.

    Each command is carried out by both at once. What is asked, both are asked, and have to answer alike. ``observers``
    are told what the observers of both are; of an event that was broadcast by both, once, with all its receivers.
    """

    def __init__(
        self, config: ServerConfig, *, observers: Iterable[Observer] = (), clock: Callable[[], float], **options: Any
    ) -> None:
        self.config = config
        self._observers = tuple(observers)
        self._log = LogInMemory(on_entry=self._carry_out)
        #: What the witnesses of each were told of commands.
        self.witnessed: list[list[Fact]] = [[], []]
        self.hubs = [self._make_hub(number, clock) for number in range(2)]
        self.ledger = self.hubs[0].ledger
        self._turns = cycle(self.hubs)
        self._homes: dict[Connection, Hub] = {}
        self._is_carrying_out = False
        self._collected: list[Fact] | None = None

    @property
    def histories(self) -> Histories:
        return self.hubs[0].histories

    def connect(self, app: App, client: Client, *, protocol: str | None = "7") -> Connection:
        hub = next(self._turns)
        connection = hub.connect(app, client, protocol=protocol)
        self._homes[connection] = hub
        return connection

    def disconnect(self, connection: Connection) -> None:
        self._homes[connection].disconnect(connection)

    def object(self, connection: Connection, objection: Objection) -> None:
        self._homes[connection].object(connection, objection)

    def subscribe(self, connection: Connection, channel: str, member: Member | None = None) -> Outcome:
        return self._homes[connection].subscribe(connection, channel, member)

    def unsubscribe(self, connection: Connection, channel: str) -> None:
        self._homes[connection].unsubscribe(connection, channel)

    def relay(self, connection: Connection, event: Relay) -> None:
        self._homes[connection].relay(connection, event)

    def sign_in(self, connection: Connection, user: User) -> Outcome:
        return self._homes[connection].sign_in(connection, user)

    def publish(self, app: App, **event: Any) -> Outcome:
        return next(self._turns).publish(app, **event)

    def terminate(self, app: App, user_id: str) -> Outcome:
        return next(self._turns).terminate(app, user_id)

    def tick(self) -> None:
        """Let time bring about what it does at either; of counts, each tells its own clients, and is heard once."""
        told: list[Fact] = []
        for hub in self.hubs:
            self._collected = []
            hub.tick()
            told += [fact for fact in self._collected if fact not in told or not isinstance(fact, CountChanged)]
        self._collected = None
        self._tell(told)

    def tell(self, fact: Fact) -> None:
        next(self._turns).tell(fact)

    def was_terminated(self, app: App, user_id: str, *, within: float) -> bool:
        return self._ask(lambda hub: hub.was_terminated(app, user_id, within=within))

    def occupied_channels(self, app: App, *, prefix: str = "") -> Iterator[str]:
        return iter(self._ask(lambda hub: list(hub.occupied_channels(app, prefix=prefix))))

    def channels(self, app: App) -> dict[str, int]:
        return dict(self._ask(lambda hub: list(hub.channels(app).items())))

    def connections(self, app: App) -> tuple[Connection, ...]:
        return tuple(connection for connection, hub in self._homes.items() if connection in hub.connections(app))

    def members(self, app: App, channel: str) -> dict[str, Mapping[str, Any]]:
        return dict(self._ask(lambda hub: list(hub.members(app, channel).items())))

    def cached(self, app: App, channel: str) -> tuple[CachedEvent, float] | None:
        return self._ask(lambda hub: hub.cached(app, channel))

    def subscription_count(self, app: App, channel: str) -> int:
        return self._ask(lambda hub: hub.subscription_count(app, channel))

    def connection_count(self, app: App) -> int:
        return sum(hub.connection_count(app) for hub in self.hubs)

    def check(self) -> None:
        """Fail where the two do not know the same, or have not told the same."""
        first, second = self.hubs
        assert knowledge_of(first) == knowledge_of(second)
        assert self.witnessed[0] == self.witnessed[1]

    def _make_hub(self, number: int, clock: Callable[[], float]) -> Hub:
        def witness(fact: Fact) -> None:
            if ledger.place is not None and not isinstance(fact, LOCAL):
                self.witnessed[number].append(told_anywhere(fact))

        ledger = MemoryLedger(self._log)
        hub = Hub(self.config, observers=[self._observe], witnesses=[witness], ledger=ledger, clock=clock)
        hub.histories.share(EPOCH, 0)
        return hub

    def _carry_out(self) -> None:
        """Let both do what is in the log, first the one whose command it is, which alone may object."""
        if self._is_carrying_out:
            return
        self._is_carrying_out = True
        problem = None
        try:
            while any(ledger.behind for ledger in self._log.ledgers):
                problem = self._carry_out_next() or problem
        finally:
            self._is_carrying_out = False
        if problem is not None:
            raise problem

    def _carry_out_next(self) -> Objection | None:
        origin, _ = self._log.entries[-self._log.ledgers[0].behind]
        self._collected = []
        objections = [
            ledger.read_next() for ledger in sorted(self._log.ledgers, key=lambda ledger: ledger is not origin)
        ]
        told, self._collected = self._collected, None
        assert len({str(objection) for objection in objections}) == 1
        self._tell(told)
        return objections[0]

    def _ask(self, question: Callable[[Hub], Any]) -> Any:
        first, second = map(question, self.hubs)
        assert first == second
        return first

    def _observe(self, fact: Fact) -> None:
        if self._collected is None:
            self._tell([fact])
        elif isinstance(fact, Broadcast) and not fact.is_ours:
            self._add_receivers(self._collected, fact)
        else:
            self._collected.append(fact)

    def _add_receivers(self, told: list[Fact], elsewhere: Broadcast) -> None:
        for number, fact in enumerate(told):
            if isinstance(fact, Broadcast) and fact.channel == elsewhere.channel:
                told[number] = replace(fact, receivers=fact.receivers + elsewhere.receivers)

    def _tell(self, told: Iterable[Fact]) -> None:
        for fact in told:
            for observe in self._observers:
                observe(fact)


def told_anywhere(fact: Fact) -> Fact:
    """A fact without what differs from one process to the next."""
    return replace(fact, receivers=0, is_ours=True) if isinstance(fact, Broadcast) else fact


def knowledge_of(hub: Hub) -> dict[str, Any]:
    """All that a hub knows of what is common to the processes of a server, but for what it was at what time."""
    apps = {
        app.id: {
            "channels": list(hub.channels(app).items()),
            "members": {name: list(hub.members(app, name).items()) for name in hub.channels(app)},
            "connections": {
                connection.socket_id: (connection.user, sorted(connection.channels))
                for connection in hub.connections(app)
                if connection.is_shared or connection.peer is not None
            },
            "cached": {name: (event.name, event.data) for name, event in hub._tenants[app.id].cache._events.items()},
            "users": {
                user_id: [connection.socket_id for connection in connections]
                for user_id, connections in hub._tenants[app.id].users._connections.items()
            },
        }
        for app in hub.config.apps
    }
    histories = {
        key: [(sequence, hub.histories._kept[sequence].block) for sequence in history.sequences]
        for key, history in hub.histories._histories.items()
    }
    return {
        **apps,
        "epoch": hub.histories.now.epoch,
        "histories": histories,
        "terminated": [(app_id, user_id) for app_id, user_id, _ in hub.terminated()],
    }

"""Several hubs that read one log, each in its own time: when all have read all, they know and have told the same."""

import json
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from pusherable.server.config import Limits, ServerConfig
from pusherable.server.connections import NOBODY
from pusherable.server.credentials import Member
from pusherable.server.facts import Broadcast, ClientEvent, Subscribed, Unsubscribed
from pusherable.server.hub import Hub
from pusherable.server.protocol import Objection, Relay
from tests.server.conftest import APP, Clock, RecordingClient, make_user
from tests.server.twins import EPOCH, LOCAL, LogInMemory, MemoryLedger, knowledge_of, told_anywhere

NUMBERS = st.integers(0, 2)
PRESENCE = "presence-a"
CHANNELS = st.sampled_from([PRESENCE, "private-cache-b"])
USER_IDS = st.sampled_from(["1", "2"])
LIMITS = Limits(client_events_per_second=1_000)


class Replica:
    """A hub, and what its witness was told."""

    def __init__(self, log, *, limits=LIMITS):
        self.ledger = MemoryLedger(log)
        self.told = []
        self.hub = Hub(
            ServerConfig(apps=(APP,), limits=limits), witnesses=[self._witness], ledger=self.ledger, clock=Clock()
        )
        self.hub.histories.share(EPOCH, 0)

    def read(self, count):
        """Do what the next entries say."""
        for _ in range(min(count, self.ledger.behind)):
            self.ledger.read_next()

    def _witness(self, fact):
        if self.ledger.place is not None and not isinstance(fact, LOCAL):
            self.told.append(told_anywhere(fact))


class TestSubscribe:
    def test_who_is_refused_after_it_has_come_back_is_not_forgotten(self):
        """A.36: there was no room for its first wish, which it had taken back, and there was for its second."""
        log = LogInMemory()
        here, elsewhere = replicas = [Replica(log, limits=Limits(members_per_channel=1)) for _ in range(2)]
        member, late = (here.hub.connect(APP, RecordingClient()) for _ in range(2))
        here.hub.subscribe(member, PRESENCE, Member("1"))
        here.hub.subscribe(late, PRESENCE, Member("2"))
        here.hub.unsubscribe(late, PRESENCE)
        here.hub.unsubscribe(member, PRESENCE)
        here.hub.subscribe(late, PRESENCE, Member("2"))
        read_all(replicas)
        assert late.channels == {PRESENCE}
        here.hub.disconnect(late)
        read_all(replicas)
        assert here.hub.members(APP, PRESENCE) == elsewhere.hub.members(APP, PRESENCE) == {}


class LaggingReplicas(RuleBasedStateMachine):
    """What clients ask of a hub is in the log at once, and each hub does it whenever it reads on."""

    connections = Bundle("connections")

    @initialize(target=connections)
    def open_hubs(self):
        log = LogInMemory()
        self.replicas = [Replica(log) for _ in range(3)]
        self.homes = {}
        self.clients = {}
        self.users = {}
        # Whom an event is not for, by its data, which no other event has.
        self.excluded = {}
        return multiple(*(self.connect_to(number) for number in range(3)))

    def connect_to(self, number):
        hub, client = self.replicas[number].hub, RecordingClient()
        connection = hub.connect(APP, client)
        client.dismiss = lambda refusal: hub.disconnect(connection)
        self.homes[connection], self.clients[connection] = hub, client
        return connection

    def attempt(self, connection, ask):
        """Do what a session does as long as there is one."""
        if connection.client is not NOBODY:
            with suppress(Objection):
                ask(self.homes[connection])

    def new_data(self, excluded):
        data = str(len(self.excluded))
        self.excluded[data] = excluded and excluded.socket_id
        return data

    @rule(target=connections, number=NUMBERS)
    def connect(self, number):
        return self.connect_to(number)

    @rule(connection=consumes(connections))
    def disconnect(self, connection):
        self.homes[connection].disconnect(connection)

    @rule(connection=connections, channel=CHANNELS, user_id=USER_IDS)
    def subscribe(self, connection, channel, user_id):
        member = Member(user_id, {"of": connection.socket_id}) if channel.startswith("presence-") else None
        self.attempt(connection, lambda hub: hub.subscribe(connection, channel, member))

    @rule(connection=connections, channel=CHANNELS, user_id=USER_IDS)
    def come_and_go(self, connection, channel, user_id):
        """Faster than any answer."""
        self.subscribe(connection, channel, user_id)
        self.unsubscribe(connection, channel)

    @rule(connection=connections, channel=CHANNELS)
    def unsubscribe(self, connection, channel):
        self.attempt(connection, lambda hub: hub.unsubscribe(connection, channel))

    @rule(connection=connections, user_id=USER_IDS, watchlist=st.lists(USER_IDS, unique=True))
    def sign_in(self, connection, user_id, watchlist):
        # That nobody becomes another user is for the conversation to see to.
        user = make_user(self.users.setdefault(connection, user_id), watchlist=watchlist)
        self.attempt(connection, lambda hub: hub.sign_in(connection, user))

    @rule(connection=connections, channel=CHANNELS)
    def relay(self, connection, channel):
        event = Relay(channel, "client-e", self.new_data(connection))
        self.attempt(connection, lambda hub: hub.relay(connection, event))

    @rule(number=NUMBERS, channels=st.lists(CHANNELS, min_size=1, max_size=2), excluded=st.none() | connections)
    def publish(self, number, channels, excluded):
        data, socket_id = self.new_data(excluded), excluded and excluded.socket_id
        self.replicas[number].hub.publish(APP, channels=channels, name="e", data=data, socket_id=socket_id)

    @rule(number=NUMBERS, user_id=USER_IDS)
    def terminate(self, number, user_id):
        self.replicas[number].hub.terminate(APP, user_id)

    @rule(number=NUMBERS, count=st.integers(1, 10))
    def read(self, number, count):
        self.replicas[number].read(count)

    @rule()
    def read_all(self):
        """What one does may be news for all: somebody is sent away, and leaves."""
        read_all(self.replicas)
        first, *others = self.replicas
        for other in others:
            assert knowledge_of(other.hub) == knowledge_of(first.hub)
            assert other.told == first.told
        self.check_subscriptions()
        for connection, client in self.clients.items():
            self.check_events(connection, client)

    def check_subscriptions(self):
        """What a connection knows of itself is what its hub says of it, and what its client was told."""
        for replica in self.replicas:
            shown = {each.socket_id: each.channels.keys() for each in replica.hub.present()}
            for connection in replica.hub.connections(APP):
                if connection.peer is None and connection.is_shared:
                    assert shown[connection.socket_id] == connection.channels
                    if PRESENCE in connection.channels:
                        members = members_by(self.clients[connection].received, PRESENCE)
                        assert members == set(replica.hub.members(APP, PRESENCE))

    def check_events(self, connection, client):
        """Each client has received the events between its subscription and its end, in the order of the log."""
        received = [
            message["data"]
            for message in client.received
            if message.get("channel") == PRESENCE and message["event"] in ("e", "client-e")
        ]
        expected = list(self.due_to(connection.socket_id, PRESENCE))
        # Who is gone hears nothing from when it went; the log says so later.
        assert received == (expected if connection.client is client else expected[: len(received)])

    def due_to(self, socket_id, channel):
        is_subscribed = False
        for fact in self.replicas[0].told:
            match fact:
                case Subscribed() if (fact.socket_id, fact.channel) == (socket_id, channel):
                    is_subscribed = True
                case Unsubscribed() if (fact.socket_id, fact.channel) == (socket_id, channel):
                    is_subscribed = False
                case Broadcast() | ClientEvent() if fact.channel == channel and is_subscribed:
                    if self.excluded[fact.data] != socket_id:
                        yield fact.data

    def teardown(self):
        self.read_all()


def read_all(replicas):
    while any(replica.ledger.behind for replica in replicas):
        for replica in replicas:
            replica.read(replica.ledger.behind)


def members_by(received, channel):
    """Who is in a presence channel, by what a client was told."""
    members = set()
    for message in received:
        if message.get("channel") == channel:
            data = json.loads(message.get("data", "null"))
            match message["event"]:
                case "pusher_internal:subscription_succeeded":
                    members = set(data["presence"]["ids"])
                case "pusher_internal:member_added":
                    members.add(data["user_id"])
                case "pusher_internal:member_removed":
                    members.remove(data["user_id"])
    return members


LaggingReplicas.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLaggingReplicas = LaggingReplicas.TestCase

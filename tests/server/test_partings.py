"""Processes that cannot reach each other for a while, and then can: in the end all know who is where."""

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pusherable.server.commands import decode_values, encode_values, write_command
from pusherable.server.config import ServerConfig
from pusherable.server.connections import NOBODY
from pusherable.server.credentials import Member
from pusherable.server.facts import MemberAdded, MemberRemoved, Occupied, Vacated
from pusherable.server.hub import Hub
from pusherable.server.ledger import OwnLedger
from pusherable.server.peers import Entry, Peers
from pusherable.server.protocol import Objection
from tests.server.conftest import APP, Clock, RecordingClient, make_user
from tests.server.test_replicas import members_by
from tests.server.twins import EPOCH

NUMBERS = st.integers(0, 2)
CHANNELS = st.sampled_from(["presence-a", "private-b"])
USER_IDS = st.sampled_from(["1", "2", "3"])


class Process(OwnLedger):
    """A hub and its ledger, which is alone while it is parted from the log."""

    def __init__(self, log, number):
        self._log, self.name = log, f"process {number}"
        self._session, self._number, self._read = 1, 0, 0
        self._sent = {}
        self.is_alone = False
        self.occupied, self.present = set(), set()
        self.hub = Hub(ServerConfig(apps=(APP,)), witnesses=[self._witness], ledger=self, clock=Clock())
        self.hub.histories.share(EPOCH, 0)
        self.peers = Peers(self.hub, name=self.name, since=number)

    def enter(self, command):
        if self.is_alone:
            self.hub.apply(command)
        else:
            self._append(write_command(command), command)

    def read(self, count):
        """Do what the next entries say."""
        for entry in self._log[self._read : self._read + count]:
            self._read += 1
            if entry.peer != self.name:
                self.peers.read(entry)
                continue
            command = self._sent.pop((entry.session, entry.number), None)
            if command is not None:
                self.hub.apply(command)
            self.peers.note(entry)

    def read_all(self):
        while self._read < len(self._log):
            self.read(len(self._log))

    def part(self):
        """Do at once what waits for others, and whatever comes."""
        self.is_alone = True
        sent, self._sent = self._sent, {}
        for command in sent.values():
            if command is not None:
                self.hub.apply(command)

    def come_back(self):
        """Read what has happened meanwhile, and say whose clients are ours."""
        self.read_all()
        self.is_alone = False
        self._session, self._number = self._session + 1, 0
        self.peers.begin()
        self._append(self.peers.hello(wants_state=False))
        self.say_state()

    def say_state(self):
        """Say whose clients are ours, once all that was said before is done."""
        self.read_all()
        for item in tuple(self.peers.state()):
            self._append(item)

    def _append(self, item, command=None):
        self._number += 1
        self._sent[self._session, self._number] = command
        items = decode_values(encode_values([item]))
        place = len(self._log) + 1
        self._log.append(Entry(self.name, self._session, self._number, items, time=place, place=place))

    def _witness(self, fact):
        """What is told of comings and goings has to make sense, whoever tells it."""
        match fact:
            case Occupied(_, channel):
                assert channel not in self.occupied
                self.occupied.add(channel)
            case Vacated(_, channel):
                self.occupied.remove(channel)
            case MemberAdded(_, channel, user_id):
                assert (channel, user_id) not in self.present
                self.present.add((channel, user_id))
            case MemberRemoved(_, channel, user_id):
                self.present.remove((channel, user_id))


class PartingProcesses(RuleBasedStateMachine):
    connections = Bundle("connections")

    @initialize(target=connections)
    def start(self):
        log = []
        self.processes = [Process(log, number) for number in range(3)]
        self.homes = {}
        self.clients = {}
        self.users = {}
        return multiple(*(self.connect_to(number) for number in range(3)))

    def connect_to(self, number):
        hub, client = self.processes[number].hub, RecordingClient()
        connection = hub.connect(APP, client)
        client.dismiss = lambda refusal: hub.disconnect(connection)
        self.homes[connection], self.clients[connection] = hub, client
        return connection

    def attempt(self, connection, ask):
        """Do what a session does as long as there is one."""
        if connection.client is not NOBODY:
            with suppress(Objection):
                ask(self.homes[connection])

    @rule(target=connections, number=NUMBERS)
    def connect(self, number):
        return self.connect_to(number)

    @rule(connection=consumes(connections))
    def disconnect(self, connection):
        self.homes[connection].disconnect(connection)

    @rule(connection=connections, channel=CHANNELS, user_id=USER_IDS)
    def subscribe(self, connection, channel, user_id):
        member = Member(user_id) if channel.startswith("presence-") else None
        self.attempt(connection, lambda hub: hub.subscribe(connection, channel, member))

    @rule(connection=connections, channel=CHANNELS)
    def unsubscribe(self, connection, channel):
        self.attempt(connection, lambda hub: hub.unsubscribe(connection, channel))

    @rule(connection=connections, user_id=USER_IDS, watchlist=st.lists(USER_IDS, unique=True))
    def sign_in(self, connection, user_id, watchlist):
        user = make_user(self.users.setdefault(connection, user_id), watchlist=watchlist)
        self.attempt(connection, lambda hub: hub.sign_in(connection, user))

    @rule(number=NUMBERS, user_id=USER_IDS)
    def terminate(self, number, user_id):
        self.processes[number].hub.terminate(APP, user_id)

    @rule(number=NUMBERS, count=st.integers(1, 10))
    def read(self, number, count):
        if not self.processes[number].is_alone:
            self.processes[number].read(count)

    @rule(number=NUMBERS)
    def part(self, number):
        if not self.processes[number].is_alone:
            self.processes[number].part()

    @rule(number=NUMBERS)
    def come_back(self, number):
        if self.processes[number].is_alone:
            self.processes[number].come_back()

    @rule(number=NUMBERS)
    def say_state(self, number):
        if not self.processes[number].is_alone:
            self.processes[number].say_state()

    @rule()
    def meet(self):
        for number in range(3):
            self.come_back(number)
        # What one does may be news for all: somebody is sent away, and leaves.
        for _ in range(3):
            for process in self.processes:
                process.read_all()
        first, *others = [self.knowledge_of(process.hub) for process in self.processes]
        for process, other in zip(self.processes[1:], others, strict=True):
            assert other == first, process.name
        for connection, client in self.clients.items():
            if connection.client is client and "presence-a" in connection.channels:
                members = members_by(client.received, "presence-a")
                assert members == set(self.homes[connection].members(APP, "presence-a"))

    def knowledge_of(self, hub):
        """Who is where, in whatever order."""
        return {
            "channels": hub.channels(APP),
            "members": {name: set(hub.members(APP, name)) for name in hub.channels(APP)},
            "connections": {
                each.socket_id: (each.user, each.channels)
                for each in hub.connections(APP)
                if each.user is not None or each.channels
            },
            "online": {user_id for user_id in "123" if hub._tenants[APP.id].users.connections_of(user_id)},
        }

    @invariant()
    def the_facts_tell_what_the_hub_knows(self):
        for process in self.processes:
            assert process.occupied == set(process.hub.occupied_channels(APP))
            assert {user_id for _, user_id in process.present} == set(process.hub.members(APP, "presence-a"))

    def teardown(self):
        self.meet()


PartingProcesses.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPartingProcesses = PartingProcesses.TestCase

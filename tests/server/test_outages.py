"""Several hubs on one log: whatever clients do, and whoever is away for a while, in the end all know the same."""

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from pusherable.server.commands import Join, decode_values, encode_values, write_command
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.credentials import Member, read_user
from pusherable.server.facts import Occupied
from pusherable.server.hub import Hub
from pusherable.server.peers import Entry, Peers
from pusherable.server.protocol import Objection, Relay
from tests.server.conftest import RecordingClient

APP = App(id="1", key="key", secret="s", has_subscription_counts=True)
CONFIG = ServerConfig(apps=(APP,), limits=Limits(members_per_channel=3))
CHANNELS = ("a", "b", "presence-x", "presence-y", "private-z", "cache-c")
USERS = ("u1", "u2", "u3", "u4", "\ud800", "a\0")
ALL = 10**9


class Log:
    def __init__(self):
        self.entries = []

    def add(self, peer, session, number, items):
        time = 1_000_000 + 10 * len(self.entries)
        values = decode_values(encode_values(items))
        self.entries.append(Entry(peer, session, number, values, time, place=time << 24))


class Process:
    """A hub and its ledger, which reads the log when it is told to; ``is_alone`` is whether the log is away."""

    is_in_charge = True
    place = None

    def __init__(self, log, name, *, witnesses=()):
        self.name = name
        self.is_alone = False
        self.clients = []
        self._log = log
        self._at = 0
        self._session, self._number = 1, 0
        self._sent = {}
        self.hub = Hub(CONFIG, witnesses=witnesses, ledger=self, clock=lambda: 0.0)
        self.hub.histories.share("0" * 8, 0)
        self._put([self._peers.hello(wants_state=True)])

    def open(self, hub):
        self._peers = Peers(hub, name=self.name, since=1)

    def enter(self, command):
        if self.is_alone:
            self._apply(command)
        else:
            self._put([write_command(command)], command)

    def read(self, count):
        while not self.is_alone and self._at < len(self._log.entries) and count:
            entry = self._log.entries[self._at]
            self._at, count = self._at + 1, count - 1
            self.hub.histories.advance(entry.place)
            if entry.peer == self.name:
                self._apply(self._sent.pop((entry.session, entry.number), None))
                self._peers.note(entry)
            else:
                self._peers.read(entry)

    def lose_log(self):
        self.is_alone = True
        sent, self._sent = self._sent, {}
        for command in sent.values():
            self._apply(command)

    def find_log(self):
        if not self.is_alone:
            return
        self.is_alone = False
        self.read(ALL)
        self._session, self._number = self._session + 1, 0
        self._peers.begin()
        self._put([self._peers.hello(wants_state=False)])
        self.read(ALL)
        for part in list(self._peers.state()):
            self._put([part])

    @property
    def view(self):
        """What is known here of all clients, but for those that have said nothing yet."""
        connections = {
            connection.socket_id: (connection.user, connection.channels)
            for connection in self.hub.connections(APP)
            if connection.channels or connection.user
        }
        members = {channel: set(self.hub.members(APP, channel)) for channel in CHANNELS}
        return connections, self.hub.channels(APP), members

    def _put(self, items, command=None):
        self._number += 1
        self._sent[self._session, self._number] = command
        self._log.add(self.name, self._session, self._number, items)

    def _apply(self, command):
        with suppress(Objection):
            if command is not None:
                self.hub.apply(command)


def act(process, random):
    """Something that a client, a publisher, or fate may do."""
    hub, clients = process.hub, process.clients
    client = random.choice(clients) if clients else None
    channel = random.choice(CHANNELS)
    match random.choice(
        ("come", "join", "join", "leave", "go", "sign in", "whisper", "publish", "away", "back", "read")
    ):
        case "come":
            clients.append(hub.connect(APP, RecordingClient()))
        case "join" if client:
            info = {"n": random.randrange(9)}
            member = Member(random.choice(USERS), info) if channel.startswith("presence-") else None
            hub.subscribe(client, channel, member)
        case "leave" if client:
            hub.unsubscribe(client, channel)
        case "go" if client:
            clients.remove(client)
            hub.disconnect(client)
        case "sign in" if client:
            user = {"id": random.choice(("u1", "u2")), "watchlist": ["u1", "u2"]}
            hub.sign_in(client, read_user(json.dumps(user)))
        case "whisper" if client:
            hub.relay(client, Relay(channel, "client-e", "\ud800"))
        case "publish":
            hub.publish(APP, channels=[channel], name="e", data="\ud800")
        case "away" if random.random() < 0.2 and not process.is_alone:
            process.lose_log()
        case "back":
            process.find_log()
        case _:
            process.read(random.randrange(1, 20))


@settings(max_examples=60)
@given(st.randoms(use_true_random=True))
def test_all_know_the_same_in_the_end(random):
    log = Log()
    processes = [Process(log, f"p{number}") for number in range(3)]
    for _ in range(200):
        with suppress(Objection):
            act(random.choice(processes), random)
    for process in processes:
        process.find_log()
    # What one reads may have another one say something.
    for _ in range(3):
        for process in processes:
            process.read(ALL)
    first, *others = [process.view for process in processes]
    assert others == [first, first]


def two_processes():
    log = Log()
    processes = [Process(log, name) for name in ("p0", "p1")]
    read_all(*processes)
    return processes


def read_all(*processes):
    for _ in range(3):
        for process in processes:
            process.read(ALL)


def join(process, user_id, connection=None):
    connection = connection or process.hub.connect(APP, RecordingClient())
    process.hub.subscribe(connection, "presence-x", Member(user_id))
    return connection


def test_a_channel_that_two_filled_alone_has_them_all():
    one, other = two_processes()
    for process in (one, other):
        process.lose_log()
        for number in range(3):
            join(process, f"{process.name}-{number}")
    one.find_log()
    other.find_log()
    read_all(one, other)
    assert one.view == other.view
    assert len(one.hub.members(APP, "presence-x")) == 6


def test_of_two_who_want_the_last_seat_one_is_told_no_and_all_know():
    one, other = two_processes()
    for number in range(2):
        join(one, f"{number}")
    read_all(one, other)
    first, second = join(one, "first"), join(other, "second")
    read_all(one, other)
    assert one.view == other.view
    assert set(one.hub.members(APP, "presence-x")) == {"0", "1", "first"}
    assert (first.channels, second.channels) == ({"presence-x"}, set())


def test_who_came_back_as_somebody_else_meanwhile_is_somebody_else():
    one, other = two_processes()
    connection = join(one, "before")
    read_all(one, other)
    one.lose_log()
    one.hub.unsubscribe(connection, "presence-x")
    join(one, "after", connection)
    one.find_log()
    read_all(one, other)
    assert set(other.hub.members(APP, "presence-x")) == {"after"}


def test_what_one_command_breaks_does_not_keep_the_next_from_being_done(caplog):
    def fail(fact):
        if fact == Occupied("1", "a"):
            raise ZeroDivisionError

    log = Log()
    one, other = Process(log, "p0"), Process(log, "p1", witnesses=[fail])
    connection = one.hub.connect(APP, RecordingClient())
    one._put([write_command(Join("1", connection.socket_id, channel)) for channel in ("a", "b")])
    other.read(ALL)
    assert other.hub.channels(APP) == {"a": 1, "b": 1}
    assert caplog.messages == ["A command of another process failed. This is a fault of the server."]

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pusherable.server.commands import Depart, Join, Leave, Publish, SignIn, Terminate, write_command
from pusherable.server.config import Limits, ServerConfig
from pusherable.server.credentials import Member, User
from pusherable.server.facts import Disconnected, MemberAdded, MemberRemoved, Occupied, Subscribed, Vacated
from pusherable.server.hub import Hub
from pusherable.server.peers import BEAT, SILENCE, Entry, Peers
from tests.server.conftest import APP, RecordingClient

ADA, BOB = Member("7", {"name": "Ada"}), Member("8")


class Log:
    """What several processes share: entries in one order, at times that a test chooses."""

    def __init__(self):
        self.entries = []
        self.time = 1_000_000
        self.clock = 0.0

    def append(self, peer, session, number, items):
        self.entries.append(Entry(peer, session, number, items, self.time, len(self.entries)))


class Process:
    """A hub, and what it knows of the others. What is done to the hub goes into the log, and is done at once."""

    place, is_in_charge, processes, is_alone = None, True, 1, False

    def __init__(self, log, name, *, since=0, limits=None):
        self.log, self.name = log, name
        self.told = []
        self._session, self._numbers = 1, count(1)
        self._read = len(log.entries)
        config = ServerConfig(apps=(APP,), limits=limits or Limits())
        self.hub = Hub(config, witnesses=[self.told.append], ledger=self, clock=lambda: log.clock)
        self.peers = Peers(self.hub, name=name, since=since)

    def open(self, hub): ...

    def enter(self, command):
        self.say(write_command(command))
        self.hub.apply(command)

    def say(self, *items, session=None, number=None):
        self.log.append(self.name, session or self._session, number or next(self._numbers), list(items))

    def say_state(self):
        for part in tuple(self.peers.state()):
            self.say(part)

    def begin(self, **options):
        """A new session, and whose clients are ours."""
        self._session, self._numbers = self._session + 1, count(1)
        self.peers.begin()
        self.say(self.peers.hello(wants_state=False, **options))
        self.say_state()

    def read(self):
        for entry in self.log.entries[self._read :]:
            if entry.peer == self.name:
                self.peers.note(entry)
            else:
                self.peers.read(entry)
        self._read = len(self.log.entries)

    def take(self):
        """What the witnesses were told since the last time."""
        told, self.told[:] = list(self.told), []
        return told

    def connect(self, *channels, member=None):
        client = RecordingClient()
        connection = self.hub.connect(APP, client)
        for channel in channels:
            self.hub.subscribe(connection, channel, member)
        client.take()
        return client, connection


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def here(log):
    return Process(log, "here")


@pytest.fixture
def there(log):
    return Process(log, "there", since=1)


@pytest.fixture
def clock_of(log):
    """Set the clock of all hubs."""

    def set_clock(now):
        log.clock = now

    return set_clock


class TestRead:
    def test_what_one_does_the_other_knows(self, here, there):
        _, connection = there.connect("presence-x", member=ADA)
        here.read()
        assert here.hub.members(APP, "presence-x") == {"7": {"name": "Ada"}}
        assert here.take() == [
            Occupied("1", "presence-x"),
            Subscribed("1", connection.socket_id, "presence-x", "7"),
            MemberAdded("1", "presence-x", "7"),
        ]

    def test_clients_are_told(self, here, there):
        client, _ = here.connect("presence-x", member=BOB)
        there.read()
        there.connect("presence-x", member=ADA)
        here.read()
        assert client.take() == [
            {
                "event": "pusher_internal:member_added",
                "channel": "presence-x",
                "data": '{"user_id":"7","user_info":{"name":"Ada"}}',
            }
        ]

    def test_an_entry_that_comes_twice_counts_once(self, here, there):
        client, _ = here.connect("a")
        event = write_command(Publish("1", ("a",), "e", "1"))
        there.say(event, number=1)
        there.say(event, number=1)
        here.read()
        assert len(client.take()) == 1

    def test_what_belongs_to_a_session_that_is_over_is_passed_over(self, here, there):
        client, _ = here.connect("a")
        there.say(write_command(Publish("1", ("a",), "e", "1")))
        there.begin()
        there.say(write_command(Publish("1", ("a",), "e", "late")), session=1, number=99)
        here.read()
        assert [message["data"] for message in client.take()] == ["1"]

    def test_an_entry_that_is_missing_is_noticed(self, here, there):
        there.say(number=1)
        there.say(number=2)
        there.begin()
        here.read()
        assert not here.peers.has_gap
        there.say(number=99)
        here.read()
        assert here.peers.has_gap

    @pytest.mark.parametrize(
        "item",
        [
            None,
            7,
            [],
            ["hello", "x"],
            ["from a later version", 1],
            ["publish", "1"],
            ["state", [["1"]]],
            ["state ends", [["1"]]],
            ["sign in", "1", "1.2", "{}"],
            ["join", "another app", "1.2", "a"],
        ],
    )
    def test_what_nobody_understands_is_passed_over(self, here, there, item):
        client, _ = here.connect("a")
        there.say(item, write_command(Publish("1", ("a",), "e", "1")))
        here.read()
        assert [message["data"] for message in client.take()] == ["1"]

    def test_whether_a_channel_has_room_the_process_decides_whose_client_it_is(self, log):
        here = Process(log, "here", limits=Limits(members_per_channel=1))
        here.connect("presence-x", member=BOB)
        log.append("there", 1, 1, [write_command(Join("1", "1.2", "presence-x", ADA))])
        here.read()
        assert list(here.hub.members(APP, "presence-x")) == ["8", "7"]


class TestHello:
    def test_who_is_asked_says_so(self, here, there):
        there.say(there.peers.hello(wants_state=False))
        here.read()
        assert here.peers.is_asked is False
        there.say(there.peers.hello(wants_state=True))
        here.read()
        assert here.peers.is_asked is True

    def test_clients_are_told_what_they_may_have_missed(self, here, there):
        client, _ = here.connect("a", "b")
        there.begin(lost=[("1", "a"), ("1", "c"), ("another app", "b")])
        here.read()
        assert client.take() == [{"event": "pusher:resync", "channel": "a", "data": '{"channels":["a"]}'}]

    def test_of_many_channels_all_are_meant(self, here, there):
        client, _ = here.connect("a", "b")
        there.begin(lost=[("1", str(number)) for number in range(1_001)])
        here.read()
        assert [message["channel"] for message in client.take()] == ["a", "b"]


class TestState:
    def test_what_has_changed_in_silence_is_told(self, here, there):
        _, first = there.connect("a", "presence-x", member=None)
        _, second = there.connect("b")
        here.read()
        here.take()
        there.hub.apply(Depart("1", second.socket_id))
        there.hub.apply(Leave("1", first.socket_id, "a"))
        there.hub.apply(Join("1", first.socket_id, "presence-y", ADA))
        there.hub.apply(SignIn("1", first.socket_id, User("7", '{"id":"7"}')))
        there.begin()
        here.read()
        assert here.hub.channels(APP) == there.hub.channels(APP) == {"presence-x": 1, "presence-y": 1}
        told = here.take()
        assert MemberAdded("1", "presence-y", "7") in told
        assert {Vacated("1", "a"), Vacated("1", "b"), Disconnected("1", second.socket_id)} <= set(told)
        there.begin()
        here.read()
        assert here.take() == []

    def test_somebody_who_moves_to_another_connection_was_never_away(self, here, there):
        client, _ = here.connect("presence-x", member=BOB)
        _, first = there.connect("presence-x", member=ADA)
        here.read()
        client.take()
        _, second = there.connect()
        second.is_shared = True
        there.hub.apply(Join("1", second.socket_id, "presence-x", ADA))
        there.hub.apply(Depart("1", first.socket_id))
        there.begin()
        here.read()
        assert client.take() == []

    def test_is_told_in_parts(self, here, there):
        for _ in range(450):
            there.connect("a")
        parts = list(there.peers.state())
        assert [(part[0], len(part[1])) for part in parts] == [
            ("state", 250),
            ("state", 200),
            ("state ends", 0),
        ]
        there.begin()
        here.read()
        assert here.hub.subscription_count(APP, "a") == 450

    def test_who_was_sent_away_stays_so(self, here, there):
        there.hub.terminate(APP, "7")
        here._read = len(here.log.entries)
        assert not here.hub.was_terminated(APP, "7", within=60)
        there.begin()
        here.read()
        assert here.hub.was_terminated(APP, "7", within=60)

    def test_who_was_sent_away_while_nobody_heard_of_it_is_sent_away(self, here, there, clock_of):
        client, connection = here.connect()
        here.hub.sign_in(connection, User("7", '{"id":"7"}'))
        clock_of(10.0)
        there.hub.apply(Terminate("1", "7"))
        late_client, late = here.connect()
        clock_of(20.0)
        here.hub.sign_in(late, User("7", '{"id":"7"}'))
        there.begin()
        here.read()
        assert [refusal.code for refusal in client.dismissals] == [4009]
        assert late_client.dismissals == []
        # To hear of it again is no news, though it takes time to come.
        here.hub.reconcile("there", [], [["1", "7", 9.5], ["another app", "7", 1.0]])
        assert len(client.dismissals) == 1
        assert here.hub.terminated() == [("1", "7", 10.0)]

    def test_of_two_times_the_later_counts(self, here, clock_of):
        clock_of(100.0)
        here.hub.apply(Terminate("1", "7"))
        clock_of(200.0)
        here.hub.reconcile("there", [], [["1", "7", 20.0]])
        assert here.hub.terminated() == [("1", "7", 20.0)]

    def test_who_has_no_subscription_is_nobodys_affair(self, there):
        there.connect()
        assert list(there.peers.state()) == [["state", []], ["state ends", []]]


class TestExpect:
    def test_those_who_were_here_lately_are_waited_for(self, here, there, log):
        log.append("long gone", 1, 1, [])
        log.time += 10_000
        log.append("said goodbye", 1, 1, [])
        log.append("said goodbye", 1, 2, [["bye"]])
        log.append("here", 1, 1, [])
        there.say(there.peers.beat())
        here.peers.expect(log.entries, since=log.time - SILENCE)
        assert not here.peers.are_known
        here._read = len(log.entries)
        there.say_state()
        here.read()
        assert here.peers.are_known

    def test_but_not_for_ever(self, here, there, log):
        there.say(there.peers.beat())
        here.read()
        here.peers.expect(log.entries, since=0)
        there.say(["bye"])
        here.read()
        assert here.peers.are_known


class TestBye:
    def test_all_its_clients_are_gone(self, here, there):
        there.connect("presence-x", member=ADA)
        here.read()
        here.take()
        assert len(here.peers) == 1
        there.say(["bye"])
        here.read()
        assert len(here.peers) == 0
        assert [type(fact).__name__ for fact in here.take()] == [
            "Unsubscribed",
            "MemberRemoved",
            "Vacated",
            "Disconnected",
        ]

    def test_what_it_publishes_after_that_arrives(self, here, there):
        client, _ = here.connect("a")
        there.say(["bye"])
        there.say(write_command(Publish("1", ("a",), "e", "1")))
        here.read()
        assert len(client.take()) == 1


class TestSilence:
    def let_time_pass(self, process, seconds):
        """``process`` shows that it is there; nobody else does."""
        for _ in range(int(seconds * 1_000 / BEAT) + 1):
            process.log.time += BEAT
            process.say(process.peers.beat())

    def test_whoever_says_nothing_while_others_speak_is_given_up(self, here, there):
        there.connect("presence-x", member=ADA)
        here.read()
        here.take()
        self.let_time_pass(here, 6)
        here.read()
        assert here.take() == []
        self.let_time_pass(here, 6)
        here.read()
        assert MemberRemoved("1", "presence-x", "7") in here.take()
        assert len(here.peers) == 0

    def test_whoever_was_given_up_notices(self, here, there):
        self.let_time_pass(here, 6)
        there.read()
        assert not there.peers.is_forgotten
        self.let_time_pass(here, 6)
        there.read()
        assert there.peers.is_forgotten
        there.begin()
        assert not there.peers.is_forgotten

    def test_while_nothing_is_heard_of_anybody_no_time_passes(self, here, there, log):
        there.connect("a")
        here.read()
        here.take()
        log.time += 60_000
        here.say(here.peers.beat())
        there.say(there.peers.beat())
        here.read()
        there.read()
        assert (here.take(), len(here.peers), here.peers.is_forgotten) == ([], 1, False)

    def test_a_clock_that_goes_back_ages_nobody(self, here, there, log):
        there.connect("a")
        log.time -= 60_000
        here.say(here.peers.beat())
        here.read()
        assert len(here.peers) == 1


class TestIsOldest:
    def test_the_one_who_came_first(self, here, there):
        assert here.peers.is_oldest
        there.say(there.peers.beat())
        here.say(here.peers.beat())
        for process in (here, there):
            process.read()
        assert (here.peers.is_oldest, there.peers.is_oldest) == (True, False)
        here.say(["bye"])
        there.read()
        assert there.peers.is_oldest

    def test_of_two_that_came_together_one(self, log):
        processes = [Process(log, name) for name in ("a", "b")]
        for process in processes:
            process.say(process.peers.hello(wants_state=False))
        for process in processes:
            process.read()
        assert [process.peers.is_oldest for process in processes] == [True, False]

    def test_of_whom_nothing_is_known_was_here_before(self, here, log):
        log.append("there", 1, 1, [])
        here.read()
        assert not here.peers.is_oldest


class Processes(RuleBasedStateMachine):
    """Three processes that read the same log at different speeds, and now and then say everything anew."""

    channels = st.sampled_from(["a", "b", "presence-x", "presence-y"])
    numbers = st.integers(0, 2)

    @initialize()
    def start(self):
        self.log = Log()
        self.processes = [Process(self.log, name) for name in "abc"]
        self.connections = [[], [], []]

    @rule(number=numbers)
    def connect(self, number):
        self.processes[number].read()
        self.connections[number].append(self.processes[number].connect()[1])

    @rule(number=numbers, channel=channels, user=st.sampled_from("78"), data=st.data())
    def toggle(self, number, channel, user, data):
        process, connections = self.processes[number], self.connections[number]
        if not connections:
            return
        connection = data.draw(st.sampled_from(connections))
        # A command is applied when it comes back from the log: by then everything before it has been read.
        process.read()
        if channel in connection.channels:
            process.hub.unsubscribe(connection, channel)
        else:
            process.hub.subscribe(connection, channel, Member(user) if channel.startswith("presence-") else None)

    @rule(number=numbers, data=st.data())
    def disconnect(self, number, data):
        process, connections = self.processes[number], self.connections[number]
        if connections:
            process.read()
            process.hub.disconnect(connections.pop(data.draw(st.integers(0, len(connections) - 1))))

    @rule(number=numbers)
    def begin_anew(self, number):
        self.processes[number].read()
        self.processes[number].begin()

    @rule(number=numbers)
    def read(self, number):
        self.processes[number].read()

    @invariant()
    def agree(self):
        if not hasattr(self, "processes"):
            return
        for process in self.processes:
            process.read()
        views = [
            (
                dict(sorted(process.hub.channels(APP).items())),
                {name: sorted(process.hub.members(APP, name)) for name in ("presence-x", "presence-y")},
            )
            for process in self.processes
        ]
        assert views[0] == views[1] == views[2]


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

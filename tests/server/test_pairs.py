"""What only several processes can get wrong."""

import json
import logging
import threading

import pytest

from pusherable.server.config import ServerConfig
from pusherable.server.facts import Broadcast, Disconnected, Occupied, Subscribed, Unsubscribed, Vacated
from pusherable.server.hub import Hub
from pusherable.server.peers import Entry, Peers
from tests.server.conftest import APP
from tests.server.pairs import ServerPair

pytestmark = [pytest.mark.redis, pytest.mark.two_processes]

SUBSCRIBE = '{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}'


@pytest.fixture
def pair(redis):
    pair = ServerPair(ServerConfig(apps=(APP,)), redis_url=redis.url)
    yield pair
    pair.stop()


class TestFaults:
    def test_what_fails_at_another_process_takes_nothing_with_it(self, pair, caplog):
        _, elsewhere = pair.threads

        def fail(fact):
            if isinstance(fact, Broadcast) and fact.event == "1" and threading.current_thread() is elsewhere:
                raise RuntimeError("a fault of the server")

        pair.on_fact = fail
        with pair.connect(), pair.connect() as client:
            client.send(SUBSCRIBE)
            pair.wait_for(Subscribed)

            def publish_all():
                for name in "123":
                    outcome = pair.hub.publish(APP, channels=["a"], name=name, data="{}")
                return outcome

            pair.call(publish_all)
            heard = [json.loads(client.recv(timeout=20))["event"] for _ in range(5)]
        assert heard[2:] == ["1", "2", "3"]
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.message == "What another process did failed here. This is a fault of the server."


class TestDeparture:
    """Of the other process, by what the log says of it."""

    @pytest.fixture
    def told(self):
        return []

    @pytest.fixture
    def peers(self, told):
        return Peers(Hub(ServerConfig(apps=(APP,)), witnesses=[told.append]), name="here", since=2)

    def entries(self, *items):
        """One for each item, a second apart."""
        return [
            Entry(peer="there", session=1, number=number, items=[item], time=1_000 * number, place=number)
            for number, item in enumerate(items, start=1)
        ]

    def test_who_has_said_goodbye_may_publish_and_does_not_come_back(self, peers, told):
        state = [["1", "1.1", None, [["a"]]]]
        publication = ["publish", "1", ["a"], "e", "{}", None]
        entries = self.entries(
            ["hello", 1, False, []],
            ["state", state],
            ["state ends", []],
            ["bye"],
            publication,
            ["beat", 1],
            ["hello", 1, False, []],
            ["state", state],
            ["state ends", []],
            ["bye"],
        )
        for entry in [*entries, *entries]:
            peers.read(entry)
        assert told == [
            Occupied("1", "a"),
            Subscribed("1", "1.1", "a"),
            Unsubscribed("1", "1.1", "a"),
            Vacated("1", "a"),
            Disconnected("1", "1.1"),
            Broadcast("1", "a", "e", "{}", 0, is_ours=False),
        ]
        assert (peers.names, peers.is_oldest) == (frozenset(), True)

    def test_nobody_waits_for_who_has_said_goodbye(self, peers):
        peers.expect(self.entries(["bye"], ["publish", "1", ["a"], "e", "{}", None]), since=0)
        assert peers.are_known

    def test_who_is_there_is_waited_for(self, peers):
        hello, ending = self.entries(["hello", 1, False, []], ["state ends", []])
        peers.expect([hello], since=0)
        assert not peers.are_known
        peers.read(ending)
        assert peers.are_known

"""What only several processes can get wrong."""

import asyncio
import json
import logging
import secrets
import threading
import time
from contextlib import ExitStack, closing
from urllib.parse import urlencode

import pytest

from pusherable.server.commands import Tell
from pusherable.server.config import ServerConfig
from pusherable.server.facts import Broadcast, Disconnected, Occupied, Subscribed, Unsubscribed, Vacated, WebhooksTold
from pusherable.server.hub import Hub
from pusherable.server.peers import Entry, Peers
from pusherable.server.redis_ledger import RedisLedger
from pusherable.server.redis_log import RedisLog
from pusherable.signing import request_parameters
from tests.server.conftest import APP
from tests.server.eventsource import EventSource
from tests.server.pairs import ServerPair
from tests.server.threads import read_to_end

pytestmark = [pytest.mark.redis, pytest.mark.two_processes]

SUBSCRIBE = '{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}'
SUCCEEDED = "pusher_internal:subscription_succeeded"


@pytest.fixture
def pair(redis):
    pair = ServerPair(ServerConfig(apps=(APP,)), redis_url=redis.url)
    yield pair
    pair.stop()


def request(method, path, body=b"", **query):
    """A signed request of the app's own server, which closes."""
    parameters = request_parameters(
        method, path, key=APP.key, secret=APP.secret, timestamp=int(time.time()), body=body, query=query
    )
    head = f"{method} {path}?{urlencode(parameters)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class TestTurns:
    """What one process has answered, the next one knows."""

    @pytest.fixture
    def ask(self, pair):
        """Send a request to whichever it is the turn of."""

        def ask(method, path, content=None, **query):
            body = b"" if content is None else json.dumps(content).encode()
            with closing(pair.connect_raw()) as client:
                client.sendall(request(method, path, body, **query))
                head, _, answer = read_to_end(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            return json.loads(answer)

        return ask

    def test_who_is_subscribed_is_counted_everywhere(self, pair, ask):
        with ExitStack() as clients:
            for count in range(1, 20):
                client = clients.enter_context(pair.connect())
                client.send(SUBSCRIBE)
                assert [json.loads(client.recv(timeout=20))["event"] for _ in range(2)][1] == SUCCEEDED
                for _ in range(2):
                    answer = ask("GET", "/apps/1/channels/a", info="subscription_count")
                    assert answer == {"occupied": True, "subscription_count": count}

    def test_what_was_published_is_remembered_everywhere(self, ask):
        for number in range(20):
            data = str(number)
            assert ask("POST", "/apps/1/events", {"name": "e", "channel": "cache-a", "data": data}) == {}
            assert ask("GET", "/apps/1/channels/cache-a", info="cache")["cache"]["data"] == data


class TestStreams:
    def open_stream(self, pair, *, last_event_id=""):
        client = pair.connect_raw()
        head = f"GET /stream?channel=a HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {last_event_id}\r\n\r\n"
        client.sendall(head.encode())
        return client

    def read(self, client, name):
        """What has come, once the event ``name`` is among it."""
        source = EventSource()
        while name not in [event.name for event in source.events]:
            # What it comes in are chunks, each of whole events; the lines with their sizes are no fields.
            source.feed(client.recv(65_536).replace(b"\r\n", b"\n"))
        return source

    def test_a_stream_goes_on_at_another_process(self, pair):
        with closing(self.open_stream(pair)) as client:
            pair.wait_for(Subscribed)
            pair.publish("a", "first")
            source = self.read(client, "first")
        for name in ("second", "third"):
            pair.publish("a", name)
        last = source.last_event_id
        with closing(self.open_stream(pair, last_event_id=last)) as client:
            pair.wait_for(Subscribed, count=2)
            pair.publish("a", "fourth")
            source = self.read(client, "fourth")
        names = [event.name for event in source.events]
        assert names[2:] == ["second", "third", "fourth"]


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
        assert record.message == "A command of another process failed. This is a fault of the server."


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
        publication = ["publish", "1", ["a"], "e", "{}", None, None]
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
        assert (len(peers), peers.is_oldest) == (0, True)

    def test_what_was_told_at_the_last_moment_is_not_told_again(self, redis):
        async def run():
            prefix, told = secrets.token_hex(8), []
            here, elsewhere = (RedisLedger(redis.url, prefix=prefix) for _ in range(2))
            for ledger, witnesses in ((here, []), (elsewhere, [told.append])):
                Hub(ServerConfig(apps=(APP,)), witnesses=witnesses, ledger=ledger)
                await ledger.start()
            here.depart()
            here.enter(Tell("1", ((5, 0),)))
            await here.stop()
            await elsewhere.catch_up()
            await elsewhere.stop()
            return told

        assert asyncio.run(run()) == [WebhooksTold("1", ((5, 0),))]

    def test_nobody_waits_for_who_has_said_goodbye(self, peers):
        peers.expect(self.entries(["bye"], ["publish", "1", ["a"], "e", "{}", None]), since=0)
        assert peers.are_known

    def test_who_is_there_is_waited_for(self, peers):
        hello, ending = self.entries(["hello", 1, False, []], ["state ends", []])
        peers.expect([hello], since=0)
        assert not peers.are_known
        peers.read(ending)
        assert peers.are_known


class ForgetfulLog(RedisLog):
    """Loses the first entry with an event."""

    def __init__(self, url, *, prefix):
        super().__init__(url, prefix=prefix)
        self.has_lost = asyncio.Event()

    async def append(self, peer, session, number, content, **options):
        if b"publish" in content and not self.has_lost.is_set():
            self.has_lost.set()
        else:
            await super().append(peer, session, number, content, **options)


class TestLoss:
    def test_what_redis_has_lost_holds_nothing_up(self, redis):
        async def run():
            prefix = secrets.token_hex(8)
            ledger = RedisLedger(redis.url, prefix=prefix)
            ledger._log = ForgetfulLog(redis.url, prefix=prefix)
            hub = Hub(ServerConfig(apps=(APP,)), ledger=ledger)
            await ledger.start()
            lost = hub.publish(APP, channels=["a"], name="e", data="{}")
            await ledger._log.has_lost.wait()
            reached = [await hub.publish(APP, channels=["a"], name="e", data="{}"), await lost]
            while True not in reached:
                reached.append(await hub.publish(APP, channels=["a"], name="e", data="{}"))
                await asyncio.sleep(0)
            await ledger.stop()
            return reached[:2]

        assert asyncio.run(run()) == [False, False]

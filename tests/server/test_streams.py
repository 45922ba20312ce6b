import asyncio
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from pusherable.server import facts as told
from pusherable.server.api import create_api
from pusherable.server.asgi import WIRE
from pusherable.server.certificates import Certificate
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.credentials import Member
from pusherable.server.hub import Hub
from pusherable.server.openings import Opening, Openings
from pusherable.server.origins import Origins
from pusherable.server.protocol import Relay
from pusherable.server.streams import RETRY, Streams
from pusherable.signing import stream_parameters
from tests.server.conftest import APP, RecordingClient, ask
from tests.server.eventsource import EventSource, Received, read_stream
from tests.server.threads import TIMEOUT, read_to_end, read_until, threaded_server

NOW = 1_000_000
MEMBER = json.dumps({"user_id": "7", "user_info": {"name": "Ann"}})
USER = json.dumps({"id": "7"})


def signed(*channels, issued=NOW, lifetime=60, **data):
    pairs = stream_parameters(
        channels, key=APP.key, secret=APP.secret, issued=issued, expires=issued + lifetime, **data
    )
    return f"/stream?{urlencode(pairs)}"


class Browser:
    """An open stream of an ASGI app, the wire that it comes by, and what a browser makes of it."""

    def __init__(self):
        self.status = None
        self.headers = {}
        self.source = EventSource()
        self.limit = None
        self.is_complete = False
        self.is_cut_off = False
        self.is_released = False
        self._came = asyncio.Event()

    def take(self, *, limit, on_slow, on_lost):
        self.limit, self.fall_behind, self.leave = limit, on_slow, on_lost

    def begin(self, part):
        assert self.status is not None
        self.write(part)

    def write(self, part):
        assert not self.is_released
        self.source.feed(part)
        self._came.set()

    def release(self):
        self.is_released = True

    def abort(self):
        self.is_cut_off = True

    async def receive(self):
        return await asyncio.Future()

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.source.feed(message["body"])
            self.is_complete = not message.get("more_body", False)
        self._came.set()

    async def until(self, condition):
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def read(self, count):
        """The first events, without the first of all, which tells the socket id."""
        await self.until(lambda: len(self.source.events) > count)
        return self.source.events[1:]

    @property
    def socket_id(self):
        return json.loads(self.source.events[0].data)["socket_id"]


def make_app(hub, **options):
    streams = Streams(hub, clock=lambda: NOW, **options)
    api = create_api(hub)
    api.router.routes += streams.routes()
    return streams, api


@asynccontextmanager
async def opened(api, target, *, headers=(), browser=None):
    """A browser that listens, as soon as it is told where it is."""
    path, _, query = target.partition("?")
    browser = browser or Browser()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in dict(headers).items()],
        "client": ("192.0.2.1", 1234),
        "extensions": {WIRE: browser},
    }
    task = asyncio.ensure_future(api(scope, browser.receive, browser.send))
    try:
        await browser.until(lambda: browser.source.last_event_id or browser.is_complete)
        yield browser
    finally:
        browser.leave()
        async with asyncio.timeout(TIMEOUT):
            await task


def publish(hub, channel, name="e", data="1", **options):
    hub.publish(APP, channels=[channel], name=name, data=data, **options)


@pytest.fixture
def streams(hub):
    return Streams(hub, clock=lambda: NOW)


@pytest.fixture
def api(hub, streams):
    api = create_api(hub)
    api.router.routes += streams.routes()
    return api


def names_of(events):
    return [event.name for event in events]


SUCCEEDED = "pusher:subscription_succeeded"


class TestEvents:
    def test_a_stream_is_told_what_happens_on_its_channels(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a&channel=b") as browser:
                publish(hub, "b", "hello", '{"n":1}')
                publish(hub, "c")
                publish(hub, "a", data="text")
                return await browser.read(4), browser

        events, browser = asyncio.run(run())
        epoch = hub.histories.now.epoch
        assert events == [
            Received(SUCCEEDED, "{}", f"{epoch}-0/a"),
            Received(SUCCEEDED, "{}", f"{epoch}-0/b"),
            Received("hello", '{"n":1}', f"{epoch}-1/b"),
            Received("e", '"text"', f"{epoch}-2/a"),
        ]
        assert RETRY[0] <= browser.source.retry <= RETRY[1]

    def test_it_is_an_event_stream_that_no_proxy_holds_back(self, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                return browser.status, browser.headers

        assert asyncio.run(run()) == (
            200,
            {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-store, no-transform",
                "vary": "Origin",
                "x-accel-buffering": "no",
                "x-content-type-options": "nosniff",
            },
        )

    def test_the_first_event_tells_the_socket_id(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                publish(hub, "a", "own", socket_id=browser.socket_id)
                publish(hub, "a", "other")
                return browser.source.events[0].name, names_of(await browser.read(2))

        assert asyncio.run(run()) == ("pusher:connection_established", [SUCCEEDED, "other"])

    def test_what_clients_say_to_each_other_arrives(self, hub, api):
        """A.38"""

        async def run():
            async with opened(api, signed("private-a")) as browser:
                connection = hub.connect(APP, RecordingClient())
                hub.subscribe(connection, "private-a")
                hub.relay(connection, Relay("private-a", "client-\r\nid: 9", '{"a":1}'))
                return await browser.read(2)

        event = asyncio.run(run())[-1]
        epoch = hub.histories.now.epoch
        assert event == Received("client-\\u000d\\u000aid: 9", '{"a":1}', f"{epoch}-1/private-a")

    def test_a_new_stream_is_given_what_a_cache_channel_remembers(self, hub, api):
        """A.44"""
        publish(hub, "cache-a", "remembered")

        async def run():
            async with opened(api, "/stream?channel=cache-a&channel=cache-b") as browser:
                return names_of(await browser.read(4))

        assert asyncio.run(run()) == [SUCCEEDED, "remembered", SUCCEEDED, "pusher:cache_miss"]

    def test_sockets_and_streams_are_subscribers_alike(self, hub, api, client):
        hub.subscribe(hub.connect(APP, client), "a")

        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                publish(hub, "a")
                await browser.read(2)
                return hub.channels(APP)

        assert asyncio.run(run()) == {"a": 2}
        assert client.received[-1] == {"event": "e", "channel": "a", "data": "1"}


class TestPresence:
    def test_a_stream_is_a_member(self, hub, api, client):
        """A.33, A.34"""
        hub.subscribe(hub.connect(APP, client), "presence-a", Member("1"))
        client.take()

        async def run():
            async with opened(api, signed("presence-a", channel_data=MEMBER)) as browser:
                members = hub.members(APP, "presence-a")
                hub.disconnect(hub.connections(APP)[0])
                return members, await browser.read(2)

        members, events = asyncio.run(run())
        epoch = hub.histories.now.epoch
        everybody = {"ids": ["1", "7"], "hash": {"1": {}, "7": {"name": "Ann"}}, "count": 2}
        assert members == everybody["hash"]
        assert [(event.name, json.loads(event.data), event.id) for event in events] == [
            (SUCCEEDED, {"presence": everybody}, f"{epoch}-0/presence-a"),
            ("pusher:member_removed", {"user_id": "1"}, f"{epoch}-0/presence-a"),
        ]
        assert [message["event"] for message in client.received] == ["pusher_internal:member_added"]
        assert hub.members(APP, "presence-a") == {}

    def test_a_full_channel_refuses_the_stream_as_a_whole(self, config, facts, make_hub):
        """A.36"""
        hub = make_hub(replace(config, limits=Limits(members_per_channel=1)), observers=[facts.append])
        _, api = make_app(hub)
        hub.subscribe(hub.connect(APP, RecordingClient()), "presence-a", Member("1"))
        facts.clear()

        async def run():
            return await anyhow(api, signed("b", "presence-a", channel_data=MEMBER))

        status, text = asyncio.run(run())
        assert (status, text) == (403, "Channel presence-a has 1 members, which is the limit\n")
        assert hub.channels(APP) == {"presence-a": 1}
        assert [type(fact).__name__ for fact in facts] == [
            "Connected",
            "Occupied",
            "Subscribed",
            "Unsubscribed",
            "Vacated",
            "Disconnected",
            "Refused",
        ]


async def anyhow(api, target, **headers):
    """Status and text of an answer that is no stream."""
    parts = []

    async def send(message):
        parts.append(message)

    async def receive():
        return await asyncio.Future()

    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {WIRE: None},
    }
    await api(scope, receive, send)
    return parts[0]["status"], b"".join(part.get("body", b"") for part in parts).decode()


class TestUsers:
    def test_a_user_hears_what_is_for_it(self, hub, api, facts):
        """A.47, A.49"""

        async def run():
            async with opened(api, signed("#server-to-user-7", user_data=USER)) as browser:
                publish(hub, "#server-to-user-7", "hi")
                return await browser.read(3)

        events = asyncio.run(run())
        epoch = hub.histories.now.epoch
        channel = "%23server-to-user-7"
        assert events == [
            Received("pusher:signin_success", json.dumps({"user_data": USER}, separators=(",", ":")), f"{epoch}-0"),
            Received(SUCCEEDED, "{}", f"{epoch}-0/{channel}"),
            Received("hi", "1", f"{epoch}-1/{channel}"),
        ]
        assert any(isinstance(fact, told.SignedIn) for fact in facts)

    def test_a_user_who_is_sent_away_cannot_come_back_by_the_same_address(self, hub, api, clock):
        """A.53"""
        target = signed("#server-to-user-7", user_data=USER, issued=NOW - 5)

        async def run():
            async with opened(api, target) as browser:
                hub.terminate(APP, "7")
                await browser.until(lambda: browser.is_complete)
            refusal = await anyhow(api, target)
            clock.advance(10)
            async with opened(api, signed("#server-to-user-7", user_data=USER)) as later:
                return browser.source.events[-1], refusal, later.status

        last, refusal, status = asyncio.run(run())
        assert (last.name, json.loads(last.data)) == (
            "pusher:error",
            {"code": 4009, "message": "The user's connections were terminated"},
        )
        assert refusal == (403, "The user's connections were terminated since this address was signed\n")
        assert status == 200

    def test_who_was_sent_away_is_forgotten_when_all_addresses_are_over(self, hub, clock):
        hub.terminate(APP, "7")
        clock.advance(86_400 + 600)
        hub.tick()
        assert hub.was_terminated(APP, "7", within=100_000)
        clock.advance(1)
        hub.tick()
        assert not hub.was_terminated(APP, "7", within=100_000)


class TestTermination:
    def test_who_is_sent_away_while_a_stream_is_opened_has_none(self, hub, api, monkeypatch):
        """Another process was told so before it could hear of the stream."""
        subscribe = hub.subscribe

        def subscribe_late(*args):
            hub.terminate(APP, "7")
            return subscribe(*args)

        monkeypatch.setattr(hub, "subscribe", subscribe_late)
        target = signed("#server-to-user-7", user_data=USER)
        answer = ask(api, "GET", target, extensions={WIRE: Browser()}, client=("192.0.2.1", 1234))
        assert (answer.status_code, answer.text.partition(" were")[0]) == (403, "The user's connections")
        assert hub.connection_count(APP) == 0


class TestComingBack:
    def test_what_was_missed_arrives_once_and_in_order(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a&channel=b") as browser:
                publish(hub, "a", data="1")
                await browser.read(3)
            for number, channel in enumerate("abca", start=2):
                publish(hub, channel, data=str(number))
            headers = {"last-event-id": browser.source.last_event_id}
            async with opened(api, "/stream?channel=a&channel=b", headers=headers) as again:
                publish(hub, "b", data="6")
                return await again.read(6)

        events = asyncio.run(run())
        assert [(event.name, event.data) for event in events] == [
            (SUCCEEDED, "{}"),
            (SUCCEEDED, "{}"),
            ("e", "2"),
            ("e", "3"),
            ("e", "5"),
            ("e", "6"),
        ]

    def test_a_connection_that_is_lost_again_on_the_way_begins_in_the_same_place(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                cursor = browser.source.last_event_id
            publish(hub, "a")
            async with opened(api, "/stream?channel=a", headers={"last-event-id": cursor}) as again:
                return cursor, await again.read(2)

        cursor, [before, event] = asyncio.run(run())
        assert before == Received(SUCCEEDED, "{}", f"{cursor}/a")
        assert (event.name, event.id) == ("e", f"{hub.histories.now.epoch}-1/a")

    def test_a_script_may_say_where_it_was(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                cursor = browser.source.last_event_id
            publish(hub, "a")
            async with opened(api, f"/stream?channel=a&lastEventId={cursor}") as again:
                return names_of(await again.read(2))

        assert asyncio.run(run()) == [SUCCEEDED, "e"]

    def test_the_header_counts_more_than_the_address(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                cursor = browser.source.last_event_id
            publish(hub, "a")
            now = hub.histories.now.write()
            headers = {"last-event-id": now}
            async with opened(api, f"/stream?channel=a&lastEventId={cursor}", headers=headers) as again:
                return names_of(await again.read(1))

        assert asyncio.run(run()) == [SUCCEEDED]

    def test_a_gap_is_told(self, config, make_hub):
        hub = make_hub(replace(config, limits=Limits(history_length=1)))
        _, api = make_app(hub)

        async def run():
            async with opened(api, "/stream?channel=a&channel=b") as browser:
                cursor = browser.source.last_event_id
            for channel in "aab":
                publish(hub, channel)
            headers = {"last-event-id": cursor}
            async with opened(api, "/stream?channel=a&channel=b", headers=headers) as again:
                return await again.read(4), again.source.last_event_id

        events, last = asyncio.run(run())
        epoch = hub.histories.now.epoch
        assert events[2:] == [
            Received("resync", '{"channels":["a"]}', f"{epoch}-0"),
            Received("e", "1", f"{epoch}-3/b"),
        ]
        assert last == f"{epoch}-3"

    @pytest.mark.parametrize("cursor", ["00000000-7/a", "nonsense", "-\u2028"])
    def test_another_server_does_not_know_what_was_missed(self, hub, api, cursor):
        async def run():
            target = f"/stream?{urlencode({'channel': 'a', 'lastEventId': cursor})}"
            async with opened(api, target) as browser:
                return await browser.read(2), browser.source.last_event_id

        events, last = asyncio.run(run())
        now = hub.histories.now.write()
        assert events == [Received(SUCCEEDED, "{}", f"{now}/a"), Received("resync", '{"channels":["a"]}', now)]
        assert last == now

    def test_what_a_cache_channel_remembers_is_not_sent_twice(self, hub, api):
        """A.44"""

        async def run():
            async with opened(api, "/stream?channel=cache-a") as browser:
                publish(hub, "cache-a", "first")
                await browser.read(3)
            headers = {"last-event-id": browser.source.last_event_id}
            async with opened(api, "/stream?channel=cache-a", headers=headers) as again:
                publish(hub, "cache-a", "second")
                seen = names_of(await again.read(2))
            publish(hub, "cache-a", "third")
            headers = {"last-event-id": again.source.last_event_id}
            async with opened(api, "/stream?channel=cache-a", headers=headers) as last:
                return seen, names_of(await last.read(2))

        assert asyncio.run(run()) == ([SUCCEEDED, "second"], [SUCCEEDED, "third"])

    def test_after_a_gap_a_cache_channel_gives_what_it_remembers(self, hub, api):
        """A.44"""
        publish(hub, "cache-a", "first")

        async def run():
            async with opened(api, "/stream?channel=cache-a", headers={"last-event-id": "x"}) as browser:
                return names_of(await browser.read(3))

        assert asyncio.run(run()) == [SUCCEEDED, "first", "resync"]

    def test_of_a_channel_that_is_new_to_the_stream_nothing_was_missed(self, hub, api):
        """A.44"""

        async def run():
            async with opened(api, "/stream?channel=a") as browser, opened(api, "/stream?channel=cache-b"):
                cursor = browser.source.last_event_id
                for channel in ("cache-b", "a"):
                    publish(hub, channel, f"of {channel}")
            target = f"/stream?channel=a&channel=cache-b&channel=c&lastEventId={cursor}&new=cache-b&new=c"
            async with opened(api, target) as again:
                publish(hub, "c", "of c")
                seen = await again.read(6)
            # By itself a browser goes on with this same address.
            headers = {"last-event-id": cursor}
            async with opened(api, target, headers=headers) as last:
                return names_of(seen), names_of(await last.read(6))

        assert asyncio.run(run()) == (
            [SUCCEEDED, SUCCEEDED, "of cache-b", SUCCEEDED, "of a", "of c"],
            [SUCCEEDED, SUCCEEDED, SUCCEEDED, "resync", "of cache-b", "of a"],
        )

    def test_what_was_kept_from_a_stream_does_not_come_to_it_later(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                publish(hub, "a", "own", socket_id=browser.socket_id)
                publish(hub, "b", "elsewhere", socket_id=browser.socket_id)
                await browser.until(lambda: browser.source.last_event_id.endswith("-1"))
            publish(hub, "a", "missed")
            headers = {"last-event-id": browser.source.last_event_id}
            async with opened(api, "/stream?channel=a", headers=headers) as again:
                return names_of(await again.read(2))

        assert asyncio.run(run()) == [SUCCEEDED, "missed"]

    def test_a_server_that_takes_over_knows_what_was_missed(self, hub, api, config, clock):
        other = Hub(config, clock=clock)
        _, other_api = make_app(other)

        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                cursor = browser.source.last_event_id
            publish(hub, "a", "missed")
            other.histories.restore(hub.histories.dump())
            publish(other, "a", "also missed")
            async with opened(other_api, "/stream?channel=a", headers={"last-event-id": cursor}) as again:
                return names_of(await again.read(3))

        assert asyncio.run(run()) == [SUCCEEDED, "missed", "also missed"]


class TestFacts:
    def test_observers_see_a_stream_as_a_connection(self, hub, api, facts):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                publish(hub, "a")
                await browser.read(2)
                return browser.socket_id

        socket_id = asyncio.run(run())
        assert facts == [
            told.Connected("1", socket_id),
            told.Occupied("1", "a"),
            told.Subscribed("1", socket_id, "a"),
            told.Broadcast("1", "a", "e", "1", 1),
            told.Unsubscribed("1", socket_id, "a"),
            told.Vacated("1", "a"),
            told.Disconnected("1", socket_id),
        ]

    def test_the_request_that_opened_it_is_kept_as_long_as_it_lasts(self, config, make_hub):
        openings, seen = Openings(), []
        note = lambda fact: seen.append((type(fact).__name__, dict(openings)))  # noqa: E731
        hub = make_hub(config, observers=[note, openings.observe])
        _, api = make_app(hub, openings=openings)

        async def run():
            async with opened(api, "/stream?channel=a", headers={"cookie": "s=1"}) as browser:
                return browser.socket_id

        socket_id = asyncio.run(run())
        opening = Opening("/stream?channel=a", (("cookie", "s=1"),), ("192.0.2.1", 1234), True)
        kept = {name: openings for name, openings in seen if name in ("Subscribed", "Unsubscribed")}
        assert kept == {"Subscribed": {socket_id: opening}, "Unsubscribed": {socket_id: opening}}
        assert openings == {}

    def test_a_refusal_is_told(self, hub, api, facts):
        ask(api, "GET", "/stream")
        assert facts == [told.Refused(400, "Name a channel, ?channel=…, or several of them, ?channel=…&channel=…")]


class TestRefusals:
    def test_they_are_a_status_and_a_sentence(self, api):
        answer = ask(api, "GET", "/stream?channel=private-a")
        assert answer.status_code == 401
        assert answer.text == "This takes an address that your server has signed; it lacks issued, expires, auth\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store, no-transform"

    def test_an_app_that_is_full_has_no_room(self, config):
        """A.5"""
        _, api = make_app(Hub(replace(config, limits=Limits(connections=0))))
        answer = asyncio.run(anyhow(api, "/stream?channel=a"))
        assert answer == (503, "The app has reached its limit of connections\n")

    def test_other_methods_are_none(self, api):
        assert ask(api, "POST", "/stream?channel=a").status_code == 404

    def test_the_head_alone_opens_nothing(self, api, facts):
        answer = ask(api, "HEAD", "/stream?channel=a")
        assert (answer.status_code, answer.text, facts) == (200, "", [])
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


class TestOrigins:
    @pytest.fixture
    def api(self, config):
        origins = Origins(hosts=frozenset({"example.com"}))
        return make_app(Hub(replace(config, origins=origins)))[1]

    def test_pages_of_other_sites_are_refused(self, api):
        answer = ask(api, "GET", "/stream?channel=a", headers={"Origin": "https://evil.example"})
        assert (answer.status_code, answer.text) == (403, "Origin https://evil.example is not allowed\n")
        assert "access-control-allow-origin" not in answer.headers

    def test_pages_that_may_connect_may_read(self, api):
        answer = ask(api, "HEAD", "/stream?channel=a", headers={"Origin": "https://example.com"})
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"

    def test_such_pages_may_read_why_they_are_refused(self, api):
        answer = ask(api, "GET", "/stream", headers={"Origin": "https://example.com"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "https://example.com")

    def test_who_is_no_page_of_another_origin_is_let_in(self, api):
        answer = ask(api, "HEAD", "/stream?channel=a")
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


class TestHeartbeat:
    def test_silence_is_broken(self, config):
        _, api = make_app(Hub(replace(config, heartbeat=0.01)))

        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                await browser.until(lambda: browser.source.comments >= 2)

        asyncio.run(run())

    def test_a_stream_that_is_not_silent_needs_none(self, config):
        hub = Hub(replace(config, heartbeat=3600))
        streams, api = make_app(hub)

        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                [stream] = streams._streams
                publish(hub, "a")
                stream._beat()
                await browser.read(2)
                stream._timer.cancel()
                stream._beat()
                await browser.until(lambda: browser.source.comments)
                return browser.source.comments

        assert asyncio.run(run()) == 1


class TestClose:
    def test_streams_end_and_their_browsers_come_back(self, hub, streams, api, facts):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                publish(hub, "a")
                streams.close()
                await browser.until(lambda: browser.is_complete)
                count = hub.connection_count(APP)
                publish(hub, "a", "late")
                return names_of(browser.source.events[1:]), count

        assert asyncio.run(run()) == ([SUCCEEDED, "e"], 0)
        assert facts[-2:] == [told.Disconnected("1", facts[0].socket_id), told.Broadcast("1", "a", "late", "1", 0)]

    def test_who_comes_too_late_is_told_to_come_back(self, streams, api, hub, facts):
        streams.close()
        answer = ask(api, "GET", "/stream?channel=a")
        source = read_stream(answer.text.encode())
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert RETRY[0] <= source.retry <= RETRY[1]
        assert (source.events, source.last_event_id, facts) == ([], "", [])


class TestWire:
    def test_it_is_given_back_before_the_end_is_sent(self, streams, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                before = browser.is_released
                streams.close()
                await browser.until(lambda: browser.is_complete)
                return before, browser.is_released

        assert asyncio.run(run()) == (False, True)

    def test_nothing_is_written_after_the_end(self, hub, api):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                browser.leave()
                publish(hub, "a", "late")
            return names_of(browser.source.events[1:])

        assert asyncio.run(run()) == [SUCCEEDED]

    def test_a_stream_that_was_over_before_its_head_is_an_empty_one(self, config):
        hub = Hub(config, observers=[lambda fact: isinstance(fact, told.Subscribed) and streams.close()])
        streams, api = make_app(hub)

        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                return browser.status, browser.source, browser.is_complete

        assert asyncio.run(run()) == (200, EventSource(), True)

    def test_what_comes_before_the_head_is_sent_waits(self, hub, api):
        class Held(Browser):
            async def send(self, message):
                publish(hub, "a", "early")
                await super().send(message)

        async def run():
            async with opened(api, "/stream?channel=a", browser=Held()) as browser:
                return names_of(await browser.read(2))

        assert asyncio.run(run()) == [SUCCEEDED, "early"]

    def test_the_reason_of_an_end_that_comes_before_the_head_is_read(self, hub, api):
        class Unwanted(Browser):
            async def send(self, message):
                hub.terminate(APP, "7")
                await super().send(message)

        async def run():
            async with opened(api, signed("#server-to-user-7", user_data=USER), browser=Unwanted()) as browser:
                await browser.until(lambda: browser.is_complete)
                return names_of(browser.source.events)

        assert asyncio.run(run())[-1] == "pusher:error"

    def test_a_fault_on_the_way_ends_the_stream(self, hub, api):
        class Broken(Browser):
            async def send(self, message):
                self.is_complete = True
                self._came.set()
                raise RuntimeError("a fault")

        async def run():
            with pytest.raises(RuntimeError, match="a fault"):
                async with opened(api, "/stream?channel=a", browser=(browser := Broken())):
                    pass
            return browser.is_released

        assert asyncio.run(run())
        assert hub.connection_count(APP) == 0


class TestSlowReaders:
    @pytest.fixture
    def config(self, config):
        return replace(config, limits=Limits(write_buffer_size=2_000))

    def test_one_that_takes_nothing_is_cut_off_and_counted(self, hub, api, facts):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                browser.fall_behind()
                browser.fall_behind()
                publish(hub, "a")
                count = hub.connection_count(APP)
                await browser.until(lambda: browser.is_complete)
                return browser, browser.socket_id, count

        browser, socket_id, count = asyncio.run(run())
        refused = [fact for fact in facts if isinstance(fact, told.Refused)]
        assert refused == [told.Refused(4100, "You read too slowly", socket_id)]
        # A broadcast is not disturbed.
        assert (count, hub.connection_count(APP)) == (1, 0)
        assert (browser.limit, browser.is_cut_off, names_of(browser.source.events[1:])) == (2_000, True, [SUCCEEDED])

    def test_one_that_takes_not_even_the_head_is_cut_off(self, hub, api, facts):
        class Stuck(Browser):
            async def send(self, message):
                while not self.is_cut_off:
                    publish(hub, "a", data='"' + "x" * 900 + '"')
                    await asyncio.sleep(0)
                await super().send(message)

        async def run():
            async with opened(api, "/stream?channel=a", browser=Stuck()):
                pass

        asyncio.run(run())
        assert [fact.reason for fact in facts if isinstance(fact, told.Refused)] == ["You read too slowly"]
        assert len([fact for fact in facts if isinstance(fact, told.Broadcast)]) < 5

    def test_one_that_leaves_meanwhile_is_not_counted(self, api, facts):
        async def run():
            async with opened(api, "/stream?channel=a") as browser:
                browser.fall_behind()
                browser.leave()
                await browser.until(lambda: browser.is_complete)
                return browser.is_cut_off

        assert not asyncio.run(run())
        assert [fact for fact in facts if isinstance(fact, told.Refused)] == []


GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def join_chunks(body):
    """What chunks carry (RFC 9112, 7.1), until their end or that of what was read."""
    joined = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        joined, body = joined + rest[:length], rest[length + 2 :]
        assert rest[length : length + 2] in (b"\r\n", b"")
    return joined


class TestAtTheRealServer:
    """uvicorn's connections, a real socket, no browser."""

    @pytest.fixture
    def server(self, serve):
        return serve(limits=Limits(write_buffer_size=200_000))

    @pytest.fixture(params=["http", "https"])
    def connecting(self, request, config, certificate):
        """A running server, and what connects to it."""
        is_secure = request.param == "https"
        tls = ssl.create_default_context(cafile=str(certificate.cert))

        def connect(client):
            client.settimeout(TIMEOUT)
            client.connect((server.address.host, server.address.port))
            return tls.wrap_socket(client, server_hostname="localhost") if is_secure else client

        options = {"certificate": Certificate(certificate.cert, certificate.key)} if is_secure else {}
        with threaded_server(config, **options) as server:
            yield server, connect

    def test_a_stream_flows_and_ends_with_the_server(self, server):
        client = server.connect_raw()
        client.sendall(GET.format("/stream?channel=a").encode())
        head = read_until(client, b"\r\n\r\n", b"id: ")
        server.wait_for(told.Subscribed)
        server.publish("a", "hello")
        head += read_until(client, b"event: hello")
        server.stop()
        rest = read_to_end(client)
        client.close()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        # The end of a response in chunks: a browser that misses it takes it for a network error.
        assert rest.endswith(b"0\r\n\r\n")

    def test_what_flows_are_chunks(self, connecting):
        """RFC 9112, 7.1"""
        server, connect = connecting
        with connect(socket.socket()) as client:
            client.sendall(GET.format("/stream?channel=a").encode())
            received = read_until(client, b"\r\n\r\n", SUCCEEDED.encode())
            server.publish("a", "hello")
            received += read_until(client, b"event: hello")
            # So much that not all of it leaves at once.
            server.publish("a", "large", json.dumps("x" * 100_000))
            server.call(server.streams.close)
            received += read_until(client, b"\r\n0\r\n\r\n")
        body = received.partition(b"\r\n\r\n")[2]
        events = read_stream(join_chunks(body)).events[1:]
        assert [(event.name, len(event.data)) for event in events] == [
            (SUCCEEDED, 2),
            ("hello", 2),
            ("large", 100_002),
        ]

    def test_who_knows_no_chunks_is_sent_none(self, config):
        """RFC 9112, 6.1"""
        with threaded_server(config) as server:
            client = server.connect_raw()
            client.sendall(b"GET /stream?channel=a HTTP/1.0\r\n\r\n")
            received = read_until(client, b"\r\n\r\n", SUCCEEDED.encode())
            server.publish("a", "hello")
            received += read_until(client, b"event: hello")
            server.stop()
            received += read_to_end(client)
            client.close()
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close" in head
        assert b"chunked" not in head
        assert names_of(read_stream(body).events[1:]) == [SUCCEEDED, "hello"]

    def test_events_in_a_flood_arrive_in_order(self, config):
        with threaded_server(config) as server:
            clients = [server.connect_raw() for _ in range(30)]
            for client in clients:
                client.sendall(GET.format("/stream?channel=a").encode())
            server.wait_for(told.Subscribed, count=30)

            def flood():
                for number in range(100):
                    publish(server.hub, "a", f"e{number}")

            for _ in range(3):
                server.call(flood)
            received = [read_until(client, b"event: e99", b"-300/a\n") for client in clients]
            for client in clients:
                client.close()
        for each in received:
            events = read_stream(join_chunks(each.partition(b"\r\n\r\n")[2])).events[2:]
            assert names_of(events) == [f"e{number}" for number in range(100)] * 3

    def test_a_connection_is_used_again_after_a_stream(self, config):
        with threaded_server(config) as server:
            client = server.connect_raw()
            target = signed("#server-to-user-7", user_data=USER, issued=int(time.time()))
            client.sendall(GET.format(target).encode() + GET.format("/x").encode())
            server.wait_for(told.Subscribed)
            server.call(server.hub.terminate, APP, "7")
            received = read_until(client, b"404 NOT FOUND\n")
            client.sendall(GET.format("/stream?channel=a").encode())
            read_until(client, SUCCEEDED.encode())
            client.close()
        stream, _, answer = received.partition(b"\r\n0\r\n\r\n")
        assert stream.rpartition(b"event: ")[2].startswith(b"pusher:error\n")
        assert answer.startswith(b"HTTP/1.1 404 ")

    def test_who_hangs_up_leaves(self, server):
        client = server.connect_raw()
        client.sendall(GET.format("/stream?channel=a").encode())
        server.wait_for(told.Subscribed)
        client.close()
        server.wait_for(told.Vacated)

    def test_who_reads_nothing_is_cut_off_while_others_hear_everything(self, server):
        slow = socket.socket()
        slow.settimeout(TIMEOUT)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((server.address.host, server.address.port))
        slow.sendall(GET.format("/stream?channel=a").encode())
        server.wait_for(told.Subscribed)
        count = 0
        while not any(isinstance(fact, told.Refused) for fact in server.facts):
            server.publish("a", data='"' + "x" * 10_000 + '"')
            count += 1
            assert count < 2_000
        refused = server.wait_for(told.Refused)
        server.wait_for(told.Disconnected)
        read_to_end(slow)
        slow.close()
        assert (refused.code, refused.reason) == (4100, "You read too slowly")
        assert server.call(server.hub.connection_count, APP) == 0

    def test_every_app_has_its_own(self, serve):
        other = App(id="2", key="other", secret="another")
        server = serve(ServerConfig(apps=(APP, other)))
        client = server.connect_raw()
        client.sendall(GET.format("/stream?key=other&channel=a").encode())
        server.wait_for(told.Subscribed)
        server.publish("a", "not for you")
        server.call(server.hub.publish, other, channels=["a"], name="for you", data="1")
        received = read_until(client, b"event: for you")
        client.close()
        assert b"not for you" not in received

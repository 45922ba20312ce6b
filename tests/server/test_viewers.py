import asyncio
import json

import pytest

from pusherable.server.config import App, ServerConfig
from pusherable.server.facts import (
    Broadcast,
    ClientEvent,
    Complained,
    Connected,
    CountChanged,
    Disconnected,
    MemberAdded,
    Occupied,
    Refused,
    Rejected,
    SignedIn,
    Subscribed,
)
from pusherable.server.hub import Hub
from pusherable.server.presence import Member
from pusherable.server.viewers import LISTED, LISTED_WITHIN, WAITING, Feed, Viewer, survey, tell
from tests.server.conftest import APP, RecordingClient

NEVER = 3600.0
EVENT = Broadcast("1", "post_1", "view", "{}", 3)


def subscribe(hub, *channels, member=None):
    connection = hub.connect(APP, RecordingClient())
    for channel in channels:
        hub.subscribe(connection, channel, member)
    return connection


@pytest.fixture
def feed():
    return Feed(APP, clock=lambda: 12.3456)


@pytest.fixture
def hub(config, feed):
    return Hub(config, observers=[feed.observe])


class TestTell:
    @pytest.mark.parametrize(
        ("fact", "told"),
        [
            (EVENT, {"channel": "post_1", "kind": "event", "name": "view", "data": "{}", "receivers": 3}),
            (
                ClientEvent("1", "private-a", "client-b", "1", "1.2"),
                {"channel": "private-a", "kind": "event", "name": "client-b", "data": "1", "from": "1.2"},
            ),
            (
                ClientEvent("1", "presence-a", "client-b", "1", "1.2", "ada"),
                {"channel": "presence-a", "kind": "event", "name": "client-b", "data": "1", "from": "ada"},
            ),
            (
                MemberAdded("1", "presence-a", "ada"),
                {"channel": "presence-a", "kind": "visit", "name": "member added", "text": "ada"},
            ),
            (Connected("1", "1.2"), {"channel": "", "kind": "visit", "name": "connected", "text": "1.2"}),
            (
                Subscribed("1", "1.2", "a"),
                {"channel": "a", "kind": "visit", "name": "subscribed", "text": "1.2"},
            ),
            (
                Subscribed("1", "1.2", "presence-a", "ada"),
                {"channel": "presence-a", "kind": "visit", "name": "subscribed", "text": "1.2 as ada"},
            ),
            (SignedIn("1", "1.2", "ada"), {"channel": "", "kind": "visit", "name": "signed in", "text": "1.2 as ada"}),
            (Occupied("1", "a"), {"channel": "a", "kind": "visit", "name": "occupied", "text": ""}),
            (CountChanged("1", "a", 3), {"channel": "a", "kind": "visit", "name": "count changed", "text": "3"}),
            (
                Complained("1", "1.2", "Invalid JSON"),
                {"channel": "", "kind": "problem", "name": "error", "text": "1.2 was told: Invalid JSON"},
            ),
            (
                Rejected("POST /apps/1/events", 401, "No"),
                {
                    "channel": "",
                    "kind": "problem",
                    "name": "refused",
                    "text": "POST /apps/1/events was answered by 401: No",
                },
            ),
            (
                Refused(4001, "No"),
                {"channel": "", "kind": "problem", "name": "refused", "text": "A client was sent away (4001): No"},
            ),
        ],
    )
    def test_a_fact_has_its_kind_its_name_and_what_belongs_to_it(self, fact, told):
        assert tell(12.3456, fact) == {"time": 12345, **told}


class TestSurvey:
    def test_an_empty_server_has_nobody(self, hub):
        assert survey(hub, APP) == {
            "app": {"id": "1", "key": "key"},
            "connections": {"total": 0, "list": []},
            "channels": {"total": 0, "list": []},
        }

    def test_connections_and_channels_are_listed_with_their_members(self, hub):
        first = subscribe(hub, "b", "a")
        second = subscribe(hub, "presence-cache-c", member=Member("ada", {"name": "Ada é"}))
        assert survey(hub, APP) == {
            "app": {"id": "1", "key": "key"},
            "connections": {
                "total": 2,
                "list": [
                    {"socket_id": first.socket_id, "user_id": None, "channels": {"total": 2, "list": ["a", "b"]}},
                    {
                        "socket_id": second.socket_id,
                        "user_id": None,
                        "channels": {"total": 1, "list": ["presence-cache-c"]},
                    },
                ],
            },
            "channels": {
                "total": 3,
                "list": [
                    {"name": "b", "kind": "public", "subscriptions": 1, "members": None},
                    {"name": "a", "kind": "public", "subscriptions": 1, "members": None},
                    {
                        "name": "presence-cache-c",
                        "kind": "presence cache",
                        "subscriptions": 1,
                        "members": {"total": 1, "list": [{"id": "ada", "info": '{"name": "Ada é"}'}]},
                    },
                ],
            },
        }

    def test_a_connection_that_has_signed_in_has_a_user(self, hub):
        connection = subscribe(hub)
        connection.user = type("User", (), {"id": "ada"})
        assert survey(hub, APP)["connections"]["list"][0]["user_id"] == "ada"

    def test_long_lists_are_cut_and_totals_told(self, hub):
        many = [f"c{number}" for number in range(LISTED + 1)]
        subscribe(hub, *many)
        for _ in range(LISTED):
            subscribe(hub)
        found = survey(hub, APP)
        assert (found["connections"]["total"], len(found["connections"]["list"])) == (LISTED + 1, LISTED)
        assert (found["channels"]["total"], len(found["channels"]["list"])) == (LISTED + 1, LISTED)
        channels = found["connections"]["list"][0]["channels"]
        assert (channels["total"], len(channels["list"])) == (LISTED + 1, LISTED_WITHIN)

    def test_the_secret_is_not_told(self, hub):
        assert "the secret" not in json.dumps(survey(hub, APP))


class TestViewer:
    def test_past_the_limit_the_oldest_is_lost_and_counted(self):
        viewer = Viewer(limit=2)
        for seconds in range(5):
            viewer.note(seconds, Connected("1", "1.2"))
        taken = viewer.take()
        assert (taken["lost"], [one["time"] for one in taken["list"]]) == (3, [3000, 4000])
        assert viewer.take() == {"lost": 0, "list": []}

    def test_with_nothing_to_do_it_waits_in_vain(self):
        viewer = Viewer()
        viewer.note(0, EVENT)
        assert asyncio.run(viewer.is_due(within=NEVER))
        viewer.take()
        assert not asyncio.run(viewer.is_due(within=0))


def parse(part):
    """The events of a part of a stream, in order."""
    found = []
    for block in part.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line.startswith(("event", "data")))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


class TestFeed:
    def stream(self, feed, hub, scenario, *, heartbeat=NEVER, pace=0.0):
        """Run ``scenario`` with a stream, and a function that gives its next part, parsed."""

        async def run():
            stream = feed.stream(hub, heartbeat=heartbeat, pace=pace)
            try:
                return await scenario(stream)
            finally:
                await stream.aclose()

        return asyncio.run(run())

    def test_a_stream_begins_with_an_overview_and_tells_what_happens(self, feed, hub):
        async def scenario(stream):
            first = await anext(stream)
            assert first.startswith("retry: 1000\n\nevent: overview\n")
            [(_, overview)] = parse(first)
            assert overview.keys() == {"instance", "app", "connections", "channels"}
            connection = subscribe(hub)
            [(kind, told), (other, after)] = parse(await anext(stream))
            assert (kind, other) == ("happenings", "overview")
            assert told == {"lost": 0, "list": [tell(12.3456, Connected("1", connection.socket_id))]}
            assert (overview["connections"]["total"], after["connections"]["total"]) == (0, 1)
            assert overview["instance"] == after["instance"]

        self.stream(feed, hub, scenario)

    def test_an_overview_that_is_as_it_was_is_not_sent_again(self, feed, hub):
        async def scenario(stream):
            await anext(stream)
            hub.publish(APP, channels=["a"], name="é\ud800\n", data="\u2028")
            [(kind, told)] = parse(await anext(stream))
            assert kind == "happenings"
            assert told["list"] == [tell(12.3456, Broadcast("1", "a", "é\ud800\n", "\u2028", 0))]

        self.stream(feed, hub, scenario)

    def test_silence_is_broken_by_signs_of_life(self, feed, hub):
        async def scenario(stream):
            await anext(stream)
            assert [await anext(stream), await anext(stream)] == [": still here\n\n"] * 2

        self.stream(feed, hub, scenario, heartbeat=0.0)

    def test_a_viewer_that_reads_too_slowly_is_told_how_much_it_lost(self, feed, hub):
        async def scenario(stream):
            await anext(stream)
            for number in range(WAITING + 7):
                feed.observe(Broadcast("1", "a", f"e{number}", "{}", 0))
            [(_, told)] = parse(await anext(stream))
            assert (told["lost"], len(told["list"])) == (7, WAITING)
            assert (told["list"][0]["name"], told["list"][-1]["name"]) == ("e7", f"e{WAITING + 6}")

        self.stream(feed, hub, scenario)

    def test_what_comes_at_a_quick_pace_is_sent_as_one(self, feed, hub):
        async def scenario(stream):
            await anext(stream)
            feed.observe(EVENT)
            await anext(stream)
            following = asyncio.ensure_future(anext(stream))
            for _ in range(3):
                feed.observe(EVENT)
                await asyncio.sleep(0)
            [(_, told)] = parse(await following)
            assert told["list"] == [tell(12.3456, EVENT)] * 3

        self.stream(feed, hub, scenario, pace=0.01)

    @pytest.mark.parametrize("is_between", [True, False])
    def test_closing_ends_a_stream_at_once(self, feed, hub, is_between):
        async def scenario(stream):
            await anext(stream)
            if is_between:
                feed.observe(EVENT)
                await anext(stream)
            following = asyncio.ensure_future(anext(stream, "the end"))
            await asyncio.sleep(0)
            feed.close()
            return [await following, *[part async for part in stream]]

        parts = self.stream(feed, hub, scenario, pace=NEVER)
        assert parts == ["the end"] if is_between else len(parts) == 1

    def test_without_viewers_nothing_is_looked_at(self, feed, hub):
        feed.observe(None)
        self.stream(feed, hub, anext)
        feed.observe(None)

    def test_what_happens_to_other_apps_is_not_told(self):
        feed = Feed(APP)
        other = App(id="2", key="other", secret="s")
        hub = Hub(ServerConfig(apps=(APP, other)), observers=[feed.observe])

        async def scenario(stream):
            await anext(stream)
            hub.tell(Disconnected("2", "1.2"))
            hub.tell(Refused(4001, "No"))
            [(_, told)] = parse(await anext(stream))
            assert [one["name"] for one in told["list"]] == ["refused"]

        self.stream(feed, hub, scenario)

import json
import re
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pusherable.server import connections
from pusherable.server.caches import CachedEvent
from pusherable.server.commands import Depart, Join, Leave, Publish, SignIn, Tell, Terminate, Whisper
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.credentials import Member, User
from pusherable.server.facts import (
    Broadcast,
    CacheMissed,
    ClientEvent,
    Complained,
    Connected,
    CountChanged,
    Disconnected,
    MemberAdded,
    MemberRemoved,
    Occupied,
    SignedIn,
    Subscribed,
    Unsubscribed,
    Vacated,
    WebhooksTold,
)
from pusherable.server.hub import Hub
from pusherable.server.protocol import Objection, Refusal, Relay
from tests.server.conftest import APP, Clock, RecordingClient, make_user
from tests.server.twins import Twins

OTHER_APP = App(id="2", key="other", secret="another secret")
GUARDED_APP = App(id="2", key="guarded", secret="s", authorization_timeout=10)
COUNTED_APP = App(id="2", key="counted", secret="s", has_subscription_counts=True)
ADA = Member("7", {"name": "Ada"})


@pytest.fixture
def connection(hub, client):
    return hub.connect(APP, client)


@pytest.fixture
def listen(hub):
    """Connect a client and subscribe it; what it was told of that is forgotten."""

    def listen(*channels, app=APP):
        client = RecordingClient()
        connection = hub.connect(app, client)
        for channel in channels:
            hub.subscribe(connection, channel)
        client.take()
        return client, connection

    return listen


class TestConnect:
    def test_a_client_is_given_a_socket_id(self, hub, connection, facts):
        """A.10"""
        assert re.fullmatch(r"[0-9]+\.[0-9]+", connection.socket_id)
        assert hub.connection_count(APP) == 1
        assert facts == [Connected("1", connection.socket_id)]

    def test_a_socket_id_in_use_is_not_given_twice(self, hub, monkeypatch):
        """A.10"""
        numbers = iter([1, 2, 1, 2, 3, 4])
        monkeypatch.setattr(connections.secrets, "randbelow", lambda limit: next(numbers))
        given = [hub.connect(APP, RecordingClient()).socket_id for _ in range(2)]
        assert given == ["1.2", "3.4"]

    def test_an_app_that_is_full_refuses(self, client):
        """A.5"""
        hub = Hub(ServerConfig(apps=(APP,), limits=Limits(connections=1)))
        first = hub.connect(APP, client)
        with pytest.raises(Refusal) as caught:
            hub.connect(APP, client)
        assert (caught.value.code, str(caught.value)) == (4004, "The app has reached its limit of connections")
        hub.disconnect(first)
        hub.connect(APP, client)

    def test_a_server_that_is_full_asks_to_come_back_later(self, client):
        """A.55: a refusal that may last must not bring pusher-js back at once."""
        hub = Hub(ServerConfig(apps=(APP, OTHER_APP), limits=Limits(capacity=1)))
        first = hub.connect(APP, client)
        with pytest.raises(Refusal) as caught:
            hub.connect(OTHER_APP, client)
        assert (caught.value.code, str(caught.value)) == (4100, "The server has no room for more connections")
        hub.disconnect(first)
        hub.connect(OTHER_APP, client)

    def test_the_limit_of_an_app_is_that_of_the_largest_plan(self, config):
        """A.5"""
        assert (config.limits.connections, config.limits.capacity) == (30_000, None)


class TestApply:
    """What other processes do is found in the ledger; here no other hub reads it."""

    @pytest.fixture
    def hub(self, config, facts, clock):
        return Hub(config, observers=[facts.append], clock=clock)

    @pytest.mark.parametrize(
        "command",
        [
            Join("1", "9.9", "a"),
            Leave("1", "9.9", "a"),
            Depart("1", "9.9"),
            SignIn("1", "9.9", User("7", "{}")),
            Whisper("1", "9.9", "private-a", "client-hi", "1"),
            Publish("another app", ("a",), "e", "1"),
        ],
    )
    def test_what_concerns_nobody_is_passed_over(self, hub, connection, client, facts, command):
        hub.subscribe(connection, "a")
        client.take()
        facts.clear()
        hub.apply(command)
        assert (client.take(), facts, hub.channels(APP)) == ([], [], {"a": 1})

    def test_nothing_is_done_twice(self, hub, connection, client, facts):
        hub.subscribe(connection, "a")
        client.take()
        facts.clear()
        hub.apply(Join("1", connection.socket_id, "a"))
        hub.apply(Leave("1", connection.socket_id, "b"))
        assert (client.take(), facts, hub.channels(APP)) == ([], [], {"a": 1})

    def test_the_client_of_another_process_counts_and_is_sent_nothing(self, hub, facts):
        hub.apply(Join("1", "9.9", "a"), peer="there")
        hub.publish(APP, channels=["a"], name="e", data="1", socket_id="9.9")
        assert (hub.subscription_count(APP, "a"), hub.connection_count(APP)) == (1, 0)
        assert facts == [Broadcast("1", "a", "e", "1", 0)]
        hub.apply(Leave("1", "9.9", "a"), peer="there")
        hub.apply(Depart("1", "9.9"), peer="there")
        assert (hub.channels(APP), hub.connections(APP)) == ({}, ())

    def test_somebody_who_is_sent_away_from_elsewhere_departs_from_here(self, hub, client, facts):
        client.dismiss = lambda refusal: hub.disconnect(connection)
        connection = hub.connect(APP, client)
        hub.sign_in(connection, User("7", "{}"))
        facts.clear()
        hub.apply(Terminate("1", "7"), peer="there")
        assert facts == [Disconnected("1", connection.socket_id)]

    def test_that_webhooks_were_sent_is_for_witnesses(self, config):
        seen, witnessed = [], []
        hub = Hub(config, observers=[seen.append], witnesses=[witnessed.append])
        hub.apply(Tell("1", ((1, 2),)))
        assert (seen, witnessed) == ([], [WebhooksTold("1", ((1, 2),))])

    def test_what_another_app_remembers_is_not_ours(self, hub):
        hub.remember("another app", "cache-a", "e", "1", seconds=60)
        hub.remember("1", "cache-a", "e", "1", seconds=60)
        assert hub.cached(APP, "cache-a")[1] == 60


class TestAuthorizationTimeout:
    """A.52"""

    @pytest.fixture
    def guarded(self, make_hub):
        return make_hub(ServerConfig(apps=(GUARDED_APP,)))

    @pytest.fixture
    def stranger(self, guarded):
        return guarded.connect(GUARDED_APP, RecordingClient())

    def dismissals_of(self, connection):
        return [(refusal.code, str(refusal)) for refusal in connection.client.dismissals]

    def test_who_shows_no_signature_in_time_is_sent_away(self, guarded, stranger, clock):
        guarded.subscribe(stranger, "a")
        clock.advance(4)
        later = guarded.connect(GUARDED_APP, RecordingClient())
        clock.advance(5.9)
        guarded.tick()
        assert self.dismissals_of(stranger) == []
        clock.advance(0.1)
        guarded.tick()
        guarded.tick()
        assert self.dismissals_of(stranger) == [(4009, "Connection not authorized within timeout")]
        assert self.dismissals_of(later) == []

    @pytest.mark.parametrize(("channel", "member"), [("private-a", None), ("presence-a", ADA)])
    def test_a_subscription_that_takes_a_signature_is_one(self, guarded, stranger, clock, channel, member):
        guarded.subscribe(stranger, channel, member)
        guarded.unsubscribe(stranger, channel)
        clock.advance(60)
        guarded.tick()
        assert self.dismissals_of(stranger) == []

    def test_signing_in_is_one(self, guarded, stranger, clock):
        guarded.sign_in(stranger, make_user("7"))
        clock.advance(60)
        guarded.tick()
        assert self.dismissals_of(stranger) == []

    def test_who_has_left_is_not_sent_away(self, guarded, stranger, clock):
        client = stranger.client
        guarded.disconnect(stranger)
        clock.advance(60)
        guarded.tick()
        assert client.dismissals == []

    def test_an_app_has_it_only_if_it_asks(self, hub, connection, client, clock):
        clock.advance(86_400)
        hub.tick()
        assert client.dismissals == []


class TestDisconnect:
    def test_all_subscriptions_go_with_a_client(self, hub, listen, facts):
        _, connection = listen("b", "a")
        listen("a")
        facts.clear()
        hub.disconnect(connection)
        assert facts == [
            Unsubscribed("1", connection.socket_id, "a"),
            Unsubscribed("1", connection.socket_id, "b"),
            Vacated("1", "b"),
            Disconnected("1", connection.socket_id),
        ]
        assert (hub.connection_count(APP), list(hub.occupied_channels(APP))) == (1, ["a"])

    def test_a_second_time_does_nothing(self, hub, connection, facts):
        hub.disconnect(connection)
        facts.clear()
        hub.disconnect(connection)
        assert facts == []


class TestObject:
    def test_the_client_and_the_observers_are_told(self, hub, connection, client, facts):
        facts.clear()
        hub.object(connection, Objection("No"))
        assert client.received == [{"event": "pusher:error", "data": {"code": None, "message": "No"}}]
        assert facts == [Complained("1", connection.socket_id, "No")]


class TestSubscribe:
    def test_the_client_is_told(self, hub, connection, client):
        """A.18"""
        hub.subscribe(connection, "a")
        assert client.received == [{"event": "pusher_internal:subscription_succeeded", "channel": "a", "data": "{}"}]

    def test_the_first_subscriber_occupies_the_channel(self, hub, listen, facts):
        """C.4"""
        _, first = listen("a")
        _, second = listen("a")
        assert facts == [
            Connected("1", first.socket_id),
            Occupied("1", "a"),
            Subscribed("1", first.socket_id, "a"),
            Connected("1", second.socket_id),
            Subscribed("1", second.socket_id, "a"),
        ]
        assert hub.subscription_count(APP, "a") == 2

    def test_a_second_subscription_is_objected_to_and_the_first_survives(self, hub, listen):
        """A.20"""
        client, connection = listen("a")
        with pytest.raises(Objection) as caught:
            hub.subscribe(connection, "a")
        assert str(caught.value) == "Existing subscription to channel a"
        hub.publish(APP, channels=["a"], name="e", data="{}")
        assert client.received == [{"event": "e", "channel": "a", "data": "{}"}]

    def test_a_connection_has_only_so_many_subscriptions(self, client, make_hub):
        hub = make_hub(ServerConfig(apps=(APP,), limits=Limits(channels_per_connection=2)))
        connection = hub.connect(APP, client)
        for channel in ("a", "b"):
            hub.subscribe(connection, channel)
        with pytest.raises(Objection) as caught:
            hub.subscribe(connection, "c")
        message = "This connection has 2 subscriptions, which is the limit"
        assert [json.loads(reply.text) for reply in caught.value.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}},
            {
                "event": "pusher:subscription_error",
                "channel": "c",
                "data": {"type": "LimitReached", "error": message, "status": 403},
            },
        ]
        assert hub.channels(APP) == {"a": 1, "b": 1}
        hub.unsubscribe(connection, "a")
        hub.subscribe(connection, "c")
        assert hub.channels(APP) == {"b": 1, "c": 1}


class TestUnsubscribe:
    def test_nothing_is_answered_and_nothing_comes_any_more(self, hub, listen):
        """A.21"""
        client, connection = listen("a")
        hub.unsubscribe(connection, "a")
        hub.publish(APP, channels=["a"], name="e", data="{}")
        assert client.received == []

    def test_the_last_subscriber_vacates_the_channel(self, hub, listen, facts):
        """C.4"""
        _, connection = listen("a")
        facts.clear()
        hub.unsubscribe(connection, "a")
        assert facts == [Unsubscribed("1", connection.socket_id, "a"), Vacated("1", "a")]
        assert hub.subscription_count(APP, "a") == 0

    def test_without_a_subscription_it_is_objected_to(self, hub, connection):
        """A.21"""
        with pytest.raises(Objection) as caught:
            hub.unsubscribe(connection, "a")
        assert str(caught.value) == "No current subscription to channel a, or subscription in progress"

    def test_a_long_name_is_not_sent_back_whole(self, hub, connection):
        with pytest.raises(Objection) as caught:
            hub.unsubscribe(connection, "x" * 60_000)
        assert len(str(caught.value)) < 300


class TestPublish:
    def test_every_subscriber_receives_the_data_as_it_is(self, hub, listen, facts):
        """B.15"""
        clients = [listen("a")[0] for _ in range(3)]
        facts.clear()
        hub.publish(APP, channels=["a"], name="view", data='{"b": "é"}')
        for client in clients:
            assert client.received == [{"event": "view", "channel": "a", "data": '{"b": "é"}'}]
        assert facts == [Broadcast("1", "a", "view", '{"b": "é"}', 3)]

    def test_every_channel_has_a_message_of_its_own(self, hub, listen):
        client, _ = listen("a", "b")
        hub.publish(APP, channels=["b", "a", "b"], name="view", data="{}")
        assert client.received == [
            {"event": "view", "channel": "b", "data": "{}"},
            {"event": "view", "channel": "a", "data": "{}"},
        ]

    def test_the_named_connection_is_left_out_everywhere(self, hub, listen):
        """B.15"""
        first, connection = listen("a", "b")
        second, _ = listen("a", "b")
        hub.publish(APP, channels=["a", "b"], name="view", data="{}", socket_id=connection.socket_id)
        assert (len(first.received), len(second.received)) == (0, 2)

    @pytest.mark.parametrize("socket_id", ["1.1", None])
    def test_a_connection_that_is_not_there_excludes_nobody(self, hub, listen, socket_id):
        """B.15"""
        client, _ = listen("a")
        listen("b")
        hub.publish(APP, channels=["a"], name="view", data="{}", socket_id=socket_id)
        assert len(client.received) == 1

    def test_a_connection_that_is_not_subscribed_excludes_nobody(self, hub, listen, facts):
        client, _ = listen("a")
        _, elsewhere = listen("b")
        hub.publish(APP, channels=["a"], name="view", data="{}", socket_id=elsewhere.socket_id)
        assert len(client.received) == 1

    def test_nobody_listens_and_observers_hear_of_it(self, hub, facts):
        hub.publish(APP, channels=["a"], name="view", data="{}")
        assert facts == [Broadcast("1", "a", "view", "{}", 0)]


class TestPresence:
    def test_a_member_comes_and_goes(self, hub, facts):
        """A.33, A.34"""
        first, second = (hub.connect(APP, RecordingClient()) for _ in range(2))
        facts.clear()
        hub.subscribe(first, "presence-a", ADA)
        hub.subscribe(second, "presence-a", ADA)
        assert hub.members(APP, "presence-a") == {"7": {"name": "Ada"}}
        hub.unsubscribe(first, "presence-a")
        hub.disconnect(second)
        assert facts == [
            Occupied("1", "presence-a"),
            Subscribed("1", first.socket_id, "presence-a", "7"),
            MemberAdded("1", "presence-a", "7"),
            Subscribed("1", second.socket_id, "presence-a", "7"),
            Unsubscribed("1", first.socket_id, "presence-a"),
            Unsubscribed("1", second.socket_id, "presence-a"),
            MemberRemoved("1", "presence-a", "7"),
            Vacated("1", "presence-a"),
            Disconnected("1", second.socket_id),
        ]
        assert hub.members(APP, "presence-a") == {}

    def test_who_comes_back_at_once_does_not_meet_itself(self, hub, client, connection):
        """A.34"""
        hub.subscribe(connection, "presence-a", ADA)
        hub.unsubscribe(connection, "presence-a")
        client.take()
        hub.subscribe(connection, "presence-a", Member("8"))
        [message] = client.received
        assert message["data"] == '{"presence":{"ids":["8"],"hash":{"8":{}},"count":1}}'

    def test_a_channel_that_is_full_takes_no_other_user(self, make_hub):
        """A.36"""
        hub = make_hub(ServerConfig(apps=(APP,), limits=Limits(members_per_channel=2)))
        for user_id in ("1", "2", "2"):
            hub.subscribe(hub.connect(APP, RecordingClient()), "presence-a", Member(user_id))
        connection = hub.connect(APP, RecordingClient())
        with pytest.raises(Objection) as caught:
            hub.subscribe(connection, "presence-a", Member("3"))
        message = "Channel presence-a has 2 members, which is the limit"
        assert [json.loads(reply.text) for reply in caught.value.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}},
            {
                "event": "pusher:subscription_error",
                "channel": "presence-a",
                "data": {"type": "LimitReached", "error": message, "status": 403},
            },
        ]
        assert connection.channels == set()
        assert (hub.channels(APP), len(hub.members(APP, "presence-a"))) == ({"presence-a": 3}, 2)

    def test_a_hundred_members_are_the_limit(self, config):
        """A.36"""
        assert config.limits.members_per_channel == 100

    def test_a_channel_of_another_kind_has_no_members(self, hub, listen):
        listen("a")
        assert (hub.members(APP, "a"), hub.members(APP, "presence-b")) == ({}, {})


class TestRelay:
    def test_everybody_else_receives_the_event(self, hub, listen, facts):
        """A.38"""
        sender, connection = listen("private-a")
        others = [listen("private-a")[0] for _ in range(2)]
        hub.relay(connection, Relay("private-a", "client-hi", '{"a":1}'))
        assert sender.received == []
        for other in others:
            assert other.received == [{"event": "client-hi", "channel": "private-a", "data": '{"a":1}'}]
        assert facts[-1] == ClientEvent("1", "private-a", "client-hi", '{"a":1}', connection.socket_id)

    def test_on_presence_channels_it_says_whose_it_is(self, hub, facts):
        """A.38: the same user's other tabs receive it too. A.39"""
        connection, other = (hub.connect(APP, RecordingClient()) for _ in range(2))
        for each in (connection, other):
            hub.subscribe(each, "presence-a", ADA)
            each.client.take()
        hub.relay(connection, Relay("presence-a", "client-hi", "{}"))
        assert other.client.received == [{"event": "client-hi", "channel": "presence-a", "data": "{}", "user_id": "7"}]
        assert facts[-1] == ClientEvent("1", "presence-a", "client-hi", "{}", connection.socket_id, "7")

    def test_who_is_not_subscribed_may_not(self, hub, listen):
        """A.40"""
        other, _ = listen("private-a")
        _, connection = listen("private-b")
        with pytest.raises(Objection) as caught:
            hub.relay(connection, Relay("private-a", "client-hi", "{}"))
        assert str(caught.value) == "Client event rejected - you are not subscribed to channel private-a"
        assert other.received == []

    def test_too_many_in_a_second_are_dropped_and_the_connection_is_kept(self, hub, listen, clock):
        """A.41"""
        other, _ = listen("private-a")
        _, connection = listen("private-a")
        event = Relay("private-a", "client-hi", "{}")
        for _ in range(10):
            hub.relay(connection, event)
        with pytest.raises(Objection) as caught:
            hub.relay(connection, event)
        assert [json.loads(reply.text) for reply in caught.value.replies] == [
            {"event": "pusher:error", "data": {"code": 4301, "message": "Client event rejected due to rate limit"}}
        ]
        assert len(other.take()) == 10
        clock.advance(1.0)
        hub.relay(connection, event)
        assert len(other.take()) == 1

    def test_a_cache_channel_does_not_remember_it(self, hub, listen):
        """A.42"""
        _, connection = listen("private-cache-a")
        hub.relay(connection, Relay("private-cache-a", "client-hi", "{}"))
        assert hub.cached(APP, "private-cache-a") is None


class TestCacheChannels:
    """A.44"""

    CHANNELS = ("cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a")

    def join(self, hub, channel):
        connection = hub.connect(APP, RecordingClient())
        hub.subscribe(connection, channel, ADA if channel.startswith("presence-") else None)
        return connection.client.received

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_a_new_subscriber_is_given_the_last_event(self, hub, channel):
        """A.19"""
        for data in ("1", "2"):
            hub.publish(APP, channels=[channel], name="view", data=data)
        succeeded, event = self.join(hub, channel)
        assert succeeded["event"] == "pusher_internal:subscription_succeeded"
        assert event == {"event": "view", "channel": channel, "data": "2"}

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_where_there_is_none_it_is_told_so(self, hub, facts, channel):
        assert self.join(hub, channel)[1:] == [{"event": "pusher:cache_miss", "channel": channel}]
        assert facts[-1] == CacheMissed("1", channel)

    def test_other_channels_remember_nothing(self, hub):
        names = ("a", "presence-a", "my-cache-a")
        hub.publish(APP, channels=names, name="view", data="1")
        assert [len(self.join(hub, name)) for name in names] == [1, 1, 1]
        assert [hub.cached(APP, name) for name in names] == [None, None, None]

    def test_an_event_is_remembered_for_half_an_hour_though_nobody_listens(self, hub, clock):
        """B.20"""
        hub.publish(APP, channels=["cache-a"], name="view", data="1")
        clock.advance(1_799)
        hub.tick()
        assert hub.cached(APP, "cache-a") == (CachedEvent("view", "1", expires=2_800.0), 1.0)
        clock.advance(1)
        assert hub.cached(APP, "cache-a") is None
        hub.tick()
        assert [message["event"] for message in self.join(hub, "cache-a")][1:] == ["pusher:cache_miss"]


class TestSubscriptionCounts:
    """A.45"""

    @pytest.fixture
    def counted(self, facts, make_hub):
        config = ServerConfig(apps=(COUNTED_APP,), limits=Limits(count_threshold=2))
        return make_hub(config, observers=[facts.append])

    def join(self, hub, channel="a", member=None):
        connection = hub.connect(COUNTED_APP, RecordingClient())
        hub.subscribe(connection, channel, member)
        return connection

    def counts(self, connection):
        return [
            json.loads(message["data"])["subscription_count"]
            for message in connection.client.take()
            if message["event"] == "pusher_internal:subscription_count"
        ]

    def test_everybody_is_told_of_each_change(self, counted, facts):
        """A.19: success, then the event, then the count."""
        first = self.join(counted, "cache-a")
        assert [message["event"] for message in first.client.received] == [
            "pusher_internal:subscription_succeeded",
            "pusher:cache_miss",
            "pusher_internal:subscription_count",
        ]
        assert facts[-1] == CountChanged("2", "cache-a", 1)
        second = self.join(counted, "cache-a")
        counted.unsubscribe(second, "cache-a")
        assert (self.counts(first), self.counts(second)) == ([1, 2, 1], [2])

    def test_large_channels_are_told_every_five_seconds(self, counted, clock, facts):
        first = self.join(counted)
        for _ in range(3):
            self.join(counted)
        assert self.counts(first) == [1, 2]
        clock.advance(4.9)
        counted.tick()
        assert self.counts(first) == []
        clock.advance(0.1)
        counted.tick()
        counted.tick()
        assert self.counts(first) == [4]
        assert [fact.count for fact in facts if isinstance(fact, CountChanged)] == [1, 2, 4]

    def test_a_channel_that_is_vacated_meanwhile_is_forgotten(self, counted, clock):
        for connection in [self.join(counted) for _ in range(3)]:
            counted.disconnect(connection)
        clock.advance(5)
        counted.tick()
        assert self.counts(self.join(counted)) == [1]

    def test_presence_channels_are_not_counted(self, counted):
        assert self.counts(self.join(counted, "presence-a", ADA)) == []

    def test_an_app_has_them_only_if_it_asks(self, hub, listen, facts):
        listen("a")
        assert not [fact for fact in facts if isinstance(fact, CountChanged)]

    def test_a_hundred_subscribers_and_five_seconds_are_the_limits(self, config):
        assert (config.limits.count_threshold, config.limits.count_period) == (100, 5.0)


class TestSignIn:
    def test_a_connection_becomes_the_user_s(self, hub, connection, client, facts):
        """A.47"""
        hub.sign_in(connection, User("7", '{"id":"7"}'))
        assert client.received == [{"event": "pusher:signin_success", "data": {"user_data": '{"id":"7"}'}}]
        assert facts[-1] == SignedIn("1", connection.socket_id, "7")
        assert connection.user == User("7", '{"id":"7"}')

    def test_watchers_hear_that_a_user_is_gone(self, hub, connection, client):
        """A.51"""
        other = hub.connect(APP, RecordingClient())
        hub.sign_in(other, make_user("8"))
        hub.sign_in(connection, make_user("7", watchlist=("8",)))
        client.take()
        hub.disconnect(other)
        [message] = client.received
        assert message["data"] == '{"events":[{"name":"offline","user_ids":["8"]}]}'

    def test_only_so_many_are_watched(self, hub, connection, client, facts):
        """A.51"""
        user_ids = tuple(map(str, range(101)))
        user = make_user("me", watchlist=user_ids)
        hub.sign_in(connection, user)
        message = "The watchlist has 101 users; the first 100 are watched"
        assert client.received == [
            {"event": "pusher:signin_success", "data": {"user_data": user.data}},
            {
                "event": "pusher_internal:watchlist_events",
                "data": json.dumps(
                    {"events": [{"name": "offline", "user_ids": list(user_ids[:100])}]}, separators=(",", ":")
                ),
            },
            {"event": "pusher:error", "data": {"code": 4302, "message": message}},
        ]
        assert facts[-1] == Complained("1", connection.socket_id, message)


class TestTerminate:
    """A.53"""

    def test_every_connection_of_the_user_is_sent_away(self, hub):
        mine, also_mine, other, member = (hub.connect(APP, RecordingClient()) for _ in range(4))
        for connection, user_id in ((mine, "7"), (also_mine, "7"), (other, "8")):
            hub.sign_in(connection, make_user(user_id))
        hub.subscribe(member, "presence-a", ADA)
        hub.terminate(APP, "7")
        for connection in (mine, also_mine):
            [refusal] = connection.client.dismissals
            assert (refusal.code, str(refusal)) == (4009, "The user's connections were terminated")
        assert (other.client.dismissals, member.client.dismissals) == ([], [])

    def test_a_connection_may_leave_the_hub_in_the_course_of_it(self, hub, connection, client):
        hub.sign_in(connection, make_user("7"))
        client.dismiss = lambda refusal: hub.disconnect(connection)
        hub.terminate(APP, "7")
        assert hub.connections(APP) == ()

    def test_a_user_that_is_not_there_is_no_error(self, hub):
        hub.terminate(APP, "7")


class TestWasTerminated:
    def test_a_user_who_is_sent_away_was_so_for_a_while(self, hub, clock):
        """A.53"""
        hub.terminate(APP, "7")
        clock.advance(10)
        assert hub.was_terminated(APP, "7", within=10)
        assert not hub.was_terminated(APP, "7", within=9)
        assert not hub.was_terminated(OTHER_APP, "7", within=10)
        hub.terminate(APP, "7")
        assert hub.was_terminated(APP, "7", within=9)

    def test_it_is_forgotten_when_no_address_is_so_old(self, hub, clock):
        hub.terminate(APP, "7")
        clock.advance(5)
        hub.terminate(APP, "8")
        clock.advance(86_400 + 600 - 4)
        hub.tick()
        assert [hub.was_terminated(APP, user_id, within=10**6) for user_id in "78"] == [False, True]


class TestHistories:
    """What streams may come back for."""

    def missed(self, hub, start, *channels):
        return [block.split(b"\n")[:2] for block in hub.histories.missed("1", channels, start, limit=10**6).blocks]

    def test_events_are_kept_though_nobody_listens_just_now(self, hub):
        start = hub.histories.now
        hub.histories.follow("1", "a")
        hub.publish(APP, channels=["a", "b"], name="e", data="1")
        assert self.missed(hub, start, "a") == [[b"event: e", b"data: 1"]]
        assert not hub.histories.keeps("1", "b")

    def test_what_clients_say_is_kept(self, hub, connection):
        start = hub.histories.now
        hub.histories.follow("1", "private-a")
        hub.subscribe(connection, "private-a")
        hub.relay(connection, Relay("private-a", "client-x", "2"))
        assert self.missed(hub, start, "private-a") == [[b"event: client-x", b"data: 2"]]

    def test_time_makes_an_end_of_them(self, hub, clock):
        hub.histories.follow("1", "a")
        hub.histories.leave("1", "a")
        clock.advance(300)
        hub.tick()
        assert not hub.histories.keeps("1", "a")


class TestConnections:
    def test_all_are_given_in_order(self, hub):
        connections = tuple(hub.connect(APP, RecordingClient()) for _ in range(3))
        assert hub.connections(APP) == connections


class TestChannels:
    def test_all_are_given_with_their_subscriptions(self, hub, listen):
        listen("a", "b")
        listen("a")
        assert hub.channels(APP) == {"a": 2, "b": 1}


class TestApps:
    def test_no_app_receives_what_is_another_s(self, make_hub):
        hub = make_hub(ServerConfig(apps=(APP, OTHER_APP)))
        clients = {app: RecordingClient() for app in (APP, OTHER_APP)}
        connections = {app: hub.connect(app, client) for app, client in clients.items()}
        for app in (APP, OTHER_APP):
            hub.subscribe(connections[app], "a")
            clients[app].take()
        hub.publish(APP, channels=["a"], name="view", data="{}", socket_id=connections[OTHER_APP].socket_id)
        assert {app.id: len(client.received) for app, client in clients.items()} == {"1": 1, "2": 0}


class TestOccupiedChannels:
    def test_a_prefix_selects_some(self, hub, listen):
        listen("post_1", "post_2", "comment_1")
        assert sorted(hub.occupied_channels(APP, prefix="post_")) == ["post_1", "post_2"]


CHANNELS = st.sampled_from(["a", "private-b", "cache-c", "presence-d", "presence-cache-e"])
USER_IDS = st.sampled_from(["1", "2", "3", "4"])
LIMITS = Limits(members_per_channel=2, watchlist_length=2, cache_ttl=10, client_events_per_second=2, connections=6)


class Person:
    """What the model knows of one connection."""

    def __init__(self):
        self.members = {}  # by channel; None where members do not know of each other
        self.user_id = None
        self.watched = ()
        self.sent = []


class HubBesideModel(RuleBasedStateMachine):
    """The hub beside the plainest thing that could be right: who is in which channel, and what was sent last."""

    connections = Bundle("connections")
    make_hub = Hub
    limits = LIMITS

    @initialize()
    def open_hub(self):
        self.clock = Clock()
        self.occupied, self.present = set(), set()
        self.hub = self.make_hub(
            ServerConfig(apps=(APP,), limits=self.limits), observers=[self.observe], clock=self.clock
        )
        self.model = {}
        self.cached = {}

    def observe(self, fact):
        """Facts alone must tell who is where."""
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

    def subscribers(self, channel):
        return [connection for connection, person in self.model.items() if channel in person.members]

    def users_in(self, channel):
        return {self.model[connection].members[channel].user_id for connection in self.subscribers(channel)}

    def watchers_of(self, user_id):
        return {connection for connection, person in self.model.items() if user_id in person.watched}

    def is_online(self, user_id):
        return any(person.user_id == user_id for person in self.model.values())

    def expect(self, expected):
        """Each connection was sent just these events since the last time, and all the others none."""
        received = {
            connection: [message["event"] for message in connection.client.take()] for connection in self.model
        }
        assert received == {connection: expected.get(connection, []) for connection in self.model}

    @rule(target=connections)
    def connect(self):
        if len(self.model) == self.limits.connections:
            with pytest.raises(Refusal):
                self.hub.connect(APP, RecordingClient())
            return multiple()
        connection = self.hub.connect(APP, RecordingClient())
        self.model[connection] = Person()
        return connection

    @rule(connection=consumes(connections))
    def disconnect(self, connection):
        person = self.model.pop(connection)
        self.hub.disconnect(connection)
        expected = {other: [] for other in self.model}
        for channel, member in sorted(person.members.items()):
            if member and member.user_id not in self.users_in(channel):
                for other in self.subscribers(channel):
                    expected[other].append("pusher_internal:member_removed")
        if person.user_id and not self.is_online(person.user_id):
            for other in self.watchers_of(person.user_id):
                expected[other].append("pusher_internal:watchlist_events")
        self.expect(expected)

    @rule(connection=connections, channel=CHANNELS, user_id=USER_IDS, info=st.integers(0, 9))
    def subscribe(self, connection, channel, user_id, info):
        member = Member(user_id, {"info": info}) if channel.startswith("presence-") else None
        is_full = member and len(self.users_in(channel) | {user_id}) > LIMITS.members_per_channel
        if is_full or channel in self.model[connection].members:
            with pytest.raises(Objection):
                self.hub.subscribe(connection, channel, member)
            self.expect({})
            return
        is_new = member and user_id not in self.users_in(channel)
        expected = {other: ["pusher_internal:member_added"] for other in self.subscribers(channel) if is_new}
        self.hub.subscribe(connection, channel, member)
        self.model[connection].members[channel] = member
        expected[connection] = ["pusher_internal:subscription_succeeded"]
        if "cache-" in channel:
            name, expires = self.cached.get(channel, ("", 0))
            expected[connection].append(name if expires > self.clock.now else "pusher:cache_miss")
        self.expect(expected)
        if member:
            assert self.hub.members(APP, channel)[user_id] == {"info": info}

    @rule(connection=connections, channel=CHANNELS)
    def unsubscribe(self, connection, channel):
        members = self.model[connection].members
        if channel not in members:
            with pytest.raises(Objection):
                self.hub.unsubscribe(connection, channel)
            self.expect({})
            return
        self.hub.unsubscribe(connection, channel)
        member = members.pop(channel)
        has_left = member and member.user_id not in self.users_in(channel)
        self.expect({other: ["pusher_internal:member_removed"] for other in self.subscribers(channel) if has_left})

    @rule(connection=connections, user_id=USER_IDS, watchlist=st.lists(USER_IDS, unique=True))
    def sign_in(self, connection, user_id, watchlist):
        person = self.model[connection]
        # That nobody becomes another user is for the conversation to see to.
        user_id = person.user_id or user_id
        person.watched = ()
        comes_online = not self.is_online(user_id)
        expected = {other: ["pusher_internal:watchlist_events"] for other in self.watchers_of(user_id) if comes_online}
        self.hub.sign_in(connection, make_user(user_id, watchlist=watchlist))
        person.user_id, person.watched = user_id, tuple(watchlist[: LIMITS.watchlist_length])
        expected[connection] = ["pusher:signin_success"]
        if watchlist:
            expected[connection].append("pusher_internal:watchlist_events")
        if len(watchlist) > LIMITS.watchlist_length:
            expected[connection].append("pusher:error")
        self.expect(expected)

    @rule(user_id=USER_IDS)
    def terminate(self, user_id):
        self.hub.terminate(APP, user_id)
        for connection, person in self.model.items():
            assert len(connection.client.dismissals) == (person.user_id == user_id)
            connection.client.dismissals.clear()

    @rule(connection=connections, channel=CHANNELS)
    def relay(self, connection, channel):
        person, now = self.model[connection], self.clock.now
        recent = [sent for sent in person.sent if now - sent < 1]
        if channel not in person.members or len(recent) >= LIMITS.client_events_per_second:
            with pytest.raises(Objection):
                self.hub.relay(connection, Relay(channel, "client-e", "{}"))
            self.expect({})
            return
        person.sent.append(now)
        self.hub.relay(connection, Relay(channel, "client-e", "{}"))
        self.expect({other: ["client-e"] for other in self.subscribers(channel) if other is not connection})

    @rule(channels=st.lists(CHANNELS, min_size=1), name=st.sampled_from("xyz"), excluded=st.none() | connections)
    def publish(self, channels, name, excluded):
        socket_id = excluded.socket_id if excluded else None
        self.hub.publish(APP, channels=channels, name=name, data="{}", socket_id=socket_id)
        for channel in channels:
            if "cache-" in channel:
                self.cached[channel] = name, self.clock.now + LIMITS.cache_ttl
        for connection, person in self.model.items():
            subscribed = [] if connection is excluded else [each for each in channels if each in person.members]
            assert [message["channel"] for message in connection.client.take()] == list(dict.fromkeys(subscribed))

    @rule(seconds=st.sampled_from([0.25, 1.0, 9.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.hub.tick()
        self.expect({})

    @invariant()
    def the_hub_knows_what_the_model_knows(self):
        subscribed = {channel for person in self.model.values() for channel in person.members}
        assert self.hub.connections(APP) == tuple(self.model)
        assert self.hub.channels(APP) == {channel: len(self.subscribers(channel)) for channel in subscribed}
        assert set(self.hub.occupied_channels(APP)) == self.occupied == subscribed
        for channel in ("presence-d", "presence-cache-e"):
            users = set(self.hub.members(APP, channel))
            assert users == self.users_in(channel)
            assert users == {user_id for name, user_id in self.present if name == channel}
        for channel in ("a", "cache-c", "presence-cache-e"):
            name, expires = self.cached.get(channel, ("", 0))
            found = self.hub.cached(APP, channel)
            assert (found and found[0].name) == (name if expires > self.clock.now else None)


class TwinsBesideModel(HubBesideModel):
    """Two hubs that are one server, beside the same model."""

    make_hub = Twins
    # Of those who only connect, no process knows how many the others have.
    limits = replace(LIMITS, connections=1_000)

    @invariant()
    def both_know_the_same(self):
        self.hub.check()


SETTINGS = settings(max_examples=50, stateful_step_count=30, deadline=None)
HubBesideModel.TestCase.settings = SETTINGS
TwinsBesideModel.TestCase.settings = SETTINGS
TestHubBesideModel = HubBesideModel.TestCase
TestTwinsBesideModel = TwinsBesideModel.TestCase

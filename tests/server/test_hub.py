import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from pusherable.server import hub as hub_module
from pusherable.server.config import App, ServerConfig
from pusherable.server.facts import (
    Broadcast,
    Complained,
    Connected,
    Disconnected,
    Occupied,
    Subscribed,
    Unsubscribed,
    Vacated,
)
from pusherable.server.hub import Hub
from pusherable.server.messages import PONG
from pusherable.server.protocol import Objection, Refusal, Reply, Subscribe, Unsubscribe
from tests.server.conftest import APP, RecordingClient

OTHER_APP = App(id="2", key="other", secret="another secret")


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
        monkeypatch.setattr(hub_module.secrets, "randbelow", lambda limit: next(numbers))
        given = [hub.connect(APP, RecordingClient()).socket_id for _ in range(2)]
        assert given == ["1.2", "3.4"]

    def test_an_app_that_is_full_refuses(self, client):
        """A.5"""
        app = App(id="1", key="key", secret="s", max_connections=1)
        hub = Hub(ServerConfig(apps=(app,)))
        first = hub.connect(app, client)
        with pytest.raises(Refusal) as caught:
            hub.connect(app, client)
        assert (caught.value.code, str(caught.value)) == (4004, "The app has reached its limit of connections")
        hub.disconnect(first)
        hub.connect(app, client)


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


class TestCarryOut:
    def test_a_reply_goes_to_the_client(self, hub, connection, client):
        hub.carry_out(connection, Reply(PONG))
        assert client.received == [{"event": "pusher:pong", "data": "{}"}]

    def test_a_subscription_subscribes(self, hub, connection):
        hub.carry_out(connection, Subscribe("a"))
        assert connection.channels == {"a"}

    def test_an_unsubscription_unsubscribes(self, hub, connection):
        hub.subscribe(connection, "a")
        hub.carry_out(connection, Unsubscribe("a"))
        assert connection.channels == set()


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


class TestApps:
    def test_no_app_receives_what_is_another_s(self):
        hub = Hub(ServerConfig(apps=(APP, OTHER_APP)))
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


CHANNELS = st.sampled_from(["a", "b", "c"])


class HubBesideModel(RuleBasedStateMachine):
    """The hub beside the plainest thing that could be right: a set of channels for each connection."""

    connections = Bundle("connections")

    @initialize()
    def open_hub(self):
        self.occupied = set()
        self.hub = Hub(ServerConfig(apps=(APP,)), observers=[self.observe])
        self.model = {}

    def observe(self, fact):
        match fact:
            case Occupied(_, channel):
                assert channel not in self.occupied
                self.occupied.add(channel)
            case Vacated(_, channel):
                self.occupied.remove(channel)

    @rule(target=connections)
    def connect(self):
        connection = self.hub.connect(APP, RecordingClient())
        self.model[connection] = set()
        return connection

    @rule(connection=consumes(connections))
    def disconnect(self, connection):
        self.hub.disconnect(connection)
        del self.model[connection]

    @rule(connection=connections, channel=CHANNELS)
    def subscribe(self, connection, channel):
        if channel in self.model[connection]:
            with pytest.raises(Objection):
                self.hub.subscribe(connection, channel)
            return
        self.hub.subscribe(connection, channel)
        self.model[connection].add(channel)
        assert len(connection.client.take()) == 1

    @rule(connection=connections, channel=CHANNELS)
    def unsubscribe(self, connection, channel):
        if channel not in self.model[connection]:
            with pytest.raises(Objection):
                self.hub.unsubscribe(connection, channel)
            return
        self.hub.unsubscribe(connection, channel)
        self.model[connection].remove(channel)

    @rule(channels=st.lists(CHANNELS, min_size=1), excluded=st.none() | connections)
    def publish(self, channels, excluded):
        socket_id = excluded.socket_id if excluded else None
        self.hub.publish(APP, channels=channels, name="e", data="{}", socket_id=socket_id)
        for connection, subscribed in self.model.items():
            expected = (
                [] if connection is excluded else [name for name in dict.fromkeys(channels) if name in subscribed]
            )
            assert [message["channel"] for message in connection.client.take()] == expected

    @invariant()
    def counts_are_those_of_the_model(self):
        assert self.hub.connection_count(APP) == len(self.model)
        for channel in ("a", "b", "c"):
            assert self.hub.subscription_count(APP, channel) == sum(channel in each for each in self.model.values())
        assert set(self.hub.occupied_channels(APP)) == self.occupied == set().union(*self.model.values())


HubBesideModel.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestHubBesideModel = HubBesideModel.TestCase

import pytest

from pusherable.server.connections import Connection
from pusherable.server.credentials import Member
from pusherable.server.messages import PING
from pusherable.server.presence import Presence
from pusherable.server.subscriptions import OccupiedChannel
from tests.server.conftest import APP, RecordingClient

ADA, BOB = Member("a", {"name": "Ada"}), Member("b")


def connect():
    return Connection(APP, "1.2", RecordingClient())


@pytest.fixture
def channel():
    return OccupiedChannel("x")


@pytest.fixture
def presence_channel():
    return OccupiedChannel("presence-x", Presence())


class TestAdd:
    def test_a_subscriber_is_told(self, channel):
        """A.18"""
        connection = connect()
        assert channel.add(connection, None) is False
        assert connection.client.received == [
            {"event": "pusher_internal:subscription_succeeded", "channel": "x", "data": "{}"}
        ]
        assert (list(channel.subscribers), channel.user_of(connection)) == ([connection], None)

    def test_a_member_is_told_of_everybody(self, presence_channel):
        """A.32"""
        first, second = connect(), connect()
        presence_channel.add(first, ADA)
        presence_channel.add(second, BOB)
        assert second.client.received == [
            {
                "event": "pusher_internal:subscription_succeeded",
                "channel": "presence-x",
                "data": '{"presence":{"ids":["a","b"],"hash":{"a":{"name":"Ada"},"b":{}},"count":2}}',
            }
        ]

    def test_the_others_are_told_of_a_new_user_only(self, presence_channel):
        """A.33"""
        first, second, third = connect(), connect(), connect()
        presence_channel.add(first, BOB)
        first.client.take()
        assert [presence_channel.add(each, ADA) for each in (second, third)] == [True, False]
        assert first.client.received == [
            {
                "event": "pusher_internal:member_added",
                "channel": "presence-x",
                "data": '{"user_id":"a","user_info":{"name":"Ada"}}',
            }
        ]
        assert [len(each.client.received) for each in (second, third)] == [1, 1]
        assert presence_channel.user_of(third) == "a"


class TestRemove:
    def test_a_subscriber_is_gone_without_a_word(self, channel):
        connection, other = connect(), connect()
        for each in (connection, other):
            channel.add(each, None)
            each.client.take()
        assert channel.remove(connection) is None
        assert (connection.channels, connection.client.received, other.client.received) == (set(), [], [])

    def test_the_others_are_told_when_a_user_has_left(self, presence_channel):
        """A.34"""
        first, second, other = connect(), connect(), connect()
        for connection, member in ((first, ADA), (second, ADA), (other, BOB)):
            presence_channel.add(connection, member)
        for each in (first, second, other):
            each.client.take()
        assert [presence_channel.remove(first), presence_channel.remove(second)] == [None, "a"]
        assert (first.client.received, second.client.received) == ([], [])
        assert other.client.received == [
            {"event": "pusher_internal:member_removed", "channel": "presence-x", "data": '{"user_id":"a"}'}
        ]


class TestBroadcast:
    def test_everybody_but_one_receives_it(self, channel):
        connections = [connect() for _ in range(3)]
        for connection in connections:
            channel.add(connection, None)
            connection.client.take()
        assert [channel.broadcast(PING), channel.broadcast(PING, excluded=connections[0])] == [3, 2]
        assert [len(connection.client.received) for connection in connections] == [1, 2, 2]

    def test_a_stranger_excludes_nobody(self, channel):
        channel.add(connect(), None)
        assert channel.broadcast(PING, excluded=connect()) == 1


class TestTellCount:
    def test_everybody_is_told_how_many_they_are(self, channel):
        """A.45"""
        connection = connect()
        channel.add(connection, None)
        connection.client.take()
        assert channel.tell_count() == 1
        assert connection.client.received == [
            {
                "event": "pusher_internal:subscription_count",
                "channel": "x",
                "data": '{"subscription_count":1}',
            }
        ]

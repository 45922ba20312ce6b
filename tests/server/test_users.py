import json

import pytest

from pusherable.server.connections import Connection
from pusherable.server.credentials import User
from pusherable.server.users import Users
from tests.server.conftest import APP, RecordingClient


@pytest.fixture
def users():
    return Users()


@pytest.fixture
def sign_in(users):
    def sign_in(id, *, watchlist=(), client=None):
        connection = Connection(APP, "1.2", client or RecordingClient())
        users.sign_in(connection, User(id, f"data of {id}"), watchlist=watchlist)
        return connection

    return sign_in


def events(connection):
    """What a connection was told of the users it watches."""
    return [
        json.loads(message["data"])["events"]
        for message in connection.client.take()
        if message["event"] == "pusher_internal:watchlist_events"
    ]


def online(*ids):
    return {"name": "online", "user_ids": list(ids)}


def offline(*ids):
    return {"name": "offline", "user_ids": list(ids)}


class TestSignIn:
    def test_the_connection_is_told_and_belongs_to_the_user(self, users, sign_in):
        """A.47"""
        first, second = sign_in("a"), sign_in("a")
        assert first.client.received == [{"event": "pusher:signin_success", "data": {"user_data": "data of a"}}]
        assert users.connections_of("a") == (first, second)
        assert users.connections_of("b") == ()

    def test_the_watched_are_told_right_after(self, sign_in):
        """A.51"""
        sign_in("a")
        connection = sign_in("me", watchlist=["a", "b", "me"])
        assert [message["event"] for message in connection.client.received] == [
            "pusher:signin_success",
            "pusher_internal:watchlist_events",
        ]
        assert "channel" not in connection.client.received[1]
        assert events(connection) == [[online("a", "me"), offline("b")]]

    def test_a_list_of_none_is_left_out(self, sign_in):
        assert events(sign_in("me", watchlist=["b"])) == [[offline("b")]]

    def test_watchers_hear_of_the_first_connection_only(self, sign_in):
        """A.51"""
        watcher = sign_in("me", watchlist=["a"])
        watcher.client.take()
        sign_in("a")
        sign_in("a")
        assert events(watcher) == [[online("a")]]

    def test_signing_in_again_changes_the_watchlist(self, users, sign_in):
        """A.50"""
        watcher = sign_in("me", watchlist=["a", "b"])
        users.sign_in(watcher, User("me", "new"), watchlist=["b", "c"])
        watcher.client.take()
        for user_id in ("a", "b", "c"):
            sign_in(user_id)
        assert events(watcher) == [[online("b")], [online("c")]]
        assert users.connections_of("me") == (watcher,)


class TestSignOut:
    def test_watchers_hear_of_the_last_connection_only(self, users, sign_in):
        """A.51"""
        watcher, first, second = sign_in("me", watchlist=["a"]), sign_in("a"), sign_in("a")
        watcher.client.take()
        users.sign_out(first)
        assert events(watcher) == []
        users.sign_out(second)
        assert events(watcher) == [[offline("a")]]
        assert users.connections_of("a") == ()

    def test_nobody_in_particular_signs_out_of_nothing(self, users):
        users.sign_out(Connection(APP, "1.2", RecordingClient()))
        assert users.connections_of("a") == ()

    def test_who_has_left_watches_no_more(self, users, sign_in):
        watchers = [sign_in("me", watchlist=["a"]), sign_in("you", watchlist=["a"])]
        users.sign_out(watchers[0])
        for watcher in watchers:
            watcher.client.take()
        sign_in("a")
        assert [events(watcher) for watcher in watchers] == [[], [[online("a")]]]

    def test_nothing_is_left_behind(self, users, sign_in):
        for connection in [sign_in("me", watchlist=["a", "me"]), sign_in("a", watchlist=["me"])]:
            users.sign_out(connection)
        assert (users._connections, users._watchers, users._watched) == ({}, {}, {})

import pytest

from pusherable.server.connections import Connection
from pusherable.server.credentials import Member
from pusherable.server.presence import Presence
from tests.server.conftest import APP, RecordingClient

ADA, BOB = Member("a", {"name": "Ada"}), Member("b")


@pytest.fixture
def presence():
    return Presence()


def connect():
    return Connection(APP, "1.2", RecordingClient())


class TestPresence:
    def test_a_user_comes_once_by_two_connections(self, presence):
        """A.33"""
        first, second, other = connect(), connect(), connect()
        assert [presence.join(*each) for each in ((first, ADA), (second, ADA), (other, BOB))] == [True, False, True]
        assert presence.members == {"a": {"name": "Ada"}, "b": {}}
        assert [presence.user_of(each) for each in (first, second, other)] == ["a", "a", "b"]
        assert (len(presence), "a" in presence, "c" in presence) == (2, True, False)

    def test_a_user_leaves_with_the_last_connection(self, presence):
        """A.34"""
        first, second = connect(), connect()
        presence.join(first, ADA)
        presence.join(second, ADA)
        assert [presence.leave(first), presence.leave(second)] == [None, "a"]
        assert presence.members == {}

    def test_the_latest_info_is_what_counts(self, presence):
        """A.35"""
        first, second = connect(), connect()
        presence.join(first, ADA)
        presence.join(second, Member("a", {"name": "Countess"}))
        presence.leave(second)
        assert presence.members == {"a": {"name": "Countess"}}

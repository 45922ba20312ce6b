import re

from pusherable.server import connections
from pusherable.server.connections import Connection, new_socket_id
from tests.server.conftest import APP


class TestConnection:
    def test_a_new_one_has_nothing_and_is_nobody(self, client):
        connection = Connection(APP, "1.2", client)
        assert (connection.channels, connection.user, connection.rate) == (set(), None, None)


class TestNewSocketId:
    """A.10"""

    def test_the_form_is_two_numbers(self):
        assert re.fullmatch(r"[0-9]+\.[0-9]+", new_socket_id(()))

    def test_an_id_in_use_is_not_given_again(self, monkeypatch):
        numbers = iter([1, 2, 3, 4])
        monkeypatch.setattr(connections.secrets, "randbelow", lambda limit: next(numbers))
        assert new_socket_id({"1.2"}) == "3.4"

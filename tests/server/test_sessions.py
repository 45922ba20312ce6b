import json

import pytest

from pusherable.server.facts import Complained, Connected, Disconnected
from pusherable.server.protocol import Refusal
from pusherable.server.sessions import Session

TARGET = "/app/key?protocol=7&client=js&version=8.6.0&flash=false"


@pytest.fixture
def session(hub, client):
    session = Session(hub, client, target=TARGET)
    client.take()
    return session


class TestOpening:
    def test_the_client_is_told_its_socket_id(self, hub, client, facts):
        """A.6, A.7"""
        session = Session(hub, client, target=TARGET)
        data = json.dumps({"socket_id": session.socket_id, "activity_timeout": 120}, separators=(",", ":"))
        assert client.received == [{"event": "pusher:connection_established", "data": data}]
        assert facts == [Connected("1", session.socket_id)]

    def test_a_client_that_is_refused_never_enters_the_hub(self, hub, client, app, facts):
        with pytest.raises(Refusal):
            Session(hub, client, target="/app/nope")
        assert (client.received, facts, hub.connection_count(app)) == ([], [], 0)


class TestReceive:
    def test_a_command_is_carried_out(self, session, client):
        session.receive('{"event":"pusher:ping","data":{}}')
        assert client.received == [{"event": "pusher:pong", "data": "{}"}]

    def test_a_pong_is_not_answered(self, session, client):
        session.receive('{"event":"pusher:pong","data":{}}')
        assert client.received == []

    def test_an_objection_is_told(self, session, client, facts):
        """A.12"""
        session.receive("{")
        assert client.received == [{"event": "pusher:error", "data": {"code": None, "message": "Invalid JSON"}}]
        assert facts[-1] == Complained("1", session.socket_id, "Invalid JSON")

    def test_a_binary_message_is_objected_to(self, session, client):
        """A.12"""
        session.receive_binary()
        assert client.received == [
            {"event": "pusher:error", "data": {"code": None, "message": "Binary messages are not supported"}}
        ]


class TestSilence:
    """A.14"""

    def test_the_client_is_asked_and_then_given_up(self, session, client):
        assert session.patience == 120
        session.fall_silent()
        assert client.received == [{"event": "pusher:ping", "data": "{}"}]
        assert session.patience == 30
        with pytest.raises(Refusal):
            session.fall_silent()

    @pytest.mark.parametrize("sign", [Session.hear, Session.receive_binary])
    def test_a_sign_of_life_is_enough(self, session, sign):
        session.fall_silent()
        sign(session)
        assert session.patience == 120


class TestEnd:
    def test_the_client_leaves_the_hub_once(self, session, facts):
        facts.clear()
        session.end()
        session.end()
        assert facts == [Disconnected("1", session.socket_id)]

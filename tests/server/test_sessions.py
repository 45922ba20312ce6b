import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pusherable.server.config import ServerConfig
from pusherable.server.credentials import Member
from pusherable.server.facts import ClientEvent, Complained, Connected, Disconnected
from pusherable.server.hub import Hub
from pusherable.server.ledger import OwnLedger
from pusherable.server.protocol import Objection, Refusal
from pusherable.server.sessions import Session
from pusherable.signing import channel_message, sign, user_message
from tests.server.conftest import APP, RecordingClient

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

    def test_a_client_that_names_no_protocol_is_told_of_as_such(self, hub, client, facts):
        """A.3"""
        session = Session(hub, client, target="/app/key?client=wscat")
        assert facts == [Connected("1", session.socket_id, protocol=None)]

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


class TestCommands:
    """What a client says is what the hub does."""

    def signed(self, session, event, message, **data):
        data["auth"] = f"{APP.key}:{sign(APP.secret, message)}"
        session.receive(json.dumps({"event": event, "data": data}))

    def test_a_client_subscribes_and_unsubscribes(self, session, hub):
        session.receive('{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}')
        assert hub.channels(APP) == {"a": 1}
        session.receive('{"event":"pusher:unsubscribe","data":{"channel":"a"}}')
        assert hub.channels(APP) == {}

    def test_a_client_is_a_member(self, session, hub):
        """A.30"""
        data = '{"user_id":1}'
        message = channel_message(session.socket_id, "presence-a", data)
        self.signed(session, "pusher:subscribe", message, channel="presence-a", channel_data=data)
        assert hub.members(APP, "presence-a") == {"1": {}}

    def test_a_client_signs_in_and_hears_what_is_for_its_user(self, session, hub, client):
        """A.47, A.48, A.49"""
        data = '{"id":"7"}'
        self.signed(session, "pusher:signin", user_message(session.socket_id, data), user_data=data)
        session.receive('{"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-7"}}')
        hub.publish(APP, channels=["#server-to-user-7"], name="hi", data="{}")
        assert client.received == [
            {"event": "pusher:signin_success", "data": {"user_data": data}},
            {"event": "pusher_internal:subscription_succeeded", "channel": "#server-to-user-7", "data": "{}"},
            {"event": "hi", "channel": "#server-to-user-7", "data": "{}"},
        ]

    def test_a_client_sends_an_event(self, session, facts):
        """A.38"""
        message = channel_message(session.socket_id, "private-a")
        self.signed(session, "pusher:subscribe", message, channel="private-a")
        session.receive('{"event":"client-hi","channel":"private-a","data":{"a": 1}}')
        assert facts[-1] == ClientEvent("1", "private-a", "client-hi", '{"a":1}', session.socket_id)


class LateLedger(OwnLedger):
    """Tells a client's session later how its commands have turned out: as ``problem`` says."""

    def __init__(self, problem):
        self.problem = problem

    def enter(self, command):
        outcome = asyncio.get_running_loop().create_future()
        if self.problem is None:
            super().enter(command)
            outcome.set_result(True)
        else:
            outcome.set_exception(self.problem)
        return outcome


class TestLateOutcomes:
    """Where there are several processes, the ledger comes to a command later."""

    @pytest.fixture
    def subscribe(self, config, client, facts):
        """Subscribe by a session; what its client and the observers have been told is what comes of it."""

        def subscribe(problem):
            async def run():
                hub = Hub(config, observers=[facts.append], ledger=LateLedger(problem))
                session = Session(hub, client, target=TARGET)
                client.take()
                session.receive('{"event":"pusher:subscribe","data":{"channel":"a"}}')
                await asyncio.sleep(0)

            asyncio.run(run())

        return subscribe

    def test_a_success_needs_no_words(self, subscribe, client):
        subscribe(None)
        assert [message["event"] for message in client.received] == ["pusher_internal:subscription_succeeded"]

    def test_an_objection_is_told(self, subscribe, client, facts):
        subscribe(Objection("No room"))
        assert client.received == [{"event": "pusher:error", "data": {"code": None, "message": "No room"}}]
        assert isinstance(facts[-1], Complained)

    def test_a_fault_of_ours_is_the_end(self, subscribe, client):
        subscribe(RuntimeError("a fault of the server"))
        [refusal] = client.dismissals
        assert (refusal.code, str(refusal), client.received) == (1011, "The server has failed", [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["user_id", "user_info", "id", "watchlist", "channel", "auth", "data"]), inner
        )
    ),
    max_leaves=10,
)


class TestHostileClients:
    """Whatever a client says, it is answered in JSON, and nobody else notices."""

    @settings(max_examples=40, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(["event", "data", "channel", "user_id"]), VALUES),
        st.sampled_from(["pusher:subscribe", "pusher:unsubscribe", "pusher:signin", "client-x", "pusher:x", None]),
        st.sampled_from(["a", "private-a", "presence-a", "#server-to-user-1", "\ud800", None]),
    )
    def test_any_frame_is_taken(self, frame, event, channel):
        hub, client = Hub(ServerConfig(apps=(APP,))), RecordingClient()
        session = Session(hub, client, target=TARGET)
        if event is not None:
            frame["event"] = event
        if channel is not None:
            frame["channel"] = channel
            frame["data"] = {"channel": channel, "auth": "key:x", "x": frame.get("data")}
        session.receive(json.dumps(frame))
        assert hub.channels(APP) in ({}, {"a": 1})

    @settings(max_examples=40, deadline=None)
    @given(VALUES.map(json.dumps) | st.text(st.characters()))
    def test_any_member_is_taken_or_refused(self, data):
        hub, client, other = Hub(ServerConfig(apps=(APP,))), RecordingClient(), RecordingClient()
        hub.subscribe(hub.connect(APP, other), "presence-a", Member("somebody"))
        session = Session(hub, client, target=TARGET)
        other.take()
        auth = f"key:{sign(APP.secret, channel_message(session.socket_id, 'presence-a', data))}"
        fields = {"channel": "presence-a", "auth": auth, "channel_data": data}
        session.receive(json.dumps({"event": "pusher:subscribe", "data": fields}))
        session.end()
        heard = [message["event"].removeprefix("pusher_internal:") for message in other.received]
        assert heard in ([], ["member_added", "member_removed"])
        assert hub.channels(APP) == {"presence-a": 1}

    @settings(max_examples=40, deadline=None)
    @given(VALUES.map(json.dumps) | st.text(st.characters()))
    def test_any_user_is_taken_or_refused(self, data):
        hub, client = Hub(ServerConfig(apps=(APP,))), RecordingClient()
        session = Session(hub, client, target=TARGET)
        auth = f"key:{sign(APP.secret, user_message(session.socket_id, data))}"
        fields = {"auth": auth, "user_data": data}
        session.receive(json.dumps({"event": "pusher:signin", "data": fields}))
        assert client.received[1]["event"] in ("pusher:error", "pusher:signin_success")


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

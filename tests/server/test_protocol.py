import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.config import App, ServerConfig
from pusherable.server.messages import PING, PONG
from pusherable.server.protocol import (
    Conversation,
    Objection,
    Refusal,
    Reply,
    State,
    Subscribe,
    Unsubscribe,
    find_app,
)
from pusherable.signing import channel_message, sign
from tests.server.conftest import APP

SOCKET_ID = "123.456"
CLIENT = "protocol=7&client=js&version=8.6.0&flash=false"


@pytest.fixture
def conversation(config):
    return Conversation(APP, SOCKET_ID, config)


def frame(event, **content):
    return json.dumps({"event": event, **content})


def subscribe(channel, **fields):
    return frame("pusher:subscribe", data={"channel": channel, **fields})


def auth_for(channel, channel_data=None, *, key=APP.key, secret=APP.secret):
    return f"{key}:{sign(secret, channel_message(SOCKET_ID, channel, channel_data))}"


def objection_to(conversation, text):
    with pytest.raises(Objection) as caught:
        conversation.receive(text)
    return caught.value


def outcome_of(call):
    """What a call gives back, or the refusal or objection that it raises."""
    try:
        return call()
    except (Refusal, Objection) as problem:
        return problem


class TestFindApp:
    @pytest.mark.parametrize(
        "query",
        [
            # A.2: pusher-js, pysher, and the same in another order.
            CLIENT,
            "client=Pysher&version=1.0.7&protocol=6",
            "flash=false&unknown=1&protocol=5",
            "protocol=4",
            # A.3: no version is taken for 7.
            "client=wscat",
            "",
        ],
    )
    def test_a_client_that_is_understood_finds_its_app(self, config, query):
        assert find_app(f"/app/key?{query}", config) is APP

    def test_no_query_at_all_finds_the_app(self, config):
        assert find_app("/app/key", config) is APP

    def test_an_escaped_key_finds_its_app(self):
        app = App(id="1", key="a b", secret="s")
        assert find_app("/app/a%20b", ServerConfig(apps=(app,))) is app

    def test_a_path_prefix_is_expected_where_configured(self):
        config = ServerConfig(apps=(APP,), path="/push")
        assert find_app("/push/app/key", config) is APP
        with pytest.raises(Refusal) as caught:
            find_app("/app/key", config)
        assert caught.value.code == 4005

    @pytest.mark.parametrize(
        ("target", "code", "message"),
        [
            # A.3
            ("/app/key?protocol=3", 4007, "Unsupported protocol version: 3"),
            ("/app/key?protocol=8", 4007, "Unsupported protocol version: 8"),
            ("/app/key?protocol=x", 4007, "Unsupported protocol version: x"),
            ("/app/key?protocol=", 4007, "Unsupported protocol version: "),
            ("/app/key?protocol=7.0", 4007, "Unsupported protocol version: 7.0"),
            # A.5
            (
                f"/app/nope?{CLIENT}",
                4001,
                "App key nope not in this cluster. Did you forget to specify the cluster?",
            ),
            (f"//app/key?{CLIENT}", 4005, "Path not found"),
            (f"/app/?{CLIENT}", 4005, "Path not found"),
            (f"/app/key/?{CLIENT}", 4005, "Path not found"),
            ("/", 4005, "Path not found"),
            ("", 4005, "Path not found"),
        ],
    )
    def test_anybody_else_is_refused(self, config, target, code, message):
        with pytest.raises(Refusal) as caught:
            find_app(target, config)
        assert (caught.value.code, str(caught.value)) == (code, message)

    def test_a_disabled_app_is_refused(self):
        """A.5"""
        app = App(id="1", key="key", secret="s", is_enabled=False)
        with pytest.raises(Refusal) as caught:
            find_app("/app/key", ServerConfig(apps=(app,)))
        assert (caught.value.code, str(caught.value)) == (4003, "The app is disabled")

    @given(st.text())
    def test_any_target_finds_an_app_or_is_refused(self, target):
        outcome = outcome_of(lambda: find_app(target, ServerConfig(apps=(APP,))))
        assert outcome is APP or (isinstance(outcome, Refusal) and 4000 <= outcome.code < 4100)


class TestReceive:
    @pytest.mark.parametrize("data", [{}, "", None, "{}"])
    def test_a_ping_is_answered(self, conversation, data):
        """A.13: pusher-js sends an object, pysher an empty text."""
        assert conversation.receive(frame("pusher:ping", data=data)) == Reply(PONG)

    def test_a_ping_without_data_is_answered(self, conversation):
        assert conversation.receive(frame("pusher:ping")) == Reply(PONG)

    def test_a_pong_asks_for_nothing(self, conversation):
        """A.15"""
        assert conversation.receive(frame("pusher:pong", data={})) is None

    @pytest.mark.parametrize("fields", [{"auth": ""}, {}, {"auth": None, "channel_data": None}])
    def test_a_public_channel_needs_no_auth(self, conversation, fields):
        """A.17"""
        assert conversation.receive(subscribe("post_1", **fields)) == Subscribe("post_1")

    def test_an_unsubscription_is_one(self, conversation):
        """A.21"""
        text = frame("pusher:unsubscribe", data={"channel": "post_1"})
        assert conversation.receive(text) == Unsubscribe("post_1")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            # A.12
            ("", "Invalid JSON"),
            ("{", "Invalid JSON"),
            ("[" * 60_000, "Invalid JSON"),
            ('{"a":' * 10_000, "Invalid JSON"),
            ("9" * 10_000, "Invalid JSON"),
            ("[]", "A message is a JSON object"),
            ("null", "A message is a JSON object"),
            ('"pusher:ping"', "A message is a JSON object"),
            ("{}", "A message needs an event, which is a string"),
            ('{"event":null}', "A message needs an event, which is a string"),
            ('{"event":["pusher:ping"]}', "A message needs an event, which is a string"),
            ('{"event":""}', "A message needs an event, which is a string"),
            # A.40
            ('{"event":"nonsense"}', "Unsupported event received on socket: nonsense"),
            (
                frame("client-hi", channel="private-x", data={}),
                "To send client events, you must enable this feature in the Settings page of your dashboard.",
            ),
            # A.43
            (frame("pusher:error", data={}), "Unsupported event received on socket: pusher:error"),
            (
                frame("pusher_internal:member_added", channel="c", data={}),
                "Unsupported event received on socket: pusher_internal:member_added",
            ),
            ('{"event":"pusher:subscribe"}', "The data of pusher:subscribe is an object with a channel"),
            (frame("pusher:subscribe", data="c"), "The data of pusher:subscribe is an object with a channel"),
            (frame("pusher:subscribe", data={}), "The data of pusher:subscribe names a channel, which is a string"),
            (
                frame("pusher:unsubscribe", data={"channel": 1}),
                "The data of pusher:unsubscribe names a channel, which is a string",
            ),
        ],
    )
    def test_nonsense_is_objected_to(self, conversation, text, message):
        objection = objection_to(conversation, text)
        assert str(objection) == message
        # A.27: a code of 4000-4099 would make pysher go away for good.
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}}
        ]

    def test_a_long_event_name_is_not_sent_back_whole(self, conversation):
        objection = objection_to(conversation, frame("x" * 60_000))
        assert str(objection) == f"Unsupported event received on socket: {'x' * 200}…"

    @given(st.text() | st.builds(json.dumps, st.recursive(st.none() | st.booleans() | st.text(), st.lists)))
    def test_any_other_text_is_objected_to(self, text):
        conversation = Conversation(APP, SOCKET_ID, ServerConfig(apps=(APP,)))
        assert isinstance(outcome_of(lambda: conversation.receive(text)), Objection)

    @given(
        st.sampled_from(["pusher:subscribe", "pusher:unsubscribe", "pusher:ping", "pusher:signin", "client-x", ""]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(st.characters()),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["channel", "auth", "channel_data", "x"]), inner)
            ),
        ),
    )
    def test_any_data_is_understood_or_objected_to(self, event, data):
        conversation = Conversation(APP, SOCKET_ID, ServerConfig(apps=(APP,)))
        outcome = outcome_of(lambda: conversation.receive(json.dumps({"event": event, "data": data})))
        assert isinstance(outcome, Reply | Subscribe | Unsubscribe | Objection)


class TestChannelNames:
    @pytest.mark.parametrize("channel", ["", "with space", "é", "#x", "a/b", "x" * 165, "a\nb", "\ud800"])
    def test_an_illegal_name_is_objected_to(self, conversation, channel):
        """A.23, A.28"""
        objection = objection_to(conversation, subscribe(channel))
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": str(objection)}},
            {
                "event": "pusher:subscription_error",
                "channel": channel,
                "data": {"type": "InvalidChannel", "error": str(objection), "status": 400},
            },
        ]

    @pytest.mark.parametrize("channel", ["x" * 164, "privateer", "presence", "Private-x", "a-private-x", "a_=@,.;-Z9"])
    def test_a_name_without_an_exact_prefix_is_public(self, conversation, channel):
        """A.23, A.24"""
        assert conversation.receive(subscribe(channel)) == Subscribe(channel)

    @pytest.mark.parametrize(
        ("channel", "prefix"),
        [
            ("presence-x", "presence-"),
            ("cache-x", "cache-"),
            ("private-cache-x", "private-cache-"),
            ("private-encrypted-cache-x", "private-encrypted-cache-"),
            ("presence-cache-x", "presence-cache-"),
            ("#server-to-user-1", "#server-to-user-"),
        ],
    )
    def test_a_kind_that_is_not_served_is_objected_to(self, conversation, channel, prefix):
        message = f"This version of the server does not serve {prefix}… channels yet: {channel}"
        objection = objection_to(conversation, subscribe(channel, auth="key:x"))
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}},
            {
                "event": "pusher:subscription_error",
                "channel": channel,
                "data": {"type": "NotSupported", "error": message, "status": 501},
            },
        ]


class TestPrivateChannels:
    @pytest.mark.parametrize("channel", ["private-x", "private-encrypted-x"])
    def test_a_signed_subscription_is_one(self, conversation, channel):
        """A.25, A.29"""
        assert conversation.receive(subscribe(channel, auth=auth_for(channel))) == Subscribe(channel)

    def test_channel_data_is_part_of_what_is_signed(self, conversation):
        """A.25"""
        data = '{"user_id":1}'
        signed = subscribe("private-x", auth=auth_for("private-x", data), channel_data=data)
        assert conversation.receive(signed) == Subscribe("private-x")
        unsigned = subscribe("private-x", auth=auth_for("private-x"), channel_data=data)
        assert str(objection_to(conversation, unsigned)).startswith(
            'Invalid signature: Expected HMAC SHA256 hex digest of 123.456:private-x:{"user_id":1}, but got '
        )

    def test_channel_data_of_null_counts_as_absent(self, conversation):
        """A.17"""
        text = subscribe("private-x", auth=auth_for("private-x"), channel_data=None)
        assert conversation.receive(text) == Subscribe("private-x")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            # A.26
            ({}, "Auth info required to subscribe to private-x"),
            ({"auth": ""}, "Auth info required to subscribe to private-x"),
            ({"auth": None}, "Auth info required to subscribe to private-x"),
            ({"auth": {}}, "Auth info required to subscribe to private-x"),
            (
                {"auth": "nonsense"},
                "Auth value for subscription to private-x is invalid: should be of format 'key:signature'",
            ),
            ({"auth": auth_for("private-x", key="other")}, "Invalid key in subscription auth data: 'other'"),
            (
                {"auth": "key:0000"},
                "Invalid signature: Expected HMAC SHA256 hex digest of 123.456:private-x, but got 0000",
            ),
            (
                {"auth": "key:\ud800é"},
                "Invalid signature: Expected HMAC SHA256 hex digest of 123.456:private-x, but got \ud800é",
            ),
            (
                {"auth": auth_for("private-x"), "channel_data": {}},
                "channel_data for subscription to private-x is not a string",
            ),
        ],
    )
    def test_an_unsigned_subscription_is_objected_to(self, conversation, fields, message):
        objection = objection_to(conversation, subscribe("private-x", **fields))
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}},
            {
                "event": "pusher:subscription_error",
                "channel": "private-x",
                "data": {"type": "AuthError", "error": message, "status": 401},
            },
        ]

    def test_the_signature_of_another_connection_is_not_enough(self, config):
        other = Conversation(APP, "9.9", config)
        with pytest.raises(Objection, match="Invalid signature"):
            other.receive(subscribe("private-x", auth=auth_for("private-x")))

    def test_a_signature_by_another_secret_is_not_enough(self, conversation):
        forged = subscribe("private-x", auth=auth_for("private-x", secret="another"))
        assert "Invalid signature" in str(objection_to(conversation, forged))

    def test_the_secret_is_in_no_answer(self, conversation):
        objection = objection_to(conversation, subscribe("private-x", auth="key:0000"))
        assert not any(APP.secret in reply.text for reply in objection.replies)

    def test_the_channel_is_told_nothing_where_that_is_switched_off(self):
        """A.28: as the hosted service has it."""
        config = ServerConfig(apps=(APP,), subscription_errors=False)
        objection = objection_to(Conversation(APP, SOCKET_ID, config), subscribe("private-x"))
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {
                "event": "pusher:error",
                "data": {"code": None, "message": "Auth info required to subscribe to private-x"},
            }
        ]


class TestSilence:
    """A.14"""

    def test_a_new_conversation_waits_for_the_activity_timeout(self, conversation):
        assert (conversation.state, conversation.patience) == (State.OPEN, 120)

    def test_the_first_silence_is_a_ping(self, conversation):
        assert conversation.fall_silent() == Reply(PING)
        assert (conversation.state, conversation.patience) == (State.AWAITING_PONG, 30)

    def test_the_second_silence_is_the_end(self, conversation):
        conversation.fall_silent()
        with pytest.raises(Refusal) as caught:
            conversation.fall_silent()
        assert (caught.value.code, str(caught.value)) == (4201, "Pong reply not received in time")

    @pytest.mark.parametrize("text", [frame("pusher:pong", data={}), frame("pusher:ping"), subscribe("c")])
    def test_any_message_ends_the_silence(self, conversation, text):
        conversation.fall_silent()
        conversation.receive(text)
        assert conversation.state is State.OPEN

    def test_even_nonsense_ends_the_silence(self, conversation):
        conversation.fall_silent()
        objection_to(conversation, "{")
        assert conversation.state is State.OPEN

    def test_a_sign_of_life_ends_the_silence(self, conversation):
        conversation.fall_silent()
        conversation.hear()
        assert conversation.state is State.OPEN

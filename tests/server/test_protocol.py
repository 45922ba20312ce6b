import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.channels import ChannelKind
from pusherable.server.config import App, ServerConfig
from pusherable.server.credentials import Member, User
from pusherable.server.messages import PING, PONG
from pusherable.server.protocol import (
    CloseCode,
    Conversation,
    ErrorCode,
    Objection,
    Refusal,
    Relay,
    Reply,
    SignIn,
    State,
    Subscribe,
    Unsubscribe,
    find_app,
)
from pusherable.signing import channel_message, sign, user_message
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


def sign_in(user_data):
    auth = f"{APP.key}:{sign(APP.secret, user_message(SOCKET_ID, user_data))}"
    return frame("pusher:signin", data={"auth": auth, "user_data": user_data})


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
        """A.1"""
        assert find_app(f"/app/key?{query}", config)[0] is APP

    def test_no_query_at_all_finds_the_app(self, config):
        assert find_app("/app/key", config) == (APP, None)

    @pytest.mark.parametrize(("query", "version"), [("protocol=6", "6"), ("protocol=7&protocol=4", "7"), ("x", None)])
    def test_the_version_that_it_names_is_told(self, config, query, version):
        """A.3"""
        assert find_app(f"/app/key?{query}", config) == (APP, version)

    def test_an_escaped_key_finds_its_app(self):
        app = App(id="1", key="a b", secret="s")
        assert find_app("/app/a%20b", ServerConfig(apps=(app,))) == (app, None)

    def test_a_path_prefix_is_expected_where_configured(self):
        config = ServerConfig(apps=(APP,), path="/push")
        assert find_app("/push/app/key", config) == (APP, None)
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
        assert outcome == (APP, None) or (isinstance(outcome, Refusal) and 4000 <= outcome.code < 4100)


class TestCloseCode:
    def test_none_but_a_missing_pong_brings_a_client_back_at_once(self):
        """A.55: whoever is refused each time and comes back at once would do nothing else."""
        assert [code for code in CloseCode if 4200 <= code < 4300] == [CloseCode.NO_PONG]

    def test_none_is_of_those_that_are_only_said(self):
        """A.41: after a close with one of them pusher-js never comes back."""
        assert [code for code in CloseCode if code >= 4300] == []
        assert [int(code) for code in ErrorCode] == [4301, 4302]


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
            # A.43
            (frame("pusher:error", data={}), "Unsupported event received on socket: pusher:error"),
            (
                frame("pusher_internal:member_added", channel="c", data={}),
                "Unsupported event received on socket: pusher_internal:member_added",
            ),
            ('{"event":"pusher:subscribe"}', "The data of pusher:subscribe is an object"),
            (frame("pusher:subscribe", data="c"), "The data of pusher:subscribe is an object"),
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
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["channel", "auth", "channel_data", "user_data", "x"]), inner)
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

    @pytest.mark.parametrize("channel", ["x" * 60_000, f"private-{'x' * 60_000}", f"#server-to-user-{'x' * 60_000}"])
    def test_a_name_too_long_to_be_quoted_is_not_sent_back(self, conversation, channel):
        [reply] = objection_to(conversation, subscribe(channel)).replies
        assert json.loads(reply.text)["event"] == "pusher:error"
        assert len(reply.text) < 400

    def test_a_cache_channel_is_public(self, conversation):
        """A.24, A.44"""
        assert conversation.receive(subscribe("cache-x", auth="")) == Subscribe("cache-x")

    @pytest.mark.parametrize("channel", ["x" * 164, "privateer", "presence", "Private-x", "a-private-x", "a_=@,.;-Z9"])
    def test_a_name_without_an_exact_prefix_is_public(self, conversation, channel):
        """A.23, A.24"""
        assert conversation.receive(subscribe(channel)) == Subscribe(channel)


class TestPrivateChannels:
    @pytest.mark.parametrize(
        "channel", ["private-x", "private-encrypted-x", "private-cache-x", "private-encrypted-cache-x"]
    )
    def test_a_signed_subscription_is_one(self, conversation, channel):
        """A.25, A.29, A.44"""
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

    @pytest.mark.parametrize("kind", [kind for kind in ChannelKind if kind.needs_authorization])
    def test_no_kind_of_them_is_open_to_everybody(self, conversation, kind):
        """A.24, A.25, A.29, A.30"""
        channel = f"{kind.prefix}x"
        for fields in ({}, {"auth": auth_for("private-y")}, {"channel_data": '{"user_id":"1"}'}):
            objection = objection_to(conversation, subscribe(channel, **fields))
            assert json.loads(objection.replies[0].text)["data"]["code"] is None

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


class TestPresenceChannels:
    @pytest.mark.parametrize("channel", ["presence-x", "presence-cache-x"])
    def test_a_signed_member_comes_in(self, conversation, channel):
        """A.30"""
        data = '{"user_id": 10, "user_info": {"name": "Mr. Channels"}}'
        text = subscribe(channel, auth=auth_for(channel, data), channel_data=data)
        assert conversation.receive(text) == Subscribe(channel, Member("10", {"name": "Mr. Channels"}))

    def test_the_documented_vector_is_accepted(self):
        """B.10"""
        app = App(id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8")
        conversation = Conversation(app, "1234.1234", ServerConfig(apps=(app,)))
        data = '{"user_id":10,"user_info":{"name":"Mr. Channels"}}'
        auth = "278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
        text = subscribe("presence-foobar", auth=auth, channel_data=data)
        assert conversation.receive(text) == Subscribe("presence-foobar", Member("10", {"name": "Mr. Channels"}))

    def test_a_signed_in_user_needs_no_channel_data(self, conversation):
        """A.31"""
        conversation.receive(sign_in('{"id":"7","user_info":{"name":"Ada"}}'))
        text = subscribe("presence-x", auth=auth_for("presence-x"))
        assert conversation.receive(text) == Subscribe("presence-x", Member("7", {"name": "Ada"}))

    def test_nobody_in_particular_is_refused(self, conversation):
        """A.31"""
        objection = objection_to(conversation, subscribe("presence-x", auth=auth_for("presence-x")))
        assert str(objection) == "channel_data is required to subscribe to presence-x, or signing in before"

    def test_a_member_over_the_limits_is_told_which(self, conversation):
        """A.36"""
        data = json.dumps({"user_id": "x" * 129})
        text = subscribe("presence-x", auth=auth_for("presence-x", data), channel_data=data)
        message = "The user_id has 129 characters; 128 is the limit"
        assert [json.loads(reply.text) for reply in objection_to(conversation, text).replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}},
            {
                "event": "pusher:subscription_error",
                "channel": "presence-x",
                "data": {"type": "LimitReached", "error": message, "status": 413},
            },
        ]


class TestSignIn:
    def test_a_signed_user_is_one(self, conversation):
        """A.46"""
        data = '{"id":"7","watchlist":["8","9"]}'
        assert conversation.receive(sign_in(data)) == SignIn(User("7", data, watchlist=("8", "9")))

    def test_the_documented_vector_is_accepted(self):
        """B.10"""
        app = App(id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8")
        conversation = Conversation(app, "1234.1234", ServerConfig(apps=(app,)))
        auth = "278d425bdf160c739803:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
        data = '{"id":"12345"}'
        text = frame("pusher:signin", data={"auth": auth, "user_data": data})
        assert conversation.receive(text) == SignIn(User("12345", data))

    def test_the_same_user_may_sign_in_again(self, conversation):
        """A.50"""
        conversation.receive(sign_in('{"id":"7"}'))
        assert conversation.receive(sign_in('{"id":"7","x":1}')) == SignIn(User("7", '{"id":"7","x":1}'))

    def test_another_user_may_not(self, conversation):
        """A.50"""
        conversation.receive(sign_in('{"id":"7"}'))
        objection = objection_to(conversation, sign_in('{"id":"8"}'))
        assert str(objection) == "This connection is signed in as another user"
        own = subscribe("#server-to-user-7", auth="")
        assert conversation.receive(own) == Subscribe("#server-to-user-7")

    def test_a_forged_user_is_objected_to_and_the_connection_stays(self, conversation):
        """A.27, A.50"""
        text = frame("pusher:signin", data={"auth": "key:0000", "user_data": '{"id":"7"}'})
        objection = objection_to(conversation, text)
        message = 'Invalid signature: Expected HMAC SHA256 hex digest of 123.456::user::{"id":"7"}, but got 0000'
        assert [json.loads(reply.text) for reply in objection.replies] == [
            {"event": "pusher:error", "data": {"code": None, "message": message}}
        ]

    def test_a_long_id_is_objected_to(self, conversation):
        """A.36"""
        objection = objection_to(conversation, sign_in(json.dumps({"id": "x" * 129})))
        assert str(objection) == "The id in user_data has 129 characters; 128 is the limit"


class TestServerToUserChannels:
    """A.48"""

    @pytest.mark.parametrize("id", ["7", "a b", "é@x", "#"])
    def test_the_user_may_subscribe(self, conversation, id):
        conversation.receive(sign_in(json.dumps({"id": id})))
        text = subscribe(f"#server-to-user-{id}", auth="")
        assert conversation.receive(text) == Subscribe(f"#server-to-user-{id}")

    @pytest.mark.parametrize("channel", ["#server-to-user-8", "#server-to-user-", "#server-to-user-77"])
    def test_another_user_may_not(self, conversation, channel):
        conversation.receive(sign_in('{"id":"7"}'))
        objection = objection_to(conversation, subscribe(channel, auth=auth_for(channel)))
        assert str(objection) == f"Only the user itself, signed in, may subscribe to {channel}"

    def test_nobody_in_particular_may_not(self, conversation):
        text = subscribe("#server-to-user-7", auth=auth_for("#server-to-user-7"))
        message = "Only the user itself, signed in, may subscribe to #server-to-user-7"
        assert str(objection_to(conversation, text)) == message


class TestClientEvents:
    @pytest.mark.parametrize("channel", ["private-x", "presence-x", "private-encrypted-x", "private-cache-x"])
    def test_a_client_event_is_to_be_relayed(self, conversation, channel):
        """A.37, A.42"""
        text = frame("client-hi", channel=channel, data='{"a":1}')
        assert conversation.receive(text) == Relay(channel, "client-hi", '{"a":1}')

    @pytest.mark.parametrize(
        ("data", "text"), [({"a": ["é"]}, '{"a":["é"]}'), (None, "null"), (1.5, "1.5"), ("", ""), ("x", "x")]
    )
    def test_data_becomes_text_once(self, conversation, data, text):
        """A.38"""
        assert conversation.receive(frame("client-hi", channel="private-x", data=data)) == Relay(
            "private-x", "client-hi", text
        )

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            # A.40
            ({"channel": "private-x"}, "Invalid client event (must contain channel and data)"),
            ({"data": {}}, "Invalid client event (must contain channel and data)"),
            ({"channel": 1, "data": {}}, "Invalid client event (must contain channel and data)"),
            # A.37
            (
                {"channel": "x", "data": {}},
                "Client event rejected - only supported on private and presence channels",
            ),
            (
                {"channel": "#server-to-user-7", "data": {}},
                "Client event rejected - only supported on private and presence channels",
            ),
            (
                {"channel": "private-x", "data": "é" * 5_120 + "x"},
                "The data of client-hi has 10241 bytes; 10240 is the limit",
            ),
        ],
    )
    def test_what_breaks_a_rule_is_objected_to(self, conversation, content, message):
        assert str(objection_to(conversation, frame("client-hi", **content))) == message

    def test_the_largest_event_is_relayed(self, conversation):
        """A.37"""
        name, data = "client-" + "x" * 193, "é" * 5_120
        text = frame(name, channel="private-x", data=data)
        assert conversation.receive(text) == Relay("private-x", name, data)

    def test_a_longer_name_is_objected_to(self, conversation):
        """A.37"""
        name = "client-" + "x" * 194
        objection = objection_to(conversation, frame(name, channel="private-x", data={}))
        assert str(objection) == f"The event name {name[:200]}… has 201 characters; 200 is the limit"

    def test_an_app_may_do_without(self):
        """A.40"""
        app = replace(APP, has_client_events=False)
        conversation = Conversation(app, SOCKET_ID, ServerConfig(apps=(app,)))
        assert str(objection_to(conversation, frame("client-hi", channel="private-x", data={}))) == (
            "To send client events, you must enable this feature in the Settings page of your dashboard."
        )

    @pytest.mark.parametrize("data", ["NaN", "-Infinity", "1e999", "[" * 900 + "]" * 900])
    def test_data_that_others_could_not_read_is_objected_to(self, conversation, data):
        """A.12"""
        text = '{"event":"client-hi","channel":"private-x","data":' + data + "}"
        outcome = outcome_of(lambda: conversation.receive(text))
        # How deep is too deep is the interpreter's to say.
        assert str(outcome) == "Invalid JSON" or outcome == Relay("private-x", "client-hi", data)

    def test_data_too_deep_to_be_written_is_objected_to(self, conversation, monkeypatch):
        def fail(value):
            raise ValueError("The JSON is nested too deeply")

        monkeypatch.setattr("pusherable.server.protocol.encode", fail)
        assert str(objection_to(conversation, frame("client-hi", channel="private-x", data={}))) == "Invalid JSON"


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

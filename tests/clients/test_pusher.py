"""The Python package ``pusher``: every method of it, beside bare WebSocket clients."""

import base64
import json
from contextlib import ExitStack

import pytest
from nacl.secret import SecretBox
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.clients.site import KEY

#: Seconds until what never comes true fails.
PATIENCE = 15

GRACE = {"user_id": "grace", "user_info": {"name": "Grace"}}


class Socket:
    """A connected client that says and hears nothing by itself."""

    def __init__(self, socket):
        self._socket = socket
        self.socket_id = json.loads(self.hear("pusher:connection_established"))["socket_id"]

    def hear(self, event, channel=None):
        """The data of the next message, which has to be this one."""
        message = json.loads(self._socket.recv(timeout=PATIENCE))
        assert (message.pop("event"), message.pop("channel", None)) == (event, channel), message
        data = message.pop("data", None)
        assert message == {}
        return data

    def say(self, event, data):
        self._socket.send(json.dumps({"event": event, "data": data}))

    def subscribe(self, channel, **auth):
        self.say("pusher:subscribe", {"channel": channel, **auth})
        return self.hear("pusher_internal:subscription_succeeded", channel)

    def is_closed_with(self):
        with pytest.raises(ConnectionClosed) as closed:
            self._socket.recv(timeout=PATIENCE)
        return closed.value.rcvd.code


@pytest.fixture
def open_socket(server):
    address = f"ws://127.0.0.1:{server.port}/app/{KEY}?protocol=7"
    with ExitStack() as opened:
        yield lambda: Socket(opened.enter_context(connect(address)))


class TestTrigger:
    def test_reaches_every_channel_but_not_the_excluded_socket(self, pusher, open_socket):
        """B.12, B.15"""
        one, other = open_socket(), open_socket()
        for channel in ("a", "b"):
            one.subscribe(channel)
            other.subscribe(channel)
        assert pusher.trigger("a", "view", {"é": "\u2028"}) == {}
        assert pusher.trigger(["a", "b", "nobody-is-here"], "update", "text", one.socket_id) == {}
        assert pusher.trigger(["b"], "end", []) == {}
        assert json.loads(one.hear("view", "a")) == {"é": "\u2028"}
        assert one.hear("end", "b") == "[]"
        assert json.loads(other.hear("view", "a")) == {"é": "\u2028"}
        assert [other.hear("update", "a"), other.hear("update", "b"), other.hear("end", "b")] == ["text", "text", "[]"]

    def test_batch_arrives_in_order(self, pusher, open_socket):
        """B.18"""
        socket = open_socket()
        socket.subscribe("a")
        socket.subscribe("b")
        events = [
            {"channel": "a", "name": "one", "data": {"n": 1}},
            {"channel": "b", "name": "two", "data": "2"},
            {"channel": "a", "name": "not-for-it", "data": "", "socket_id": socket.socket_id},
            {"channel": "a", "name": "three", "data": ""},
        ]
        assert pusher.trigger_batch(events) == {}
        heard = [socket.hear("one", "a"), socket.hear("two", "b"), socket.hear("three", "a")]
        assert heard == ['{"n": 1}', "2", ""]

    def test_to_a_user_arrives_where_it_is_signed_in(self, pusher, open_socket):
        """A.46 to A.49"""
        socket = open_socket()
        signed = pusher.authenticate_user(socket.socket_id, {"id": "grace"})
        socket.say("pusher:signin", signed)
        assert socket.hear("pusher:signin_success") == {"user_data": '{"id": "grace"}'}
        socket.subscribe("#server-to-user-grace")
        assert pusher.send_to_user("grace", "letter", {"from": "ada"}) == {}
        assert socket.hear("letter", "#server-to-user-grace") == '{"from": "ada"}'


class TestAuthenticate:
    def test_opens_a_private_channel(self, pusher, open_socket):
        """A.25"""
        socket = open_socket()
        assert socket.subscribe("private-a", **pusher.authenticate("private-a", socket.socket_id)) == "{}"

    def test_opens_a_presence_channel(self, pusher, open_socket):
        """A.25, A.32"""
        socket = open_socket()
        data = socket.subscribe("presence-a", **pusher.authenticate("presence-a", socket.socket_id, GRACE))
        presence = {"ids": ["grace"], "hash": {"grace": {"name": "Grace"}}, "count": 1}
        assert json.loads(data) == {"presence": presence}

    def test_opens_an_encrypted_channel_whose_events_pass_untouched(self, pusher, open_socket):
        """A.29"""
        socket = open_socket()
        auth = pusher.authenticate("private-encrypted-a", socket.socket_id)
        box = SecretBox(base64.b64decode(auth.pop("shared_secret")))
        socket.subscribe("private-encrypted-a", **auth)
        pusher.trigger("private-encrypted-a", "view", {"title": "très secret"})
        sealed = {
            name: base64.b64decode(text)
            for name, text in json.loads(socket.hear("view", "private-encrypted-a")).items()
        }
        assert json.loads(box.decrypt(sealed["ciphertext"], sealed["nonce"])) == {"title": "très secret"}

    def test_for_another_socket_opens_nothing(self, pusher, open_socket):
        """A.26"""
        socket, other = open_socket(), open_socket()
        auth = pusher.authenticate("private-a", other.socket_id)
        socket.say("pusher:subscribe", {"channel": "private-a", **auth})
        error = socket.hear("pusher:error")
        assert error == {
            "code": None,
            "message": f"Invalid signature: Expected HMAC SHA256 hex digest of {socket.socket_id}:private-a, "
            f"but got {auth['auth'].partition(':')[2]}",
        }


class TestQuestions:
    def test_are_answered(self, pusher, open_socket):
        """B.6, B.19 to B.21"""
        ada, grace, second = open_socket(), open_socket(), open_socket()
        ada.subscribe("questions-a")
        grace.subscribe("questions-a")
        for socket in (grace, second):
            auth = pusher.authenticate("presence-questions", socket.socket_id, GRACE)
            socket.subscribe("presence-questions", **auth)
        channels = pusher.channels_info()["channels"]
        assert {name: channels[name] for name in ("questions-a", "presence-questions")} == {
            "questions-a": {},
            "presence-questions": {},
        }
        assert pusher.channels_info("questions-", ["subscription_count"]) == {
            "channels": {"questions-a": {"subscription_count": 2}}
        }
        assert pusher.channels_info("presence-questions", ["user_count"]) == {
            "channels": {"presence-questions": {"user_count": 1}}
        }
        assert pusher.channel_info("questions-a", ["subscription_count"]) == {
            "occupied": True,
            "subscription_count": 2,
        }
        assert pusher.channel_info("presence-questions", ["user_count", "subscription_count"]) == {
            "occupied": True,
            "user_count": 1,
            "subscription_count": 2,
        }
        assert pusher.channel_info("never-seen", ["subscription_count"]) == {
            "occupied": False,
            "subscription_count": 0,
        }
        assert pusher.users_info("presence-questions") == {"users": [{"id": "grace"}]}
        assert pusher.users_info("presence-never-seen") == {"users": []}

    def test_about_a_cache_are_answered(self, pusher):
        """B.20"""
        pusher.trigger("cache-questions", "view", {"n": 1})
        answer = pusher.channel_info("cache-questions", ["cache"])
        assert answer["occupied"] is False
        assert answer["cache"]["data"] == '{"n": 1}'
        assert 1_700 < answer["cache"]["ttl"] <= 1_800


class TestTerminateUserConnections:
    def test_closes_those_that_are_signed_in(self, pusher, open_socket):
        """A.53, B.2, B.22"""
        gone, present = open_socket(), open_socket()
        gone.say("pusher:signin", pusher.authenticate_user(gone.socket_id, {"id": "leaver"}))
        gone.hear("pusher:signin_success")
        member = pusher.authenticate("presence-a", present.socket_id, {"user_id": "leaver"})
        present.subscribe("presence-a", **member)
        assert pusher.terminate_user_connections("leaver") == {}
        assert gone.hear("pusher:error") == {"code": 4009, "message": "The user's connections were terminated"}
        assert gone.is_closed_with() == 4009
        present.say("pusher:ping", {})
        assert present.hear("pusher:pong") == "{}"
        assert pusher.terminate_user_connections("nobody") == {}


class TestValidateWebhook:
    def test_accepts_what_the_server_sends(self, pusher, open_socket, webhooks):
        """C.1 to C.4"""
        socket = open_socket()
        socket.subscribe("presence-hooked", **pusher.authenticate("presence-hooked", socket.socket_id, GRACE))
        socket.say("pusher:unsubscribe", {"channel": "presence-hooked"})
        last = {"name": "channel_vacated", "channel": "presence-hooked"}
        validated = [pusher.validate_webhook(*webhook) for webhook in webhooks.wait_for(last)]
        assert all(validated)
        events = [event for content in validated for event in content["events"]]
        assert [event for event in events if event["channel"] == "presence-hooked"] == [
            {"name": "channel_occupied", "channel": "presence-hooked"},
            {"name": "member_added", "channel": "presence-hooked", "user_id": "grace"},
            {"name": "member_removed", "channel": "presence-hooked", "user_id": "grace"},
            last,
        ]

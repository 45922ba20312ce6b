import base64
import hashlib
import json
import os
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from nacl.secret import SecretBox
from pusher import Pusher
from pusher.errors import PusherBadAuth

from pusherable import signing
from pusherable.client import (
    _import_once,
    _importing,
    channel_info,
    channel_shared_secret,
    deliver,
    disconnect_user,
    get_client,
    members,
)
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed, InvalidChannel
from tests.answering import fresh_clients, service

__all__ = ["fresh_clients", "service"]

EVENT = Event(("post_1", "post"), "view", '{"a":"ä"}')
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


class TestGetClient:
    def test_it_is_the_configured_pusher(self, settings):
        settings.PUSHER_TIMEOUT = 2
        pusher = get_client()
        assert isinstance(pusher, Pusher)
        inner = pusher._pusher_client
        assert (inner.app_id, inner.key, inner.host, inner.port, inner.ssl, inner.timeout) == (
            ("1", "test-key", "127.0.0.1", 8001, False, 2.0)
        )

    def test_same_settings_give_the_same_client(self):
        assert get_client() is get_client()

    def test_other_settings_give_another(self, settings):
        first = get_client()
        settings.PUSHER_SECRET = "other"
        assert get_client() is not first

    def test_ipv6_host_is_bracketed(self, settings):
        settings.PUSHER_HOST = "::1"
        assert get_client()._pusher_client.host == "[::1]"

    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_no_fork_comes_in_the_middle_of_an_import(self):
        get_client()
        _import_once.cache_clear()
        child = os.fork()
        if not child:
            os._exit(_importing.locked())
        assert os.waitpid(child, 0)[1] == 0
        assert not _importing.locked()

    def test_no_service_is_an_error(self, settings):
        settings.PUSHER_KEY = ""
        with pytest.raises(SettingsError):
            get_client()

    def test_its_own_calls_work(self, service):
        service.answer = (200, b'{"channels":{}}')
        assert get_client().trigger("post_1", "view", {"a": 1}) == {"channels": {}}
        assert get_client().trigger_batch([{"channel": "a", "name": "b", "data": "c"}]) == {"channels": {}}

    def test_its_own_errors_are_raised(self, service):
        service.answer = (401, b"no")
        with pytest.raises(PusherBadAuth) as refusal:
            get_client().trigger("post_1", "view", {})
        assert refusal.value.status == 401

    def test_encoder_of_the_project_is_its_encoder(self, service, settings):
        class Encoder(json.JSONEncoder):
            def default(self, o):
                return "encoded"

        settings.PUSHERABLE_JSON_ENCODER = Encoder
        get_client().trigger("post_1", "view", {"a": object()})
        assert json.loads(json.loads(service.requests[0][2])["data"]) == {"a": "encoded"}


class TestDeliver:
    def test_one_event_is_posted_and_signed(self, service):
        deliver([EVENT])
        [(target, headers, body)] = service.requests
        path, query = target.split("?")
        parameters = dict(parse_qsl(query))
        assert path == "/apps/1/events"
        assert json.loads(body) == {"name": "view", "channels": ["post_1", "post"], "data": '{"a":"ä"}'}
        assert headers["Content-Type"] == "application/json"
        assert parameters["body_md5"] == signing.body_md5(body)
        assert signing.verify(
            "test-secret",
            signing.request_message("POST", path, parameters.items()),
            parameters["auth_signature"],
        )

    def test_a_server_can_know_an_event_that_comes_again(self, service):
        first, second = Event(("a",), "view", "{}"), Event(("a", "b"), "view", "{}")
        for events in ([first], [first, second], [second]):
            deliver(events)
        assert [headers["X-Pusherable-Event-Ids"] for _, headers, _ in service.requests] == [
            first.id,
            f"{first.id},{second.id},{second.id}",
            second.id,
        ]

    def test_socket_id_is_left_out_of_the_event(self, service):
        deliver([Event(("a",), "view", "{}", socket_id="1.2")])
        assert json.loads(service.requests[0][2])["socket_id"] == "1.2"

    def test_several_events_are_one_batch(self, service):
        deliver([EVENT, Event(("a",), "update", "{}", socket_id="1.2")])
        [(target, _, body)] = service.requests
        assert urlsplit(target).path == "/apps/1/batch_events"
        assert json.loads(body) == {
            "batch": [
                {"name": "view", "channel": "post_1", "data": '{"a":"ä"}'},
                {"name": "view", "channel": "post", "data": '{"a":"ä"}'},
                {"name": "update", "channel": "a", "data": "{}", "socket_id": "1.2"},
            ]
        }

    def test_too_many_for_a_batch_are_refused(self):
        with pytest.raises(ValueError, match="a batch of 12; 10 is the limit"):
            deliver([EVENT] * 6)

    def test_connection_is_kept(self, service):
        for _ in range(3):
            deliver([EVENT])
        assert (len(service.requests), len(service.connections)) == (3, 1)

    def test_data_that_the_package_would_refuse_is_delivered(self, service):
        """F.8: the package counts Python's bytes, not those of UTF-8."""
        data = json.dumps("x" * 10_200 + "😀", ensure_ascii=False)
        deliver([Event(("a",), "view", data)])
        assert json.loads(service.requests[0][2])["data"] == data

    @pytest.mark.parametrize("answer", [(200, b'{"ok":true}'), (202, b"{}"), (201, b'{"batch":{}}'), (204, b"")])
    def test_any_answer_of_success_is_one(self, service, answer):
        """G.1."""
        service.answer = answer
        deliver([EVENT])

    def test_secret_echoed_by_the_service_is_not_shown(self, service):
        service.answer = (401, b"your test-secret is wrong")
        with pytest.raises(DeliveryFailed, match=r"your \[secret\] is wrong"):
            deliver([EVENT])

    def test_refusal_says_what_to_mend(self, service):
        service.answer = (503, b"it says\nwhy\n", {"Retry-After": "7"})
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        error = failure.value
        assert (error.reason, error.status, error.retryable, error.retry_after) == ("service-error", 503, True, 7.0)
        assert str(error) == (f"http://127.0.0.1:{service.port} answered 503: it says why. The service is in trouble.")

    def test_answer_that_is_no_json_asks_whether_it_is_the_service(self, service):
        service.answer = (200, b"<html>Welcome to nginx!")
        with pytest.raises(DeliveryFailed, match="answered with something else than the JSON") as failure:
            deliver([EVENT])
        assert failure.value.reason == "bad-answer"


def unseal(channel, sealed):
    """What a browser does: the secret comes from the app, the rest from the service."""
    parts = json.loads(sealed)
    box = SecretBox(base64.b64decode(channel_shared_secret(channel)))
    return box.decrypt(base64.b64decode(parts["ciphertext"]), base64.b64decode(parts["nonce"])).decode()


class TestEncryptedChannels:
    @pytest.fixture(autouse=True)
    def master_key(self, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = MASTER_KEY

    def test_data_is_sealed_for_its_channel(self, service):
        deliver([Event(("private-encrypted-a",), "view", '{"a":"ä"}', socket_id="1.2")])
        [(target, _, body)] = service.requests
        [entry] = json.loads(body)["batch"]
        assert urlsplit(target).path == "/apps/1/batch_events"
        assert unseal("private-encrypted-a", entry.pop("data")) == '{"a":"ä"}'
        assert entry == {"name": "view", "channel": "private-encrypted-a", "socket_id": "1.2"}

    def test_event_for_several_channels_is_split(self, service):
        encrypted = [f"private-encrypted-{n}" for n in range(12)]
        deliver([Event(("post", *encrypted, "private-post"), "view", "{}")])
        bodies = [json.loads(body) for _, _, body in service.requests]
        assert bodies[0] == {"name": "view", "channels": ["post", "private-post"], "data": "{}"}
        entries = [entry for body in bodies[1:] for entry in body["batch"]]
        assert [len(body["batch"]) for body in bodies[1:]] == [10, 2]
        assert [entry["channel"] for entry in entries] == encrypted
        assert {unseal(entry["channel"], entry["data"]) for entry in entries} == {"{}"}

    def test_batch_may_hold_both_kinds(self, service):
        deliver([EVENT, Event(("private-encrypted-a",), "view", '"x"')])
        batch = json.loads(service.requests[0][2])["batch"]
        assert [entry["channel"] for entry in batch] == ["post_1", "post", "private-encrypted-a"]
        assert (batch[0]["data"], unseal("private-encrypted-a", batch[2]["data"])) == ('{"a":"ä"}', '"x"')

    def test_without_a_key_nothing_leaves(self, service, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = ""
        with pytest.raises(SettingsError) as refusal:
            deliver([Event(("post", "private-encrypted-a"), "view", "{}")])
        assert str(refusal.value) == (
            "'private-encrypted-a' is encrypted, and PUSHER_ENCRYPTION_MASTER_KEY is not set. "
            "`openssl rand -base64 32` makes one."
        )
        assert service.requests == []

    def test_client_itself_has_the_key(self, service):
        get_client().trigger("private-encrypted-a", "view", {"a": 1})
        sealed = json.loads(service.requests[0][2])["data"]
        assert json.loads(unseal("private-encrypted-a", sealed)) == {"a": 1}

    def test_key_is_in_no_repr(self):
        assert MASTER_KEY not in repr(get_client())


class TestChannelSharedSecret:
    def test_it_is_base64_of_the_digest(self, settings):
        """D.5, and text where the package gives bytes (F.7)."""
        settings.PUSHER_ENCRYPTION_MASTER_KEY = MASTER_KEY
        digest = hashlib.sha256(b"private-encrypted-a" + bytes(range(32))).digest()
        assert channel_shared_secret("private-encrypted-a") == base64.b64encode(digest).decode()

    def test_other_channels_have_none(self):
        with pytest.raises(InvalidChannel, match="'private-a' is no encrypted channel"):
            channel_shared_secret("private-a")

    def test_no_key_is_an_error(self, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = None
        with pytest.raises(SettingsError, match="PUSHER_ENCRYPTION_MASTER_KEY is not set"):
            channel_shared_secret("private-encrypted-a")


def assert_signed(method, target, body=b""):
    """By the package or by ourselves, the signature is that of protocol B.4; returns path and other parameters."""
    parts = urlsplit(target)
    parameters = dict(parse_qsl(parts.query))
    message = signing.request_message(method, unquote(parts.path), parameters.items())
    assert signing.verify("test-secret", message, parameters["auth_signature"])
    assert parameters.get("body_md5") == (signing.body_md5(body) if body else None)
    others = {name: value for name, value in parameters.items() if name[:5] not in ("auth_", "body_")}
    return unquote(parts.path), others


class TestDisconnectUser:
    @pytest.mark.parametrize("user_id", ["7", "ada@example.com", "a b/c?#ä"])
    def test_it_is_posted_below_the_app(self, service, user_id):
        """F.5."""
        disconnect_user(user_id)
        [(target, _, body)] = service.requests
        assert body == b"{}"
        assert assert_signed("POST", target, body) == (f"/apps/1/users/{user_id}/terminate_connections", {})

    def test_client_itself_does_so_too(self, service):
        get_client().terminate_user_connections("7")
        [(target, _, body)] = service.requests
        assert assert_signed("POST", target, body) == ("/apps/1/users/7/terminate_connections", {})

    def test_empty_id_is_refused(self):
        with pytest.raises(ValueError, match="A user's id is a text that is not empty"):
            disconnect_user("")

    def test_refusal_is_explained(self, service):
        service.answer = (403, b"")
        with pytest.raises(DeliveryFailed, match="answered 403: nothing more. The app is disabled"):
            disconnect_user("7")


class TestMembers:
    def test_they_are_ids_as_text(self, service):
        service.answer = (200, b'{"users":[{"id":"1"},{"id":2}]}')
        assert members("presence-post_1") == ["1", "2"]
        [(target, _, _)] = service.requests
        assert assert_signed("GET", target) == ("/apps/1/channels/presence-post_1/users", {})

    @pytest.mark.parametrize("answer", [(404, b"{}"), (200, b"{}"), (200, b'{"users":[]}')])
    def test_empty_channel_has_none(self, service, answer):
        """G.1."""
        service.answer = answer
        assert members("presence-post_1") == []

    def test_refusal_is_raised(self, service):
        service.answer = (401, b"")
        with pytest.raises(DeliveryFailed) as failure:
            members("presence-post_1")
        assert failure.value.reason == "unauthorized"

    @pytest.mark.parametrize("answer", [b'{"users":[{"id":"1"},{},2]}', b'{"users":[{"id":"1"},{"name":"ada"}]}'])
    def test_user_without_an_id_is_none(self, service, answer):
        service.answer = (200, answer)
        assert members("presence-post_1") == ["1"]

    @pytest.mark.parametrize("answer", [b"[]", b"null", b'"users"'])
    def test_answer_that_is_no_object_is_nonsense(self, service, answer):
        service.answer = (200, answer)
        with pytest.raises(DeliveryFailed, match="answered with something else than the JSON that is") as failure:
            members("presence-post_1")
        assert failure.value.reason == "bad-answer"

    def test_other_channels_have_none(self):
        with pytest.raises(InvalidChannel, match="'post_1' is no presence channel, and has no members"):
            members("post_1")


class TestChannelInfo:
    def test_it_is_what_the_service_tells(self, service):
        service.answer = (200, b'{"occupied":true,"subscription_count":3}')
        answer = channel_info("post_1", ["subscription_count", "cache"])
        assert answer == {"occupied": True, "subscription_count": 3}
        [(target, _, _)] = service.requests
        assert assert_signed("GET", target) == ("/apps/1/channels/post_1", {"info": "subscription_count,cache"})

    def test_channel_of_a_user_is_escaped(self, service):
        channel_info("#server-to-user-7")
        [(target, _, _)] = service.requests
        assert assert_signed("GET", target) == ("/apps/1/channels/#server-to-user-7", {})
        assert target.startswith("/apps/1/channels/%23server-to-user-7?")

    def test_client_itself_asks_without_a_digest(self, service):
        """F.6: Reverb and sockudo refuse a GET with one."""
        service.answer = (200, b'{"channels":{}}')
        assert get_client().channels_info("presence-", ["user_count"]) == {"channels": {}}
        [(target, _, _)] = service.requests
        assert assert_signed("GET", target) == (
            "/apps/1/channels",
            {"filter_by_prefix": "presence-", "info": "user_count"},
        )

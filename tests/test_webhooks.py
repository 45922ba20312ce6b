import io
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from functools import partial
from queue import Queue

import pytest
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import include, path
from django.views.debug import ExceptionReporter
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from websockets.sync.client import connect

from pusherable import signals
from pusherable.conf import SettingsError
from pusherable.exceptions import InvalidSignature
from pusherable.signing import channel_message, sign
from pusherable.webhooks import MAX_BODY_SIZE, instance_of, parse_webhook, read_webhook, receive
from tests.server.processes import ROOT, running_server
from tests.testapp.models import Document, Page, Post, Review, Seat, Tag

urlpatterns = [path("pusher/", include("pusherable.urls"))]

ALL = {
    "channel_occupied": signals.channel_occupied,
    "channel_vacated": signals.channel_vacated,
    "member_added": signals.member_added,
    "member_removed": signals.member_removed,
    "client_event": signals.client_event,
    "cache_miss": signals.cache_miss,
    "subscription_count": signals.subscription_count,
}
OCCUPIED = {"name": "channel_occupied", "channel": "private-post_1"}
VACATED = {"name": "channel_vacated", "channel": "private-post_1"}


@pytest.fixture(autouse=True)
def forgetful_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def connected():
    """Connect receivers, and disconnect them in the end."""
    made = []

    def connect(signal, receiver, **kwargs):
        signal.connect(receiver, weak=False, **kwargs)
        made.append((signal, receiver, kwargs))

    yield connect
    for signal, receiver, kwargs in made:
        signal.disconnect(receiver, **kwargs)


@pytest.fixture
def received(connected):
    """What all the signals have been sent with, in order, with their names."""
    seen = []

    def receiver_for(name):
        def receiver(signal, **kwargs):
            seen.append({"name": name, **kwargs})

        return receiver

    for name, signal in ALL.items():
        connected(signal, receiver_for(name))
    return seen


def compose(*events, at=None, **changes):
    document = {"time_ms": int((time.time() if at is None else at) * 1000), "events": list(events)}
    return json.dumps(document | changes).encode()


def post(body, *, key="test-key", secret="test-secret", signature=None, content_type="application/json", **extra):
    headers = {"X-Pusher-Key": key, "X-Pusher-Signature": sign(secret, body) if signature is None else signature}
    return RequestFactory(headers=headers).post("/webhook/", body, content_type=content_type, **extra)


def answer_to(*events, **options):
    return receive(post(compose(*events), **options)).status_code


def report_of_the_error(request):
    """What Django shows of the error that the request runs into."""
    try:
        receive(request)
    except SettingsError:
        return ExceptionReporter(request, *sys.exc_info()).get_traceback_html()


class TestSignals:
    def test_every_event_is_told_in_order_with_what_it_says(self, received):
        events = [
            OCCUPIED,
            VACATED,
            {"name": "member_added", "channel": "presence-post_1", "user_id": "7"},
            {"name": "member_removed", "channel": "presence-post_1", "user_id": 7},
            {
                "name": "client_event",
                "channel": "presence-room",
                "event": "client-typing",
                "data": '{"a":1}',
                "socket_id": "1.2",
                "user_id": "7",
            },
            {
                "name": "client_event",
                "channel": "private-room",
                "event": "client-typing",
                "data": "",
                "socket_id": "1.2",
            },
            {"name": "cache_miss", "channel": "cache-post"},
            {"name": "subscription_count", "channel": "post_1", "subscription_count": 3},
        ]
        at = 1_700_000_000.25
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: at + 5)
            assert receive(post(compose(*events, at=at))).status_code == 200
        digest = parse_webhook(compose(*events, at=at)).digest
        on_post = {"sender": Post, "model": Post, "pk": "1"}
        elsewhere = {"sender": None, "model": None, "pk": None}
        client = {"event": "client-typing", "socket_id": "1.2"}
        told = [
            {"channel": "private-post_1", **on_post},
            {"channel": "private-post_1", **on_post},
            {"channel": "presence-post_1", "user_id": "7", **on_post},
            {"channel": "presence-post_1", "user_id": "7", **on_post},
            {"channel": "presence-room", "data": '{"a":1}', "user_id": "7", **client, **elsewhere},
            {"channel": "private-room", "data": "", "user_id": None, **client, **elsewhere},
            {"channel": "cache-post", "sender": Post, "model": Post, "pk": None},
            {"channel": "post_1", "subscription_count": 3, **on_post},
        ]
        assert received == [
            {
                "name": event["name"],
                "time": datetime.fromtimestamp(at, tz=UTC),
                "event_id": f"{digest}.{number}",
                **kwargs,
            }
            for number, (event, kwargs) in enumerate(zip(events, told, strict=True))
        ]

    def test_receiver_may_ask_for_one_model(self, connected):
        seen = []

        def receiver(channel, **kwargs):
            seen.append(channel)

        connected(signals.channel_occupied, receiver, sender=Post)
        assert answer_to(*({"name": "channel_occupied", "channel": name} for name in ("post_1", "tag_1", "x"))) == 200
        assert seen == ["post_1"]

    def test_async_receivers_are_called_too(self, connected):
        seen = []

        async def receiver(channel, **kwargs):
            seen.append(channel)

        connected(signals.channel_occupied, receiver)
        assert answer_to(OCCUPIED) == 200
        assert seen == ["private-post_1"]

    def test_nobody_listens(self):
        assert answer_to(OCCUPIED) == 200

    @pytest.mark.parametrize("event", [{"name": "channel_painted", "channel": "x"}, {"name": 7}, {}, 7, None, ["x"]])
    def test_unknown_event_is_passed_over(self, received, event, caplog):
        caplog.set_level(logging.DEBUG, "pusherable")
        assert answer_to(event, OCCUPIED) == 200
        assert [told["name"] for told in received] == ["channel_occupied"]
        name = event.get("name") if isinstance(event, dict) else None
        assert caplog.messages == [f"A webhook tells of {name!r}, which is unknown here."]

    @pytest.mark.parametrize(
        ("event", "missing"),
        [
            ({"name": "channel_occupied"}, "channel"),
            ({"name": "channel_occupied", "channel": 7}, "channel"),
            ({"name": "member_added", "channel": "presence-x"}, "user_id"),
            ({"name": "member_removed", "channel": "presence-x", "user_id": [1]}, "user_id"),
            ({"name": "client_event", "channel": "private-x", "event": "client-x"}, "data and no socket_id"),
            ({"name": "subscription_count", "channel": "x", "subscription_count": "3"}, "subscription_count"),
        ],
    )
    def test_event_that_lacks_something_is_left_out_and_the_others_told(self, received, event, missing, caplog):
        assert answer_to(event, OCCUPIED) == 200
        assert [told["name"] for told in received] == ["channel_occupied"]
        assert caplog.messages == [f"A webhook's {event['name']} is left out: it has no {missing} that can be used."]

    def test_text_that_no_database_takes_is_mended(self, received):
        event = {"name": "client_event", "channel": "private-x", "event": "client-\ud800", "socket_id": "1.2"}
        assert answer_to(event | {"data": "\udfff \U0001f4f0"}) == 200
        assert (received[0]["event"], received[0]["data"]) == ("client-?", "? \U0001f4f0")


class TestFailures:
    def test_receiver_that_fails_is_logged_and_the_event_comes_again(self, connected, received, caplog):
        def broken(**kwargs):
            raise ZeroDivisionError("a fault")

        connected(signals.channel_occupied, broken)
        body = compose(OCCUPIED, VACATED)
        assert receive(post(body)).status_code == 500
        assert [told["name"] for told in received] == ["channel_occupied", "channel_vacated"]
        [of_django, ours] = caplog.records
        assert of_django.exc_info[0] is ZeroDivisionError
        assert ours.getMessage() == "1 receivers of channel_occupied failed: the service will send it again."

        signals.channel_occupied.disconnect(broken)
        assert receive(post(body)).status_code == 200
        # What had succeeded is not told twice.
        assert [told["name"] for told in received] == ["channel_occupied", "channel_vacated", "channel_occupied"]
        assert received[0] == received[2]

    def test_async_receiver_that_fails(self, connected, caplog):
        async def broken(**kwargs):
            raise ZeroDivisionError("a fault")

        connected(signals.channel_occupied, broken)
        assert answer_to(OCCUPIED) == 500
        assert caplog.records[0].exc_info[0] is ZeroDivisionError


class TestRepeats:
    def test_same_request_is_told_once(self, received):
        body = compose(OCCUPIED, OCCUPIED)
        assert [receive(post(body)).status_code for _ in range(3)] == [200, 200, 200]
        assert len(received) == 2

    def test_same_events_of_another_time_are_told(self, received):
        now = time.time()
        assert [receive(post(compose(OCCUPIED, at=now + n))).status_code for n in range(2)] == [200, 200]
        assert len(received) == 2

    @pytest.mark.parametrize(("max_age", "seconds"), [(600, 1200.0), ("330", 660.0), (None, 86_400.0)])
    def test_events_are_remembered_as_long_as_they_can_come(self, settings, monkeypatch, max_age, seconds):
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = max_age
        remembered = []
        monkeypatch.setattr(cache, "set", lambda *args: remembered.append(args))
        body = compose(OCCUPIED)
        receive(post(body))
        assert remembered == [(f"pusherable.webhook.{parse_webhook(body).digest}.0", True, seconds)]


class TestSignature:
    @pytest.mark.parametrize("signature", ["", "0" * 64, "é", sign("other-secret", b"x"), "undefined"])
    def test_wrong_one_is_401(self, received, signature, caplog):
        response = receive(post(compose(OCCUPIED), signature=signature))
        assert (response.status_code, received) == (401, [])
        assert response.content == (
            b"X-Pusher-Signature is not the signature of this body by the secret of X-Pusher-Key.\n"
        )
        assert caplog.messages == [
            "A webhook was refused with 401: X-Pusher-Signature is not the signature of this body by the secret of "
            "X-Pusher-Key."
        ]

    def test_one_of_another_body_is_401(self, received):
        assert answer_to(OCCUPIED, signature=sign("test-secret", compose(VACATED))) == 401
        assert received == []

    @pytest.mark.parametrize("key", ["", "other-key", "test-key "])
    def test_unknown_key_is_401_without_a_look_at_the_body(self, key):
        request = post(compose(OCCUPIED), key=key)
        assert receive(request).status_code == 401
        assert not hasattr(request, "_body")

    def test_request_without_headers_is_401(self):
        request = RequestFactory().post("/", compose(OCCUPIED), content_type="application/json")
        assert receive(request).content == (
            b"X-Pusher-Key is no key of this project. A further one goes into PUSHERABLE_WEBHOOK_SECRETS.\n"
        )

    def test_signature_is_over_the_bytes_as_they_came(self, received):
        body = b'{ "time_ms" : %d , "events":[{"name":"channel_occupied","channel":"x"}] }\n' % (time.time() * 1000)
        assert receive(post(body)).status_code == 200
        assert receive(post(body, signature=sign("test-secret", json.dumps(json.loads(body))))).status_code == 401
        assert len(received) == 1

    def test_several_keys_while_credentials_change(self, settings, received):
        settings.PUSHERABLE_WEBHOOK_SECRETS = {"old-key": "old", "test-key": ["older", "oldest"]}
        pairs = [("test-key", "test-secret"), ("old-key", "old"), ("test-key", "older"), ("test-key", "oldest")]
        bodies = [compose(OCCUPIED, number=n) for n in range(4)]
        assert [
            receive(post(body, key=key, secret=secret)).status_code
            for body, (key, secret) in zip(bodies, pairs, strict=True)
        ] == [200] * 4
        assert answer_to(OCCUPIED, key="old-key", secret="test-secret") == 401
        assert len(received) == 4

    def test_no_answer_or_log_line_holds_a_secret(self, settings, caplog):
        settings.PUSHERABLE_WEBHOOK_SECRETS = {"old-key": "hidden"}
        answers = [receive(post(compose(OCCUPIED), key=key, signature="")) for key in ("old-key", "test-key", "x")]
        text = caplog.text + "".join(answer.content.decode() for answer in answers)
        assert "hidden" not in text
        assert "test-secret" not in text

    def test_no_report_of_an_error_holds_a_secret(self, settings):
        settings.PUSHERABLE_WEBHOOK_SECRETS = {"old-key": "hidden"}
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = "malformed"
        report = report_of_the_error(post(compose(OCCUPIED), key="old-key", secret="hidden"))
        assert ("read_webhook" in report, "&#x27;hidden&#x27;" in report) == (True, False)

    @given(st.binary(max_size=200), st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=80))
    def test_nothing_unsigned_is_ever_read(self, body, signature):
        with pytest.raises(InvalidSignature):
            read_webhook(post(body, signature=signature))

    @pytest.mark.parametrize(("age", "status"), [(0, 200), (599, 200), (601, 401), (-599, 200), (-601, 401)])
    def test_time_may_be_off_by_ten_minutes(self, received, age, status):
        assert receive(post(compose(OCCUPIED, at=time.time() - age))).status_code == status
        assert len(received) == (status == 200)

    def test_refusal_for_its_age_says_so(self, settings, monkeypatch):
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = 330
        monkeypatch.setattr(time, "time", lambda: 1_700_000_331.0)
        assert receive(post(compose(OCCUPIED, at=1_700_000_000))).content == (
            b"The webhook was signed 331 s ago, by this machine's clock; 330 s is the limit "
            b"(PUSHERABLE_WEBHOOK_MAX_AGE).\n"
        )

    def test_without_a_limit_any_time_will_do(self, settings, received):
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = None
        assert receive(post(compose(OCCUPIED, at=0))).status_code == 200
        assert received[0]["time"] == datetime(1970, 1, 1, tzinfo=UTC)


class TestBody:
    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"", "The body is no JSON."),
            (b"\xff", "The body is no JSON."),
            (b"[" * 200_000, "The body is no JSON."),
            (b"[]", "The body is no JSON object."),
            (b"null", "The body is no JSON object."),
            (b"{}", "The body has no time_ms that is a whole number, or no list of events."),
            (compose(time_ms=True), "The body has no time_ms that is a whole number, or no list of events."),
            (compose(time_ms="1"), "The body has no time_ms that is a whole number, or no list of events."),
            (compose(time_ms=1.5), "The body has no time_ms that is a whole number, or no list of events."),
            (compose(events={}), "The body has no time_ms that is a whole number, or no list of events."),
            (compose(time_ms=10**20), "The body's time_ms is no moment of this age."),
            (compose(time_ms=10**400), "The body's time_ms is no moment of this age."),
        ],
    )
    def test_malformed_one_is_400(self, body, problem):
        response = receive(post(body))
        assert (response.status_code, response.content.decode()) == (400, f"{problem}\n")

    def test_largest_that_is_taken(self, received, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
        body = compose(OCCUPIED)
        assert receive(post(body + b" " * (MAX_BODY_SIZE - len(body)))).status_code == 200
        assert receive(post(body + b" " * (MAX_BODY_SIZE + 1 - len(body)))).status_code == 413
        assert len(received) == 1

    def test_body_in_chunks_has_the_same_limit(self, received):
        body = compose(OCCUPIED)
        requests = [post(body), post(body + b" " * MAX_BODY_SIZE)]
        for request in requests:
            # As an ASGI server hands over what has no Content-Length.
            request.META.pop("CONTENT_LENGTH")
        assert [receive(request).status_code for request in requests] == [200, 413]
        assert len(received) == 1

    def test_body_read_by_a_middleware_is_read_again(self, received):
        request = post(compose(OCCUPIED), content_type="application/x-www-form-urlencoded")
        assert request.POST
        assert receive(request).status_code == 200
        request = post(compose(VACATED))
        assert not request.POST
        assert receive(request).status_code == 200
        assert len(received) == 2

    def test_body_that_is_gone_is_500_so_that_it_comes_again(self, caplog):
        request = post(compose(OCCUPIED))
        request.read()
        assert receive(request).status_code == 500
        assert caplog.messages == [
            "A webhook was refused with 500: The body has been read before, and the signature cannot be verified. "
            "A middleware must leave it alone, or read it by request.body."
        ]

    def test_form_that_is_gone_is_400(self):
        request = post(b"--x--\r\n", content_type="multipart/form-data; boundary=x")
        assert not request.POST
        assert receive(request).status_code == 400

    def test_sender_who_breaks_off_is_400(self):
        class Broken(io.BytesIO):
            def seekable(self):
                return False

            def read(self, *args):
                raise OSError("gone")

        request = post(b"x")
        request._stream = Broken()
        assert receive(request).status_code == 400

    def test_length_that_is_no_number_is_400(self):
        request = post(b"x")
        request.META["CONTENT_LENGTH"] = "x"
        assert receive(request).status_code == 400

    @examples(max_examples=40)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda x: (
                st.lists(x)
                | st.dictionaries(st.sampled_from(["name", "channel", "user_id", "events", "time_ms"]) | st.text(), x)
            ),
        )
    )
    def test_whatever_the_service_signs_has_an_answer(self, document):
        status = receive(post(json.dumps(document).encode())).status_code
        assert status == 400 or isinstance(document["events"], list)
        assert answer_to(document) == 200


class TestInstanceOf:
    @pytest.mark.parametrize(
        ("channel", "model", "pk"),
        [
            ("post_1", Post, "1"),
            ("private-post_1", Post, "1"),
            ("private-encrypted-post_1", Post, "1"),
            ("presence-cache-post_1", Post, "1"),
            ("post", Post, None),
            ("review_2", Review, "2"),
            ("page_about=20us", Page, "about us"),
            ("page_a_b", Page, "a_b"),
            ("seat_A,7", Seat, "A,7"),
            ("document_9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", Document, "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"),
        ],
    )
    def test_channel_of_a_model_is_taken_apart(self, channel, model, pk):
        assert instance_of(channel) == (model, pk)

    @pytest.mark.parametrize(
        "channel",
        [
            "newsroom",
            "post_new",
            "post_01",
            "post_+1",
            "post_=EF=BC=91",
            "post_",
            "Post_1",
            "featuredpost_1",
            "document_1",
            "seat_A",
            "#server-to-user-post_1",
            "",
            "post 1",
            "post_=FF",
            "x" * 200,
        ],
    )
    def test_other_channels_are_nobodys(self, channel):
        assert instance_of(channel) == (None, None)

    def test_name_that_two_models_have_is_nobodys(self, monkeypatch):
        monkeypatch.setattr("pusherable.webhooks.apps.get_models", lambda: [Post, Post])
        assert instance_of("post_1") == (None, None)


class TestServiceThatIsNotConfigured:
    def test_nothing_is_taken(self, settings):
        settings.PUSHER_KEY = ""
        with pytest.raises(Exception, match="PUSHER_KEY is not set"):
            receive(HttpRequest())


class Browser:
    """A real connection to the server, which signs what it may listen to by itself."""

    def __init__(self, connection):
        self._connection = connection
        self.socket_id = json.loads(json.loads(connection.recv(timeout=30))["data"])["socket_id"]

    def subscribe(self, channel, **member):
        data = {"channel": channel}
        channel_data = json.dumps(member) if member else None
        if channel.startswith(("private-", "presence-")):
            message = channel_message(self.socket_id, channel, channel_data)
            data["auth"] = f"test-key:{sign('test-secret', message)}"
        self.send("pusher:subscribe", data | ({"channel_data": channel_data} if member else {}))
        while json.loads(self._connection.recv(timeout=30))["event"] != "pusher_internal:subscription_succeeded":
            pass

    def send(self, event, data, **more):
        self._connection.send(json.dumps({"event": event, "data": data, **more}))


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
class TestFromRunpushserver:
    @pytest.fixture
    def arrived(self, connected):
        """What the signals have been sent with, one after the other, as the server's requests bring it."""
        queue = Queue()

        def receiver_for(name):
            def receiver(signal, sender, time, event_id, **kwargs):
                queue.put({"name": name, **kwargs})

            return receiver

        for name, signal in ALL.items():
            connected(signal, receiver_for(name))
        return partial(queue.get, timeout=30)

    @pytest.fixture
    def server(self, live_server, tmp_path):
        url = f"{live_server.url}/pusher/webhook/"
        (tmp_path / "hooked_settings.py").write_text(
            f"from tests.settings import *\n\nPUSHERABLE_WEBHOOK_URL = {url!r}\n"
        )
        env = {"DJANGO_SETTINGS_MODULE": "hooked_settings", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        with running_server(env=env) as server:
            yield server

    @pytest.fixture
    def browser(self, server):
        with connect(f"ws://{server.address}/app/test-key?protocol=7", open_timeout=30) as connection:
            yield Browser(connection)

    def test_what_happens_there_arrives_here(self, browser, arrived, connected):
        patience = iter([ZeroDivisionError("not yet")])

        def impatient(**kwargs):
            for error in patience:
                raise error

        on_post = {"model": Post, "pk": "1"}
        browser.subscribe("private-post_1")
        assert arrived() == {"name": "channel_occupied", "channel": "private-post_1", **on_post}
        browser.subscribe("presence-post_1", user_id="7", user_info={"name": "Ada"})
        assert [arrived(), arrived()] == [
            {"name": "channel_occupied", "channel": "presence-post_1", **on_post},
            {"name": "member_added", "channel": "presence-post_1", "user_id": "7", **on_post},
        ]
        browser.send("client-typing", {"at": 3}, channel="presence-post_1")
        assert arrived() == {
            "name": "client_event",
            "channel": "presence-post_1",
            "event": "client-typing",
            "data": '{"at":3}',
            "socket_id": browser.socket_id,
            "user_id": "7",
            **on_post,
        }
        # The server tries again where a receiver has failed.
        connected(signals.member_removed, impatient)
        browser.send("pusher:unsubscribe", {"channel": "presence-post_1"})
        left = {"name": "member_removed", "channel": "presence-post_1", "user_id": "7", **on_post}
        vacated = {"name": "channel_vacated", "channel": "presence-post_1", **on_post}
        told = [arrived(), arrived(), arrived()]
        assert (told.count(left), told.count(vacated)) == (2, 1)
        browser.subscribe("cache-news")
        elsewhere = {"channel": "cache-news", "model": None, "pk": None}
        assert [arrived(), arrived()] == [
            {"name": "channel_occupied", **elsewhere},
            {"name": "cache_miss", **elsewhere},
        ]


@pytest.mark.urls(__name__)
class TestView:
    def test_signature_is_all_it_takes(self, settings, received):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
        body = compose(OCCUPIED)
        headers = {"X-Pusher-Key": "test-key", "X-Pusher-Signature": sign("test-secret", body)}
        service = Client(enforce_csrf_checks=True, headers=headers)
        response = service.post("/pusher/webhook/", body, content_type="application/json")
        assert (response.status_code, response.content) == (200, b"")
        assert [told["name"] for told in received] == ["channel_occupied"]

    def test_nothing_but_post(self, client):
        assert [getattr(client, method)("/pusher/webhook/").status_code for method in ("get", "put", "head")] == [
            405
        ] * 3

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_work_of_one_receiver_stays_when_another_fails(self, settings, client, connected):
        def diligent(**kwargs):
            Tag.objects.create(label="kept")

        def broken(**kwargs):
            Tag.objects.create(label="x" * 10, pk=Tag.objects.get().pk)

        connected(signals.channel_occupied, diligent)
        connected(signals.channel_occupied, broken)
        for alias in connections:
            connections[alias].settings_dict["ATOMIC_REQUESTS"] = True
        try:
            body = compose(OCCUPIED)
            headers = {"X-Pusher-Key": "test-key", "X-Pusher-Signature": sign("test-secret", body)}
            response = client.post("/pusher/webhook/", body, content_type="application/json", headers=headers)
        finally:
            for alias in connections:
                connections[alias].settings_dict["ATOMIC_REQUESTS"] = False
        assert (response.status_code, [tag.label for tag in Tag.objects.all()]) == (500, ["kept"])

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import certifi
import pytest
from pusher import Pusher
from pusher.errors import PusherBadAuth

from pusherable import client, signing
from pusherable.client import deliver, get_client
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from tests.certificates import make_certificate

EVENT = Event(("post_1", "post"), "view", '{"a":"ä"}')


class Service:
    """A service that keeps what it is sent and answers as it is told."""

    def __init__(self):
        self.requests = []
        self.connections = set()
        self.answer = (200, b"{}")
        self.silent = threading.Event()

        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.connections.add(self.client_address)
                service.requests.append((self.path, dict(self.headers), body))
                service.silent.wait(10)
                status, text = service.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.silent.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A client that has lost its patience is no news.
        self.server.handle_error = lambda *args: None
        self.port = self.server.server_address[1]


@pytest.fixture
def service(settings):
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings.PUSHER_PORT = service.port
    yield service
    service.silent.set()
    service.server.shutdown()
    thread.join()
    service.server.server_close()


@pytest.fixture(autouse=True)
def fresh_clients(monkeypatch):
    monkeypatch.setattr(client, "_clients", {})
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def refusing_port():
    """A port of the loopback where nobody listens, kept for as long as the block runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


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

    @pytest.mark.parametrize("answer", [(200, b'{"ok":true}'), (202, b"{}"), (201, b'{"batch":{}}')])
    def test_any_answer_of_success_is_one(self, service, answer):
        """G.1."""
        service.answer = answer
        deliver([EVENT])

    @pytest.mark.parametrize(
        ("status", "reason", "retryable", "advice"),
        [
            (400, "bad-request", False, "The event was refused."),
            (401, "unauthorized", False, "Check PUSHER_KEY and PUSHER_SECRET, and this machine's clock."),
            (403, "forbidden", False, "The app is disabled or over its quota."),
            (404, "not-found", False, "Check PUSHER_APP_ID, and PUSHER_CLUSTER or PUSHER_HOST."),
            (413, "too-large", False, "Publish fewer fields."),
            (429, "rate-limited", True, "Too many events at once."),
            (503, "service-error", True, "The service is in trouble."),
            (
                302,
                "bad-answer",
                False,
                "Is it really a Pusher service? Check PUSHER_HOST, PUSHER_PORT and PUSHER_SSL.",
            ),
        ],
    )
    def test_refusal_says_what_to_mend(self, service, status, reason, retryable, advice):
        service.answer = (status, b"it says\nwhy\n")
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        error = failure.value
        assert (error.reason, error.status, error.retryable) == (reason, status, retryable)
        assert str(error) == f"http://127.0.0.1:{service.port} answered {status}: it says why. {advice}"

    def test_secret_echoed_by_the_service_is_not_shown(self, service):
        service.answer = (401, b"your test-secret is wrong")
        with pytest.raises(DeliveryFailed, match=r"your \[secret\] is wrong"):
            deliver([EVENT])

    def test_answer_that_is_no_json_asks_whether_it_is_the_service(self, service):
        service.answer = (200, b"<html>Welcome to nginx!")
        with pytest.raises(DeliveryFailed, match="answered with something else than JSON") as failure:
            deliver([EVENT])
        assert failure.value.reason == "bad-answer"

    def test_nobody_listening_is_unreachable(self, settings):
        with refusing_port() as port:
            settings.PUSHER_PORT = port
            with pytest.raises(DeliveryFailed) as failure:
                deliver([EVENT])
        error = failure.value
        assert (error.reason, error.status, error.retryable) == ("unreachable", None, True)
        assert str(error).startswith(f"http://127.0.0.1:{port} cannot be reached (")
        assert str(error).endswith("Check PUSHER_HOST and PUSHER_PORT.")

    def test_local_server_that_is_not_running_is_named(self, settings, monkeypatch):
        for name in ("APP_ID", "KEY", "SECRET", "HOST", "PORT"):
            delattr(settings, f"PUSHER_{name}")
        settings.DEBUG = True
        with refusing_port() as port:
            monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", f"127.0.0.1:{port}")
            with pytest.raises(DeliveryFailed, match=r"Is `manage.py runpushserver` running\?"):
                deliver([EVENT])

    def test_silence_is_a_timeout(self, service, settings):
        settings.PUSHER_TIMEOUT = 0.1
        service.silent.clear()
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        assert (failure.value.reason, failure.value.retryable) == ("timeout", True)
        assert str(failure.value) == (f"http://127.0.0.1:{service.port} did not answer within 0.1 s (PUSHER_TIMEOUT).")

    def test_no_tls_at_the_port_is_said(self, service, settings):
        settings.PUSHER_SSL = True
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        assert failure.value.reason == "tls"
        assert "check PUSHER_SSL, PUSHER_PORT and the certificate" in str(failure.value)

    def test_proxy_of_the_environment_is_used(self, service, settings, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://ada:lovelace@127.0.0.1:{service.port}")
        settings.PUSHER_HOST, settings.PUSHER_SSL, settings.PUSHER_PORT = "push.invalid", False, 80
        deliver([EVENT])
        target, headers, _ = service.requests[0]
        assert target.startswith("http://push.invalid:80/apps/1/events?")
        assert headers["proxy-authorization"] == "Basic YWRhOmxvdmVsYWNl"

    def test_proxy_without_credentials(self, service, settings, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{service.port}")
        settings.PUSHER_HOST, settings.PUSHER_SSL, settings.PUSHER_PORT = "push.invalid", False, 80
        deliver([EVENT])
        assert "proxy-authorization" not in {name.lower() for name in service.requests[0][1]}

    def test_proxy_of_another_kind_is_an_error_that_says_so(self, settings, monkeypatch):
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        settings.PUSHER_HOST, settings.PUSHER_SSL, settings.PUSHER_PORT = "push.invalid", False, 80
        with pytest.raises(SettingsError) as refusal:
            deliver([EVENT])
        assert refusal.value.setting == "http_proxy"
        assert str(refusal.value) == (
            "The proxy of the environment cannot be used to reach push.invalid (ProxySchemeUnknown): it is an "
            "http:// or https:// address. Mend http_proxy or https_proxy, or name the host in no_proxy."
        )

    def test_proxy_is_passed_by_where_the_environment_says_so(self, service, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        deliver([EVENT])
        assert len(service.requests) == 1

    def test_local_server_is_known_by_its_certificate(self, service, settings, monkeypatch, certificate, tmp_path):
        for name in ("PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET", "PUSHER_PORT", "PUSHER_SSL"):
            delattr(settings, name)
        monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", f"127.0.0.1:{service.port}")
        monkeypatch.setenv("PUSHERABLE_LOCAL_CERTIFICATE", str(certificate.cert))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
        deliver([EVENT])
        assert len(service.requests) == 1
        monkeypatch.setenv("PUSHERABLE_LOCAL_CERTIFICATE", str(make_certificate(tmp_path).cert))
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        assert failure.value.reason == "tls"


class TestTLSContext:
    def test_certificate_of_its_own_is_trusted_under_any_name(self, certificate):
        context = client.make_tls_context(trusting=str(certificate.cert))
        assert context.cert_store_stats()["x509"] == 1
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)

    def test_system_without_authorities_gets_those_of_certifi(self, monkeypatch):
        nowhere = ssl.DefaultVerifyPaths(None, None, "", "", "", "")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
        expected = ssl.create_default_context(cafile=certifi.where()).cert_store_stats()
        assert client.make_tls_context().cert_store_stats() == expected

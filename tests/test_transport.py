import itertools
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import certifi
import pytest

from pusherable import transport
from pusherable.client import deliver
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.transport import make_tls_context
from tests.answering import fresh_clients, refusing_port, service
from tests.certificates import make_certificate

__all__ = ["fresh_clients", "service"]

EVENT = Event(("post_1", "post"), "view", '{"a":"ä"}')


@contextmanager
def dripping(first, then):
    """A port that answers with ``first`` at once, then with ``then`` for ever, or hangs up where it is empty."""
    over = threading.Event()

    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(first)
            for byte in itertools.cycle(then):
                if over.wait(0.02):
                    break
                with suppress(OSError):
                    connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join()


class TestTransport:
    def test_nobody_listening_is_unreachable(self, settings):
        with refusing_port() as port:
            settings.PUSHER_PORT = port
            with pytest.raises(DeliveryFailed) as failure:
                deliver([EVENT])
        error = failure.value
        assert (error.reason, error.status, error.retryable) == ("unreachable", None, True)
        assert str(error).startswith(f"http://127.0.0.1:{port} cannot be reached (Failed to establish a new ")
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

    @pytest.mark.parametrize("part", ["head", "body"])
    def test_answer_that_drips_is_a_timeout_too(self, settings, part):
        settings.PUSHER_TIMEOUT = 0.3
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        with dripping(b"" if part == "head" else head, head) as port:
            settings.PUSHER_PORT = port
            began = time.monotonic()
            with pytest.raises(DeliveryFailed) as failure:
                deliver([EVENT])
        assert failure.value.reason == "timeout"
        assert time.monotonic() - began < 10

    def test_connection_that_ends_too_early_is_unreachable(self, settings):
        with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"") as port:
            settings.PUSHER_PORT = port
            with pytest.raises(DeliveryFailed) as failure:
                deliver([EVENT])
        assert (failure.value.reason, failure.value.retryable) == ("unreachable", True)

    def test_nothing_is_read_after_the_deadline(self, monkeypatch):
        near, far = socket.socketpair()
        with near, far, near.makefile("rb", buffering=0) as stream:
            far.sendall(b"late")
            monkeypatch.setattr(transport._deadline, "at", time.monotonic() - 1)
            with pytest.raises(TimeoutError):
                transport._BoundedReader(stream, near).read(1)

    def test_slow_answer_does_not_hurry_the_next_request(self, service, settings):
        settings.PUSHER_TIMEOUT = 5
        deliver([EVENT])
        transport._deadline.at = 0.0
        deliver([EVENT])
        assert (len(service.requests), len(service.connections)) == (2, 1)

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
        # The same place by a name that the certificate is not for.
        monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", f"127.1:{service.port}")
        deliver([EVENT])
        assert len(service.requests) == 2
        monkeypatch.setenv("PUSHERABLE_LOCAL_CERTIFICATE", str(make_certificate(tmp_path).cert))
        with pytest.raises(DeliveryFailed) as failure:
            deliver([EVENT])
        assert failure.value.reason == "tls"

    def test_own_authorities_let_a_private_service_in(self, service, settings, certificate, tmp_path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
        settings.PUSHER_SSL, settings.PUSHER_CA_FILE = True, str(certificate.cert)
        deliver([EVENT])
        assert len(service.requests) == 1
        settings.PUSHER_HOST = "127.1"
        with pytest.raises(DeliveryFailed, match="could not be trusted") as failure:
            deliver([EVENT])
        settings.PUSHER_HOST = "127.0.0.1"
        settings.PUSHER_CA_FILE = str(make_certificate(tmp_path).cert)
        with pytest.raises(DeliveryFailed, match="check PUSHER_SSL, PUSHER_PORT, PUSHER_CA_FILE and the") as failure:
            deliver([EVENT])
        assert (failure.value.reason, failure.value.retryable) == ("tls", False)


class TestTLSContext:
    def test_certificate_of_its_own_is_trusted_under_any_name(self, certificate):
        context = make_tls_context(trusting=str(certificate.cert))
        assert context.cert_store_stats()["x509"] == 1
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)

    def test_own_authorities_take_the_place_of_the_systems(self, certificate):
        context = make_tls_context(ca_file=str(certificate.cert))
        assert context.cert_store_stats()["x509"] == 1
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

    def test_file_that_is_not_there_is_an_error_that_names_the_setting(self, tmp_path):
        with pytest.raises(SettingsError) as refusal:
            make_tls_context(ca_file=str(tmp_path / "ca.pem"))
        assert str(refusal.value) == (
            f"PUSHER_CA_FILE = '{tmp_path}/ca.pem' cannot be used: {os.strerror(2)}. It is a file with certificates "
            "in PEM form."
        )

    def test_file_without_a_certificate_is_another(self, tmp_path):
        (tmp_path / "ca.pem").write_text("nothing")
        with pytest.raises(SettingsError, match="there is no certificate in it") as refusal:
            make_tls_context(ca_file=str(tmp_path / "ca.pem"))
        assert refusal.value.setting == "PUSHER_CA_FILE"

    def test_old_urllib3_compares_the_name_by_itself(self, monkeypatch, certificate):
        service = SimpleNamespace(certificate="", ca_file=str(certificate.cert))
        for version, compares in [("1.26.20", False), ("2.5.0", True)]:
            monkeypatch.setattr(transport, "version", {"urllib3": version}.__getitem__)
            [context] = transport._tls_options(service).values()
            assert (context.check_hostname, context.verify_mode) == (compares, ssl.CERT_REQUIRED)

    def test_system_without_authorities_gets_those_of_certifi(self, monkeypatch):
        nowhere = ssl.DefaultVerifyPaths(None, None, "", "", "", "")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
        expected = ssl.create_default_context(cafile=certifi.where()).cert_store_stats()
        assert make_tls_context().cert_store_stats() == expected

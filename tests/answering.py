"""A service on the loopback that keeps what it is sent and answers as it is told, for tests of the client."""

import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pusherable import client, transport


class Service:
    """``answer`` is status, body and headers; requests that come while ``silent`` is not set have none."""

    def __init__(self):
        self.requests = []
        # The bodies that it has answered with success, and in time.
        self.taken = []
        self.connections = set()
        self.answer = (200, b"{}")
        # Seconds before each byte of the answer's body.
        self.drip = 0.0
        self.silent = threading.Event()

        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.connections.add(self.client_address)
                service.requests.append((self.path, dict(self.headers), body))
                drip = service.drip
                if not service.silent.is_set():
                    service.silent.wait(10)
                    self.close_connection = True
                    return
                status, text, *headers = service.answer
                self.send_response(status)
                for name, value in dict(*headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                for byte in text if drip else b"":
                    time.sleep(drip)
                    self.wfile.write(bytes([byte]))
                if not drip:
                    self.wfile.write(text)
                if not drip and 200 <= status < 300:
                    service.taken.append(body)

            do_GET = do_POST

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
    monkeypatch.setattr(transport, "_transports", {})
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def refusing_port():
    """A port of the loopback where nobody listens, kept for as long as the block runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]

"""A server in a thread of the test's own process, and raw clients for it."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from websockets.sync.client import ClientConnection, connect

from pusherable.server.addresses import Address, address_of, listen
from pusherable.server.api import create_api
from pusherable.server.config import ServerConfig
from pusherable.server.facts import Fact, Observer
from pusherable.server.hub import Hub
from pusherable.server.ledger import Ledger
from pusherable.server.listener import PushServer
from pusherable.server.streams import Streams

TIMEOUT = 20.0


class RunningServer:
    """What tests do with a server at ``address``; ``facts`` is what has happened so far."""

    address: Address

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.on_fact: Callable[[Fact], None] = lambda fact: None
        self._happened = threading.Condition()

    def connect(self, target: str = "/app/key?protocol=7", *, scheme: str = "ws", **options: Any) -> ClientConnection:
        return connect(f"{scheme}://{self.address}{target}", compression=None, close_timeout=TIMEOUT, **options)

    def connect_raw(self) -> socket.socket:
        return socket.create_connection((self.address.host, self.address.port), TIMEOUT)

    def upgrade_raw(self, target: str = "/app/key", **options: int) -> socket.socket:
        """A WebSocket connection that reads nothing by itself, its first message read."""
        client = socket.socket()
        client.settimeout(TIMEOUT)
        if "receive_buffer" in options:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive_buffer"])
        client.connect((self.address.host, self.address.port))
        client.sendall(upgrade_request(target))
        read_until(client, b'}"}')
        return client

    def name_of(self, client: tuple[str, int]) -> tuple[str, int]:
        """From where the server sees a client that has this address."""
        return client

    def note(self, fact: Fact) -> None:
        with self._happened:
            self.facts.append(fact)
            self._happened.notify_all()
        self.on_fact(fact)

    def wait_for(self, kind: type[Fact], *, count: int = 1) -> Fact:
        """The ``count``-th fact of a kind, as soon as it happens."""

        def find() -> list[Fact]:
            return [fact for fact in self.facts if isinstance(fact, kind)]

        with self._happened:
            assert self._happened.wait_for(lambda: len(find()) >= count, TIMEOUT), self.facts
        return find()[count - 1]


class ThreadedServer(RunningServer):
    """A server of one process, or one of several by a ``ledger``; then ``observe`` is told what happens at this one.

    ``options`` are those of ``PushServer``.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        ledger: Ledger | None = None,
        observe: Observer = lambda fact: None,
        **options: Any,
    ) -> None:
        super().__init__()
        openings = options.get("openings")
        observers = [self.note, observe, *([openings.observe] if openings is not None else [])]
        self.hub = Hub(config, observers=observers, ledger=ledger)
        api = create_api(self.hub)
        self.streams = Streams(self.hub, openings=openings)
        api.router.routes += self.streams.routes()
        self._server = PushServer(self.hub, api, **{"on_stop": self.streams.close, **options})
        self._socket = listen(Address("127.0.0.1", 0))
        self.address = address_of(self._socket)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def connections(self) -> set[asyncio.Protocol]:
        """All of uvicorn's; look at them in the server's thread."""
        return self._server.server_state.connections

    @property
    def threads(self) -> list[threading.Thread]:
        """In which it runs."""
        return [self._thread]

    def request_stop(self) -> None:
        self._server.request_stop()

    def stop(self) -> None:
        self.request_stop()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call ``function`` in the server's thread and give back its result, awaited where it is to be."""

        async def run() -> Any:
            result = function(*args, **options)
            return await result if isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(TIMEOUT)

    def publish(self, channel: str, name: str = "e", data: str = "{}") -> None:
        app = self.hub.config.apps[0]
        self.call(self.hub.publish, app, channels=[channel], name=name, data=data)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))


@contextmanager
def threaded_server(config: ServerConfig, **options: Any) -> Iterator[ThreadedServer]:
    """A server of one process, where two would make no difference; ``options`` are those of ``PushServer``."""
    server = ThreadedServer(config, **options)
    try:
        yield server
    finally:
        server.stop()


def upgrade_request(target: str, **headers: str | None) -> bytes:
    """A WebSocket's opening request; a header of ``None`` is left out."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
    } | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


def client_frame(payload: bytes, *, opcode: int = 1, fin: bool = True, masked: bool = True) -> bytes:
    """A frame as a client sends it; the mask of zeros leaves the payload readable."""
    head = (0x80 if fin else 0) | opcode
    length = len(payload)
    mask_bit = 0x80 if masked else 0
    header = (
        struct.pack("!BB", head, mask_bit | length)
        if length < 126
        else struct.pack("!BBH", head, mask_bit | 126, length)
        if length < 65536
        else struct.pack("!BBQ", head, mask_bit | 127, length)
    )
    return header + (b"\0\0\0\0" if masked else b"") + payload


def read_until(client: socket.socket, *parts: bytes) -> bytes:
    """Everything up to where all of ``parts`` have come."""
    received = b""
    while not all(part in received for part in parts):
        more = client.recv(65536)
        assert more, received
        received += more
    return received


def read_to_end(client: socket.socket) -> bytes:
    """Everything up to the end of the stream; a reset connection ends it too."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received

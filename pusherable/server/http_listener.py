"""uvicorn's HTTP with bounds: to what a client may send, and to how long it may take."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pusherable.server.asgi import with_wire
from pusherable.server.hub import Hub
from pusherable.server.outbox import Outbox

# Bytes of a request's head, and of what it is read in.
_MAX_HEAD: Final = 65_536
_PIECE: Final = 16_384
# Bytes that are worth a copy to spare a call of the system.
_SMALL: Final = 16_384


class JoinedWrites(asyncio.Transport):
    """A transport as uvicorn's answers use it: the head waits for the body, and both leave in one write.

    What comes alone is written in the next turn of the loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) > _SMALL:
            self.write_held()
            self._transport.write(data)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = bytes(data)
            self._loop.call_soon(self.write_held)

    def close(self) -> None:
        self.write_held()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write_held(self) -> None:
        """Write at once what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class Chunks:
    """Parts of bodies as chunks (RFC 9112, 7.1), each made once however many connections it goes to in a row."""

    __slots__ = ("_chunk", "_part")

    def __init__(self) -> None:
        self._part = self._chunk = b""

    def encode(self, part: bytes) -> bytes:
        if part is not self._part:
            self._part, self._chunk = part, b"%x\r\n%b\r\n" % (len(part), part)
        return self._chunk


class HttpWire:
    """A connection of uvicorn's as the ``Wire`` of one response after the other.

    What is written leaves by an outbox, as that to WebSockets does.
    """

    __slots__ = ("_chunks", "_cycle", "_has_chunks", "_joined", "_outbox", "_transport", "on_lost", "on_slow")

    def __init__(self, transport: asyncio.Transport, joined: JoinedWrites, *, outbox: Outbox, chunks: Chunks) -> None:
        self._transport = transport
        self._joined = joined
        self._outbox = outbox
        self._chunks = chunks
        #: Whom to tell, while it is taken.
        self.on_slow: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None

    def lend(self, scope: Scope, send: Send) -> "HttpWire":
        """The wire for a request whose answer is about to be made; ``send`` is uvicorn's own."""
        self._has_chunks = scope["http_version"] != "1.0"
        self._cycle: Any = cast("Any", send).__self__
        return self

    def take(self, *, limit: int, on_slow: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self.on_slow, self.on_lost = on_slow, on_lost
        if not self._has_chunks:
            # Of what has no length uvicorn would make chunks all the same.
            self._cycle.chunked_encoding = False
        self._transport.set_write_buffer_limits(high=limit)
        if self._transport.is_closing():
            on_lost()

    def begin(self, part: bytes) -> None:
        # A chunk without content would be the end.
        if part:
            self._joined.write(self._chunks.encode(part) if self._has_chunks else part)
        self._joined.write_held()

    def write(self, part: bytes) -> None:
        data = self._chunks.encode(part) if self._has_chunks else part
        # As `outbox.post` would, without the call: this is a hot loop of the server.
        if self._outbox.is_open:
            self._transport.write(data)
        else:
            self._outbox.post(self._transport, data)

    def release(self) -> None:
        if self.on_lost is None:
            return
        # Whoever had it may keep it for some time.
        self.on_slow = self.on_lost = self._cycle = None
        self._outbox.release(self._transport)
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()

    def abort(self) -> None:
        self._transport.abort()

    def forget(self) -> None:
        """The connection is lost."""
        self._outbox.forget(self._transport)
        if self.on_lost is not None:
            self.on_lost()


class HttpListener(HttpToolsProtocol):
    """uvicorn's HTTP connection, cut off if it does not get as far as a request, or as the next one."""

    # With five more, a connection's dict would outgrow the keys that all of them share, and take 1.4 KB.
    __slots__ = ("_deadline", "_socket", "_stuck_after", "_unread", "_wire")

    hub: ClassVar[Hub]
    outbox: ClassVar[Outbox]
    chunks: ClassVar[Chunks]

    @classmethod
    def bound_to(cls, hub: Hub, *, outbox: Outbox) -> "type[HttpListener]":
        """The class to give to uvicorn as its ``http``."""
        return type(cls.__name__, (cls,), {"hub": hub, "outbox": outbox, "chunks": Chunks(), "__slots__": ()})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket = transport
        self.transport = joined = JoinedWrites(transport, self.loop)
        self._wire = HttpWire(transport, joined, outbox=self.outbox, chunks=self.chunks)
        self.app = with_wire(self.app, self._wire.lend)
        self._unread = 0
        self._stuck_after: object = None
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)
        self._wire.forget()

    def pause_writing(self) -> None:
        if self._wire.on_slow is None:
            super().pause_writing()
        else:
            self._wire.on_slow()

    def data_received(self, data: bytes) -> None:
        # The parser would keep a head, or what follows a body, of any length.
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            self._unread += len(piece)
            super().data_received(piece)
            if self._socket.is_closing() or self._socket.get_protocol() is not self:
                return
            if self._unread > _MAX_HEAD:
                self.send_400_response("The head of the request is too large.")
                return

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self.parser.get_http_version() != "1.1":
            # RFC 6455, 4.1.
            self.send_400_response("A WebSocket takes HTTP/1.1.")
            return
        self._deadline.cancel()
        self.transport = self._socket
        super().handle_websocket_upgrade()
        # It refers to us, as we to it: thousands would wait for the garbage collector.
        self.parser = None  # type: ignore[assignment]

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self.hub.config.request_timeout, self._check_request)

    def _check_request(self) -> None:
        # uvicorn itself watches a connection until the next byte comes, and no longer.
        is_waiting = self.cycle is None or (self.cycle.response_complete and self.timeout_keep_alive_task is None)
        if is_waiting and self._stuck_after is self.cycle:
            self.transport.close()
            return
        self._stuck_after = self.cycle if is_waiting else None
        self._await_request()

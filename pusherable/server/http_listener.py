"""uvicorn's HTTP with bounds: to what a client may send, and to how long it may take."""

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pusherable.server.asgi import with_abort
from pusherable.server.hub import Hub

# Bytes of a request's head, and of what it is read in.
_MAX_HEAD: Final = 65_536
_PIECE: Final = 16_384
# Bytes that are worth a copy to spare a call of the system.
_SMALL: Final = 16_384


class JoinedWrites(asyncio.Transport):
    """A transport as uvicorn's answers use it: the head waits for the body, and both leave in one write.

    What comes alone, such as a part of a stream, is written in the next turn of the loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) > _SMALL:
            self._write_held()
            self._transport.write(data)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = bytes(data)
            self._loop.call_soon(self._write_held)

    def close(self) -> None:
        self._write_held()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _write_held(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class HttpListener(HttpToolsProtocol):
    """uvicorn's HTTP connection, cut off if it does not get as far as a request, or as the next one."""

    hub: ClassVar[Hub]

    @classmethod
    def bound_to(cls, hub: Hub) -> "type[HttpListener]":
        """The class to give to uvicorn as its ``http``."""
        return type(cls.__name__, (cls,), {"hub": hub})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = with_abort(self.app, transport.abort)
        self._socket = transport
        self.transport = JoinedWrites(transport, self.loop)
        self._unread = 0
        self._stuck_after: object = None
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

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

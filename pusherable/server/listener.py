"""The asyncio edge: sockets, timers, back-pressure, shutdown. What is said is for ``sessions`` to know."""

import asyncio
import logging
from typing import Any, ClassVar, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pusherable.server.facts import Refused
from pusherable.server.hub import Hub
from pusherable.server.messages import Message, error
from pusherable.server.protocol import CloseCode, Refusal
from pusherable.server.sessions import Session

logger = logging.getLogger("pusherable.server")

# Bytes of a close frame's reason (RFC 6455, 5.5).
_MAX_REASON: Final = 123
# Whole seconds for requests in progress when the server stops.
_GRACE: Final = 1


class HttpListener(H11Protocol):
    """uvicorn's HTTP connection, cut off if it never gets as far as a request (a half-open socket)."""

    hub: ClassVar[Hub]

    @classmethod
    def bound_to(cls, hub: Hub) -> "type[HttpListener]":
        """The class to give to uvicorn as its ``http``."""
        return type(cls.__name__, (cls,), {"hub": hub})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.hub.config.request_timeout, self._check_request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._deadline.cancel()
        super().handle_websocket_upgrade(event)

    def _check_request(self) -> None:
        if self.cycle is None:
            self.transport.close()


class WebSocketListener(asyncio.Protocol):
    """One WebSocket connection; uvicorn makes one for every upgrade, of the class that ``bound_to`` gives."""

    hub: ClassVar[Hub]

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        # uvicorn calls `shutdown` on all of these when it stops, and waits until they are gone.
        self._all = cast("set[asyncio.Protocol]", server_state.connections)
        self._loop = asyncio.get_running_loop()
        self._websocket = ServerProtocol(max_size=self.hub.config.limits.frame_size, logger=logger)
        self._transport: asyncio.Transport
        self._session: Session | None = None
        self._fragments = bytearray()
        self._is_text = True
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._quiet_since = self._loop.time()

    @classmethod
    def bound_to(cls, hub: Hub) -> "type[WebSocketListener]":
        """The class to give to uvicorn as its ``ws``."""
        return type(cls.__name__, (cls,), {"hub": hub})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self.hub.config.limits.write_buffer_size)
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        self._quiet_since = self._loop.time()
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events_received():
                self._take(event)
        except Exception:
            logger.exception("A connection failed and is closed. This is a fault of the server.")
            self.close(CloseCode.INTERNAL_ERROR)
        self._flush()

    def eof_received(self) -> None:
        self._websocket.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        self._end_session()
        self._set_timer()

    def pause_writing(self) -> None:
        # This comes from within a broadcast, which must not be disturbed.
        self._loop.call_soon(self._drop_slow_reader)

    def shutdown(self) -> None:
        """Tell the client to come back; pusher-js does so after a second (protocol A.56)."""
        self.close(CloseCode.GOING_AWAY, "The server is restarting")
        self._set_timer(self.hub.config.shutdown_timeout, self._transport.abort)

    def deliver(self, message: Message) -> None:
        self._transport.write(message.frame)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close with ``code``; a client that does not answer in time is cut off."""
        self._end_session()
        try:
            self._websocket.send_close(code, reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore"))
        except InvalidState:
            # It is closing already, or was never opened.
            self._transport.close()
        self._flush()

    def _take(self, event: Request | Any) -> None:
        if isinstance(event, Request):
            self._open(event)
        elif self._session is None:
            return
        elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._take_part(event, self._session)
        else:
            self._session.hear()

    def _open(self, request: Request) -> None:
        response = self._websocket.accept(request)
        self._websocket.send_response(response)
        self._flush()
        if response.status_code != 101:
            return
        try:
            self._session = Session(self.hub, self, target=request.path)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._set_timer(self._session.patience, self._check_silence)

    def _take_part(self, frame: Frame, session: Session) -> None:
        """Put fragments together; that their order and size are right, ``websockets`` has checked."""
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._fragments = bytearray()
        self._fragments += frame.data
        if not frame.fin:
            return
        if not self._is_text:
            session.receive_binary()
            return
        try:
            text = self._fragments.decode()
        except UnicodeDecodeError:
            self.close(CloseCode.INVALID_DATA, "A text message is UTF-8")
            return
        session.receive(text)

    def _check_silence(self) -> None:
        session = self._session
        if session is None:
            return
        remaining = self._quiet_since + session.patience - self._loop.time()
        if remaining <= 0:
            try:
                session.fall_silent()
            except Refusal as refusal:
                self._refuse(refusal)
                return
            self._quiet_since = self._loop.time()
            remaining = session.patience
        # A client that has answered a ping is due again before a long wait for its answer would be over.
        self._set_timer(min(remaining, self.hub.config.activity_timeout), self._check_silence)

    def _drop_slow_reader(self) -> None:
        if self._session is not None:
            self._refuse(Refusal("You read too slowly", code=CloseCode.OVER_CAPACITY))

    def _refuse(self, refusal: Refusal) -> None:
        """Say why, then close; the hosted service does both (protocol A.4)."""
        socket_id = self._session.socket_id if self._session else None
        self.deliver(error(str(refusal), code=refusal.code))
        self.close(refusal.code, str(refusal))
        self.hub.tell(Refused(refusal.code, str(refusal), socket_id))

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.end()
            self._session = None

    def _flush(self) -> None:
        """Write what ``websockets`` wants written, and wait for the end once it has said goodbye."""
        if self._websocket.close_expected() and not self._is_closing:
            self._is_closing = True
            # Nothing may follow a close frame.
            self._end_session()
            self._set_timer(self.hub.config.close_timeout, self._transport.abort)
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def _set_timer(self, delay: float = 0.0, callback: Any = None) -> None:
        """Put ``callback`` in the place of whatever was waited for; without one, wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if callback is None else self._loop.call_later(delay, callback)


class PushServer(uvicorn.Server):
    """A uvicorn server with WebSockets for ``hub`` and HTTP for ``app``; it is given its sockets when it runs."""

    def __init__(self, hub: Hub, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpListener.bound_to(hub),
                ws=WebSocketListener.bound_to(hub),
                loop="asyncio",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    def request_stop(self) -> None:
        """Stop within about a second, from whatever thread; clients are told to come back."""
        self.should_exit = True

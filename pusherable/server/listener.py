"""The asyncio edge: sockets, timers, back-pressure, shutdown. What is said is for ``sessions`` to know."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pusherable.server.certificates import Certificate
from pusherable.server.facts import Refused
from pusherable.server.http_listener import HttpListener
from pusherable.server.hub import Hub
from pusherable.server.messages import Message, error, quote
from pusherable.server.openings import Opening, Openings
from pusherable.server.outbox import Outbox
from pusherable.server.protocol import CloseCode, Refusal
from pusherable.server.sessions import Session

logger = logging.getLogger("pusherable.server")

# Bytes of a close frame's reason (RFC 6455, 5.5).
_MAX_REASON: Final = 123
# Whole seconds for requests in progress when the server stops.
_GRACE: Final = 1


@dataclass(slots=True)
class Traffic:
    """How many messages of clients have come so far."""

    received: int = 0


class WebSocketListener(asyncio.Protocol):
    """One WebSocket connection; uvicorn makes one for every upgrade, of the class that ``bound_to`` gives."""

    # An idle connection costs mostly what is in here.
    __slots__ = (
        "_all",
        "_fragments",
        "_is_closing",
        "_is_text",
        "_loop",
        "_quiet_since",
        "_session",
        "_timer",
        "_transport",
        "_websocket",
    )

    hub: ClassVar[Hub]
    traffic: ClassVar[Traffic]
    outbox: ClassVar[Outbox]
    openings: ClassVar[Openings | None]

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        # uvicorn calls `shutdown` on all of these when it stops, and waits until they are gone.
        self._all = cast("set[asyncio.Protocol]", server_state.connections)
        self._loop = asyncio.get_running_loop()
        self._websocket = ServerProtocol(max_size=self.hub.config.limits.frame_size, logger=logger)
        self._session: Session | None = None
        self._fragments = bytearray()
        self._is_text = True
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._quiet_since = self._loop.time()

    @classmethod
    def bound_to(
        cls,
        hub: Hub,
        *,
        traffic: Traffic | None = None,
        openings: Openings | None = None,
        outbox: Outbox | None = None,
    ) -> "type[WebSocketListener]":
        """The class to give to uvicorn as its ``ws``."""
        shared = {
            "hub": hub,
            "traffic": traffic or Traffic(),
            "openings": openings,
            "outbox": outbox or Outbox(),
            "__slots__": (),
        }
        return type(cls.__name__, (cls,), shared)

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
        self.outbox.forget(self._transport)
        self._end_session()
        self._set_timer()

    def pause_writing(self) -> None:
        # This comes from within a broadcast, which must not be disturbed.
        self._loop.call_soon(self._drop_slow_reader)

    def shutdown(self) -> None:
        """Tell the client to come back; pusher-js does so after a second (protocol A.56)."""
        if not self._is_closing:
            self.close(CloseCode.GOING_AWAY, "The server is restarting")
        self._set_timer(self.hub.config.shutdown_timeout, self._transport.abort)

    def deliver(self, message: Message) -> None:
        # As `outbox.post` would, without the call: this is the hot loop of the server.
        if self.outbox.is_open:
            self._transport.write(message.frame)
        else:
            self.outbox.post(self._transport, message.frame)

    def skip(self) -> None:
        """A WebSocket that is lost begins anew: nobody asks how far it had come."""

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
            self._check_origin(request)
            session = Session(self.hub, self, target=request.path)
        except Refusal as refusal:
            self.dismiss(refusal)
            return
        self._session = session
        if self.openings is not None:
            self.openings[session.socket_id] = self._describe(request)
        self._set_timer(session.patience, self._check_silence, session)

    def _check_origin(self, request: Request) -> None:
        """Raise where a page of another site wants to connect; only browsers say whose page it is."""
        origins, origin = self.hub.config.origins, request.headers.get("Origin")
        if origins is not None and origin is not None and not origins.allow(origin):
            raise Refusal(f"Origin {quote(origin)} is not allowed", code=CloseCode.UNAUTHORIZED)

    def _describe(self, request: Request) -> Opening:
        return Opening(
            target=request.path,
            headers=tuple(request.headers.raw_items()),
            peer=self._transport.get_extra_info("peername", ())[:2],
            is_secure=self._transport.get_extra_info("ssl_object") is not None,
        )

    def _take_part(self, frame: Frame, session: Session) -> None:
        """Put fragments together; that their order and size are right, ``websockets`` has checked."""
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._fragments = bytearray()
        self._fragments += frame.data
        if not frame.fin:
            return
        self.traffic.received += 1
        if not self._is_text:
            session.receive_binary()
            return
        try:
            text = self._fragments.decode()
        except UnicodeDecodeError:
            self.close(CloseCode.INVALID_DATA, "A text message is UTF-8")
            return
        session.receive(text)

    def _check_silence(self, session: Session) -> None:
        remaining = self._quiet_since + session.patience - self._loop.time()
        if remaining <= 0:
            try:
                session.fall_silent()
            except Refusal as refusal:
                self.dismiss(refusal)
                return
            self._quiet_since = self._loop.time()
            remaining = session.patience
        # A client that has answered a ping is due again before a long wait for its answer would be over.
        self._set_timer(min(remaining, self.hub.config.activity_timeout), self._check_silence, session)

    def _drop_slow_reader(self) -> None:
        if self._session is not None:
            self.dismiss(Refusal("You read too slowly", code=CloseCode.OVER_CAPACITY))

    def dismiss(self, refusal: Refusal) -> None:
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
                self.outbox.write(self._transport, data)
                continue
            # Not even a broadcast may follow: it would fail for everybody, because of one who left without goodbye.
            self._end_session()
            self.outbox.release(self._transport)
            self._hang_up()

    def _hang_up(self) -> None:
        """Say that nothing more will come, where the transport can, and leave it to the client to close."""
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:
            # The client has gone without a goodbye.
            self._transport.abort()

    def _set_timer(self, delay: float = 0.0, callback: Callable[..., None] | None = None, *args: Any) -> None:
        """Put ``callback`` in the place of whatever was waited for; without one, wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if callback is None else self._loop.call_later(delay, callback, *args)


class PushServer(uvicorn.Server):
    """A uvicorn server with WebSockets for ``hub`` and HTTP for ``app``; it is given its sockets when it runs.

    It counts what comes in ``traffic``, fills ``openings`` where somebody wants them, speaks TLS by a
    ``certificate``, and calls ``on_stop`` in its own thread before it waits for anybody to leave. With an
    ``on_departure`` it lets the WebSockets go first, and answers HTTP until that is done.
    """

    def __init__(
        self,
        hub: Hub,
        app: ASGIApp,
        *,
        traffic: Traffic | None = None,
        openings: Openings | None = None,
        certificate: Certificate | None = None,
        on_stop: Callable[[], None] = lambda: None,
        on_departure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._on_stop = on_stop
        self._on_departure = on_departure
        self._hub = hub
        outbox = Outbox()
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpListener.bound_to(hub, outbox=outbox),
                ws=WebSocketListener.bound_to(hub, traffic=traffic, openings=openings, outbox=outbox),
                ssl_certfile=certificate.cert if certificate else None,
                ssl_keyfile=certificate.key if certificate else None,
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

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to whoever runs the server; uvicorn would raise them again when it is done."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.ledger.start()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether to stop."""
        self._hub.tick()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.ledger.depart()
        self._on_stop()
        if self._on_departure is not None:
            for connection in list(self.server_state.connections):
                if isinstance(connection, WebSocketListener):
                    connection.shutdown()
            await self._on_departure()
        await super().shutdown(sockets)
        await self._hub.ledger.stop()

    def request_stop(self) -> None:
        """Stop within about a second, from whatever thread; clients are told to come back."""
        self.should_exit = True

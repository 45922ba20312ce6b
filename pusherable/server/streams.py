"""Event streams: the server's events over plain HTTP, for any ``EventSource``, and for ``curl -N``."""

import asyncio
import random
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pusherable.channels import kind_of
from pusherable.events import RESERVED_PREFIXES
from pusherable.server.asgi import WIRE, Wire
from pusherable.server.blocks import HEARTBEAT, MEDIA_TYPE, encode_event, encode_position, encode_retry
from pusherable.server.connections import Connection
from pusherable.server.credentials import Denied
from pusherable.server.decoding import encode
from pusherable.server.facts import Refused
from pusherable.server.histories import Cursor, Missed
from pusherable.server.hub import Hub
from pusherable.server.messages import Message, connection_established, error, quote
from pusherable.server.openings import Opening, Openings
from pusherable.server.passes import Pass, read_pass
from pusherable.server.protocol import CloseCode, Objection, Refusal

#: Below the server's own path.
PATH: Final = "/stream"
#: Milliseconds after which a browser comes back. Not all at once, or they would all be late.
RETRY: Final = (1_000, 3_000)

_HEADERS: Final = {
    # A proxy that compresses would hold back what it has not enough of yet.
    "Cache-Control": "no-store, no-transform",
    "Vary": "Origin",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_STATUSES: Final = {
    CloseCode.OVER_CONNECTIONS: 503,
    CloseCode.OVER_CAPACITY: 503,
}


class Stream:
    """One open stream: the hub's client, whose messages go to ``wire`` as soon as the head of the answer is sent."""

    def __init__(self, hub: Hub, wish: Pass, *, wire: Wire, on_end: Callable[["Stream"], None]) -> None:
        self._hub = hub
        self._wire = wire
        self._on_end = on_end
        self._limit = hub.config.limits.write_buffer_size
        self._opening: list[Message] | None = []
        self._waiting: list[bytes] | None = []
        self._size = 0
        self._is_quiet = False
        self._is_slow = False
        self._has_ended = False
        self._end = asyncio.Event()
        self.connection: Connection = hub.connect(wish.app, self)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(hub.config.heartbeat, self._beat)

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def deliver(self, message: Message) -> None:
        if self._opening is not None:
            # Whether the client has this already depends on where it goes on.
            self._opening.append(message)
            return
        self._put(self._hub.histories.stamp(message))

    def skip(self) -> None:
        # An event that was kept from it shall not come to it after a lost connection either.
        self._put(encode_position(self._hub.histories.now.write()))

    def dismiss(self, refusal: Refusal) -> None:
        self.deliver(error(str(refusal), code=refusal.code))
        self._hub.tell(Refused(refusal.code, str(refusal), self.connection.socket_id))
        self.end()

    def begin(self, cursor: Cursor | None, missed: Missed, *, new: Container[str] = ()) -> None:
        """Send what there is to be known now, then what was missed; from then on events go out as they come.

        The channels in ``new`` were not listened to before: what was missed is not about them.

        Until all of it is read, the client's cursor stays where it was: if the connection is lost on the way, the
        next one begins in the same place.
        """
        histories = self._hub.histories
        is_back = cursor is not None and histories.knows(cursor)
        start = cursor if cursor is not None and is_back else histories.now
        opening, self._opening = self._opening or [], None
        self._put(encode_retry(_choose_retry()))
        self._put(encode_position(start.write()))
        for message in opening:
            # What a cache channel remembers, a client that is back has had, or is about to have among the rest.
            if _is_own(message) or not is_back or message.channel in missed.lost or message.channel in new:
                self._put(histories.stamp(message, at=start))
        if missed.lost:
            self._put(encode_event("resync", encode({"channels": missed.lost}), id=start.write()))
        for block in missed.blocks:
            self._put(block)
        self._put(encode_position(histories.now.write()))

    def end(self) -> None:
        """Leave the hub, and close when the rest is read; a second time does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        self._timer.cancel()
        self._end.set()
        self._hub.disconnect(self.connection)
        self._on_end(self)

    @contextmanager
    def taken_wire(self) -> Iterator[None]:
        """For as long as the answer lasts: whose client goes away, or reads too slowly, has ended the stream."""
        self._wire.take(limit=self._limit, on_slow=self._fall_behind, on_lost=self.end)
        try:
            yield
        finally:
            self.end()
            self._wire.release()

    async def flow(self) -> None:
        """Send what waits, and all that comes as it comes, until the stream has ended."""
        waiting, self._waiting = self._waiting or [], None
        self._wire.begin(b"".join(waiting))
        await self._end.wait()

    def _put(self, block: bytes) -> None:
        if self._has_ended or self._is_slow:
            return
        self._is_quiet = False
        if self._waiting is None:
            self._wire.write(block)
            return
        self._waiting.append(block)
        self._size += len(block)
        if self._size > self._limit:
            self._fall_behind()

    def _fall_behind(self) -> None:
        if not self._is_slow:
            self._is_slow = True
            # This comes from within a broadcast, which must not be disturbed.
            self._loop.call_soon(self._drop)

    def _drop(self) -> None:
        """Cut off a client that reads too slowly: it comes back, and goes on where it was."""
        if self._has_ended:
            return
        self._hub.tell(Refused(CloseCode.OVER_CAPACITY, "You read too slowly", self.connection.socket_id))
        self.end()
        self._wire.abort()

    def _beat(self) -> None:
        if self._is_quiet and self._waiting is None:
            self._put(HEARTBEAT)
        self._is_quiet = True
        self._timer = self._loop.call_later(self._hub.config.heartbeat, self._beat)


class Streams:
    """The door for event streams; it fills ``openings`` where somebody wants them. ``clock`` is since the epoch."""

    def __init__(self, hub: Hub, *, openings: Openings | None = None, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._openings = openings
        self._clock = clock
        self._streams: set[Stream] = set()
        self._is_closed = False

    def routes(self) -> list[Route]:
        return [Route(f"{self._hub.config.path}{PATH}", self.get_stream, methods=["GET"])]

    def close(self) -> None:
        """End all streams, whose browsers come back; call it in the server's thread."""
        self._is_closed = True
        for stream in tuple(self._streams):
            stream.end()

    async def get_stream(self, request: Request) -> Response:
        """The stream, or a sentence that says why there is none."""
        origin = request.headers.get("origin")
        headers = dict(_HEADERS)
        try:
            self._check_origin(origin)
            if origin is not None:
                headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
            wish = self._read_pass(request)
            if request.method == "HEAD" or self._is_closed:
                # After any answer that is no stream a browser would not come back.
                content = b"" if request.method == "HEAD" else encode_retry(_choose_retry())
                return Response(content, headers=headers, media_type=MEDIA_TYPE)
            stream = await self._open(request, wish)
        except (Denied, Refusal, Objection) as reason:
            return self._refuse(reason, headers)
        return _StreamResponse(stream, headers)

    def _check_origin(self, origin: str | None) -> None:
        """Raise where a page of another site wants to listen; pages of the same origin do not say whose they are."""
        origins = self._hub.config.origins
        if origins is not None and origin is not None and not origins.allow(origin):
            raise Denied(f"Origin {quote(origin)} is not allowed", status=403)

    def _read_pass(self, request: Request) -> Pass:
        wish = read_pass(request.query_params.multi_items(), self._hub.config, now=self._clock())
        self._check_termination(wish)
        return wish

    def _check_termination(self, wish: Pass) -> None:
        """Raise where the user was sent away since its address was signed."""
        if wish.user is None or wish.issued is None:
            return
        if self._hub.was_terminated(wish.app, wish.user.id, within=self._clock() - wish.issued):
            raise Denied("The user's connections were terminated since this address was signed", status=403)

    async def _open(self, request: Request, wish: Pass) -> Stream:
        hub, histories = self._hub, self._hub.histories
        cursor = _read_cursor(request)
        wire: Wire = request.scope["extensions"][WIRE]
        followed: list[str] = []

        def forget(stream: Stream) -> None:
            self._streams.discard(stream)
            for channel in followed:
                histories.leave(wish.app.id, channel)

        stream = Stream(hub, wish, wire=wire, on_end=forget)
        self._streams.add(stream)
        connection = stream.connection
        if self._openings is not None:
            self._openings[connection.socket_id] = _describe(request)
        stream.deliver(connection_established(connection.socket_id, hub.config.activity_timeout))
        try:
            outcomes = [] if wish.user is None else [hub.sign_in(connection, wish.user)]
            outcomes += [
                hub.subscribe(connection, channel, wish.member if kind_of(channel).is_presence else None)
                for channel in wish.channels
            ]
            await asyncio.gather(*filter(None, outcomes))
            # What another process was asked to do meanwhile may have come before.
            self._check_termination(wish)
        except BaseException:
            stream.end()
            raise
        # What comes from now on goes to the stream, and so this is all of what came before.
        limit = hub.config.limits.write_buffer_size // 2
        new = _read_new(request)
        known = [channel for channel in wish.channels if channel not in new]
        missed = histories.missed(wish.app.id, known, cursor, limit=limit)
        if not stream.has_ended:
            followed += wish.channels
            for channel in followed:
                histories.follow(wish.app.id, channel)
            stream.begin(cursor, missed, new=new)
        return stream

    def _refuse(self, reason: Denied | Refusal | Objection, headers: dict[str, str]) -> Response:
        status = 403
        if isinstance(reason, Denied):
            status = reason.status
        elif isinstance(reason, Refusal):
            status = _STATUSES.get(reason.code, 403)
        self._hub.tell(Refused(status, str(reason)))
        return PlainTextResponse(f"{reason}\n", status_code=status, headers=headers)


class _StreamResponse(Response):
    """Sends a stream's head, leaves the body to the stream, and sends the end."""

    def __init__(self, stream: Stream, headers: dict[str, str]) -> None:
        super().__init__(headers=headers, media_type=MEDIA_TYPE)
        # It has an end, but nobody knows where.
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stream.taken_wire():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._stream.flow()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _choose_retry() -> int:
    return random.randint(*RETRY)


def _read_cursor(request: Request) -> Cursor | None:
    """Where a client that was here before goes on: the header is the browser's, the parameter a script's."""
    text = request.headers.get("last-event-id") or request.query_params.get("lastEventId")
    return Cursor.parse(text) if text else None


def _read_new(request: Request) -> frozenset[str]:
    """The channels that a script has added since; a browser that comes back by itself has had them by then."""
    return frozenset() if "last-event-id" in request.headers else frozenset(request.query_params.getlist("new"))


def _is_own(message: Message) -> bool:
    """Whether it is the server's word and no event that somebody has published."""
    return message.event.startswith(RESERVED_PREFIXES)


def _describe(request: Request) -> Opening:
    scope: Any = request.scope
    return Opening(
        target=b"?".join((scope["raw_path"], scope["query_string"])).decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        peer=tuple(scope.get("client") or ()),
        is_secure=scope.get("scheme") == "https",
    )

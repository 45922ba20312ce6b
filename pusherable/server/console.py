"""The debug console: a page of the server for those whom its one-time link has let in, and nothing for others."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pusherable.channels import kind_of, validate_channel
from pusherable.events import check_data_size, validate_event_name
from pusherable.exceptions import EventTooLarge, InvalidChannel, InvalidEvent
from pusherable.server.addresses import Address
from pusherable.server.config import Limits
from pusherable.server.hub import Hub
from pusherable.server.viewers import Feed
from pusherable.signing import same_text

#: Below the server's own path.
PATH: Final = "/pusherable/console/"
#: Seconds of silence in a stream after which proxies and browsers need a sign of life.
HEARTBEAT: Final = 15.0
#: Seconds between two parts of a stream.
PACE: Final = 0.25

_FILES: Final = Path(__file__).with_name("console")
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Console:
    """The console of the app whose facts ``feed`` hands on.

    ``key`` is what its visitors keep as a cookie; given the same one, a console that is started anew lets them stay.
    """

    def __init__(
        self, hub: Hub, feed: Feed, *, key: str | None = None, heartbeat: float = HEARTBEAT, pace: float = PACE
    ) -> None:
        self._hub = hub
        self._feed = feed
        self._key = key or make_key()
        self._token: str | None = make_key()
        self._heartbeat = heartbeat
        self._pace = pace
        self._path = f"{hub.config.path}{PATH}"
        # Cookies do not know ports: two servers on one machine must not take each other's place.
        self._cookie = f"pusherable_console_{hub.config.port}"

    def routes(self) -> list[Route]:
        files = [file for file in sorted(_FILES.iterdir()) if file.suffix in _TYPES]
        return [
            Route(self._path, self._guard(self.get_page, is_entrance=True), methods=["GET"]),
            Route(f"{self._path}stream", self._guard(self.get_stream), methods=["GET"]),
            Route(f"{self._path}events", self._guard(self.post_event), methods=["POST"]),
            *(Route(f"{self._path}{file.name}", self._guard(_serve(file)), methods=["GET"]) for file in files),
        ]

    def link(self, address: Address, *, scheme: str = "http") -> str:
        """The address that lets one visitor in, once."""
        return f"{scheme}://{address.reachable}{self._path}?{urlencode({'token': self._token or ''})}"

    async def get_page(self, request: Request) -> Response:
        return _read("console.html") if "token" not in request.query_params else _read("welcome.html")

    async def get_stream(self, request: Request) -> Response:
        stream = self._feed.stream(self._hub, heartbeat=self._heartbeat, pace=self._pace)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def post_event(self, request: Request) -> Response:
        """Publish what the form holds, or say field by field what is wrong with it."""
        try:
            form = await self._read_form(request)
        except (ValueError, RecursionError, TimeoutError, ClientDisconnect):
            return PlainTextResponse("400 BAD REQUEST\n", status_code=400)
        errors = find_errors(form, self._hub.config.limits)
        if errors:
            return JSONResponse({"errors": errors}, status_code=422)
        app, channel = self._feed.app, form["channel"]
        outcome = self._hub.publish(app, channels=[channel], name=form["event"], data=form["data"])
        if outcome is not None:
            await outcome
        return JSONResponse({"receivers": self._hub.subscription_count(app, channel)})

    async def _read_form(self, request: Request) -> dict[str, Any]:
        config = self._hub.config
        # Its length is given, or there is no body: browsers send no form in chunks.
        if not 0 < int(request.headers.get("content-length", 0)) <= config.limits.request_body_size:
            raise ValueError("The form is empty or too large")
        async with asyncio.timeout(config.request_timeout):
            form = json.loads(await request.body())
        if not isinstance(form, dict):
            raise ValueError("The form is no object")
        return form

    def _guard(self, endpoint: Endpoint, *, is_entrance: bool = False) -> Endpoint:
        """``endpoint`` for visitors who may come in; for all others there is nothing here."""

        async def guarded(request: Request) -> Response:
            if not self._is_addressed(request):
                return _nothing_here()
            is_let_in = is_entrance and self._use_token(request)
            has_cookie = same_text(request.cookies.get(self._cookie, ""), self._key)
            is_own = is_entrance or _is_same_origin(request)
            if not (is_let_in or (has_cookie and is_own)):
                return _nothing_here()
            response = await endpoint(request)
            response.headers.update(_HEADERS)
            if is_let_in:
                self._set_cookie(response, is_secure=request.url.scheme == "https")
            return response

        return guarded

    def _is_addressed(self, request: Request) -> bool:
        """Whether the request names this server by an address: another site's name could be led here by its DNS."""
        called = (request.scope.get("server") or ())[:1]
        return _host_of(request) in {*_LOOPBACK_NAMES, self._hub.config.host.lower(), *called}

    def _use_token(self, request: Request) -> bool:
        """Whether the request brings the token; from then on it is good for nothing."""
        given = request.query_params.get("token", "")
        if request.method != "GET" or self._token is None or not same_text(given, self._token):
            return False
        self._token = None
        return True

    def _set_cookie(self, response: Response, *, is_secure: bool) -> None:
        response.set_cookie(
            self._cookie, self._key, path=self._path, secure=is_secure, httponly=True, samesite="strict"
        )


def make_key() -> str:
    """A random text that nobody guesses."""
    return secrets.token_urlsafe(32)


def find_errors(form: dict[str, Any], limits: Limits) -> dict[str, str]:
    """What is wrong with an event, by the names of its fields."""
    checks: dict[str, Callable[[], str]] = {
        "channel": lambda: _check_channel(form.get("channel"), limits),
        "event": lambda: _check_event(form.get("event"), limits),
        "data": lambda: _check_data(form.get("data"), limits, channel=form.get("channel")),
    }
    return {name: error for name, check in checks.items() if (error := check())}


def _check_channel(channel: Any, limits: Limits) -> str:
    if not channel:
        return "Name the channel, such as post_1."
    try:
        validate_channel(channel, max_length=limits.channel_length)
    except InvalidChannel as invalid:
        return str(invalid)
    return ""


def _check_event(name: Any, limits: Limits) -> str:
    if not name:
        return "Name the event, such as update."
    try:
        validate_event_name(name, max_length=limits.event_name_length)
    except InvalidEvent as invalid:
        return str(invalid)
    return ""


def _check_data(text: Any, limits: Limits, *, channel: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        return 'Write JSON, such as {"title": "News"} or "a text".'
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
        check_data_size(text, limit=limits.event_data_size)
    except json.JSONDecodeError as invalid:
        return f"This is no JSON: line {invalid.lineno}, column {invalid.colno}: {invalid.msg}."
    except EventTooLarge as too_large:
        return f"The data has {too_large.size} bytes; {too_large.limit} is the limit."
    except (ValueError, RecursionError) as invalid:
        return f"This is no JSON: {invalid}."
    is_encrypted = isinstance(channel, str) and kind_of(channel).is_encrypted
    if is_encrypted and not (isinstance(data, dict) and {"nonce", "ciphertext"} <= data.keys()):
        return 'An encrypted channel carries {"nonce": …, "ciphertext": …}: this server has no key to make them with.'
    return ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _host_of(request: Request) -> str:
    """The host that the request names, without its port; nothing where it makes no sense."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_same_origin(request: Request) -> bool:
    """Whether one of our own pages asks; another port of this machine is the same site, but not ours."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return request.method != "POST" or request.headers.get("origin") == (
        f"{request.url.scheme}://{request.headers.get('host', '')}"
    )


def _serve(file: Path) -> Endpoint:
    async def serve(request: Request) -> Response:
        return _read(file.name)

    return serve


def _read(name: str) -> Response:
    # Read each time, so that they can be worked on without a restart.
    file = _FILES / name
    return Response(file.read_bytes(), media_type=_TYPES.get(file.suffix, "text/html"))


def _nothing_here() -> Response:
    """The same as for any address that the server does not know."""
    return PlainTextResponse("404 NOT FOUND\n", status_code=404)

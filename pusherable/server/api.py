"""The HTTP API by which an app's own server publishes and asks: every request is signed."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pusherable.channels import validate_channel
from pusherable.events import check_data_size, is_socket_id, validate_event_name
from pusherable.exceptions import EventTooLarge, InvalidChannel, InvalidEvent, PusherableError
from pusherable.server.config import App, Limits
from pusherable.server.hub import Hub
from pusherable.signing import body_md5, request_message, same_text, sign

_SIGNED_BY: Final = ("auth_key", "auth_timestamp", "auth_version", "auth_signature")


class ApiError(PusherableError):
    """A request is answered with ``status`` and the message as plain text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Publication:
    """One event of a request, checked; ``info`` are the attributes to answer with."""

    channels: tuple[str, ...]
    name: str
    data: str
    socket_id: str | None
    info: frozenset[str] | None


class Api:
    """The HTTP API of a hub's apps; ``clock`` gives seconds since the epoch."""

    def __init__(self, hub: Hub, *, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._config = hub.config
        self._clock = clock

    def routes(self) -> list[Route]:
        base = f"{self._config.path}/apps/{{app_id}}"
        return [
            Route(f"{base}/events", self.post_event, methods=["POST"]),
            Route(f"{base}/batch_events", self.post_batch, methods=["POST"]),
            Route(f"{base}/channels", self.get_channels, methods=["GET"]),
            Route(f"{base}/channels/{{channel}}", self.get_channel, methods=["GET"]),
        ]

    async def post_event(self, request: Request) -> Response:
        app, body = await self._verify(request)
        publication = read_publication(_read_object(body), self._config.limits)
        self._publish(app, publication)
        if publication.info is None:
            return JSONResponse({})
        channels = {name: self._describe(app, name, publication.info) for name in publication.channels}
        return JSONResponse({"channels": channels})

    async def post_batch(self, request: Request) -> Response:
        """Take all events of a batch, or none of them (protocol B.18)."""
        app, body = await self._verify(request)
        batch = _read_object(body).get("batch")
        limit = self._config.limits.events_per_batch
        if not isinstance(batch, list) or not 1 <= len(batch) <= limit:
            raise ApiError(400, f"Expected batch parameter to be an array of 1 to {limit} events")
        publications = [read_publication(item, self._config.limits, is_in_batch=True) for item in batch]
        for publication in publications:
            self._publish(app, publication)
        if all(publication.info is None for publication in publications):
            return JSONResponse({})
        infos = [self._describe(app, each.channels[0], each.info or frozenset()) for each in publications]
        return JSONResponse({"batch": infos})

    async def get_channels(self, request: Request) -> Response:
        app, _ = await self._verify(request)
        prefix = request.query_params.get("filter_by_prefix", "")
        info = _read_info(request.query_params.get("info"))
        if "user_count" in info and not prefix.startswith("presence-"):
            raise ApiError(
                400,
                "user_count may only be requested for presence channels - "
                "please supply filter_by_prefix beginning with presence-",
            )
        names = self._hub.occupied_channels(app, prefix=prefix)
        return JSONResponse({"channels": {name: self._describe(app, name, info) for name in names}})

    async def get_channel(self, request: Request) -> Response:
        app, _ = await self._verify(request)
        channel = _check_channel(request.path_params["channel"], self._config.limits)
        info = _read_info(request.query_params.get("info"))
        if "user_count" in info and not channel.startswith("presence-"):
            raise ApiError(400, "user_count may only be requested for presence channels")
        is_occupied = self._hub.subscription_count(app, channel) > 0
        return JSONResponse({"occupied": is_occupied} | self._describe(app, channel, info))

    def _publish(self, app: App, publication: Publication) -> None:
        self._hub.publish(
            app,
            channels=publication.channels,
            name=publication.name,
            data=publication.data,
            socket_id=publication.socket_id,
        )

    def _describe(self, app: App, channel: str, info: frozenset[str]) -> dict[str, int]:
        """The attributes asked for, as far as the channel has them (protocol B.17)."""
        if "subscription_count" not in info:
            return {}
        return {"subscription_count": self._hub.subscription_count(app, channel)}

    async def _verify(self, request: Request) -> tuple[App, bytes]:
        """The app that a request is for and its body, once it has shown that it comes from the app's server."""
        app = self._config.find_app(id=request.path_params["app_id"])
        if app is None:
            raise ApiError(404, f"No app has the id {request.path_params['app_id']}")
        parameters = request.query_params
        missing = [name for name in _SIGNED_BY if name not in parameters]
        if missing:
            raise ApiError(401, f"Missing query parameters: {', '.join(missing)}")
        if not same_text(parameters["auth_key"], app.key):
            raise ApiError(401, f"The app {app.id} has no key {parameters['auth_key']}")
        if parameters["auth_version"] != "1.0":
            raise ApiError(401, f"Version {parameters['auth_version']} of signatures is unknown, 1.0 is known")
        body = await _read_body(
            request, limit=self._config.limits.request_body_size, timeout=self._config.request_timeout
        )
        if body and not same_text(parameters.get("body_md5", ""), body_md5(body)):
            raise ApiError(401, "body_md5 is missing, or is not the MD5 of the body")
        self._verify_signature(request, app)
        self._verify_timestamp(parameters["auth_timestamp"])
        if not app.is_enabled:
            raise ApiError(403, "The app is disabled")
        return app, body

    def _verify_signature(self, request: Request, app: App) -> None:
        # The prefix is ours, not the client's; it signs from /apps on (protocol B.4).
        path = request.scope["path"].removeprefix(self._config.path)
        message = request_message(request.method, path, request.query_params.multi_items())
        given = request.query_params["auth_signature"]
        if not same_text(sign(app.secret, message), given):
            raise ApiError(
                401,
                f"Invalid signature: you should have sent HmacSHA256Hex({json.dumps(message)}, your_secret_key), "
                f"but you sent {json.dumps(given)}",
            )

    def _verify_timestamp(self, text: str) -> None:
        if not (text.isascii() and text.isdigit() and len(text) <= 11):
            raise ApiError(401, f"auth_timestamp is in whole seconds since 1970, not {json.dumps(text)}")
        given, now, window = int(text), int(self._clock()), self._config.timestamp_window
        if abs(now - given) > window:
            raise ApiError(
                401,
                f"Timestamp expired: Given timestamp ({_iso(given)}) not within {window}s of server time "
                f"({_iso(now)})",
            )


def create_api(hub: Hub, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The HTTP API as an ASGI app; whatever it does not know is a 404 in plain text."""
    api = Starlette(
        routes=Api(hub, clock=clock).routes(),
        exception_handlers={ApiError: _explain, HTTPException: _not_found},
    )
    api.router.redirect_slashes = False
    return api


def read_publication(content: object, limits: Limits, *, is_in_batch: bool = False) -> Publication:
    """An event out of a request's JSON; raises ``ApiError`` with the hosted service's words where known."""
    if not isinstance(content, dict):
        raise ApiError(400, "Expected an event to be an object")
    channels = None if is_in_batch else content.get("channels")
    return Publication(
        channels=_check_channels([content.get("channel")] if channels is None else channels, limits),
        name=_check_name(content.get("name"), limits),
        data=_check_data(content, limits),
        socket_id=_check_socket_id(content.get("socket_id")),
        info=None if content.get("info") is None else _read_info(content["info"]),
    )


def _check_channels(channels: object, limits: Limits) -> tuple[str, ...]:
    if not isinstance(channels, list) or not channels:
        raise ApiError(400, "Expected channels parameter to be an array of strings that is not empty")
    if len(channels) > limits.channels_per_event:
        raise ApiError(400, f"An event names {limits.channels_per_event} channels at most")
    return tuple(dict.fromkeys(_check_channel(channel, limits) for channel in channels))


def _check_channel(channel: Any, limits: Limits) -> str:
    try:
        return validate_channel(channel, max_length=limits.channel_length)
    except InvalidChannel as invalid:
        raise ApiError(400, str(invalid)) from invalid


def _check_name(name: Any, limits: Limits) -> str:
    if not isinstance(name, str):
        raise ApiError(400, "Expected name parameter to be a string")
    try:
        return validate_event_name(name, max_length=limits.event_name_length)
    except InvalidEvent as invalid:
        raise ApiError(400, str(invalid)) from invalid


def _check_data(content: dict[str, Any], limits: Limits) -> str:
    """The data as text; anything but text is encoded, which the hosted service leaves to the client."""
    if "data" not in content:
        raise ApiError(400, "Expected data parameter to be a string")
    data = content["data"]
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        check_data_size(text, limit=limits.event_data_size)
    except EventTooLarge as too_large:
        raise ApiError(
            413,
            f"The data content of this event exceeds the allowed maximum ({limits.event_data_size} bytes). "
            "See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info",
        ) from too_large
    return text


def _check_socket_id(socket_id: Any) -> str | None:
    if socket_id is None:
        return None
    if is_socket_id(socket_id):
        return str(socket_id)
    raise ApiError(400, f"Invalid socket_id: {json.dumps(socket_id)}")


def _read_info(info: object) -> frozenset[str]:
    """The attributes in a list with commas between."""
    if info is None or info == "":
        return frozenset()
    if not isinstance(info, str):
        raise ApiError(400, "Expected info parameter to be a string")
    return frozenset(info.replace(" ", "").split(","))


async def _read_body(request: Request, *, limit: int, timeout: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise ApiError(413, f"The request is larger than {limit} bytes")
    except (TimeoutError, ClientDisconnect) as missing:
        raise ApiError(408, "The request is not complete") from missing
    return bytes(body)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as invalid:
        raise ApiError(400, "The body is not JSON in UTF-8") from invalid
    if not isinstance(content, dict):
        raise ApiError(400, "The body is not a JSON object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _iso(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _explain(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, ApiError)
    return PlainTextResponse(f"{exception}\n", status_code=exception.status)


async def _not_found(request: Request, exception: Exception) -> Response:
    return PlainTextResponse("404 NOT FOUND\n", status_code=404)

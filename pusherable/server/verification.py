"""Whether an HTTP request comes from the app's own server: key, signature, digest and time (protocol B.3 to B.9)."""

import asyncio
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from pusherable.exceptions import PusherableError
from pusherable.server.config import App, ServerConfig
from pusherable.signing import body_md5, request_message, same_text, sign

SIGNED_BY: Final = ("auth_key", "auth_timestamp", "auth_version", "auth_signature")


class ApiError(PusherableError):
    """A request is answered with ``status`` and the message as plain text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Verifier:
    """Lets signed requests pass; ``clock`` gives seconds since the epoch."""

    def __init__(self, config: ServerConfig, *, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock

    async def verify(self, request: Request) -> tuple[App, bytes]:
        """The app that a request is for and its body; raises ``ApiError`` unless the app's server has signed it."""
        app = self._find_app(request)
        pairs = read_query(request.scope["query_string"])
        parameters = dict(pairs)
        missing = [name for name in SIGNED_BY if name not in parameters]
        if missing:
            raise ApiError(401, f"Missing query parameters: {', '.join(missing)}")
        if not same_text(parameters["auth_key"], app.key):
            raise ApiError(401, f"The app {app.id} has no key {parameters['auth_key']}")
        if parameters["auth_version"] != "1.0":
            raise ApiError(401, f"Version {parameters['auth_version']} of signatures is unknown, 1.0 is known")
        # Before the body: strangers are not to fill our memory with theirs. What is signed is its digest.
        self._verify_signature(request, app, signed=pairs, signature=parameters["auth_signature"])
        self._verify_timestamp(parameters["auth_timestamp"])
        if not app.is_enabled:
            raise ApiError(403, "The app is disabled")
        body = await _read_body(request, self._config)
        if body and not same_text(parameters.get("body_md5", ""), body_md5(body)):
            raise ApiError(401, "body_md5 is missing, or is not the MD5 of the body")
        return app, body

    def _verify_signature(
        self, request: Request, app: App, *, signed: Iterable[tuple[str, str]], signature: str
    ) -> None:
        # The prefix is ours, not the client's; it signs from /apps on (protocol B.4).
        path = request.scope["path"].removeprefix(self._config.path)
        message = request_message(request.method, path, signed)
        if not same_text(sign(app.secret, message), signature):
            raise ApiError(
                401,
                f"Invalid signature: you should have sent HmacSHA256Hex({json.dumps(message)}, your_secret_key), "
                f"but you sent {json.dumps(signature)}",
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

    def _find_app(self, request: Request) -> App:
        """By its id in the path, or where there is none, by its key (protocol B.2)."""
        id = request.path_params.get("app_id")
        app = self._config.find_app(id=id, key=None if id is not None else request.query_params.get("auth_key"))
        if app is None:
            raise ApiError(404, f"No app has the id {id}") if id is not None else ApiError(401, "No app has this key")
        return app


def read_query(query: bytes) -> list[tuple[str, str]]:
    """What is asked for, in its order, as Starlette reads it; of each publishing request this is asked."""
    text = query.decode("latin-1")
    if "%" in text or "+" in text:
        return parse_qsl(text, keep_blank_values=True)
    parts = (part.partition("=") for part in text.split("&") if part)
    return [(name, value) for name, _, value in parts]


async def _read_body(request: Request, config: ServerConfig) -> bytes:
    body, limit = bytearray(), config.limits.request_body_size
    try:
        async with asyncio.timeout(config.request_timeout):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise ApiError(413, f"The request is larger than {limit} bytes")
    except (TimeoutError, ClientDisconnect) as missing:
        raise ApiError(408, "The request is not complete") from missing
    return bytes(body)


def _iso(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

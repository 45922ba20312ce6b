"""One client's conversation: text in, a command or an objection out. Knows no socket, clock or other client."""

import enum
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from pusherable.channels import ChannelKind, kind_of, validate_channel
from pusherable.exceptions import InvalidChannel, PusherableError
from pusherable.server.config import App, ServerConfig
from pusherable.server.messages import PING, PONG, Message, error, quote, subscription_error
from pusherable.signing import channel_message, same_text, verify

_VERSIONS: Final = frozenset({"4", "5", "6", "7"})
_SERVED_KINDS: Final = frozenset({ChannelKind.PUBLIC, ChannelKind.PRIVATE, ChannelKind.ENCRYPTED})


class CloseCode(enum.IntEnum):
    """Why a connection is closed; the hundreds say whether the client comes back (protocol A.7)."""

    GOING_AWAY = 1001
    INVALID_DATA = 1007
    INTERNAL_ERROR = 1011
    UNKNOWN_APP = 4001
    APP_DISABLED = 4003
    OVER_CONNECTIONS = 4004
    PATH_NOT_FOUND = 4005
    UNSUPPORTED_VERSION = 4007
    OVER_CAPACITY = 4100
    NO_PONG = 4201


class Refusal(PusherableError):
    """The connection cannot go on: the client is told why, and it is closed with ``code``."""

    def __init__(self, message: str, *, code: CloseCode) -> None:
        super().__init__(message)
        self.code = code


class Objection(PusherableError):
    """Something a client sent is wrong; it is told so by ``replies`` and the connection goes on."""

    def __init__(self, message: str, *, replies: tuple[Message, ...] = ()) -> None:
        super().__init__(message)
        self.replies = replies or (error(message),)


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer this one client."""

    message: Message


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe this client, which has shown that it may."""

    channel: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: str


Command = Reply | Subscribe | Unsubscribe


class State(enum.Enum):
    """Where a conversation is."""

    OPEN = "open"
    AWAITING_PONG = "awaiting pong"


def find_app(target: str, config: ServerConfig) -> App:
    """The app that a client's opening request asks for, path and query checked; raises ``Refusal``."""
    path, _, query = target.partition("?")
    prefix = f"{config.path}/app/"
    key = unquote(path.removeprefix(prefix))
    if not path.startswith(prefix) or not key or "/" in key:
        raise Refusal("Path not found", code=CloseCode.PATH_NOT_FOUND)
    app = config.find_app(key=key)
    if app is None:
        raise Refusal(
            f"App key {quote(key)} not in this cluster. Did you forget to specify the cluster?",
            code=CloseCode.UNKNOWN_APP,
        )
    if not app.is_enabled:
        raise Refusal("The app is disabled", code=CloseCode.APP_DISABLED)
    # Whoever names no version is a developer with a bare WebSocket client (protocol A.3).
    version = parse_qs(query, keep_blank_values=True).get("protocol", ["7"])[0]
    if version not in _VERSIONS:
        raise Refusal(f"Unsupported protocol version: {quote(version)}", code=CloseCode.UNSUPPORTED_VERSION)
    return app


class Conversation:
    """What one client says after the opening, and whether it is still there."""

    __slots__ = ("_app", "_config", "_socket_id", "state")

    def __init__(self, app: App, socket_id: str, config: ServerConfig) -> None:
        self._app = app
        self._socket_id = socket_id
        self._config = config
        self.state = State.OPEN

    @property
    def patience(self) -> float:
        """Seconds of silence after which ``fall_silent`` is due."""
        is_pinged = self.state is State.AWAITING_PONG
        return self._config.pong_timeout if is_pinged else self._config.activity_timeout

    def receive(self, text: str) -> Command | None:
        """What one frame of a client asks for, if anything; raises ``Objection``."""
        self.state = State.OPEN
        name, content = _parse(text)
        match name:
            case "pusher:ping":
                return Reply(PONG)
            case "pusher:pong":
                return None
            case "pusher:subscribe":
                return self._subscribe(_fields(name, content))
            case "pusher:unsubscribe":
                return Unsubscribe(_channel(name, _fields(name, content)))
        if name.startswith("client-"):
            raise Objection(
                "To send client events, you must enable this feature in the Settings page of your dashboard."
            )
        raise Objection(f"Unsupported event received on socket: {quote(name)}")

    def hear(self) -> None:
        """A sign of life that is no text (protocol A.14)."""
        self.state = State.OPEN

    def fall_silent(self) -> Reply:
        """Ask a silent client whether it is there; raises ``Refusal`` if it has been asked before."""
        if self.state is State.AWAITING_PONG:
            raise Refusal("Pong reply not received in time", code=CloseCode.NO_PONG)
        self.state = State.AWAITING_PONG
        return Reply(PING)

    def _subscribe(self, fields: dict[str, Any]) -> Subscribe:
        channel = _channel("pusher:subscribe", fields)
        try:
            validate_channel(channel, max_length=self._config.limits.channel_length)
        except InvalidChannel as invalid:
            raise self._refuse(channel, str(invalid), type="InvalidChannel", status=400) from invalid
        kind = kind_of(channel)
        if kind not in _SERVED_KINDS:
            reason = f"This version of the server does not serve {kind.prefix}… channels yet: {channel}"
            raise self._refuse(channel, reason, type="NotSupported", status=501)
        if kind.needs_authorization:
            self._verify(channel, fields)
        return Subscribe(channel)

    def _verify(self, channel: str, fields: dict[str, Any]) -> None:
        """Raise unless the app's own server has signed this subscription (protocol A.25, A.26)."""
        auth, data = fields.get("auth"), fields.get("channel_data")
        if not isinstance(auth, str) or not auth:
            raise self._refuse(channel, f"Auth info required to subscribe to {channel}")
        if not isinstance(data, str | None):
            raise self._refuse(channel, f"channel_data for subscription to {channel} is not a string")
        key, colon, signature = auth.partition(":")
        if not colon:
            raise self._refuse(
                channel,
                f"Auth value for subscription to {channel} is invalid: should be of format 'key:signature'",
            )
        if not same_text(key, self._app.key):
            raise self._refuse(channel, f"Invalid key in subscription auth data: '{quote(key)}'")
        signed = channel_message(self._socket_id, channel, data)
        if not verify(self._app.secret, signed, signature):
            raise self._refuse(
                channel,
                f"Invalid signature: Expected HMAC SHA256 hex digest of {quote(signed)}, but got {quote(signature)}",
            )

    def _refuse(self, channel: str, reason: str, *, type: str = "AuthError", status: int = 401) -> Objection:
        replies: tuple[Message, ...] = (error(reason),)
        if self._config.subscription_errors:
            replies += (subscription_error(channel, type=type, error=reason, status=status),)
        return Objection(reason, replies=replies)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """A frame's event and all its content; whatever is not such a frame is objected to (protocol A.12)."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as invalid:
        raise Objection("Invalid JSON") from invalid
    if not isinstance(content, dict):
        raise Objection("A message is a JSON object")
    name = content.get("event")
    if not isinstance(name, str) or not name:
        raise Objection("A message needs an event, which is a string")
    return name, content


def _fields(name: str, content: dict[str, Any]) -> dict[str, Any]:
    data = content.get("data")
    if not isinstance(data, dict):
        raise Objection(f"The data of {name} is an object with a channel")
    return data


def _channel(name: str, fields: dict[str, Any]) -> str:
    channel = fields.get("channel")
    if not isinstance(channel, str):
        raise Objection(f"The data of {name} names a channel, which is a string")
    return channel

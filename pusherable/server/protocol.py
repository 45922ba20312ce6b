"""One client's conversation: text in, a command or an objection out. Knows no socket, clock or other client."""

import enum
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from pusherable.channels import SERVER_TO_USER_PREFIX, ChannelKind, kind_of, validate_channel
from pusherable.events import check_data_size
from pusherable.exceptions import EventTooLarge, InvalidChannel, PusherableError
from pusherable.server.config import App, ServerConfig
from pusherable.server.credentials import (
    Denied,
    Member,
    User,
    member_of,
    read_member,
    verify_subscription,
    verify_user,
)
from pusherable.server.decoding import decode, encode
from pusherable.server.messages import PING, PONG, Message, error, quote, subscription_error

_VERSIONS: Final = frozenset({"4", "5", "6", "7"})


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
    UNAUTHORIZED = 4009
    OVER_CAPACITY = 4100
    NO_PONG = 4201


class ErrorCode(enum.IntEnum):
    """What is only ever said; after a close with one of these pusher-js would never come back (protocol A.41)."""

    CLIENT_EVENT_RATE = 4301
    WATCHLIST_LENGTH = 4302


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
    """Subscribe this client, which has shown that it may; on a presence channel it is ``member``."""

    channel: str
    member: Member | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: str


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass an event of this client on to the other subscribers; ``data`` is text."""

    channel: str
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """This client has shown whose it is."""

    user: User


Command = Reply | Subscribe | Unsubscribe | Relay | SignIn


class State(enum.Enum):
    """Where a conversation is."""

    OPEN = "open"
    AWAITING_PONG = "awaiting pong"


def find_app(target: str, config: ServerConfig) -> tuple[App, str | None]:
    """The app that a client's opening request asks for, and the version of the protocol, if it names one.

    Raises ``Refusal`` where path or query are wrong.
    """
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
    version = next(iter(parse_qs(query, keep_blank_values=True).get("protocol", ())), None)
    if version is not None and version not in _VERSIONS:
        raise Refusal(f"Unsupported protocol version: {quote(version)}", code=CloseCode.UNSUPPORTED_VERSION)
    return app, version


class Conversation:
    """What one client says after the opening, and whether it is still there."""

    __slots__ = ("_app", "_config", "_socket_id", "_user", "state")

    def __init__(self, app: App, socket_id: str, config: ServerConfig) -> None:
        self._app = app
        self._socket_id = socket_id
        self._config = config
        self._user: User | None = None
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
            case "pusher:signin":
                return self._sign_in(_fields(name, content))
        if name.startswith("client-"):
            return self._relay(name, content)
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
            return Subscribe(channel, self._admit(channel, fields))
        except InvalidChannel as invalid:
            reason, type, status = str(invalid), "InvalidChannel", 400
        except Denied as denied:
            reason, type, status = str(denied), denied.type, denied.status
        raise refuse_subscription(channel, reason, type=type, status=status, config=self._config)

    def _admit(self, channel: str, fields: dict[str, Any]) -> Member | None:
        """Who the client is on a presence channel; raises where it may not subscribe."""
        kind = kind_of(channel)
        if kind is ChannelKind.SERVER_TO_USER:
            self._check_own(channel)
            return None
        validate_channel(channel, max_length=self._config.limits.channel_length)
        if not kind.needs_authorization:
            return None
        data = verify_subscription(self._app, socket_id=self._socket_id, channel=channel, fields=fields)
        return self._member(channel, data) if kind.is_presence else None

    def _check_own(self, channel: str) -> None:
        # Whoever may listen here reads what is meant for one user alone (protocol A.48).
        if self._user is None or channel != f"{SERVER_TO_USER_PREFIX}{self._user.id}":
            raise Denied(f"Only the user itself, signed in, may subscribe to {quote(channel)}")

    def _member(self, channel: str, channel_data: str | None) -> Member:
        if channel_data is not None:
            return read_member(channel_data, self._config.limits)
        if self._user is None:
            raise Denied(f"channel_data is required to subscribe to {channel}, or signing in before")
        return member_of(self._user, self._config.limits)

    def _sign_in(self, fields: dict[str, Any]) -> SignIn:
        try:
            user = verify_user(self._app, socket_id=self._socket_id, fields=fields)
        except Denied as denied:
            raise Objection(str(denied)) from denied
        limit = self._config.limits.user_id_length
        if len(user.id) > limit:
            raise Objection(f"The id in user_data has {len(user.id)} characters; {limit} is the limit")
        if self._user is not None and self._user.id != user.id:
            raise Objection("This connection is signed in as another user")
        self._user = user
        return SignIn(user)

    def _relay(self, name: str, content: dict[str, Any]) -> Relay:
        """A client's own event, once it keeps to the rules that a client can know (protocol A.37, A.40)."""
        if not self._app.has_client_events:
            raise Objection(
                "To send client events, you must enable this feature in the Settings page of your dashboard."
            )
        channel, data, limits = content.get("channel"), content.get("data"), self._config.limits
        if not isinstance(channel, str) or "data" not in content:
            raise Objection("Invalid client event (must contain channel and data)")
        if len(name) > limits.event_name_length:
            raise Objection(
                f"The event name {quote(name)} has {len(name)} characters; {limits.event_name_length} is the limit"
            )
        if not kind_of(channel).needs_authorization:
            raise Objection("Client event rejected - only supported on private and presence channels")
        try:
            text = data if isinstance(data, str) else encode(data)
            check_data_size(text, limit=limits.event_data_size)
        except EventTooLarge as large:
            raise Objection(f"The data of {quote(name)} has {large.size} bytes; {large.limit} is the limit") from large
        except ValueError as invalid:
            raise Objection("Invalid JSON") from invalid
        return Relay(channel, name, text)


def refuse_subscription(channel: str, reason: str, *, type: str, status: int, config: ServerConfig) -> Objection:
    """What to raise where a client may not subscribe (protocol A.26 to A.28).

    A name that is too long to be quoted is not sent back either, and cut it would be another channel's.
    """
    replies: tuple[Message, ...] = (error(reason),)
    if config.subscription_errors and quote(channel) == channel:
        replies += (subscription_error(channel, type=type, error=reason, status=status),)
    return Objection(reason, replies=replies)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """A frame's event and all its content; whatever is not such a frame is objected to (protocol A.12)."""
    try:
        content = decode(text)
    except ValueError as invalid:
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
        raise Objection(f"The data of {name} is an object")
    return data


def _channel(name: str, fields: dict[str, Any]) -> str:
    channel = fields.get("channel")
    if not isinstance(channel, str):
        raise Objection(f"The data of {name} names a channel, which is a string")
    return channel

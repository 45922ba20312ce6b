"""What a client shows so as to be let in: signatures, and the users they vouch for. Pure checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pusherable.exceptions import PusherableError
from pusherable.server.config import App, Limits
from pusherable.server.decoding import decode, encode
from pusherable.server.messages import quote
from pusherable.signing import channel_message, same_text, user_message, verify

_INVALID_INFO: Final = "user_info supplied to presence subscription is invalid - if supplied it must be a type of hash"


class Denied(PusherableError):
    """A client may not do what it asked for; ``type`` and ``status`` say so to programs."""

    def __init__(self, message: str, *, type: str = "AuthError", status: int = 401) -> None:
        super().__init__(message)
        self.type = type
        self.status = status


@dataclass(frozen=True, slots=True)
class Member:
    """A user of a presence channel, as the others see it."""

    user_id: str
    user_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """Who a connection has signed in as; ``data`` is the text that was signed."""

    id: str
    data: str
    user_info: object = None
    watchlist: tuple[str, ...] = ()


def verify_subscription(app: App, *, socket_id: str, channel: str, fields: Mapping[str, Any]) -> str | None:
    """The ``channel_data`` of a subscription that the app's own server has signed (protocol A.25, A.26)."""
    data = fields.get("channel_data")
    if not isinstance(data, str | None):
        raise Denied(f"channel_data for subscription to {channel} is not a string")
    _verify(
        app,
        fields.get("auth"),
        channel_message(socket_id, channel, data),
        action=f"subscribe to {channel}",
        subject=f"subscription to {channel}",
        kind="subscription",
    )
    return data


def verify_user(app: App, *, socket_id: str, fields: Mapping[str, Any]) -> User:
    """The user whom the app's own server has signed for (protocol A.46)."""
    data = fields.get("user_data")
    if not isinstance(data, str):
        raise Denied("user_data for signin is not a string")
    _verify(
        app,
        fields.get("auth"),
        user_message(socket_id, data),
        action="sign in",
        subject="signin",
        kind="signin",
    )
    return read_user(data)


def read_member(channel_data: str, limits: Limits) -> Member:
    """The member that ``channel_data`` describes; a number as ``user_id`` becomes text (protocol A.30)."""
    content = _read_object(channel_data, "channel_data")
    user_id = content.get("user_id")
    if isinstance(user_id, int | float) and not isinstance(user_id, bool):
        user_id = str(user_id)
    if not isinstance(user_id, str) or not user_id:
        raise Denied("channel_data needs a user_id, which is a string or a number")
    return _check_member(user_id, content.get("user_info"), limits)


def member_of(user: User, limits: Limits) -> Member:
    """Who a signed-in user is on a presence channel (protocol A.31)."""
    return _check_member(user.id, user.user_info, limits)


def read_user(data: str) -> User:
    """The user that ``user_data`` describes (protocol A.46)."""
    content = _read_object(data, "user_data")
    id, watchlist = content.get("id"), content.get("watchlist")
    if not isinstance(id, str) or not id:
        raise Denied("user_data needs an id, which is a string that is not empty")
    if watchlist is None:
        watchlist = []
    if not isinstance(watchlist, list) or not all(isinstance(watched, str) for watched in watchlist):
        raise Denied("The watchlist in user_data is not an array of strings")
    return User(id, data, content.get("user_info"), tuple(dict.fromkeys(watchlist)))


def _verify(app: App, auth: object, signed: str, *, action: str, subject: str, kind: str) -> None:
    if not isinstance(auth, str) or not auth:
        raise Denied(f"Auth info required to {action}")
    key, colon, signature = auth.partition(":")
    if not colon:
        raise Denied(f"Auth value for {subject} is invalid: should be of format 'key:signature'")
    if not same_text(key, app.key):
        raise Denied(f"Invalid key in {kind} auth data: '{quote(key)}'")
    if not verify(app.secret, signed, signature):
        raise Denied(
            f"Invalid signature: Expected HMAC SHA256 hex digest of {quote(signed)}, but got {quote(signature)}"
        )


def _read_object(text: str, name: str) -> dict[str, Any]:
    try:
        content = decode(text)
    except ValueError as invalid:
        raise Denied(f"{name} is not JSON") from invalid
    if not isinstance(content, dict):
        raise Denied(f"{name} is not a JSON object")
    return content


def _check_member(user_id: str, user_info: object, limits: Limits) -> Member:
    """Hold a member to the limits (protocol A.36)."""
    if user_info is None:
        user_info = {}
    if not isinstance(user_info, dict):
        raise Denied(_INVALID_INFO)
    if len(user_id) > limits.user_id_length:
        raise Denied(
            f"The user_id has {len(user_id)} characters; {limits.user_id_length} is the limit",
            type="LimitReached",
            status=413,
        )
    try:
        size = len(encode({"user_id": user_id, "user_info": user_info}).encode(errors="surrogatepass"))
    except ValueError as too_deep:
        raise Denied(str(too_deep)) from too_deep
    if size > limits.member_size:
        raise Denied(
            f"The user object has {size} bytes; {limits.member_size} is the limit", type="LimitReached", status=413
        )
    return Member(user_id, user_info)

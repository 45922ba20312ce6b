"""Every signature of the protocol, made and verified. The only place where ``hmac`` is used."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping

from pusherable.channels import ChannelKind, kind_of


def sign(secret: str, message: str | bytes) -> str:
    """The hexadecimal HMAC-SHA256 of ``message``, 64 characters."""
    raw = message.encode(errors="surrogatepass") if isinstance(message, str) else message
    return hmac.digest(secret.encode(), raw, "sha256").hex()


def verify(secret: str, message: str | bytes, signature: str) -> bool:
    """Whether ``signature`` is that of ``message``, in constant time and for any text."""
    return hmac.compare_digest(sign(secret, message).encode(), signature.encode(errors="replace"))


def channel_message(socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """What is signed to let one connection subscribe to one channel (protocol A.25)."""
    parts = [socket_id, channel] if channel_data is None else [socket_id, channel, channel_data]
    return ":".join(parts)


def user_message(socket_id: str, user_data: str) -> str:
    """What is signed to sign one connection in as a user (protocol A.46)."""
    return f"{socket_id}::user::{user_data}"


def stream_message(
    channels: Iterable[str],
    *,
    issued: int,
    expires: int,
    channel_data: str | None = None,
    user_data: str | None = None,
) -> str:
    """What is signed to let whoever has it open an event stream; ``issued`` and ``expires`` are seconds since 1970.

    Public channels are left out: anybody may add them to an address. ``channel_data`` is for all presence channels.
    """
    signed = [channel for channel in channels if is_signed_for_streams(channel)]
    # Its first line keeps it apart from whatever else is signed with the secret.
    return "stream\n" + json.dumps([signed, issued, expires, channel_data, user_data])


def stream_parameters(
    channels: Iterable[str],
    *,
    key: str,
    secret: str,
    issued: int,
    expires: int,
    channel_data: str | None = None,
    user_data: str | None = None,
) -> list[tuple[str, str]]:
    """The query of an event stream's signed address, in order; a channel each is a pair of its own."""
    channels = tuple(channels)
    message = stream_message(channels, issued=issued, expires=expires, channel_data=channel_data, user_data=user_data)
    optional = {"channel_data": channel_data, "user_data": user_data}
    return [
        *(("channel", channel) for channel in channels),
        *((name, value) for name, value in optional.items() if value is not None),
        ("issued", str(issued)),
        ("expires", str(expires)),
        ("auth", f"{key}:{sign(secret, message)}"),
    ]


def is_signed_for_streams(channel: str) -> bool:
    """Whether an event stream has to show a signature for a channel: for all but public ones."""
    kind = kind_of(channel)
    return kind.needs_authorization or kind is ChannelKind.SERVER_TO_USER


def request_message(method: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """What is signed of an HTTP request: ``parameters`` are decoded, and ``auth_signature`` is left out (B.4)."""
    pairs = sorted((name.lower(), value) for name, value in parameters if name.lower() != "auth_signature")
    return "\n".join((method.upper(), path, "&".join(f"{name}={value}" for name, value in pairs)))


def request_parameters(
    method: str,
    path: str,
    *,
    key: str,
    secret: str,
    timestamp: int,
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The query parameters of a signed request, ``query`` included; ``timestamp`` is in whole seconds.

    A request without a body carries no ``body_md5``, which some servers refuse (protocol F.6).
    """
    parameters = dict(query or {}) | {
        "auth_key": key,
        "auth_timestamp": str(timestamp),
        "auth_version": "1.0",
    }
    if body:
        parameters["body_md5"] = body_md5(body)
    parameters["auth_signature"] = sign(secret, request_message(method, path, parameters.items()))
    return parameters


def body_md5(body: bytes) -> str:
    """The digest by which a signed request vouches for its body; the protocol fixes MD5 (B.3)."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def same_text(left: str, right: str) -> bool:
    """Compare two texts in a time that does not tell where they differ."""
    return hmac.compare_digest(left.encode(errors="replace"), right.encode(errors="replace"))

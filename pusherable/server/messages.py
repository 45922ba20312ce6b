"""Every message that the server sends, each encoded once however many clients receive it."""

import json
from typing import Any, Final

from websockets.frames import Frame, Opcode

# What a client sent is quoted back to it, but not at any length.
_QUOTE: Final = 200


class Message:
    """One message in the forms in which it leaves; ``frame`` is a whole WebSocket frame."""

    __slots__ = ("frame", "text")

    def __init__(self, event: str, data: object, *, channel: str | None = None) -> None:
        content: dict[str, Any] = {"event": event, "data": data}
        # Without a channel the key must be missing, or pysher drops the message (protocol A.8).
        if channel is not None:
            content = {"event": event, "channel": channel, "data": data}
        self.text, encoded = _encode(content)
        self.frame = Frame(Opcode.TEXT, encoded).serialize(mask=False)


def connection_established(socket_id: str, activity_timeout: float) -> Message:
    """The first message of all; its data is text, which pysher insists on (protocol A.6)."""
    data, _ = _encode({"socket_id": socket_id, "activity_timeout": activity_timeout})
    return Message("pusher:connection_established", data)


def error(message: str, *, code: int | None = None) -> Message:
    """A complaint; without a code it concerns one request and the connection goes on (protocol A.26)."""
    return Message("pusher:error", {"code": code, "message": message})


def subscription_succeeded(channel: str, data: str = "{}") -> Message:
    return Message("pusher_internal:subscription_succeeded", data, channel=channel)


def subscription_error(channel: str, *, type: str, error: str, status: int) -> Message:
    """A refused subscription in the form that pusher-js shows on the channel itself (protocol A.28)."""
    return Message("pusher:subscription_error", {"type": type, "error": error, "status": status}, channel=channel)


def channel_event(name: str, channel: str, data: str) -> Message:
    """A published event, its data as it was received (protocol B.15)."""
    return Message(name, data, channel=channel)


def quote(text: str) -> str:
    """What a client sent, cut to a length fit to be sent back."""
    return text if len(text) <= _QUOTE else f"{text[:_QUOTE]}…"


def _encode(content: object) -> tuple[str, bytes]:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    try:
        return text, text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no form in UTF-8; it stays an escape.
        text = json.dumps(content, separators=(",", ":"))
        return text, text.encode()


PING: Final = Message("pusher:ping", "{}")
PONG: Final = Message("pusher:pong", "{}")

"""Every message that the server sends, each encoded once however many clients receive it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from websockets.frames import Frame, Opcode

# Made once: `json.dumps` makes one for every call with options.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
#: The event that tells of a gap; no client and no publisher can send one of this name.
RESYNC: Final = "pusher:resync"
# What a client sent is quoted back to it, but not at any length.
_QUOTE: Final = 200


class Message:
    """One message in the forms in which it leaves; ``frame`` is a whole WebSocket frame.

    ``block`` is the same for an event stream, as soon as one of ``histories.py`` has made it.
    """

    __slots__ = ("block", "channel", "data", "event", "frame", "text")

    def __init__(self, event: str, data: object, *, channel: str | None = None, user_id: str | None = None) -> None:
        self.event, self.channel, self.data = event, channel, data
        self.block: bytes | None = None
        content: dict[str, Any] = {"event": event}
        # Without a channel the key must be missing, or pysher drops the message (protocol A.8).
        if channel is not None:
            content["channel"] = channel
        if data is not None:
            content["data"] = data
        if user_id is not None:
            content["user_id"] = user_id
        self.text, encoded = _encode(content)
        self.frame = Frame(Opcode.TEXT, encoded).serialize(mask=False)


def connection_established(socket_id: str, activity_timeout: float) -> Message:
    """The first message of all; its data is text, which pysher insists on (protocol A.6)."""
    data = _write({"socket_id": socket_id, "activity_timeout": activity_timeout})
    return Message("pusher:connection_established", data)


def error(message: str, *, code: int | None = None) -> Message:
    """A complaint; without a code it concerns one request and the connection goes on (protocol A.26)."""
    return Message("pusher:error", {"code": code, "message": message})


def subscription_succeeded(channel: str, data: str = "{}") -> Message:
    return Message("pusher_internal:subscription_succeeded", data, channel=channel)


def subscription_error(channel: str, *, type: str, error: str, status: int) -> Message:
    """A refused subscription in the form that pusher-js shows on the channel itself (protocol A.28)."""
    return Message("pusher:subscription_error", {"type": type, "error": error, "status": status}, channel=channel)


def channel_event(name: str, channel: str, data: str, *, user_id: str | None = None) -> Message:
    """An event, its data as it was received (protocol B.15); ``user_id`` is for clients' own ones (A.39)."""
    return Message(name, data, channel=channel, user_id=user_id)


def presence_succeeded(channel: str, members: Mapping[str, Mapping[str, Any]]) -> Message:
    """The answer to a presence subscription: everybody, and so the subscriber too (protocol A.32)."""
    presence = {"ids": list(members), "hash": members, "count": len(members)}
    return subscription_succeeded(channel, _write({"presence": presence}))


def member_added(channel: str, user_id: str, user_info: Mapping[str, Any]) -> Message:
    data = _write({"user_id": user_id, "user_info": user_info})
    return Message("pusher_internal:member_added", data, channel=channel)


def member_removed(channel: str, user_id: str) -> Message:
    return Message("pusher_internal:member_removed", _write({"user_id": user_id}), channel=channel)


def cache_miss(channel: str) -> Message:
    """There is no event to give to a new subscriber; it has no data at all (protocol A.44)."""
    return Message("pusher:cache_miss", None, channel=channel)


def subscription_count(channel: str, count: int) -> Message:
    data = _write({"subscription_count": count})
    return Message("pusher_internal:subscription_count", data, channel=channel)


def resync(channel: str) -> Message:
    """Something may have been sent on a channel that its subscribers have not received."""
    return Message(RESYNC, _write({"channels": [channel]}), channel=channel)


def signin_success(user_data: str) -> Message:
    """Whose a connection is now, in the very text that was signed (protocol A.47)."""
    return Message("pusher:signin_success", {"user_data": user_data})


def watchlist_events(*, online: Sequence[str] = (), offline: Sequence[str] = ()) -> Message:
    """Who of those that a user watches is there, and who is not (protocol A.51)."""
    lists = (("online", online), ("offline", offline))
    events = [{"name": name, "user_ids": user_ids} for name, user_ids in lists if user_ids]
    return Message("pusher_internal:watchlist_events", _write({"events": events}))


def quote(text: str) -> str:
    """What a client sent, cut to a length fit to be sent back."""
    return text if len(text) <= _QUOTE else f"{text[:_QUOTE]}…"


def _write(content: object) -> str:
    return _encode(content)[0]


def _encode(content: object) -> tuple[str, bytes]:
    text = _ENCODER.encode(content)
    try:
        return text, text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no form in UTF-8; it stays an escape.
        text = json.dumps(content, separators=(",", ":"))
        return text, text.encode()


PING: Final = Message("pusher:ping", "{}")
PONG: Final = Message("pusher:pong", "{}")

"""What the body of a request asks to be published, checked against the limits (protocol B.12 to B.18)."""

import json
from dataclasses import dataclass
from typing import Any

from pusherable.channels import SERVER_TO_USER_PREFIX, validate_channel
from pusherable.events import check_data_size, is_socket_id, validate_event_name
from pusherable.exceptions import EventTooLarge, InvalidChannel, InvalidEvent
from pusherable.server.config import Limits
from pusherable.server.decoding import decode, encode
from pusherable.server.verification import ApiError


@dataclass(frozen=True, slots=True)
class Publication:
    """One event of a request, checked; ``info`` are the attributes to answer with."""

    channels: tuple[str, ...]
    name: str
    data: str
    socket_id: str | None
    info: frozenset[str] | None


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``; raises ``ApiError`` if there is none."""
    try:
        content = decode(body.decode())
    except ValueError as invalid:
        raise ApiError(400, "The body is not JSON in UTF-8") from invalid
    if not isinstance(content, dict):
        raise ApiError(400, "The body is not a JSON object")
    return content


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
        info=None if content.get("info") is None else read_info(content["info"]),
    )


def check_channel(channel: Any, limits: Limits) -> str:
    """Return ``channel`` unchanged; raise ``ApiError`` if it is no name of a channel."""
    if isinstance(channel, str) and channel.startswith(SERVER_TO_USER_PREFIX):
        return _check_user_channel(channel, limits)
    if not isinstance(channel, str):
        raise ApiError(400, "A channel's name is text")
    try:
        return validate_channel(channel, max_length=limits.channel_length)
    except InvalidChannel as invalid:
        raise ApiError(400, str(invalid)) from invalid


def read_info(info: object) -> frozenset[str]:
    """The attributes in a list with commas between."""
    if info is None or info == "":
        return frozenset()
    if not isinstance(info, str):
        raise ApiError(400, "Expected info parameter to be a string")
    return frozenset(info.replace(" ", "").split(","))


def _check_channels(channels: object, limits: Limits) -> tuple[str, ...]:
    if not isinstance(channels, list) or not channels:
        raise ApiError(400, "Expected channels parameter to be an array of strings that is not empty")
    if len(channels) > limits.channels_per_event:
        raise ApiError(400, f"An event names {limits.channels_per_event} channels at most")
    return tuple(dict.fromkeys(check_channel(channel, limits) for channel in channels))


def _check_user_channel(channel: str, limits: Limits) -> str:
    # A user's id may hold whatever it likes, and so its channel does too (protocol B.16).
    if not 1 <= len(channel) - len(SERVER_TO_USER_PREFIX) <= limits.user_id_length:
        raise ApiError(400, f"A user's id has 1 to {limits.user_id_length} characters")
    return channel


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
    try:
        text = data if isinstance(data, str) else encode(data)
        check_data_size(text, limit=limits.event_data_size)
    except EventTooLarge as too_large:
        raise ApiError(
            413,
            f"The data content of this event exceeds the allowed maximum ({limits.event_data_size} bytes). "
            "See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info",
        ) from too_large
    except ValueError as too_deep:
        raise ApiError(400, str(too_deep)) from too_deep
    return text


def _check_socket_id(socket_id: Any) -> str | None:
    if socket_id is None:
        return None
    if not isinstance(socket_id, str):
        raise ApiError(400, "Expected socket_id parameter to be a string")
    if not is_socket_id(socket_id):
        raise ApiError(400, f"Invalid socket_id: {json.dumps(socket_id)}")
    return socket_id

"""What changes a hub, as values: where a server has several processes, each applies all of them, in one order."""

import json
from dataclasses import dataclass
from typing import Any, Final

from pusherable.server.credentials import Member, User, read_user
from pusherable.server.decoding import decode, encode

#: What all processes know a webhook's event by: the place of an entry in their log, and a digest of what it says.
Mark = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Join:
    """A connection subscribes; ``member`` is who it is on a presence channel."""

    app_id: str
    socket_id: str
    channel: str
    member: Member | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """A connection ends a subscription."""

    app_id: str
    socket_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Depart:
    """A connection is gone, and with it all its subscriptions."""

    app_id: str
    socket_id: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """A connection has shown whose it is."""

    app_id: str
    socket_id: str
    user: User


@dataclass(frozen=True, slots=True)
class Publish:
    """An event for the subscribers of ``channels``, but for the connection ``socket_id``.

    ``id`` is its publisher's own, by which it is known when it comes again.
    """

    app_id: str
    channels: tuple[str, ...]
    name: str
    data: str
    socket_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Whisper:
    """A client's own event for the other subscribers of a channel."""

    app_id: str
    socket_id: str
    channel: str
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """A user is sent away, wherever it is."""

    app_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Webhooks were sent, or given up: nobody else needs to. Nor those of what stands before ``place`` in the log."""

    app_id: str
    marks: tuple[Mark, ...]
    place: int = 0


Command = Join | Leave | Depart | SignIn | Publish | Whisper | Terminate | Tell

_KINDS: Final[dict[type, str]] = {
    Join: "join",
    Leave: "leave",
    Depart: "depart",
    SignIn: "sign in",
    Publish: "publish",
    Whisper: "whisper",
    Terminate: "terminate",
    Tell: "tell",
}


def write_command(command: Command) -> list[Any]:
    """A command as values that JSON has; nothing in it is a secret."""
    kind = _KINDS[type(command)]
    match command:
        case Join(app_id, socket_id, channel, member):
            return [kind, app_id, socket_id, channel, *write_member(member)]
        case SignIn(app_id, socket_id, user):
            return [kind, app_id, socket_id, user.data]
        case Publish(app_id, channels, name, data, socket_id, id):
            return [kind, app_id, channels, name, data, socket_id, id]
        case Whisper(app_id, socket_id, channel, event, data):
            return [kind, app_id, socket_id, channel, event, data]
        case Leave(app_id, socket_id, channel):
            return [kind, app_id, socket_id, channel]
        case Depart(app_id, socket_id):
            return [kind, app_id, socket_id]
        case Terminate(app_id, user_id):
            return [kind, app_id, user_id]
        case Tell(app_id, marks, place):
            return [kind, app_id, marks, place]


def read_command(values: list[Any]) -> Command:
    """What ``write_command`` has written; raises ``ValueError`` for anything else."""
    match values:
        case ["join", str(app_id), str(socket_id), str(channel), *member]:
            return Join(app_id, socket_id, channel, read_member(member))
        case ["leave", str(app_id), str(socket_id), str(channel)]:
            return Leave(app_id, socket_id, channel)
        case ["depart", str(app_id), str(socket_id)]:
            return Depart(app_id, socket_id)
        case ["sign in", str(app_id), str(socket_id), str(data)]:
            return SignIn(app_id, socket_id, read_user(data))
        case [
            "publish",
            str(app_id),
            [*channels],
            str(name),
            str(data),
            str() | None as socket_id,
            str() | None as id,
        ]:
            return Publish(app_id, tuple(map(str, channels)), name, data, socket_id, id)
        case ["whisper", str(app_id), str(socket_id), str(channel), str(event), str(data)]:
            return Whisper(app_id, socket_id, channel, event, data)
        case ["terminate", str(app_id), str(user_id)]:
            return Terminate(app_id, user_id)
        case ["tell", str(app_id), [*marks], int(place)]:
            return Tell(app_id, tuple((int(at), int(digest)) for at, digest in marks), place)
    raise ValueError("This is no command of a hub")


def _are_texts(values: list[Any], count: int) -> bool:
    return len(values) == count and all(value is None or isinstance(value, str) for value in values)


def write_member(member: Member | None) -> list[Any]:
    """Nothing, or what is known of a member of a presence channel."""
    return [] if member is None else [member.user_id, member.user_info]


def read_member(values: list[Any]) -> Member | None:
    """What ``write_member`` has written; raises ``ValueError`` for anything else."""
    match values:
        case []:
            return None
        case [str(user_id), dict(user_info)]:
            return Member(user_id, user_info)
    raise ValueError("This is no member of a presence channel")


def encode_values(values: object) -> bytes:
    """JSON in UTF-8, also for text with a lone surrogate, which has no form in UTF-8 and stays an escape."""
    try:
        return encode(values).encode()
    except UnicodeEncodeError:
        return json.dumps(values, separators=(",", ":")).encode()


def decode_values(content: bytes) -> Any:
    """What ``encode_values`` has written; raises ``ValueError`` for whatever is not JSON in UTF-8."""
    return decode(content.decode())

"""An event as it travels: frozen text, checked against the service's limits when it is made."""

import json
import re
import secrets
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from pusherable.channels import kind_of, validate_channel
from pusherable.exceptions import EventTooLarge, InvalidEvent, NotSerializable

#: Channels that one call may name (protocol B.13).
MAX_CHANNELS: Final = 100
#: Characters in an event's name (protocol B.13).
MAX_NAME_LENGTH: Final = 200
#: Bytes of UTF-8 in an event's data (protocol B.14).
MAX_DATA_SIZE: Final = 10_240
#: The same on encrypted channels: sealed, it grows by a third and 81 bytes.
MAX_ENCRYPTED_SIZE: Final = 7_619
#: Events that one batch may hold (protocol B.18).
MAX_BATCH: Final = 10

#: The header by which a publisher tells the ids of the events in a request, in their order, with commas between.
IDS_HEADER: Final = "X-Pusherable-Event-Ids"

RESERVED_PREFIXES: Final = ("pusher:", "pusher_internal:")

_SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+")


class Subject(NamedTuple):
    """What an event tells of, and by whom: of two that tell of the same, the later one says it all."""

    model: str
    pk: str
    user: str = ""
    origin: str = ""
    fields: tuple[str, ...] = ()
    #: Published by the model itself: it yields to what a view says of the same object afterwards.
    is_automatic: bool = False


class Writer(Protocol):
    """Makes of a draft what an event needs: always the same, in any thread, and without fail."""

    def write(self, *draft: Any) -> str:
        """The event's ``data``."""

    def name_subject(self, *draft: Any) -> Hashable:
        """The event's ``subject``."""


class _Drafted:
    """What is not there yet is made, of the draft if there is one, when it is first read."""

    __slots__ = ("_draft", "_writer", "id")

    _writer: Writer
    _draft: tuple[Any, ...]
    #: By which a server knows the event when it comes again, since its answer was lost or was a refusal.
    id: str

    def __getattr__(self, name: str) -> Any:
        # Python asks here only for what is missing.
        if name == "data":
            value: object = self._writer.write(*self._draft)
        elif name == "subject":
            value = self._writer.name_subject(*self._draft)
        elif name == "id":
            value = secrets.token_hex(8)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        object.__setattr__(self, name, value)
        return value


@dataclass(frozen=True, slots=True)
class Event(_Drafted):
    """One event; ``data`` is JSON text, ``socket_id`` a connection to leave out.

    ``subject`` stays in this process: of the events of one transaction with the same name, channels, socket id and
    subject the last alone is sent, and ``None`` is like no other. Making one raises ``InvalidChannel``,
    ``InvalidEvent`` or ``EventTooLarge``, so that whatever is queued later is known to be acceptable.
    """

    channels: tuple[str, ...]
    name: str
    data: str
    socket_id: str | None = None
    subject: Hashable = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.channels:
            raise InvalidEvent(f"The event {self.name!r} names no channel.")
        for channel in self.channels:
            validate_channel(channel)
        validate_event_name(self.name)
        if self.socket_id is not None and not is_socket_id(self.socket_id):
            raise InvalidEvent(f"{self.socket_id!r} is no socket id: two numbers and a dot are, like '123.456'.")
        # As in check_data_size: short data fits whatever the channels are.
        if len(self.data) * 4 > MAX_ENCRYPTED_SIZE:
            check_data_size(self.data, limit=size_limit(self.channels))

    @property
    def parts(self) -> tuple["Event", ...]:
        """The event as the service takes it: up to 100 channels at once, an encrypted one by itself (B.13)."""
        if len(self.channels) == 1:
            return (self,)
        sealed = [channel for channel in self.channels if kind_of(channel).is_encrypted]
        plain = [channel for channel in self.channels if channel not in sealed] if sealed else self.channels
        if not sealed and len(plain) <= MAX_CHANNELS:
            return (self,)
        groups = [plain[start : start + MAX_CHANNELS] for start in range(0, len(plain), MAX_CHANNELS)]
        return tuple(replace(self, channels=tuple(group)) for group in [*groups, *([channel] for channel in sealed)])

    @property
    def payload(self) -> Any:
        """The data as Python values, as a page will see it."""
        return json.loads(self.data)

    def known_as(self, id: str) -> "Event":
        """This event, by an id that it had elsewhere."""
        object.__setattr__(self, "id", id)
        return self

    @classmethod
    def drafted(
        cls,
        channels: tuple[str, ...],
        name: str,
        *,
        writer: Writer,
        draft: tuple[Any, ...],
        socket_id: str | None = None,
    ) -> "Event":
        """An event whose text is written when it is first read. Nothing is checked: the caller vouches for all."""
        event = object.__new__(cls)
        fill = object.__setattr__
        fill(event, "channels", channels)
        fill(event, "name", name)
        fill(event, "socket_id", socket_id)
        fill(event, "_writer", writer)
        fill(event, "_draft", draft)
        return event

    @classmethod
    def compose(
        cls,
        channels: Iterable[str],
        name: str,
        data: Any,
        *,
        socket_id: str | None = None,
        encoder: type[json.JSONEncoder] = json.JSONEncoder,
        subject: Hashable = None,
    ) -> "Event":
        """Freeze ``data`` into JSON text; raises ``NotSerializable`` for what JSON cannot hold."""
        return cls(tuple(channels), name, encode(data, encoder=encoder), socket_id, subject)


def encode(data: Any, *, encoder: type[json.JSONEncoder] = json.JSONEncoder) -> str:
    """The shortest JSON text for ``data``; raises ``NotSerializable`` naming the key at fault."""
    try:
        return _dumps(data, encoder)
    except (TypeError, ValueError, RecursionError) as error:
        path, value = _find_culprit(data, encoder)
        raise NotSerializable(
            f"{path or 'The data'} holds {value!r:.80}, which JSON has no form for ({error}). "
            "Leave it out (exclude, or in a view pusher_exclude_model_fields), or teach your encoder to write it "
            "(PUSHERABLE_JSON_ENCODER).",
            field=path,
        ) from error


def validate_event_name(name: str, *, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return ``name`` unchanged; raise ``InvalidEvent`` if the service would refuse it."""
    if not isinstance(name, str) or not name:
        raise InvalidEvent(f"An event's name is a text that is not empty, not {name!r}.")
    if len(name) > max_length:
        raise InvalidEvent(f"The event name {name[:40]!r}… has {len(name)} characters; {max_length} is the limit.")
    if name.startswith(RESERVED_PREFIXES):
        raise InvalidEvent(f"The event name {name!r} is reserved: 'pusher:' and 'pusher_internal:' are Pusher's own.")
    return name


def is_socket_id(text: str) -> bool:
    """Whether ``text`` has the form of a connection's id, ``123.456`` (protocol A.10)."""
    return isinstance(text, str) and _SOCKET_ID.fullmatch(text) is not None


def size_limit(channels: Iterable[str]) -> int:
    """The bytes of UTF-8 that the data of an event for these channels may have."""
    is_encrypted = any(kind_of(channel).is_encrypted for channel in channels)
    return MAX_ENCRYPTED_SIZE if is_encrypted else MAX_DATA_SIZE


def check_data_size(data: str, *, limit: int = MAX_DATA_SIZE) -> None:
    """Raise ``EventTooLarge`` if ``data`` has more than ``limit`` bytes of UTF-8."""
    # No character takes more than four bytes: most events need no second look.
    if len(data) * 4 <= limit:
        return
    size = len(data.encode(errors="surrogatepass"))
    if size > limit:
        raise EventTooLarge(
            f"The event's data has {size} bytes; {limit} is the limit. Send less, and let pages fetch the rest.",
            size=size,
            limit=limit,
        )


@lru_cache(maxsize=8)
def _make_encoder(encoder: type[json.JSONEncoder]) -> json.JSONEncoder:
    return encoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _dumps(data: Any, encoder: type[json.JSONEncoder]) -> str:
    text = _make_encoder(encoder).encode(data)  # type: ignore[arg-type]
    # A lone surrogate has no form in UTF-8; it stays an escape.
    return text if text.isascii() or _is_utf8(text) else json.dumps(json.loads(text), separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _find_culprit(data: Any, encoder: type[json.JSONEncoder], path: str = "") -> tuple[str, Any]:
    """The innermost key path of ``data`` that cannot be encoded, and what it holds."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, (list, tuple)):
        items = enumerate(data)
    for key, value in items:
        try:
            _dumps(value, encoder)
        except RecursionError:
            return (f"{path}.{key}" if path else str(key)), value
        except (TypeError, ValueError):
            return _find_culprit(value, encoder, f"{path}.{key}" if path else str(key))
    return path, data

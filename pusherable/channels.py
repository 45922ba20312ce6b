"""Channel names: their kinds, their legal form, and the way from a model instance to its channel and back."""

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from pusherable.exceptions import InvalidChannel

#: Characters in a channel name; Pusher's documentation says 164 (protocol A.23).
MAX_LENGTH: Final = 164

SERVER_TO_USER_PREFIX: Final = "#server-to-user-"

#: Who may listen: everybody, whom the app's server lets in, or these with the service unable to read along.
Privacy = bool | Literal["encrypted"]

# Python does not keep the value of such an expression.
_LONGEST_NUMBER: Final = 10**80

_LEGAL = re.compile(r"[A-Za-z0-9_\-=@,.;]+")
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


class ChannelKind(enum.Enum):
    """What a channel's prefix makes of it; the value is the prefix itself."""

    PUBLIC = ""
    CACHE = "cache-"
    PRIVATE = "private-"
    PRIVATE_CACHE = "private-cache-"
    ENCRYPTED = "private-encrypted-"
    ENCRYPTED_CACHE = "private-encrypted-cache-"
    PRESENCE = "presence-"
    PRESENCE_CACHE = "presence-cache-"
    SERVER_TO_USER = SERVER_TO_USER_PREFIX

    @property
    def prefix(self) -> str:
        return self.value

    @property
    def is_presence(self) -> bool:
        """Members of these channels know of each other."""
        return self.prefix.startswith("presence-")

    @property
    def is_encrypted(self) -> bool:
        """The service sees only ciphertext on these channels."""
        return self.prefix.startswith("private-encrypted-")

    @property
    def is_cache(self) -> bool:
        """A new subscriber of these channels is given the last event."""
        return self.prefix.endswith("cache-")

    @property
    def needs_authorization(self) -> bool:
        """Subscribing to these channels takes a signature of the app's server."""
        return self.prefix.startswith(("private-", "presence-"))


# Longest first, so that `private-encrypted-` is tried before `private-` (protocol A.24).
_KINDS_BY_PREFIX_LENGTH = sorted(ChannelKind, key=lambda kind: -len(kind.prefix))


@dataclass(frozen=True, slots=True)
class ModelChannel:
    """A channel name taken apart; ``pk`` is ``None`` for the channel of a whole model."""

    kind: ChannelKind
    model: str
    pk: str | None


def kind_of(name: str) -> ChannelKind:
    """The kind that the prefix of ``name`` makes it; prefixes are exact and case-sensitive."""
    return next(kind for kind in _KINDS_BY_PREFIX_LENGTH if name.startswith(kind.prefix))


def bare_name(name: str) -> str:
    """``name`` without the prefix of its kind: what ``private-post_1`` and ``presence-post_1`` have in common."""
    return name.removeprefix(kind_of(name).prefix)


def kind_for(private: Privacy) -> ChannelKind:
    """The kind of channel that ``private`` asks for; raises ``InvalidChannel`` for any other value."""
    if isinstance(private, bool):
        return ChannelKind.PRIVATE if private else ChannelKind.PUBLIC
    if private == "encrypted":
        return ChannelKind.ENCRYPTED
    raise InvalidChannel(
        f"A channel is private, or not, or 'encrypted': {private!r} is none of True, False and 'encrypted'.",
        channel=private,
    )


def validate_channel(name: str, *, max_length: int = MAX_LENGTH) -> str:
    """Return ``name`` unchanged; raise ``InvalidChannel`` if the service would refuse it."""
    if not isinstance(name, str):
        raise InvalidChannel(f"A channel's name is text, not {name!r}.", channel=name)
    if len(name) > max_length:
        raise InvalidChannel(
            f"The channel name {name[:40]!r}… has {len(name)} characters; {max_length} is the limit.",
            channel=name,
        )
    if not _LEGAL.fullmatch(name.removeprefix(SERVER_TO_USER_PREFIX)):
        raise InvalidChannel(
            f"{name!r} is no channel name: only letters, digits and _ - = @ , . ; are allowed, "
            "and at least one of them.",
            channel=name,
        )
    return name


def model_channel(model_name: str, pk: object = None, *, kind: ChannelKind = ChannelKind.PUBLIC) -> str:
    """The channel of one object, ``modelname_pk``, or without ``pk`` of its whole model, ``modelname``.

    Any primary key has a channel of its own: characters that a channel name cannot hold, and ``=``,
    are written as ``=`` and two hexadecimal digits for each byte of UTF-8. The parts of a composite
    key are joined by commas. Raises ``InvalidChannel`` where the result is too long.
    """
    name = _model_part(model_name, kind._value_)
    if pk is None:
        return name
    if type(pk) is int and len(name) < MAX_LENGTH // 2 and -_LONGEST_NUMBER < pk < _LONGEST_NUMBER:
        # Nothing to escape, nothing to refuse.
        return f"{name}_{pk}"
    return validate_channel(f"{name}_{_escape_pk(pk)}")


def parse_model_channel(name: str) -> ModelChannel:
    """Take apart what ``model_channel`` made; raises ``InvalidChannel`` for other names' shapes."""
    validate_channel(name)
    kind = kind_of(name)
    model, separator, pk = name.removeprefix(kind.prefix).partition("_")
    if not model or (separator and not pk):
        raise InvalidChannel(f"{name!r} is not the channel of a model or object.", channel=name)
    return ModelChannel(kind, _unescape(model, name), _unescape(pk, name) if separator else None)


@lru_cache(maxsize=1024)
def _model_part(model_name: str, prefix: str) -> str:
    return validate_channel(prefix + _escape(model_name, keep="-@.;"))


def _escape_pk(pk: object) -> str:
    if isinstance(pk, tuple):
        return ",".join(_escape(str(part), keep="_-@.;") for part in pk)
    return _escape(str(pk), keep="_-@,.;")


def _escape(text: str, *, keep: str) -> str:
    if text.isascii() and text.isalnum():
        return text

    def escape_byte(byte: int) -> str:
        character = chr(byte)
        legal = byte < 128 and (character.isalnum() or character in keep)
        return character if legal else f"={byte:02X}"

    return "".join(map(escape_byte, text.encode()))


def _unescape(text: str, name: str) -> str:
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidChannel(f"{name!r} holds escapes that are not UTF-8.", channel=name) from error

"""The blocks of a ``text/event-stream``, by the one encoder: nothing that is published becomes a field of its own."""

import re
from typing import Final

from pusherable.server.decoding import decode, encode

MEDIA_TYPE: Final = "text/event-stream"
#: A comment: it shows that the stream is alive, and says nothing.
HEARTBEAT: Final = b":\n\n"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
# What ends a field, and NUL, for which browsers pass over an id.
_UNFIT = re.compile(r"[\0\r\n]")


def encode_event(name: str, data: str, *, id: str = "") -> bytes:
    """An event: browsers hand out ``data`` as it is here, but for its line breaks, which all become ``\\n``.

    Text that is no JSON becomes a JSON string, so that ``JSON.parse`` can read whatever comes. What a name or an id
    cannot hold becomes the escape that JSON has for it.
    """
    lines = [f"event: {_flatten(name)}", *(f"data: {line}" for line in _LINE_BREAK.split(_as_json(data)))]
    if id:
        lines.append(f"id: {_flatten(id)}")
    return _finish(lines)


def encode_position(id: str) -> bytes:
    """No event, but from where to go on after a lost connection."""
    return _finish([f"id: {_flatten(id)}"])


def encode_retry(milliseconds: int) -> bytes:
    """No event, but how long to wait before coming back."""
    return _finish([f"retry: {milliseconds}"])


def _finish(lines: list[str]) -> bytes:
    # A lone surrogate has no form in UTF-8; its escape is the one that JSON has.
    return "\n".join((*lines, "", "")).encode(errors="backslashreplace")


def _as_json(text: str) -> str:
    try:
        decode(text)
    except ValueError:
        return encode(text)
    return text


def _flatten(text: str) -> str:
    return _UNFIT.sub(lambda match: f"\\u{ord(match[0]):04x}", text)

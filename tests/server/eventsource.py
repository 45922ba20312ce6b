"""A reader of event streams, step by step as the HTML standard (9.2.6) has it."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple


class Received(NamedTuple):
    """What a browser hands to its page; ``id`` is the ``lastEventId``."""

    name: str
    data: str
    id: str


@dataclass
class EventSource:
    """Takes the bytes of a stream, in pieces of any size."""

    events: list[Received] = field(default_factory=list)
    last_event_id: str = ""
    retry: int | None = None
    comments: int = 0
    _rest: bytes = b""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, content: bytes) -> None:
        self._rest += content
        # A block ends with an empty line; what is not ended yet waits.
        whole, separator, self._rest = self._rest.rpartition(b"\n\n")
        for line in re.split(r"\r\n|\r|\n", (whole + separator).decode()):
            self._take(line)

    def _take(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments += 1
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_event_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value)

    def _dispatch(self) -> None:
        name, data = self._name or "message", "\n".join(self._data)
        if self._data:
            self.events.append(Received(name, data, self.last_event_id))
        self._name, self._data = "", []


def read_stream(content: bytes) -> EventSource:
    """What a browser makes of a whole stream."""
    source = EventSource()
    source.feed(content)
    return source

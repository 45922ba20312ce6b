"""A connected client, as the hub and its parts know it."""

import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from pusherable.server.config import App
from pusherable.server.credentials import Member, User
from pusherable.server.messages import Message
from pusherable.server.protocol import Refusal
from pusherable.server.rates import Rate

_SOCKET_ID_RANGE: Final = 10**9


class Client(Protocol):
    """The far end of a connection, as the hub sees it."""

    def deliver(self, message: Message) -> None:
        """Send ``message`` on, without waiting and without raising."""

    def skip(self) -> None:
        """Take note that an event leaves this client out."""

    def dismiss(self, refusal: Refusal) -> None:
        """Say why, and close; the connection leaves the hub in the course of it."""


class _Nobody:
    """Takes everything, and does nothing."""

    def deliver(self, message: Message) -> None: ...

    def skip(self) -> None: ...

    def dismiss(self, refusal: Refusal) -> None: ...


#: The client of a connection that is gone, or that another process of the server has.
NOBODY: Final[Client] = _Nobody()


@dataclass(eq=False, slots=True)
class Connection:
    """One client of one app; ``channels`` are those it is subscribed to, ``user`` who it has signed in as.

    ``peer`` is the process that has it, and ``None`` where that is this one.
    """

    app: App
    socket_id: str
    client: Client
    channels: set[str] = field(default_factory=set)
    user: User | None = None
    #: Of the events that it sends; most clients never do.
    rate: Rate | None = None
    peer: str | None = None
    #: Whether other processes may have heard of it.
    is_shared: bool = False
    #: How much of what it has asked for is not done yet.
    waiting: int = 0
    #: On the clock of the hub.
    signed_in_at: float = 0.0

    def note_done(self, outcome: object) -> None:
        """Something that it has asked for is done, or refused."""
        self.waiting -= 1


class Presentation(NamedTuple):
    """A connection as other processes need to know it: who it is, on each channel that it is subscribed to."""

    app_id: str
    socket_id: str
    user: User | None
    channels: Mapping[str, Member | None]


def new_socket_id(taken: Container[str]) -> str:
    """Two random numbers, so that an id is not met again after a restart (protocol A.10)."""
    while True:
        socket_id = f"{secrets.randbelow(_SOCKET_ID_RANGE)}.{secrets.randbelow(_SOCKET_ID_RANGE)}"
        if socket_id not in taken:
            return socket_id

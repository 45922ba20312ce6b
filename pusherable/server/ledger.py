"""The order of all that changes a hub: in one process as it comes, among several the same for all of them."""

from asyncio import Future
from collections.abc import Iterable, Iterator
from typing import Protocol

from pusherable.server.commands import Command
from pusherable.server.config import ServerConfig
from pusherable.server.connections import Presentation
from pusherable.server.histories import Histories

#: ``None`` where a command has been carried out already. Otherwise, as soon as it is: whether every process of the
#: server will carry it out; or an ``Objection``, raised.
Outcome = Future[bool] | None


class Replica(Protocol):
    """The hub of one process, as a ledger sees it; all of them are to know the same."""

    config: ServerConfig
    histories: Histories

    def apply(self, command: Command, *, peer: str | None = None) -> None: ...

    def present(self) -> Iterator[Presentation]: ...

    def reconcile(
        self, peer: str, presentations: Iterable[Presentation], terminated: Iterable[tuple[str, str, float]] = ()
    ) -> None: ...

    def terminated(self) -> list[tuple[str, str, float]]: ...

    def resync(self, channels: Iterable[tuple[str, str]] | None = None) -> None: ...

    def remember(self, app_id: str, channel: str, name: str, data: str, *, seconds: float) -> None: ...


class Ledger(Protocol):
    """Takes commands, and lets the hub apply them one by one."""

    @property
    def place(self) -> int | None:
        """In a log that several processes share, the place of the command that is being applied."""

    @property
    def is_in_charge(self) -> bool:
        """Whether it falls to this process to do what one has to do for all; asked for from any thread."""

    @property
    def processes(self) -> int:
        """How many processes are one server, as far as this one knows."""

    @property
    def is_alone(self) -> bool:
        """Whether there ought to be others, who hear nothing of what happens here."""

    def open(self, hub: Replica) -> None:
        """From now on commands are for ``hub``."""

    def enter(self, command: Command) -> Outcome:
        """Put a command in its place behind all others; raises ``Objection`` where the hub does so at once."""

    def enter_soon(self, command: Command) -> None:
        """Enter a command from whatever thread, if the server runs."""

    async def catch_up(self) -> None:
        """Return when all is applied that other processes have been told is done."""

    async def start(self) -> None:
        """Return when commands can be entered; call it in the thread of the hub."""

    def depart(self) -> None:
        """This process is about to stop: what its clients do from now on concerns nobody else."""

    async def stop(self) -> None:
        """Return when all that was entered is where others will find it, or after a moment."""


class OwnLedger:
    """The ledger of a server that is one process: every command is applied as it is entered."""

    place: int | None = None
    is_in_charge = True
    processes = 1
    is_alone = False

    def open(self, hub: Replica) -> None:
        self._hub = hub

    def enter(self, command: Command) -> None:
        self._hub.apply(command)

    def enter_soon(self, command: Command) -> None: ...

    async def catch_up(self) -> None: ...

    async def start(self) -> None: ...

    def depart(self) -> None: ...

    async def stop(self) -> None: ...

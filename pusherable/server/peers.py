"""The other processes of a server, by what the log says of them: who is there, and whose clients are whose.

Sans I/O: entries of the log in, commands for the hub out. Whatever is concluded here follows from the log alone,
so that all processes conclude the same.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pusherable.exceptions import PusherableError
from pusherable.server.commands import read_command, read_member, write_member
from pusherable.server.connections import Presentation
from pusherable.server.credentials import read_user
from pusherable.server.ledger import Replica

logger = logging.getLogger("pusherable.server")

#: Milliseconds between two signs of life, and how much silence is the end of a process.
BEAT: Final = 2_500
SILENCE: Final = 9_000
# Silence counts while others speak. A pause that is longer than this was the log's own.
_PAUSE: Final = 3_000
# Connections and subscriptions in one entry of a state, about.
_PART: Final = 500
#: Channels up to which a process names those of what only its own clients have received.
NAMED: Final = 1_000
# What only those say who stay.
_OF_THE_PRESENT: Final = frozenset({"hello", "beat", "state", "state ends", "bye"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. ``number`` counts the entries of a ``session``, which a process begins when it is new to
    the others, or has been away; ``time`` is the log's own, in milliseconds; ``place`` orders all entries.
    """

    peer: str
    session: int
    number: int
    items: list[Any]
    time: int
    place: int


@dataclass(eq=False, slots=True)
class _Peer:
    session: int
    number: int
    #: Whether everything was read up to there; not where we have skipped something, and know it.
    is_whole: bool = True
    #: When it first came, on its own clock; the oldest has duties.
    since: int | None = None
    #: On the clock that stands still while the log does.
    heard: int = 0
    #: Its state, as far as it has arrived.
    state: list[Presentation] = field(default_factory=list)


class Peers:
    """What one process, ``name``, knows of the others; ``since`` is when it was started, in milliseconds."""

    def __init__(self, hub: Replica, *, name: str, since: int) -> None:
        self._hub = hub
        self.name = name
        self.since = since
        self._peers: dict[str, _Peer] = {}
        # Who has said goodbye, and may yet publish what it was asked to before.
        self._parted: dict[str, _Peer] = {}
        self._heard = 0
        self._clock = 0
        self._latest: int | None = None
        self._expected: set[str] = set()
        #: Whether a newcomer has asked for our state; whoever gives it says so by ``False``.
        self.is_asked = False
        #: Whether an entry of another process is missing; whoever deals with that says so by ``False``.
        self.has_gap = False
        #: Whether the others have given us up, for we were silent too long.
        self.is_forgotten = False

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def are_known(self) -> bool:
        """Whether all that were here before us have said whose clients they have."""
        return not self._expected

    @property
    def is_oldest(self) -> bool:
        """Whether it falls to this process to do what one of them has to do for all."""
        return all(
            # Who has not said so yet was here before us.
            peer.since is not None and (self.since, self.name) < (peer.since, name)
            # A copy, for it is asked for from other threads.
            for name, peer in tuple(self._peers.items())
        )

    def hello(self, *, wants_state: bool, lost: Iterable[tuple[str, str]] = ()) -> list[Any]:
        """What begins a session. ``lost`` are the channels, by app, of events that only our clients have received."""
        named = list(islice(lost, NAMED + 1))
        return ["hello", self.since, wants_state, named if len(named) <= NAMED else None]

    def beat(self) -> list[Any]:
        """A sign of life."""
        return ["beat", self.since]

    def state(self) -> Iterator[list[Any]]:
        """Who is connected here, and subscribed to what: items for entries that follow each other."""
        part: list[Any] = []
        size = 0
        for presentation in self._hub.present():
            part.append(_write(presentation))
            size += 1 + len(presentation.channels)
            if size >= _PART:
                yield ["state", part]
                part, size = [], 0
        yield ["state", part]
        yield ["state ends", self._hub.terminated()]

    def expect(self, entries: Iterable[Entry], *, since: int) -> None:
        """Go on behind ``entries``; wait for the state of those who were there after ``since``."""
        for peer in self._peers.values():
            peer.is_whole = False
        latest: dict[str, Entry] = {}
        for entry in entries:
            latest[entry.peer] = entry
            if ["bye"] in entry.items:
                self._parted[entry.peer] = _Peer(entry.session, entry.number)
        for name, entry in latest.items():
            if entry.time >= since and name != self.name and name not in self._parted:
                # Those who never say anything more are given up in their time.
                peer = self._peers.setdefault(name, _Peer(entry.session, entry.number))
                peer.session, peer.number, peer.heard = entry.session, entry.number, self._clock
                peer.is_whole = True
                self._expected.add(name)

    def begin(self) -> None:
        """Be new to the others; they are silent from now on only."""
        self.is_forgotten = False
        self._heard = self._clock
        for peer in self._peers.values():
            peer.heard = self._clock

    def note(self, entry: Entry) -> None:
        """Take note of an entry of our own."""
        self._pass_time(entry.time)
        self._heard = self._clock
        self._give_up_silent()

    def read(self, entry: Entry) -> None:
        """Do what an entry of another process says; one that came before, or belongs to the past, is passed over."""
        self._pass_time(entry.time)
        peer = self._peers.get(entry.peer) or self._parted.get(entry.peer)
        is_over = peer is not None and (entry.session, entry.number) <= (peer.session, peer.number)
        if not is_over:
            if peer is None:
                peer = self._peers[entry.peer] = _Peer(entry.session, entry.number)
            elif peer.is_whole and entry.session == peer.session and entry.number != peer.number + 1:
                self.has_gap = True
            peer.is_whole = True
            peer.session, peer.number, peer.heard = entry.session, entry.number, self._clock
            for item in entry.items:
                self._try(entry.peer, peer, item)
        self._give_up_silent()

    def _try(self, name: str, peer: _Peer, item: Any) -> None:
        try:
            self._take(name, peer, item)
        except (PusherableError, ValueError, TypeError):
            # A channel that is full is its own client's affair. The rest is from a version that knows more.
            pass
        except Exception:
            # As it fails here it fails everywhere, and what stands behind it must not be lost.
            logger.exception("A command of another process failed. This is a fault of the server.")

    def _take(self, name: str, peer: _Peer, item: Any) -> None:
        match item:
            case [str(kind), *_] if name in self._parted and kind in _OF_THE_PRESENT:
                pass
            case ["hello", int(since), bool(wants_state), lost]:
                peer.since = since
                peer.state.clear()
                self.is_asked |= wants_state
                self._hub.resync(None if lost is None else [(app_id, channel) for app_id, channel in lost])
            case ["beat", int(since)]:
                peer.since = since
            case ["state", [*presentations]]:
                peer.state += map(_read, presentations)
            case ["state ends", [*terminated]]:
                state, peer.state = peer.state, []
                self._hub.reconcile(name, state, terminated)
                self._expected.discard(name)
            case ["bye"]:
                peer.state.clear()
                self._parted[name] = peer
                self._give_up(name)
            case [*values]:
                self._hub.apply(read_command(values), peer=name)

    def _pass_time(self, now: int) -> None:
        if self._latest is not None:
            self._clock += max(0, min(now - self._latest, _PAUSE))
        self._latest = now

    def _give_up(self, name: str) -> None:
        del self._peers[name]
        self._expected.discard(name)
        self._hub.reconcile(name, [])

    def _give_up_silent(self) -> None:
        for name, peer in list(self._peers.items()):
            if self._clock - peer.heard > SILENCE:
                self._give_up(name)
        self.is_forgotten |= self._clock - self._heard > SILENCE


def _write(presentation: Presentation) -> list[Any]:
    app_id, socket_id, user, channels = presentation
    subscriptions = [[channel, *write_member(member)] for channel, member in channels.items()]
    return [app_id, socket_id, None if user is None else user.data, subscriptions]


def _read(values: list[Any]) -> Presentation:
    app_id, socket_id, user_data, subscriptions = values
    channels = {channel: read_member(member) for channel, *member in subscriptions}
    return Presentation(app_id, socket_id, None if user_data is None else read_user(user_data), channels)

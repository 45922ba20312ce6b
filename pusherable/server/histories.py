"""What was sent on the channels of event streams, kept for a while, so that a lost connection loses nothing."""

import json
import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from pusherable.server.blocks import encode_event
from pusherable.server.config import Limits
from pusherable.server.decoding import encode
from pusherable.server.messages import RESYNC, Message

# Epoch and sequence, and for people and pages the channel.
_CURSOR = re.compile(r"([0-9a-f]{8})-([0-9]{1,21})(?:/.*)?", re.DOTALL)
# Bytes that one more block, and one more channel, take besides their text.
_BLOCK_COST: Final = 300
_CHANNEL_COST: Final = 1_200

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a client has read: ``sequence`` counts what was kept, ``epoch`` is whose count it is."""

    epoch: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor in the id of an event; what is none becomes one that nobody knows."""
        match = _CURSOR.fullmatch(text)
        return cls("", 0) if match is None else cls(match[1], int(match[2]))

    def write(self, channel: str | None = None) -> str:
        """The id of an event of ``channel``, in letters that every field of an event may hold."""
        place = f"{self.epoch}-{self.sequence}"
        return place if channel is None else f"{place}/{quote(channel, safe='=@,;', errors='replace')}"


@dataclass(frozen=True, slots=True)
class Missed:
    """What a client that comes back is owed: ``blocks``, but not those of the ``lost`` channels, which have a gap."""

    blocks: tuple[bytes, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    key: _Key
    time: float
    block: bytes


@dataclass(eq=False, slots=True)
class _History:
    #: Everything after this is there.
    floor: int
    sequences: deque[int] = field(default_factory=deque)
    listeners: int = 0


class Histories:
    """The histories of all channels of a server; ``clock`` gives seconds since whenever.

    A channel has one from when its first stream comes until the ages of its events are over, counted from when its
    last stream has gone: a site without streams keeps nothing. Each holds ``limits.history_length`` events of up to
    ``history_age`` seconds; all together take ``history_size`` bytes, by an estimate. What is dropped leaves a gap,
    of which ``missed`` tells.

    Where several processes count together (``share``), clients come from any of them: then every channel has a
    history for as long as one of its events is there.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._epoch = secrets.token_hex(4)
        self._sequence = 0
        self._size = 0
        self._histories: dict[_Key, _History] = {}
        # In the order of their sequences, which is that of their times.
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        # Since when nobody listens, the longest first.
        self._idle: OrderedDict[_Key, float] = OrderedDict()
        # Everything after this is there, of all channels; ``None`` where only those with streams are kept.
        self._base: int | None = None

    @property
    def now(self) -> Cursor:
        """Where somebody is who has read everything."""
        return Cursor(self._epoch, self._sequence)

    def share(self, epoch: str, sequence: int) -> None:
        """Begin anew with a count that other processes have too, ``epoch``'s, at ``sequence``; nothing is kept."""
        self._epoch, self._sequence, self._base, self._size = epoch, sequence, sequence, 0
        for part in (self._histories, self._kept, self._idle):
            part.clear()

    def count_as(self, epoch: str) -> None:
        """Go on counting for ``epoch``: from now on cursors are of it, and those of another are nobody's."""
        self._epoch = epoch

    def skip(self) -> None:
        """Leave out a place in a count that others have too: what belongs there was recorded before."""
        if self._base is not None:
            self._sequence += 1

    def advance(self, sequence: int) -> None:
        """Give what is recorded next this place, unless later ones are taken already."""
        self._sequence = max(self._sequence, sequence - 1)

    def keeps(self, app_id: str, channel: str) -> bool:
        return self._base is not None or (app_id, channel) in self._histories

    def follow(self, app_id: str, channel: str) -> None:
        """A stream listens: from now on the channel has a history."""
        if self._base is not None:
            return
        key = app_id, channel
        if key not in self._histories:
            self._add(key, floor=self._sequence)
        self._histories[key].listeners += 1
        self._idle.pop(key, None)

    def leave(self, app_id: str, channel: str) -> None:
        """A stream that followed has gone; it may come back."""
        if self._base is not None:
            return
        key = app_id, channel
        history = self._histories[key]
        history.listeners -= 1
        if not history.listeners:
            self._idle[key] = self._clock()

    def record(self, app_id: str, message: Message) -> None:
        """Keep an event of a channel that has a history, and give it a place in the order of all."""
        key = app_id, message.channel or ""
        if self._base is not None and key not in self._histories:
            self._add(key, floor=self._base)
        if key in self._histories:
            self._sequence += 1
            self._keep(self._sequence, _Kept(key, self._clock(), self.stamp(message)))

    def stamp(self, message: Message, *, at: Cursor | None = None) -> bytes:
        """The block for a message, made once however many streams there are.

        Whoever has read it has read everything up to now, or for a message to one client alone, up to ``at``.
        """
        if at is not None:
            return _write(message, at)
        if message.block is None:
            message.block = _write(message, self.now)
        return message.block

    def missed(self, app_id: str, channels: Iterable[str], cursor: Cursor | None, *, limit: int) -> Missed:
        """What happened on ``channels`` after ``cursor``, in order; more than ``limit`` bytes of it count as lost."""
        channels = tuple(channels)
        if cursor is None:
            return Missed()
        if not self.knows(cursor):
            return Missed(lost=channels)
        found = {channel: self._since(app_id, channel, cursor.sequence) for channel in channels}
        sequences = sorted(sequence for part in found.values() for sequence in part or ())
        blocks = tuple(self._kept[sequence].block for sequence in sequences)
        if sum(map(len, blocks)) > limit:
            return Missed(lost=channels)
        return Missed(blocks, tuple(channel for channel, part in found.items() if part is None))

    def knows(self, cursor: Cursor) -> bool:
        """Whether a cursor is of this run of the server, or of one that handed its histories over."""
        return cursor.epoch == self._epoch and cursor.sequence <= self._sequence

    def purge(self) -> None:
        """Give back the memory of what is over."""
        end = self._clock() - self._limits.history_age
        while self._kept and next(iter(self._kept.values())).time <= end:
            self._drop_oldest()
        while self._idle and next(iter(self._idle.values())) <= end:
            self._forget(next(iter(self._idle)))

    def dump(self) -> str:
        """All of it as JSON, for ``restore`` in the process that takes over."""
        now = self._clock()
        histories = [
            {
                "app": app_id,
                "channel": channel,
                "floor": history.floor,
                "idle": now - self._idle.get((app_id, channel), now),
                "kept": [
                    (sequence, now - self._kept[sequence].time, self._kept[sequence].block.decode())
                    for sequence in history.sequences
                ],
            }
            for (app_id, channel), history in self._histories.items()
        ]
        return json.dumps({"epoch": self._epoch, "sequence": self._sequence, "histories": histories})

    def restore(self, text: str, *, age: float = 0.0) -> None:
        """Go on with what ``dump`` gave ``age`` seconds ago; raises ``ValueError`` where that cannot be read.

        It is for histories that are new and empty.
        """
        try:
            content = json.loads(text)
            epoch, sequence = str(content["epoch"]), int(content["sequence"])
            histories = [
                ((str(part["app"]), str(part["channel"])), int(part["floor"]), float(part["idle"]))
                for part in content["histories"]
            ]
            kept = [
                (int(sequence), _Kept((part["app"], part["channel"]), float(seconds), block.encode()))
                for part in content["histories"]
                for sequence, seconds, block in part["kept"]
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as broken:
            raise ValueError("The histories that were handed over cannot be read") from broken
        start = self._clock() - age
        self._epoch, self._sequence = epoch, sequence
        for key, floor, _ in histories:
            self._add(key, floor=floor)
        for key, _, idle in sorted(histories, key=lambda part: -part[2]):
            self._idle[key] = start - idle
        for sequence, item in sorted(kept, key=lambda part: part[0]):
            self._keep(sequence, _Kept(item.key, start - item.time, item.block))
        self.purge()

    def _since(self, app_id: str, channel: str, sequence: int) -> list[int] | None:
        """What came after ``sequence`` on one channel; ``None`` where some of it is gone."""
        history = self._histories.get((app_id, channel))
        if history is None:
            return None if self._base is None or sequence < self._base else []
        if sequence < history.floor:
            return None
        return [kept for kept in history.sequences if kept > sequence]

    def _add(self, key: _Key, *, floor: int) -> None:
        self._histories[key] = _History(floor)
        self._size += _CHANNEL_COST
        self._make_room()

    def _keep(self, sequence: int, kept: _Kept) -> None:
        history = self._histories.get(kept.key)
        if history is None:
            # It was forgotten for want of room while it was restored.
            return
        self._kept[sequence] = kept
        history.sequences.append(sequence)
        self._size += len(kept.block) + _BLOCK_COST
        if len(history.sequences) > self._limits.history_length:
            self._drop(history.sequences[0])
        self._make_room()

    def _make_room(self) -> None:
        """Past the limit those go first to whom nobody listens, and then the oldest events of all."""
        while self._size > self._limits.history_size:
            if self._idle:
                self._forget(next(iter(self._idle)))
            elif self._kept:
                self._drop_oldest()
            else:
                return

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._kept)))

    def _drop(self, sequence: int) -> None:
        kept = self._kept.pop(sequence)
        history = self._histories[kept.key]
        # Within a channel as among all, it is the oldest that goes.
        history.sequences.popleft()
        history.floor = sequence
        self._size -= len(kept.block) + _BLOCK_COST
        if self._base is not None and not history.sequences:
            self._base = max(self._base, sequence)
            del self._histories[kept.key]
            self._size -= _CHANNEL_COST

    def _forget(self, key: _Key) -> None:
        for sequence in tuple(self._histories[key].sequences):
            self._drop(sequence)
        del self._histories[key], self._idle[key]
        self._size -= _CHANNEL_COST


def _write(message: Message, at: Cursor) -> bytes:
    data = message.data if isinstance(message.data, str) else encode(message.data)
    if message.event == RESYNC:
        # It is the stream's own word: no event of this name on a channel can be taken for it.
        return encode_event("resync", data, id=at.write())
    # Pages know these by the names that pusher-js gives them.
    name = message.event.replace("pusher_internal:", "pusher:", 1)
    return encode_event(name, data, id=at.write(message.channel))

"""What is about to be written to sockets: events that follow each other closely leave together, in one write."""

import asyncio
from typing import Final

# Seconds. Writing that took less than the first is not worth a wait; nothing ever waits longer than the second.
_SHORTEST: Final = 0.001
_LONGEST: Final = 0.02
# Bytes of all the frames that wait, each counted once: less than any socket takes at a time.
_ROOM: Final = 65_536


class Outbox:
    """Writes frames to transports, at once or, while many are being written, a moment later and joined.

    A frame is written at once unless it comes right after others that kept the loop busy: then it waits, with all
    that follow, as long as writing those took, and 20 ms at most. So a lone event is never held up, and a flood
    of them takes one call of the system for each socket, not for each frame. What goes to one transport keeps its
    order. Used in the thread of its loop, by default the one that runs when it is first used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._given_loop = loop
        self._waiting: dict[asyncio.Transport, list[bytes]] = {}
        #: Whether nothing waits and whatever comes may be written at once, past ``post``.
        self.is_open = False
        self._is_holding = False
        self._busy_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._latest = b""
        self._size = 0

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._given_loop or asyncio.get_running_loop()

    def post(self, transport: asyncio.Transport, frame: bytes) -> None:
        """Write ``frame`` now or soon. The hot loop of the server comes through here."""
        if not self._is_holding:
            if not self.is_open:
                self._watch_this_turn()
            transport.write(frame)
            return
        if frame is not self._latest:
            self._make_room(frame)
        frames = self._waiting.get(transport)
        if frames is None:
            self._waiting[transport] = [frame]
        else:
            frames.append(frame)

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write ``data`` at once, after whatever waits for this transport."""
        self.release(transport)
        transport.write(data)

    def release(self, transport: asyncio.Transport) -> None:
        """Write at once what waits for this transport."""
        frames = self._waiting.pop(transport, None)
        if frames is not None:
            transport.write(b"".join(frames))

    def forget(self, transport: asyncio.Transport) -> None:
        """Drop what waits for a transport that is gone."""
        self._waiting.pop(transport, None)

    def _watch_this_turn(self) -> None:
        self.is_open = True
        self._busy_since = self._loop.time()
        self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self.is_open = False
        took = self._loop.time() - self._busy_since
        if took >= _SHORTEST:
            self._hold(took)

    def _hold(self, seconds: float) -> None:
        self._is_holding = True
        self._latest, self._size = b"", 0
        self._timer = self._loop.call_later(min(seconds, _LONGEST), self._write_all)

    def _make_room(self, frame: bytes) -> None:
        """Note a frame that is another than the one before, which is the same for all its receivers."""
        if self._size > _ROOM:
            self._write_all()
        self._latest = frame
        self._size += len(frame)

    def _write_all(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            self._is_holding = False
            return
        began = self._loop.time()
        joined: list[bytes] = []
        data = b""
        for transport, frames in waiting.items():
            # Most wait for the same frames, which are joined once for all of them.
            if frames != joined:
                joined, data = frames, b"".join(frames)
            transport.write(data)
        self._hold(self._loop.time() - began)

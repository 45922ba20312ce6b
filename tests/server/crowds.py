"""A load on several processes that are one server, which keeps a record of all that it does and hears."""

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.server.clusters import KEY, TIMEOUT, Cluster, grant, until
from tests.server.eventsource import EventSource

ROOM = "presence-room"
CHANNELS = ("news", "cache-news", ROOM)
PUBLIC = ("news", "cache-news")
RESYNC = "resync"
#: Seconds between two events of a publisher, and for which it retries one.
PACE = 0.4
RETRIES = 20.0

_GONE = (WebSocketException, OSError, TimeoutError)


@dataclass(eq=False)
class Attempt:
    place: int
    began: float
    status: int | None = None
    ended: float = float("inf")


@dataclass(eq=False)
class Event:
    """One event that was published, with all attempts at it; ``publisher`` sends one after the other."""

    id: str
    channels: tuple[str, ...]
    publisher: str
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def success(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.status == 200), None)

    @property
    def is_plain(self) -> bool:
        """Whether the only attempt was answered with success, so that nobody may receive it twice."""
        return len(self.attempts) == 1 and self.success is not None


@dataclass(eq=False)
class Heard:
    """What a client received: the id of an event, or ``RESYNC``."""

    id: str
    channel: str
    time: float


@dataclass(eq=False)
class Sitting:
    """A client from when it is subscribed to ``channels`` until it is cut off."""

    client: str
    place: int
    channels: tuple[str, ...]
    began: float
    ended: float = float("inf")
    heard: list[Heard] = field(default_factory=list)
    #: Who was in the room at first and is now, by what it was told; and how that changed.
    found: frozenset[str] = frozenset()
    members: set[str] = field(default_factory=set)
    changes: list[tuple[str, str, float]] = field(default_factory=list)

    def is_there(self, since: float, until: float) -> bool:
        return self.began <= since and until <= self.ended


@dataclass(eq=False)
class Visit:
    """Somebody who comes into the room under a name of its own, and into a channel of its own."""

    user: str
    place: int
    asked: float
    came: float | None = None
    left: float | None = None
    #: Whether it has come and gone as it wanted, and nothing was in the way.
    is_orderly: bool = False
    is_staying: bool = False
    socket: ClientConnection | None = None

    @property
    def channel(self) -> str:
        return f"visit-{self.user}"


class Crowd:
    """Publishers, listeners and visitors at every process of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.events: dict[str, Event] = {}
        self.whispers: dict[str, tuple[Sitting, float]] = {}
        self.sittings: list[Sitting] = []
        self.visits: list[Visit] = []
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_calm = asyncio.Event()
        self._may_visit = asyncio.Event()
        self._is_closed = False

    async def gather(self, *, has_load: bool) -> None:
        """Let them come, and start the load once all listeners are there."""
        if not has_load:
            self._is_calm.set()
        for place in self.cluster.living:
            self._start(self._listen(f"listener{place}", place))
            self._start(self._stream(f"stream{place}", place))
        await until(lambda: len(self.sittings) == 2 * len(self.cluster.living), "all listeners are there")
        self._may_visit.set()
        for place in self.cluster.living if has_load else ():
            self.burden(place)

    async def publish_once(self, place: int, channels: tuple[str, ...] = PUBLIC) -> Event:
        """Publish an event at a process; its only attempt says how that was answered."""
        event = Event(f"e{next(self._numbers)}", channels, f"probe{place}")
        self.events[event.id] = event
        await self._try(event, place)
        return event

    def burden(self, place: int) -> None:
        """Let somebody publish at a process, and come and go there."""
        self._start(self._publish(f"stubborn{place}", place, retries=True))
        self._start(self._publish(f"careless{place}", place, retries=False))
        self._start(self._visit_often(place))

    def join_late(self, place: int) -> None:
        """Let somebody listen at a process that has just come."""
        self._start(self._listen(f"listener{place}", place))
        self._start(self._stream(f"stream{place}", place))

    def hold_visits(self) -> None:
        self._may_visit.clear()

    def go_on_visiting(self) -> None:
        self._may_visit.set()

    async def calm(self) -> None:
        """End the load; whoever listens stays."""
        self._is_calm.set()
        self._may_visit.set()
        quiet = [task for task in self._tasks if task.get_name() == "load"]
        await asyncio.gather(*quiet)

    async def close(self) -> None:
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def faults(self) -> list[BaseException]:
        """What went wrong in the load itself."""
        return [
            error
            for task in self._tasks
            if task.done() and not task.cancelled() and (error := task.exception()) is not None
        ]

    @property
    def present(self) -> set[str]:
        """Who is in the room now, in truth."""
        listeners = {sitting.client for sitting in self.sittings if ROOM in sitting.channels and sitting.ended > now()}
        return listeners | {visit.user for visit in self.visits if visit.is_staying and visit.left is None}

    async def come(self, place: int, *, stays: bool = False) -> Visit:
        """Let somebody come to a process; ``came`` is ``None`` where that was in vain."""
        visit = Visit(f"visitor{next(self._numbers)}", place, asked=now())
        self.visits.append(visit)
        with suppress(*_GONE):
            async with asyncio.timeout(TIMEOUT):
                socket, socket_id = await self._connect(place)
                visit.socket = socket
                await socket.send(grant(socket_id, ROOM, visit.user, name="é").write())
                await socket.send(grant(socket_id, visit.channel, visit.user).write())
                await _read_until_subscribed(socket, 2)
                visit.came, visit.is_staying = now(), stays
        if visit.came is None:
            await self._cut(visit)
        elif stays:
            self._start(self._stay(visit))
        return visit

    async def leave(self, visit: Visit) -> None:
        """Let a visitor go, by one of the ways there are."""
        if visit.socket is None:
            return
        manner = random.choice(("politely", "suddenly"))
        with suppress(*_GONE):
            if manner == "politely":
                for channel in (ROOM, visit.channel):
                    message = {"event": "pusher:unsubscribe", "data": {"channel": channel}}
                    await visit.socket.send(json.dumps(message))
            visit.is_orderly = visit.came is not None
        await self._cut(visit)

    async def _cut(self, visit: Visit) -> None:
        visit.left = now()
        if visit.socket is not None:
            visit.socket.transport.abort()

    async def _stay(self, visit: Visit) -> None:
        assert visit.socket is not None
        with suppress(*_GONE):
            while True:
                await visit.socket.recv()
        visit.left = visit.left or now()

    async def _visit_often(self, place: int) -> None:
        while not self._is_calm.is_set() and place in self.cluster.living:
            await self._may_visit.wait()
            visit = await self.come(place)
            await self._pause(random.uniform(0.1, 1.0))
            await self.leave(visit)
            await self._pause(random.uniform(0.1, 0.6))

    async def _publish(self, name: str, place: int, *, retries: bool) -> None:
        while not self._is_calm.is_set() and place in self.cluster.living:
            channels = tuple(random.sample(CHANNELS, random.choice((1, 1, 1, 2))))
            event = Event(f"e{next(self._numbers)}", channels, name)
            self.events[event.id] = event
            await self._try(event, place)
            deadline = now() + RETRIES
            while retries and event.success is None and now() < deadline and not self._is_calm.is_set():
                await self._pause(0.3)
                living = self.cluster.living
                # As behind a proxy that takes turns.
                await self._try(event, living[len(event.attempts) % len(living)])
            await self._pause(random.uniform(0.5, 1.5) * PACE)

    async def _try(self, event: Event, place: int) -> None:
        attempt = Attempt(place, now())
        event.attempts.append(attempt)
        attempt.status = await self.cluster.publish(place, event.channels, "e", json.dumps({"id": event.id}))
        attempt.ended = now()

    async def _listen(self, name: str, place: int) -> None:
        """A page: it stays, and comes back at another process where it was cut off."""
        while not self._is_closed:
            with suppress(*_GONE):
                async with asyncio.timeout(TIMEOUT):
                    socket, socket_id = await self._connect(place)
                    for channel in CHANNELS:
                        await socket.send(grant(socket_id, channel, name).write())
                    early = await _read_until_subscribed(socket, len(CHANNELS))
                sitting = Sitting(name, place, CHANNELS, now())
                for message in early:
                    self._take(sitting, message)
                self.sittings.append(sitting)
                whisperer = asyncio.create_task(self._whisper(sitting, socket))
                try:
                    async for text in socket:
                        self._take(sitting, json.loads(text))
                finally:
                    sitting.ended = now()
                    whisperer.cancel()
                    socket.transport.abort()
            await self._pause(0.1, is_load=False)
            place = self._next(place)

    async def _whisper(self, sitting: Sitting, socket: ClientConnection) -> None:
        with suppress(*_GONE):
            while not self._is_calm.is_set():
                id = f"w{next(self._numbers)}"
                self.whispers[id] = sitting, now()
                message = {"event": "client-e", "channel": ROOM, "data": {"id": id}}
                await socket.send(json.dumps(message))
                # A process that stood still for twelve seconds reads all of these in one, in which ten are allowed.
                await self._pause(random.uniform(1.5, 2.5))

    def _take(self, sitting: Sitting, message: dict[str, Any]) -> None:
        channel, data = message.get("channel", ""), _read(message.get("data"))
        match message["event"]:
            case "e" | "client-e":
                sitting.heard.append(Heard(data["id"], channel, now()))
            case "pusher:resync":
                assert data == {"channels": [channel]}
                sitting.heard.append(Heard(RESYNC, channel, now()))
            case "pusher_internal:subscription_succeeded" if channel == ROOM:
                sitting.found = frozenset(data["presence"]["ids"])
                sitting.members = set(sitting.found)
            case "pusher_internal:member_added":
                sitting.members.add(data["user_id"])
                sitting.changes.append(("added", data["user_id"], now()))
            case "pusher_internal:member_removed":
                sitting.members.discard(data["user_id"])
                sitting.changes.append(("removed", data["user_id"], now()))

    async def _stream(self, name: str, place: int) -> None:
        """A page that listens to an event stream. All its connections are one sitting: it misses nothing."""
        source, sitting = EventSource(), None
        while not self._is_closed:
            with suppress(httpx.HTTPError):
                source._rest, source._data, source._name = b"", [], ""
                async with self.cluster.open_stream(place, PUBLIC, source.last_event_id) as answer:
                    async for part in answer.aiter_raw():
                        count = len(source.events)
                        source.feed(part)
                        if sitting is None and source.last_event_id:
                            sitting = Sitting(name, place, PUBLIC, now())
                            self.sittings.append(sitting)
                        for event in source.events[count:]:
                            self._take_of_stream(sitting, event.name, json.loads(event.data), event.id)
            await self._pause(0.1, is_load=False)
            place = self._next(place)

    def _take_of_stream(self, sitting: Sitting | None, name: str, data: Any, id: str) -> None:
        if name == "e":
            assert sitting is not None
            sitting.heard.append(Heard(data["id"], id.partition("/")[2], now()))
        elif name == "resync":
            assert sitting is not None
            sitting.heard += [Heard(RESYNC, channel, now()) for channel in data["channels"]]

    async def _connect(self, place: int) -> tuple[ClientConnection, str]:
        url = f"ws://{self.cluster.address(place)}/app/{KEY}?protocol=7"
        socket = await connect(url, compression=None, ping_interval=None, open_timeout=TIMEOUT, close_timeout=1)
        first = json.loads(await socket.recv())
        return socket, json.loads(first["data"])["socket_id"]

    def _next(self, place: int) -> int:
        living = self.cluster.living
        return living[(living.index(place) + 1) % len(living)] if place in living else random.choice(living)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        is_load = work.__name__ in ("_publish", "_visit_often")
        self._tasks.add(asyncio.create_task(work, name="load" if is_load else "listening"))

    async def _pause(self, seconds: float, *, is_load: bool = True) -> None:
        if not is_load:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_calm.wait()


@asynccontextmanager
async def gathered(cluster: Cluster, *, has_load: bool = True) -> AsyncIterator[Crowd]:
    """A crowd at all processes of a cluster."""
    crowd = Crowd(cluster)
    try:
        await crowd.gather(has_load=has_load)
        yield crowd
    finally:
        await crowd.close()


def now() -> float:
    return time.monotonic()


async def _read_until_subscribed(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """All that comes up to the ``count``-th subscription."""
    messages: list[dict[str, Any]] = []
    found: dict[str, int] = defaultdict(int)
    while found["pusher_internal:subscription_succeeded"] < count:
        messages.append(json.loads(await socket.recv()))
        found[messages[-1]["event"]] += 1
    return messages


def _read(data: Any) -> Any:
    return json.loads(data) if isinstance(data, str) else data

"""What open consoles are told: happenings as they pass, and an overview. With no console open it costs nothing."""

import asyncio
import json
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from pusherable.channels import kind_of
from pusherable.server.blocks import encode_event
from pusherable.server.config import App
from pusherable.server.connections import Connection
from pusherable.server.facts import (
    Broadcast,
    ClientEvent,
    Complained,
    CountChanged,
    Fact,
    Refused,
    Rejected,
    SignedIn,
    Subscribed,
)
from pusherable.server.hub import Hub
from pusherable.server.journal import describe

#: Facts that may wait for one viewer; past it the oldest is lost.
WAITING: Final = 500
#: Connections or channels in an overview, and members or channels in one entry of it.
LISTED: Final = 200
LISTED_WITHIN: Final = 20

_WORD_START: Final = re.compile(r"(?<!^)(?=[A-Z])")


class Viewer:
    """One open console: what it has not been sent yet waits here."""

    def __init__(self, *, limit: int = WAITING) -> None:
        self._waiting: deque[tuple[float, Fact]] = deque(maxlen=limit)
        self._lost = 0
        self._is_due = asyncio.Event()

    def note(self, seconds: float, fact: Fact) -> None:
        """Keep a fact for later; past the limit the oldest gives way, and is counted as lost."""
        if len(self._waiting) == self._waiting.maxlen:
            self._lost += 1
        self._waiting.append((seconds, fact))
        self._is_due.set()

    def take(self) -> dict[str, Any]:
        """What has happened since the last time, as it is sent."""
        waiting, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = 0
        self._is_due.clear()
        return {"lost": lost, "list": [tell(seconds, fact) for seconds, fact in waiting]}

    def wake(self) -> None:
        self._is_due.set()

    async def is_due(self, *, within: float) -> bool:
        """Wait for something to do, at most ``within`` seconds; whether there is anything."""
        return await _comes(self._is_due, within=within)


class Feed:
    """Hands the facts about one app to all who view them; an observer of the hub."""

    def __init__(self, app: App, *, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self._clock = clock
        self._viewers: set[Viewer] = set()
        self._is_closed = asyncio.Event()
        # By this a page knows whether it is the same server that it comes back to.
        self._instance = secrets.token_hex(8)

    def observe(self, fact: Fact) -> None:
        if not self._viewers or getattr(fact, "app_id", self.app.id) != self.app.id:
            return
        for viewer in self._viewers:
            viewer.note(self._clock(), fact)

    def close(self) -> None:
        """End all streams, so that they do not hold up the server's stop; call it in the server's thread."""
        self._is_closed.set()
        for viewer in self._viewers:
            viewer.wake()

    async def stream(self, hub: Hub, *, heartbeat: float, pace: float) -> AsyncIterator[str]:
        """A stream of server-sent events for one viewer, until it goes or the feed is closed.

        After ``heartbeat`` seconds of silence a sign of life is sent. What comes within ``pace`` seconds is sent
        as one, so that a busy server is not kept busy by its console.
        """
        with self._viewing() as viewer:
            overview = self._survey(hub)
            yield f"retry: 1000\n\n{_event('overview', overview)}"
            while not self._is_closed.is_set():
                if not await viewer.is_due(within=heartbeat):
                    yield ": still here\n\n"
                    continue
                text = _event("happenings", json.dumps(viewer.take()))
                before, overview = overview, self._survey(hub)
                yield text if overview == before else text + _event("overview", overview)
                await _comes(self._is_closed, within=pace)

    @contextmanager
    def _viewing(self) -> Iterator[Viewer]:
        viewer = Viewer()
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def _survey(self, hub: Hub) -> str:
        return json.dumps({"instance": self._instance, **survey(hub, self.app)})


def tell(seconds: float, fact: Fact) -> dict[str, Any]:
    """One fact as the page shows it; ``kind`` is an event, a problem, or a visit, which is all the rest."""
    told = {"time": int(seconds * 1000), "channel": getattr(fact, "channel", "")}
    match fact:
        case Broadcast(_, _, event, data, receivers):
            return {**told, "kind": "event", "name": event, "data": data, "receivers": receivers}
        case ClientEvent(_, _, event, data, socket_id, user_id):
            return {**told, "kind": "event", "name": event, "data": data, "from": user_id or socket_id}
        case Complained():
            return {**told, "kind": "problem", "name": "error", "text": describe(fact)}
        case Refused() | Rejected():
            return {**told, "kind": "problem", "name": "refused", "text": describe(fact)}
        case _:
            name = _WORD_START.sub(" ", type(fact).__name__).lower()
            return {**told, "kind": "visit", "name": name, "text": _subject_of(fact)}


def survey(hub: Hub, app: App) -> dict[str, Any]:
    """Who is connected to ``app`` and what is subscribed to; long lists are cut, and their totals told."""
    connections, channels = hub.connections(app), hub.channels(app)
    return {
        "app": {"id": app.id, "key": app.key},
        "connections": {
            "total": len(connections),
            "list": [_describe_connection(connection) for connection in connections[:LISTED]],
        },
        "channels": {
            "total": len(channels),
            "list": [_describe_channel(hub, app, name, count) for name, count in islice(channels.items(), LISTED)],
        },
    }


def _subject_of(fact: Fact) -> str:
    """Whom a visit is about; what happened, and where, the page shows besides."""
    match fact:
        case Subscribed(_, socket_id, _, user_id) if user_id is not None:
            return f"{socket_id} as {user_id}"
        case SignedIn(_, socket_id, user_id):
            return f"{socket_id} as {user_id}"
        case CountChanged(_, _, count):
            return str(count)
        case _:
            return str(getattr(fact, "user_id", None) or getattr(fact, "socket_id", ""))


def _describe_connection(connection: Connection) -> dict[str, Any]:
    return {
        "socket_id": connection.socket_id,
        "user_id": connection.user.id if connection.user else None,
        "channels": _cut(sorted(connection.channels)),
    }


def _describe_channel(hub: Hub, app: App, name: str, subscriptions: int) -> dict[str, Any]:
    kind = kind_of(name)
    members = None
    if kind.is_presence:
        users = hub.members(app, name).items()
        members = _cut([{"id": user_id, "info": json.dumps(info, ensure_ascii=False)} for user_id, info in users])
    return {
        "name": name,
        "kind": kind.name.lower().replace("_", " "),
        "subscriptions": subscriptions,
        "members": members,
    }


def _cut(whole: list[Any]) -> dict[str, Any]:
    return {"total": len(whole), "list": whole[:LISTED_WITHIN]}


def _event(name: str, data: str) -> str:
    return encode_event(name, data).decode()


async def _comes(event: asyncio.Event, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True

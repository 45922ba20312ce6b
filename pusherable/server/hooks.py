"""Facts become signed webhooks: batched, kept in order, retried for five minutes by a thread of their own."""

import itertools
import json
import logging
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import urllib3

from pusherable.channels import kind_of
from pusherable.server.commands import Mark, Tell
from pusherable.server.config import App
from pusherable.server.facts import (
    Broadcast,
    CacheMissed,
    ClientEvent,
    CountChanged,
    Disconnected,
    Fact,
    MemberAdded,
    MemberRemoved,
    Occupied,
    Unsubscribed,
    Vacated,
    WebhooksTold,
)
from pusherable.server.ledger import Ledger, OwnLedger
from pusherable.signing import sign

logger = logging.getLogger("pusherable.server")

#: How long an event waits for others to share its request; all times are in seconds.
BATCH_WINDOW: Final = 0.05
BATCH_SIZE: Final = 50
#: How long somebody who was cut off may take to come back unnoticed (protocol C.5).
RETURN_WINDOW: Final = 3.0
#: In which a channel's cache misses are one (protocol C.4), unless an event comes in between.
CACHE_MISS_WINDOW: Final = 3.0
#: Events that may wait while the receiver is down; those that come after are dropped.
QUEUE_SIZE: Final = 10_000
#: How long a request is tried again (protocol C.6), after pauses that grow from the first to the last.
RETRY_PERIOD: Final = 300.0
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 60.0
TIMEOUT: Final = 10.0

# Seconds between two looks at whether this process is the one in charge.
_WATCH: Final = 1.0
# Of an answer, only its status matters.
_MAX_ANSWER: Final = 65_536

# Of these a process tells by its state, if it cannot at once.
_OF_STATE: Final = (Occupied, Vacated, MemberAdded, MemberRemoved, Unsubscribed, Disconnected)

#: Makes one POST and returns the status; raises ``NotSent`` where no answer came.
Sender = Callable[[bytes, dict[str, str]], int]


class HookEvent(dict[str, Any]):
    """An event as it is sent. ``mark`` is what all processes know it by, if there are several."""

    __slots__ = ("mark",)

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.mark: Mark | None = None


class NotSent(Exception):
    """There was no answer; the text says why."""


class HookQueue:
    """What one app has to be told, and when it is due; ``now`` is in seconds of any clock that goes forward."""

    def __init__(self) -> None:
        #: How many events nobody will hear of, since too many were waiting.
        self.dropped = 0
        self._ready: deque[HookEvent] = deque()
        self._ready_since = 0.0
        # What the last one to leave has ended, as long as it may prove to be a disconnection.
        self._leaver = ""
        self._left: list[HookEvent] = []
        self._left_since = 0.0
        # These two keep the order of time, as all their entries wait equally long.
        self._delayed: dict[tuple[str, ...], tuple[float, HookEvent]] = {}
        self._missed: dict[str, float] = {}
        self._place: int | None = None

    def __len__(self) -> int:
        return len(self._ready) + len(self._left)

    def take_in(self, fact: Fact, now: float, *, place: int | None = None) -> None:
        """Note what has happened, as far as it is to be told; ``place`` is that in a log of several processes."""
        self._place = place
        match fact:
            case Unsubscribed(_, socket_id, _):
                self._note_leaver(socket_id, now)
            case Vacated(_, channel):
                self._left.append(self._make("channel_vacated", channel=channel))
            case MemberRemoved(_, channel, user_id):
                self._left.append(self._make("member_removed", channel=channel, user_id=user_id))
            case Disconnected(_, socket_id):
                self._put_off(socket_id, now)
            case Occupied(_, channel):
                event = self._make("channel_occupied", channel=channel)
                self._arrive(event, ("channel_vacated", channel), now)
            case MemberAdded(_, channel, user_id):
                event = self._make("member_added", channel=channel, user_id=user_id)
                self._arrive(event, ("member_removed", channel, user_id), now)
            case ClientEvent():
                self._add(self._make("client_event", **_describe_client_event(fact)), now)
            case CacheMissed(_, channel):
                self._miss(channel, now)
            case Broadcast(_, channel):
                self._missed.pop(channel, None)
            case CountChanged(_, channel, count) if not kind_of(channel).is_presence:
                self._add(self._make("subscription_count", channel=channel, subscription_count=count), now)

    def take_batch(self, now: float) -> list[HookEvent]:
        """The events that are due, the oldest first; none before they have had time to become a batch."""
        if self._left and now >= self._left_since + BATCH_WINDOW:
            self._settle(self._left_since)
        self._wake_delayed(now)
        if len(self._ready) < BATCH_SIZE and now < self._ready_since + BATCH_WINDOW:
            return []
        return [self._ready.popleft() for _ in range(min(BATCH_SIZE, len(self._ready)))]

    def next_due(self) -> float | None:
        """When ``take_batch`` is worth another try, if nothing happens before."""
        times = [due for due, _ in itertools.islice(self._delayed.values(), 1)]
        if self._left:
            times.append(self._left_since + BATCH_WINDOW)
        if self._ready:
            times.append(self._ready_since + BATCH_WINDOW)
        return min(times, default=None)

    @property
    def place(self) -> int:
        """Nothing waits any more that stands before this place in the log of several processes."""
        waiting = (*self._ready, *self._left, *(event for _, event in self._delayed.values()))
        return min((event.mark[0] for event in waiting if event.mark is not None), default=(self._place or 0) + 1)

    def forget(self, marks: Iterable[Mark], *, place: int) -> None:
        """Drop what was told already, and what stands before ``place``, which nobody tells any more."""
        told = set(marks)

        def waits(event: HookEvent) -> bool:
            return event.mark is not None and event.mark not in told and event.mark[0] >= place

        self._ready = deque(filter(waits, self._ready))
        self._left = list(filter(waits, self._left))
        self._delayed = {key: item for key, item in self._delayed.items() if waits(item[1])}

    def flush(self) -> None:
        """Let nothing wait any more, neither for company nor for somebody to come back."""
        self._settle(self._left_since)
        for _, event in self._delayed.values():
            self._add(event, self._left_since)
        self._delayed.clear()
        self._ready_since = float("-inf")

    def _make(self, name: str, **content: object) -> HookEvent:
        event = HookEvent({"name": name, **content})
        if self._place is not None:
            # What else happens in this place may differ from one process to the next.
            event.mark = self._place, zlib.crc32(json.dumps(event).encode())
        return event

    def _add(self, event: HookEvent, now: float) -> None:
        if len(self._ready) >= QUEUE_SIZE:
            self.dropped += 1
            return
        if not self._ready:
            self._ready_since = now
        self._ready.append(event)

    def _arrive(self, event: HookEvent, opposite: tuple[str, ...], now: float) -> None:
        """Somebody who is back in time was never away: neither is told (protocol C.5)."""
        self._settle(now)
        if self._delayed.pop(opposite, None) is None:
            self._add(event, now)

    def _note_leaver(self, socket_id: str, now: float) -> None:
        if socket_id != self._leaver:
            self._settle(now)
        self._leaver = socket_id
        self._left_since = now

    def _put_off(self, socket_id: str, now: float) -> None:
        """It was a disconnection: whoever it was may come back."""
        self._note_leaver(socket_id, now)
        for event in self._left:
            if len(self._delayed) >= QUEUE_SIZE:
                self.dropped += 1
            else:
                self._delayed[tuple(event.values())] = (now + RETURN_WINDOW, event)
        self._left.clear()

    def _settle(self, now: float) -> None:
        for event in self._left:
            self._add(event, now)
        self._left.clear()

    def _wake_delayed(self, now: float) -> None:
        while self._delayed:
            key, (due, event) = next(iter(self._delayed.items()))
            if due > now:
                return
            del self._delayed[key]
            # It has waited long enough, and so it waits for no company.
            self._add(event, now - BATCH_WINDOW)

    def _miss(self, channel: str, now: float) -> None:
        while self._missed and next(iter(self._missed.values())) <= now:
            del self._missed[next(iter(self._missed))]
        if channel not in self._missed:
            self._missed[channel] = now + CACHE_MISS_WINDOW
            self._add(self._make("cache_miss", channel=channel), now)


class Webhooks:
    """Tells one app's URL of what happens; ``observe`` is for a hub, and a thread does the sending.

    ``clock`` gives seconds that only go forward, ``wall_clock`` those since the epoch. Where the ``ledger`` is that of
    several processes, all of them note what happens at any, and the one in charge sends it.
    """

    def __init__(
        self,
        app: App,
        send: Sender,
        *,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        #: Requests that were taken, and those that were given up.
        self.sent = 0
        self.failed = 0
        self._app = app
        self._send = send
        self._clock = clock
        self._wall_clock = wall_clock
        self._ledger = ledger or OwnLedger()
        # What happens here alone, and what all processes know of.
        self._queue, self._common = HookQueue(), HookQueue()
        self._changed = threading.Condition()
        self._has_complained = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self.run, name="pusherable-webhooks", daemon=True)

    @property
    def dropped(self) -> int:
        """How many events nobody will hear of, since too many were waiting."""
        return self._queue.dropped + self._common.dropped

    def observe(self, fact: Fact) -> None:
        if getattr(fact, "app_id", None) != self._app.id:
            return
        place, now = self._ledger.place, self._clock()
        with self._changed:
            if isinstance(fact, WebhooksTold):
                self._common.forget(fact.marks, place=fact.place)
                return
            if self._leaves_to_others(fact, place):
                return
            queue = self._queue if place is None else self._common
            dropped, due = queue.dropped, queue.next_due()
            queue.take_in(fact, now, place=place)
            is_full = queue.dropped > dropped and not self._has_complained
            self._has_complained |= is_full
            if queue.next_due() != due:
                self._changed.notify_all()
        if is_full:
            logger.error("%d webhook events wait to be sent: those that follow are dropped.", QUEUE_SIZE)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout: float = 1.0) -> None:
        """Send all that is known, once and without another try; wait for that no longer than ``timeout``.

        Whoever starts anew knows nobody, so that departures are told here or never. A second time does nothing.
        """
        with self._changed:
            if self._is_stopping:
                return
            self._is_stopping = True
            for queue in self._queues():
                queue.flush()
            self._changed.notify_all()
        self._thread.join(timeout)
        unsent = sum(map(len, self._queues()))
        if unsent:
            logger.error("The server stops, and %d webhook events were not sent.", unsent)

    def run(self) -> None:
        """Send until told to stop. This is what the thread does."""
        while (batch := self._await_batch()) is not None:
            try:
                self._deliver(batch)
            except Exception:
                logger.exception("A webhook failed and is dropped. This is a fault of the server.")
                self.failed += 1

    def wait(self, seconds: float | None) -> None:
        """Wait for news, at most so long; the caller holds the lock."""
        self._changed.wait(seconds)

    def _await_batch(self) -> list[HookEvent] | None:
        with self._changed:
            while not (batch := self._take_batch()):
                if self._is_stopping:
                    return None
                due = [due for queue in self._queues() if (due := queue.next_due()) is not None]
                # That it falls to this process to send, nobody says.
                longest = _WATCH if self._common.next_due() is not None else None
                self.wait(max(min(due) - self._clock(), 0.0) if due else longest)
            self._has_complained = False
            return batch

    def _leaves_to_others(self, fact: Fact, place: int | None) -> bool:
        """Whether it falls to the one in charge to tell of a fact, who hears of it too: now, or by our state."""
        # Every process counts by itself. Without a place, Redis is away, or we are about to stop.
        is_known_to_all = isinstance(fact, CountChanged) or (place is None and isinstance(fact, _OF_STATE))
        return is_known_to_all and not self._ledger.is_in_charge

    def _queues(self) -> list[HookQueue]:
        """Of which events are to be sent by this process."""
        return [self._queue, self._common] if self._ledger.is_in_charge else [self._queue]

    def _take_batch(self) -> list[HookEvent]:
        return next(filter(None, (queue.take_batch(self._clock()) for queue in self._queues())), [])

    def _deliver(self, batch: list[HookEvent]) -> None:
        """Send one request until it is taken or too old; the body stays the same (protocol C.6)."""
        began = self._clock()
        body = compose(batch, time_ms=int(self._wall_clock() * 1000))
        headers = sign_headers(self._app, body)
        pause = FIRST_PAUSE
        while (problem := self._try(body, headers)) is not None:
            remaining = began + RETRY_PERIOD - self._clock()
            if remaining <= 0 or not self._pause(min(pause, remaining)):
                self.failed += 1
                logger.error("A webhook with %d events was given up: %s", len(batch), problem)
                break
            if pause == FIRST_PAUSE:
                logger.warning("A webhook was not taken and is tried again for five minutes: %s", problem)
            pause = min(pause * 2, LAST_PAUSE)
        else:
            self.sent += 1
        marks = tuple(event.mark for event in batch if event.mark is not None)
        if marks:
            with self._changed:
                place = self._common.place
            self._ledger.enter_soon(Tell(self._app.id, marks, place))

    def _try(self, body: bytes, headers: dict[str, str]) -> str | None:
        """Why this attempt did not succeed."""
        try:
            status = self._send(body, headers)
        except NotSent as silence:
            return str(silence)
        return None if 200 <= status < 300 else f"the answer was {status}"

    def _pause(self, seconds: float) -> bool:
        """Wait before another try, while the queue fills up; false where the server stops."""
        until = self._clock() + seconds
        with self._changed:
            while not self._is_stopping and (remaining := until - self._clock()) > 0:
                self.wait(remaining)
            return not self._is_stopping


def compose(events: list[HookEvent], *, time_ms: int) -> bytes:
    """The body of one request (protocol C.2)."""
    # Escapes for all but ASCII: what a client sent may be no UTF-8.
    return json.dumps({"time_ms": time_ms, "events": events}, separators=(",", ":")).encode()


def sign_headers(app: App, body: bytes) -> dict[str, str]:
    """The headers that show whose request it is (protocol C.1); some verifiers bear no charset."""
    return {
        "Content-Type": "application/json",
        "X-Pusher-Key": app.key,
        "X-Pusher-Signature": sign(app.secret, body),
        "User-Agent": "django-pusherable",
    }


def make_sender(url: str, *, tls: ssl.SSLContext | None = None) -> Sender:
    """Sends to ``url`` over a connection that stays open; certificates are verified, redirects not followed."""
    pool = urllib3.PoolManager(maxsize=1, timeout=urllib3.Timeout(total=TIMEOUT), ssl_context=tls)

    def send(body: bytes, headers: dict[str, str]) -> int:
        try:
            response = pool.request(
                "POST", url, body=body, headers=headers, redirect=False, retries=False, preload_content=False
            )
            response.read(_MAX_ANSWER)
        except urllib3.exceptions.HTTPError as error:
            raise NotSent(str(error)) from error
        # With more to come, the connection is of no further use.
        if response.read(1):
            response.close()
        response.release_conn()
        return response.status

    return send


def _describe_client_event(fact: ClientEvent) -> dict[str, str]:
    event = {
        "channel": fact.channel,
        "event": fact.event,
        "data": fact.data,
        "socket_id": fact.socket_id,
    }
    return event if fact.user_id is None else event | {"user_id": fact.user_id}

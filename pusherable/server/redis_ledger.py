"""The ledger of a server that is several processes: commands go through a log in Redis, which all of them read."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pusherable.channels import kind_of
from pusherable.exceptions import PusherableError
from pusherable.server.addresses import redact
from pusherable.server.commands import (
    Command,
    Depart,
    Join,
    Leave,
    Publish,
    SignIn,
    Whisper,
    encode_values,
    read_command,
    write_command,
)
from pusherable.server.ledger import Outcome, Replica
from pusherable.server.messages import channel_event
from pusherable.server.peers import BEAT, NAMED, SILENCE, Entry, Peers
from pusherable.server.protocol import Objection
from pusherable.server.redis_log import AWAY, SPAN, TIMEOUT, WAIT, Cached, RedisLog

logger = logging.getLogger("pusherable.server")

#: Seconds without Redis after which a process goes on alone.
PATIENCE: Final = 1.0
#: Seconds for which a process that starts waits for Redis, and for what the others know.
START_PATIENCE: Final = 5.0
#: Seconds for which a process that stops tries to say so.
STOP_PATIENCE: Final = 0.4
#: Seconds for which the log is kept besides those that histories need.
MARGIN: Final = 60.0

# Commands in one entry, and characters in what they send to clients, about.
_ENTRY_LENGTH: Final = 256
_ENTRY_SIZE: Final = 262_144
# Bytes that one more event takes besides its text, about.
_EVENT_COST: Final = 300
# Seconds for which entries are dealt with before others have a turn.
_TURN: Final = 0.05
# Seconds between two attempts to reach Redis.
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 1.0

# In the queue: to say whose clients are ours, as it is when all that stands before is done.
_STATE: Final = ["state"]


#: App, channel, name and data.
_Event = tuple[str, str, str, str]


@dataclass(eq=False, slots=True)
class _Proposal:
    command: Command
    outcome: asyncio.Future[bool]


@dataclass(eq=False, slots=True)
class _Sent:
    """An entry that has not come back yet."""

    session: int
    number: int
    content: bytes
    proposals: list[_Proposal]


class RedisLedger:
    """Commands by way of a log in Redis; all processes with the same ``prefix`` are one server.

    A command is applied when it comes back from there, in the same place of the same order as everywhere else.
    Without Redis for longer than ``PATIENCE`` the process goes on alone: commands are applied at once, and the
    outcome of those that should have reached others is ``False``. When Redis is back the processes tell each other
    whose clients they have, and clients that may have missed something are told so.
    """

    def __init__(self, url: str, *, prefix: str) -> None:
        self._log = RedisLog(url, prefix=prefix)
        self._address = redact(url)
        self._name = secrets.token_hex(8)
        self._session = 0
        self._number = 0
        self._queue: deque[_Proposal | list[Any]] = deque()
        self._has_work = asyncio.Event()
        self._sent: deque[_Sent] = deque()
        self._unread: deque[Entry] = deque()
        self.place: int | None = None
        # When we last read a word of our own.
        self._heard_at = time.monotonic()
        self._is_new = True
        self._is_alone = False
        self._is_departing = False
        self._is_over = self._is_connected = False
        # What only our own clients have received while we were alone.
        self._lost: dict[tuple[str, str], None] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def processes(self) -> int:
        return len(self._peers) + 1

    @property
    def is_alone(self) -> bool:
        return self._is_alone

    @property
    def is_in_charge(self) -> bool:
        # Whoever is about to stop leaves it to the others. Nor can one that has stood still know who it is by now.
        has_stood_still = not self._is_alone and time.monotonic() - self._heard_at > SILENCE / 1_000
        return self._peers.is_oldest and not has_stood_still and not (self._is_departing and len(self._peers))

    def open(self, hub: Replica) -> None:
        self._hub = hub
        self._peers = Peers(hub, name=self._name, since=int(time.time() * 1000))

    def enter(self, command: Command) -> Outcome:
        # Whoever stops tells the others that it has no clients any more, once for all of them.
        if self._is_departing and isinstance(command, Join | Leave | Depart | SignIn):
            self._hub.apply(command)
            return None
        proposal = _Proposal(command, asyncio.get_running_loop().create_future())
        if self._is_alone:
            self._carry_out_alone(proposal)
        else:
            self._put(proposal)
        return proposal.outcome

    def enter_soon(self, command: Command) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.enter, command)

    async def catch_up(self) -> None:
        with suppress(*AWAY):
            async with asyncio.timeout(TIMEOUT):
                end = 0 if self._is_alone else await self._log.end()
                while self._reached < end and not self._is_alone:
                    await self._news()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        with suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE):
                await self._is_ready.wait()
        if self._is_new:
            self._go_alone()

    def depart(self) -> None:
        if not self._is_departing:
            self._is_departing = True
            self._put(["bye"])

    async def stop(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE):
                while (self._queue or self._sent) and not self._is_alone:
                    await self._news()
        self._is_over, self._is_connected = True, False
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._go_alone()
        with suppress(*AWAY):
            await self._log.close()

    async def _run(self) -> None:
        """Be one of the server's processes, whenever Redis is there."""
        pause = _FIRST_PAUSE
        while not self._is_over:
            try:
                await self._arrive()
                pause = _FIRST_PAUSE
                self._is_connected = True
                async with asyncio.TaskGroup() as group:
                    for work in (self._write(), self._read(), self._beat()):
                        group.create_task(self._while_connected(work))
            except* AWAY as absence:
                self._note_absence(absence.exceptions[0])
            except* Exception:
                logger.exception("What was read from Redis cannot be dealt with. This is a fault of the server.")
                # What was read with it may not have been dealt with either.
                self._log.lose()
                self._note_absence(None)
            if not self._is_over:
                await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)

    async def _while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Do a part of the work; when it fails, all of it ends. On Python 3.11 a command of ``redis`` may keep a
        cancellation to itself, so that the others look at this besides.
        """
        try:
            await work
        except BaseException:
            self._is_connected = False
            raise

    async def _arrive(self) -> None:
        """Go on as before where nothing is missing, or else as one who is new to the others."""
        is_whole = await self._log.find()
        if not is_whole:
            if not self._is_new:
                self._go_alone()
            self._unread.clear()
            await self._begin_anew()
        while await self._take_news(wait=None):
            pass
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            logger.warning("Redis at %s is back.", self._address)
        if self._is_new or self._is_alone:
            self._begin_session(wants_state=not is_whole)
        if not is_whole:
            # Also those who came before we were here at all.
            self._hub.resync()
        self._is_new = False

    async def _begin_anew(self) -> None:
        """Know what happened before: events of the last while, the last ones of cache channels, who is there."""
        hub = self._hub
        limits = hub.config.limits
        base, entries = await self._log.go_to_end(age=limits.history_age, size=limits.history_size)
        base, events = _choose_newest(entries, base, size=limits.history_size)
        hub.histories.share(self._log.epoch, base)
        end = time.monotonic() + _TURN
        for entry, event in events:
            if time.monotonic() >= end:
                await asyncio.sleep(0)
                end = time.monotonic() + _TURN
            hub.histories.advance(entry.place)
            if event is None:
                hub.histories.skip()
                continue
            app_id, channel, name, data = event
            hub.histories.record(app_id, channel_event(name, channel, data))
        hub.histories.advance(self._log.place)
        self._peers.expect(entries, since=await self._log.time() - SILENCE)
        now = time.time()
        async for app_id, channel, name, data, expires in self._log.caches(now=now):
            hub.remember(app_id, channel, name, data, seconds=expires - now)
        # What is kept there may have been overtaken: in the log the order is sure.
        newest = await self._log.time()
        for entry, event in events:
            if event is not None and kind_of(event[1]).is_cache:
                seconds = limits.cache_ttl - (newest - entry.time) / 1_000
                hub.remember(*event, seconds=seconds)

    def _begin_session(self, *, wants_state: bool) -> None:
        lost, self._lost = self._lost, {}
        self._session += 1
        self._number = 0
        self._is_alone = False
        self._hub.histories.count_as(self._log.epoch)
        self._peers.begin()
        self._queue.extendleft((_STATE, self._peers.hello(wants_state=wants_state, lost=lost)))
        self._has_work.set()

    async def _write(self) -> None:
        # What may not have arrived before the connection was lost; what has, is passed over by its number.
        for sent in tuple(self._sent):
            await self._send(sent)
        while self._is_connected:
            await self._has_work.wait()
            if self._queue and self._queue[0] is _STATE:
                await self._write_state()
            else:
                await self._append(*self._take_some())

    async def _write_state(self) -> None:
        """Say whose clients are ours, once all that was said before is done."""
        while self._sent:
            await self._news()
        if self._queue[0] is not _STATE:
            # Meanwhile we have begun anew.
            return
        self._queue.popleft()
        # Made at once: while it is written, things go on.
        self._queue.extendleft(reversed(tuple(self._peers.state())))

    def _take_some(self) -> tuple[list[Any], list[_Proposal]]:
        """As much of the queue as fits into one entry."""
        items: list[Any] = []
        proposals: list[_Proposal] = []
        size = 0
        while self._queue and self._queue[0] is not _STATE and len(items) < _ENTRY_LENGTH and size < _ENTRY_SIZE:
            item = self._queue.popleft()
            if isinstance(item, _Proposal):
                proposals.append(item)
                size += _weigh(item.command)
                item = write_command(item.command)
            elif item[0] == "state":
                # A part of it fills an entry.
                size = _ENTRY_SIZE
            items.append(item)
        if not self._queue:
            self._has_work.clear()
        return items, proposals

    async def _append(self, items: list[Any], proposals: list[_Proposal]) -> None:
        self._number += 1
        sent = _Sent(self._session, self._number, encode_values(items), proposals)
        self._sent.append(sent)
        await self._send(sent)

    async def _send(self, sent: _Sent) -> None:
        now = time.time()
        cached = self._cached(sent.proposals, now + self._hub.config.limits.cache_ttl)
        async with asyncio.timeout(TIMEOUT):
            await self._log.append(self._name, sent.session, sent.number, sent.content, cached=cached, now=now)

    def _cached(self, proposals: Iterable[_Proposal], expires: float) -> Iterator[Cached]:
        """What cache channels remember from now on."""
        for proposal in proposals:
            match proposal.command:
                case Publish(app_id, channels, name, data):
                    for channel in channels:
                        if kind_of(channel).is_cache:
                            yield Cached(app_id, channel, name, data, expires)

    async def _read(self) -> None:
        while self._is_connected:
            await self._take_news(wait=WAIT)
            if self._peers.has_gap:
                self._peers.has_gap = False
                self._log.fail("its log was cut before it was read")
            if self._peers.is_asked:
                self._peers.is_asked = False
                self._put(_STATE)
            if self._peers.is_forgotten:
                self._begin_session(wants_state=False)
            if self._peers.are_known:
                self._is_ready.set()

    @property
    def _reached(self) -> int:
        """Up to which place all is done."""
        return self._unread[0].place - 1 if self._unread else self._log.place

    async def _take_news(self, *, wait: int | None) -> bool:
        """Do what is new in the log, or some of it; returns whether there was anything."""
        if self._unread:
            # Clients have their turn, however much there is.
            await asyncio.sleep(0)
        else:
            self._unread.extend(await self._log.read(wait=wait))
        has_news = bool(self._unread)
        end = time.monotonic() + _TURN
        while self._unread and time.monotonic() < end:
            self._take(self._unread.popleft())
        waiting, self._waiting = self._waiting, set()
        for news in waiting:
            # Who has waited too long has given up in this very moment.
            if not news.done():
                news.set_result(None)
        return has_news

    def _take(self, entry: Entry) -> None:
        self._hub.histories.advance(entry.place)
        self.place = entry.place
        try:
            if entry.peer == self._name:
                self._take_own(entry)
            else:
                self._peers.read(entry)
        finally:
            self.place = None

    def _take_own(self, entry: Entry) -> None:
        """Do what we have asked for; what we have done alone meanwhile, or twice there, is not done again."""
        if self._sent:
            came, expected = (entry.session, entry.number), (self._sent[0].session, self._sent[0].number)
            if came > expected:
                # Where memory is short Redis may drop whatever it holds.
                self._log.fail("it has lost what was written")
            if came == expected:
                for proposal in self._sent.popleft().proposals:
                    self._carry_out(proposal, reaches_all=True)
        self._peers.note(entry)
        self._heard_at = time.monotonic()

    async def _beat(self) -> None:
        """Show that we are there, until we have said that we go."""
        while self._is_connected and not self._is_departing:
            # Before all that clients ask for, however much that is.
            self._queue.appendleft(self._peers.beat())
            self._has_work.set()
            await asyncio.sleep(BEAT / 1_000)
            if self._peers.is_oldest:
                await self._log.trim(age=self._hub.config.limits.history_age + MARGIN, now=time.time())

    async def _news(self) -> None:
        """Return after the next look into the log."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            await news
        finally:
            self._waiting.discard(news)

    def _put(self, item: _Proposal | list[Any]) -> None:
        self._queue.append(item)
        self._has_work.set()

    def _note_absence(self, problem: BaseException | None) -> None:
        if self._patience is not None or self._is_over:
            return
        if problem is not None:
            logger.warning(
                "Redis at %s is away (%s): what is published here may not reach clients of other processes.",
                self._address,
                str(problem) or type(problem).__name__,
            )
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._go_alone)

    def _go_alone(self) -> None:
        """Do at once what waits for others, and whatever comes."""
        if self._is_alone:
            return
        self._is_alone = True
        if not self._is_new:
            # From now on our count is our own: a client that goes to another process may have missed something.
            self._hub.histories.count_as(secrets.token_hex(4))
        waiting = [proposal for sent in self._sent for proposal in sent.proposals]
        waiting += [item for item in self._queue if isinstance(item, _Proposal)]
        self._sent.clear()
        self._queue.clear()
        self._has_work.clear()
        for proposal in waiting:
            self._carry_out_alone(proposal)

    def _carry_out_alone(self, proposal: _Proposal) -> None:
        # Of so many the others are told that it is all of them.
        if len(self._lost) <= NAMED:
            match proposal.command:
                case Publish(app_id, channels):
                    self._lost.update(dict.fromkeys((app_id, channel) for channel in channels))
                case Whisper(app_id, _, channel):
                    self._lost[app_id, channel] = None
        self._carry_out(proposal, reaches_all=False)

    def _carry_out(self, proposal: _Proposal, *, reaches_all: bool) -> None:
        outcome = proposal.outcome
        try:
            self._hub.apply(proposal.command)
        except Objection as objection:
            _fail(outcome, objection)
        except Exception as fault:
            logger.exception("A command failed. This is a fault of the server.")
            _fail(outcome, fault)
        else:
            if not outcome.done():
                outcome.set_result(reaches_all)


def _fail(outcome: asyncio.Future[bool], reason: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(reason)
        # Who does not wait for it need not know.
        outcome.exception()


def _weigh(command: Command) -> int:
    """How much work a command is, in characters that have to be written."""
    match command:
        case Publish(_, channels, name, data):
            return sum(len(channel) + len(name) + len(data) for channel in channels)
        case SignIn(user=user):
            return len(user.data)
        case Whisper(data=data):
            return len(data)
    return 0


def _choose_newest(entries: list[Entry], base: int, *, size: int) -> tuple[int, list[tuple[Entry, _Event | None]]]:
    """As many of the newest events as histories have room for, in their order, with their entries; and after which
    place all are there.
    """
    known: set[tuple[str, str, str]] = set()
    events = [(entry, list(_events_of(entry, known))) for entry in entries]
    chosen: list[tuple[Entry, _Event | None]] = []
    taken = 0
    following = entries[-1].place + SPAN if entries else 0
    for entry, found in reversed(events):
        taken += sum(_EVENT_COST + sum(map(len, event)) for event in found if event is not None)
        if taken > size:
            return following - 1, chosen[::-1]
        following = entry.place
        chosen += [(entry, event) for event in reversed(found)]
    return base, chosen[::-1]


def _events_of(entry: Entry, known: set[tuple[str, str, str]]) -> Iterator[_Event | None]:
    """App, channel, name and data of the events in an entry, in their order; ``None`` for one that is ``known``."""
    for item in entry.items:
        with suppress(PusherableError, ValueError, TypeError):
            match read_command(item):
                case Publish(app_id, channels, name, data, _, id):
                    for channel in dict.fromkeys(channels):
                        key = app_id, channel, id or ""
                        yield None if id is not None and key in known else (app_id, channel, name, data)
                        known.add(key)
                case Whisper(app_id, _, channel, name, data):
                    yield app_id, channel, name, data

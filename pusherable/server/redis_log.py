"""The log that the processes of a server share: a stream in Redis, its commands and their answers, and no more."""

import json
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NamedTuple, NoReturn

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError

from pusherable.server.commands import decode_values, encode_values
from pusherable.server.peers import Entry

#: What commands raise while Redis is away, or not as it should be.
AWAY: Final = (RedisError, OSError, TimeoutError)
#: Seconds for which a command may take; and for which a read waits for news, in milliseconds.
TIMEOUT: Final = 1.0
WAIT: Final = 1_000
#: Entries that Redis keeps at most, about.
LENGTH: Final = 100_000
#: Places from that of an entry up to that of the next one, at least.
SPAN: Final = 1 << 14

_READ_LENGTH: Final = 500
# Bytes that an entry takes besides its items, about.
_ENTRY_COST: Final = 300
# Values that are asked for at once.
_CACHES_AT_ONCE: Final = 100
_START: Final = b"0-0"
_FIELD: Final = b"entry"


class Cached(NamedTuple):
    """What a cache channel remembers; ``expires`` is in seconds since 1970."""

    app_id: str
    channel: str
    name: str
    data: str
    expires: float


class RedisLog:
    """Entries that all processes read in the same order. Everything raises one of ``AWAY`` while Redis is away.

    All keys begin with ``prefix``; servers that have nothing to do with each other have different ones.
    """

    def __init__(self, url: str, *, prefix: str) -> None:
        self._key = f"{prefix}:log"
        self._epoch_key = f"{prefix}:epoch"
        self._caches_key = f"{prefix}:caches"
        self._cache_prefix = f"{prefix}:cache:".encode()
        # Its types allow for every way of decoding, of which this is one.
        self._redis: Any = Redis.from_url(
            url,
            # What their defaults are differs from one version of the package to the next.
            protocol=2,
            decode_responses=False,
            socket_timeout=TIMEOUT + WAIT / 1_000,
            socket_connect_timeout=TIMEOUT,
            socket_keepalive=True,
            health_check_interval=0,
            # What is sent twice may be carried out twice.
            retry=Retry(NoBackoff(), 0),
        )
        # Up to which entry it was read, in which run of Redis.
        self._last: bytes | None = None
        self._run = ""
        #: Which log it is: another one where Redis has lost its data.
        self.epoch = ""

    @property
    def place(self) -> int:
        """Up to where it was read."""
        return 0 if self._last is None else place_of(self._last)

    def lose(self) -> None:
        """Know that something is missing; the next time it does not go on where it was left."""
        self._last = None

    def fail(self, reason: str) -> NoReturn:
        """Raise, since something is missing."""
        self.lose()
        raise RedisError(reason)

    async def find(self) -> bool:
        """Connect; returns whether the log goes on where it was left, and nothing of it is lost."""
        info = await self._redis.info("server")
        epoch = await self._find_epoch()
        is_same = (info["run_id"], epoch) == (self._run, self.epoch)
        self._run, self.epoch = info["run_id"], epoch
        if self._last is None or not is_same:
            return False
        return self._last == _START or bool(await self._redis.xrange(self._key, self._last, self._last))

    async def go_to_end(self, *, age: float, size: int | None = None) -> tuple[int, list[Entry]]:
        """Read from the newest entry on. Returns those of the last ``age`` seconds, of about ``size`` bytes at most,
        and the place after which all are there.
        """
        newest = await self._redis.xrevrange(self._key, count=1)
        oldest = await self._redis.xrange(self._key, count=1)
        last = self._last = newest[0][0] if newest else _START
        start = b"%d-0" % max(0, _time_of(last) - int(age * 1_000))
        # Before the first of all there was nothing; before the oldest of a log that was cut, there was something.
        floor = place_of(oldest[0][0]) - 1 if oldest else 0
        base = max(floor, place_of(start))
        entries: list[Entry] = []
        taken = 0
        # The newest first: of a long log much would not be kept.
        while found := await self._redis.xrevrange(self._key, last, start, count=_READ_LENGTH):
            entries += filter(None, (_read(id, fields) for id, fields in found))
            taken += sum(_ENTRY_COST + len(fields.get(_FIELD, b"")) for _, fields in found)
            if size is not None and taken >= size:
                return max(base, place_of(found[-1][0]) - 1), entries[::-1]
            last = b"(" + found[-1][0]
        return base, entries[::-1]

    async def read(self, *, wait: int | None) -> list[Entry]:
        """The next entries, for which it waits so many milliseconds at most. What cannot be read is left out."""
        found = await self._redis.xread({self._key: self._last or _START}, count=_READ_LENGTH, block=wait)
        entries = found[0][1] if found else []
        if entries:
            self._last = entries[-1][0]
        return [entry for id, fields in entries if (entry := _read(id, fields)) is not None]

    async def append(
        self, peer: str, session: int, number: int, content: bytes, *, cached: Iterable[Cached] = (), now: float = 0.0
    ) -> None:
        """Put an entry behind all others, ``content`` being its items. ``cached`` is for those who come later."""
        # One field: what Redis answers is read line by line, and costs more than the JSON in it.
        fields = {_FIELD: b'["%b",%d,%d,%b]' % (peer.encode(), session, number, content)}
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xadd(self._key, fields, maxlen=LENGTH, approximate=True)
        for app_id, channel, name, data, expires in cached:
            key = encode_values([app_id, channel])
            value = encode_values([name, data, expires])
            pipeline.set(self._cache_prefix + key, value, px=max(1, int((expires - now) * 1_000)))
            pipeline.zadd(self._caches_key, {key: expires})
        # What it raises by itself quotes the command, and with it what is nobody else's business.
        for result in await pipeline.execute(raise_on_error=False):
            if isinstance(result, OutOfMemoryError):
                # Rather a short past than no future. Who has not read it yet is told that something is missing.
                await self._redis.xtrim(self._key, maxlen=await self._redis.xlen(self._key) // 2)
            if isinstance(result, RedisError):
                raise result

    async def end(self) -> int:
        """The place of the newest entry."""
        newest = await self._redis.xrevrange(self._key, count=1)
        return place_of(newest[0][0]) if newest else 0

    async def caches(self, *, now: float) -> AsyncIterator[Cached]:
        """What cache channels remember, of whatever app."""
        keys = await self._redis.zrangebyscore(self._caches_key, now, "+inf")
        for start in range(0, len(keys), _CACHES_AT_ONCE):
            part = keys[start : start + _CACHES_AT_ONCE]
            values = await self._redis.mget([self._cache_prefix + key for key in part])
            for key, value in zip(part, values, strict=True):
                if value is not None:
                    yield Cached(*json.loads(key), *json.loads(value))

    async def trim(self, *, age: float, now: float) -> None:
        """Give back the memory of what is older than ``age`` seconds."""
        await self._redis.xtrim(self._key, minid=max(0, int((await self.time()) - age * 1_000)), approximate=True)
        await self._redis.zremrangebyscore(self._caches_key, "-inf", now)

    async def time(self) -> int:
        """What Redis's clock says, in milliseconds since 1970; that is the log's time."""
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def close(self) -> None:
        await self._redis.aclose()

    async def _find_epoch(self) -> str:
        # Where Redis is full it takes nothing new, though it be there already.
        found = await self._redis.get(self._epoch_key)
        if found is None:
            await self._redis.set(self._epoch_key, secrets.token_hex(4), nx=True)
            found = await self._redis.get(self._epoch_key) or b""
        return str(found.decode())


def place_of(id: bytes) -> int:
    """An entry's place in the order of all; ``SPAN`` events have places of their own before the next one."""
    time, _, count = id.partition(b"-")
    return (int(time) << 10 | min(int(count), 1_023)) * SPAN


def _time_of(id: bytes) -> int:
    return int(id.partition(b"-")[0])


def _read(id: bytes, fields: dict[bytes, bytes]) -> Entry | None:
    try:
        content = decode_values(fields[_FIELD])
    except (KeyError, ValueError):
        # It is nobody's of ours.
        return None
    match content:
        case [str(peer), int(session), int(number), items]:
            # Of a version that writes them in another way it counts all the same.
            items = items if isinstance(items, list) else []
            return Entry(peer, session, number, items, _time_of(id), place_of(id))
    return None

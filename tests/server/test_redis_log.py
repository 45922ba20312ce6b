import asyncio
import time

import pytest
from redis.asyncio import Redis

from pusherable.server.redis_log import AWAY, Cached, RedisLog, place_of
from tests.redis_servers import running_redis

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis():
    with running_redis() as server:
        yield server


@pytest.fixture
def run(redis, request):
    """Run ``scenario`` with two logs of one name, and a plain client."""

    def run(scenario):
        async def main():
            logs = [RedisLog(redis.url, prefix=request.node.name) for _ in range(2)]
            async with Redis.from_url(redis.url) as plain:
                try:
                    return await scenario(*logs, plain)
                finally:
                    for log in logs:
                        await log.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def prefix(request):
    return request.node.name


class TestAppendAndRead:
    def test_what_one_appends_all_read(self, run):
        async def scenario(here, there, plain):
            await here.append("here", 2, 7, '["é"]'.encode())
            first = await there.read(wait=None)
            await there.append("there", 1, 1, b"[]")
            return first, await there.read(wait=None), await here.read(wait=1)

        first, second, both = run(scenario)
        assert [(entry.peer, entry.session, entry.number, entry.items) for entry in both] == [
            ("here", 2, 7, ["é"]),
            ("there", 1, 1, []),
        ]
        assert first + second == both
        assert both[0].place < both[1].place
        assert abs(both[0].time - time.time() * 1_000) < 60_000

    def test_who_waits_is_woken(self, run):
        async def scenario(here, there, plain):
            waiting = asyncio.create_task(there.read(wait=900))
            await asyncio.sleep(0)
            await here.append("here", 1, 1, b"[1]")
            return await waiting

        assert [entry.items for entry in run(scenario)] == [[1]]

    def test_nothing_comes_of_waiting_in_vain(self, run):
        async def scenario(here, there, plain):
            return await here.read(wait=1), here.place, await here.end()

        assert run(scenario) == ([], 0, 0)

    def test_what_others_have_left_there_is_passed_over(self, run, prefix):
        async def scenario(here, there, plain):
            await plain.xadd(f"{prefix}:log", {"something": "else"})
            for content in ('["p","x",1,[]]', '["p",1,1,[1', "7"):
                await plain.xadd(f"{prefix}:log", {"entry": content})
            await here.append("here", 1, 1, b"[]")
            entries = await there.read(wait=None)
            return [entry.peer for entry in entries], there.place == await here.end()

        assert run(scenario) == (["here"], True)

    def test_what_is_written_in_another_way_counts_all_the_same(self, run, prefix):
        async def scenario(here, there, plain):
            await plain.xadd(f"{prefix}:log", {"entry": '["p",1,7,{}]'})
            return [(entry.number, entry.items) for entry in await there.read(wait=None)]

        assert run(scenario) == [(7, [])]


class TestFind:
    def test_the_first_time_nothing_is_known(self, run):
        async def scenario(here, there, plain):
            return await here.find(), await there.find(), here.epoch == there.epoch

        assert run(scenario) == (False, False, True)

    def test_later_it_goes_on(self, run):
        async def scenario(here, there, plain):
            await here.find()
            await here.go_to_end(age=60)
            empty = await here.find()
            await there.append("there", 1, 1, b"[]")
            await here.read(wait=None)
            return empty, await here.find()

        assert run(scenario) == (True, True)

    def test_where_entries_are_gone_that_were_not_read_something_is_missing(self, run, prefix):
        async def scenario(here, there, plain):
            await here.find()
            await here.append("here", 1, 1, b"[]")
            await here.read(wait=None)
            await here.append("here", 1, 2, b"[]")
            await plain.xtrim(f"{prefix}:log", maxlen=1, approximate=False)
            return await here.find()

        assert run(scenario) is False

    def test_a_redis_that_lost_its_data_has_another_epoch(self, run, prefix):
        async def scenario(here, there, plain):
            await here.find()
            await here.go_to_end(age=60)
            before = here.epoch
            await plain.delete(f"{prefix}:epoch")
            return await here.find(), before == here.epoch

        assert run(scenario) == (False, False)


class TestGoToEnd:
    def test_what_happened_lately_is_told(self, run, prefix):
        async def scenario(here, there, plain):
            now = int(time.time() * 1_000)
            for age in (100_000, 30_000, 0):
                await plain.xadd(f"{prefix}:log", {"entry": f'["p",1,{100_000 - age},[]]'}, id=f"{now - age}-1")
            return now, await here.go_to_end(age=60), await here.read(wait=None)

        now, (base, entries), later = run(scenario)
        assert [entry.number for entry in entries] == [70_000, 100_000]
        assert base == place_of(b"%d-0" % (now - 60_000))
        assert later == []

    def test_an_empty_log_has_all_there_ever_was(self, run):
        async def scenario(here, there, plain):
            return await here.go_to_end(age=60)

        assert run(scenario) == (0, [])

    def test_of_a_young_log_everything_is_known_but_what_came_before_it(self, run):
        async def scenario(here, there, plain):
            await there.append("there", 1, 1, b"[]")
            base, (entry,) = await here.go_to_end(age=60)
            return base == entry.place - 1

        assert run(scenario)

    def test_more_than_one_read_gives(self, run):
        async def scenario(here, there, plain):
            for number in range(1_001):
                await there.append("there", 1, number, b"[]")
            return [entry.number for entry in (await here.go_to_end(age=60))[1]]

        assert run(scenario) == list(range(1_001))


class TestCaches:
    def test_are_there_for_those_who_come_later(self, run):
        async def scenario(here, there, plain):
            now = time.time()
            events = [Cached("1", f"cache-{number}", "e", "é\ud800", now + 60) for number in range(150)]
            await here.append("here", 1, 1, b"[]", cached=events, now=now)
            await here.append("here", 1, 2, b"[]", cached=[Cached("1", "cache-0", "f", "", now + 70)], now=now)
            await here.append("here", 1, 3, b"[]", cached=[Cached("1", "cache-x", "g", "", now + 0.001)], now=now)
            return events, now, [event async for event in there.caches(now=now + 1)]

        events, now, found = run(scenario)
        assert sorted(found) == sorted([*events[1:], Cached("1", "cache-0", "f", "", now + 70)])

    def test_what_redis_has_dropped_is_gone(self, run, prefix):
        async def scenario(here, there, plain):
            now = time.time()
            await here.append("here", 1, 1, b"[]", cached=[Cached("1", "cache-a", "e", "", now + 60)], now=now)
            await plain.delete(f'{prefix}:cache:["1","cache-a"]')
            return [event async for event in there.caches(now=now)]

        assert run(scenario) == []


class TestTrim:
    def test_what_is_old_goes(self, run, prefix):
        async def scenario(here, there, plain):
            now = time.time()
            old = int(now * 1_000) - 100_000
            for number in range(500):
                await plain.xadd(f"{prefix}:log", {"number": str(number)}, id=f"{old}-{number}")
            await here.append("here", 1, 1, b"[]", cached=[Cached("1", "cache-a", "e", "", now + 60)], now=now)
            await here.trim(age=60, now=now + 61)
            return await plain.xlen(f"{prefix}:log"), await plain.zcard(f"{prefix}:caches")

        length, caches = run(scenario)
        # Redis drops whole nodes of a hundred entries.
        assert length <= 101
        assert caches == 0

    def test_a_log_that_is_very_long_is_cut(self, run, prefix, monkeypatch):
        monkeypatch.setattr("pusherable.server.redis_log.LENGTH", 200)

        async def scenario(here, there, plain):
            for number in range(1_000):
                await here.append("here", 1, number, b"[]")
            return await plain.xlen(f"{prefix}:log")

        assert run(scenario) < 400


class TestAway:
    def test_everything_says_so(self):
        async def scenario():
            log = RedisLog("redis://127.0.0.1:1", prefix="p")
            for question in (log.find(), log.read(wait=1), log.append("p", 1, 1, b"[]"), log.end(), log.time()):
                with pytest.raises(AWAY):
                    await question
            await log.close()

        asyncio.run(scenario())

    def test_a_redis_that_stands_still_is_away_too(self):
        async def scenario(server):
            log = RedisLog(server.url, prefix="p")
            await log.find()
            server.pause()
            try:
                with pytest.raises(AWAY):
                    await log.read(wait=100)
            finally:
                server.go_on()
            await log.close()

        with running_redis() as server:
            asyncio.run(scenario(server))


class TestPlaceOf:
    def test_follows_the_order_of_ids(self):
        ids = [b"0-1", b"1-0", b"1700000000000-0", b"1700000000000-1", b"1700000000000-1023", b"1700000000001-0"]
        places = [place_of(id) for id in ids]
        assert places == sorted(set(places))

    def test_leaves_room_for_the_events_of_one_entry(self):
        assert place_of(b"1700000000000-1") - place_of(b"1700000000000-0") == 16_384

    def test_has_up_to_21_digits(self):
        assert len(str(place_of(b"9999999999999-1023"))) == 21

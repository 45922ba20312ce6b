"""Processes that share a real Redis, each a hub with a ledger; here they share an event loop, too."""

import asyncio
import contextlib
import json
import logging

import pytest
from redis.asyncio import Redis

from pusherable.server import facts as told
from pusherable.server import redis_ledger
from pusherable.server.commands import Publish, Tell
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.credentials import Member, User
from pusherable.server.hub import Hub
from pusherable.server.messages import channel_event
from pusherable.server.protocol import Objection, Relay
from pusherable.server.redis_ledger import RedisLedger
from tests.redis_servers import running_redis
from tests.server.conftest import APP, RecordingClient

pytestmark = pytest.mark.redis

ADA, BOB = Member("7", {"name": "Ada"}), Member("8")
TIMEOUT = 20


@pytest.fixture(scope="module")
def shared_redis():
    with running_redis() as server:
        yield server


@pytest.fixture
def redis():
    """One that a test may pause and kill."""
    with running_redis() as server:
        yield server


class Process:
    def __init__(self, url, *, prefix="p", limits=None, apps=(APP,)):
        self.facts, self.witnessed = [], []
        self.ledger = RedisLedger(url, prefix=prefix)
        config = ServerConfig(apps=apps, limits=limits or Limits())
        self.hub = Hub(config, observers=[self.facts.append], witnesses=[self.witnessed.append], ledger=self.ledger)

    def connect(self):
        client = RecordingClient()
        return client, self.hub.connect(APP, client)

    async def join(self, *channels, member=None):
        client, connection = self.connect()
        await asyncio.gather(*(self.hub.subscribe(connection, channel, member) for channel in channels))
        client.take()
        return client, connection

    async def publish(self, channel, data="1", name="e", **options):
        return await self.hub.publish(APP, channels=[channel], name=name, data=data, **options)

    async def settle(self, *others):
        """Return when all that was entered at this process and the others is done at all of them."""
        for process in (self, *others):
            await process.publish("settled")
        for process in (self, *others):
            await process.ledger.catch_up()


@contextlib.asynccontextmanager
async def running(*processes):
    async with asyncio.timeout(60):
        for process in processes:
            await process.ledger.start()
        try:
            yield
        finally:
            for process in processes:
                process.ledger.depart()
                await process.ledger.stop()


async def until(condition):
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def run(shared_redis, request):
    """Run a scenario with two processes that know each other."""

    def run(scenario, **options):
        async def main():
            here, there = (Process(shared_redis.url, prefix=request.node.name, **options) for _ in range(2))
            async with running(here, there):
                return await scenario(here, there)

        return asyncio.run(main())

    return run


def events_of(messages):
    return [(message["event"], message.get("data")) for message in messages]


class TestEnter:
    def test_what_is_published_at_one_reaches_the_clients_of_all(self, run):
        async def scenario(here, there):
            clients = [(await process.join("a"))[0] for process in (here, there)]
            outcomes = [await process.publish("a", str(number)) for number, process in enumerate((here, there))]
            await here.settle(there)
            return outcomes, [events_of(client.take()) for client in clients]

        assert run(scenario) == ([True, True], [[("e", "0"), ("e", "1")]] * 2)

    def test_who_sent_it_does_not_receive_it_wherever_that_is(self, run):
        async def scenario(here, there):
            (first, connection), (second, _) = await here.join("a"), await there.join("a")
            await there.publish("a", socket_id=connection.socket_id)
            await here.settle()
            return events_of(first.take()), events_of(second.take())

        assert run(scenario) == ([], [("e", "1")])

    def test_many_at_once_keep_their_order_everywhere(self, run):
        async def scenario(here, there):
            clients = [(await process.join("a"))[0] for process in (here, there)]
            await asyncio.gather(
                *((here, there)[number % 2].publish("a", str(number), name=str(number % 2)) for number in range(1_000))
            )
            await here.settle(there)
            return [events_of(client.take()) for client in clients]

        first, second = run(scenario)
        assert first == second
        for name in "01":
            assert [int(data) for event, data in first if event == name] == list(range(int(name), 1_000, 2))

    def test_client_events_reach_the_others_with_the_user_that_is_known_here(self, run):
        async def scenario(here, there):
            (first, connection), (second, _) = (
                await here.join("presence-x", member=ADA),
                await there.join("presence-x", member=BOB),
            )
            first.take()
            here.hub.relay(connection, Relay("presence-x", "client-hi", '"x"'))
            await here.settle(there)
            return first.take(), second.take()

        assert run(scenario) == (
            [],
            [{"event": "client-hi", "channel": "presence-x", "data": '"x"', "user_id": "7"}],
        )

    def test_members_come_and_go_once(self, run):
        async def scenario(here, there):
            client, _ = await here.join("presence-x", member=BOB)
            _, first = await there.join("presence-x", member=ADA)
            _, second = await here.join("presence-x", member=ADA)
            there.hub.disconnect(first)
            await here.settle(there)
            before = [message["event"] for message in client.take()]
            here.hub.disconnect(second)
            await here.settle(there)
            members = [list(process.hub.members(APP, "presence-x")) for process in (here, there)]
            return before, [message["event"] for message in client.take()], members

        assert run(scenario) == (
            ["pusher_internal:member_added"],
            ["pusher_internal:member_removed"],
            [["8"], ["8"]],
        )

    def test_whoever_joins_is_told_of_all(self, run):
        async def scenario(here, there):
            await here.join("presence-x", member=BOB)
            client, connection = there.connect()
            await there.hub.subscribe(connection, "presence-x", ADA)
            return json.loads(client.take()[0]["data"])["presence"]["ids"]

        assert run(scenario) == ["8", "7"]

    def test_a_channel_that_is_full_is_full_for_all(self, run):
        async def scenario(here, there):
            await here.join("presence-x", member=BOB)
            _, connection = there.connect()
            with pytest.raises(Objection, match="has 1 members, which is the limit"):
                await there.hub.subscribe(connection, "presence-x", ADA)
            await there.settle(here)
            return connection.channels, [list(p.hub.members(APP, "presence-x")) for p in (here, there)]

        assert run(scenario, limits=Limits(members_per_channel=1)) == (set(), [["8"], ["8"]])

    def test_who_leaves_while_joining_is_gone(self, run):
        async def scenario(here, there):
            client, connection = here.connect()
            joined = here.hub.subscribe(connection, "a")
            here.hub.disconnect(connection)
            await joined
            await here.settle(there)
            return (
                client.take(),
                [process.hub.channels(APP) for process in (here, there)],
                here.hub.connection_count(APP),
            )

        assert run(scenario) == ([], [{}, {}], 0)

    def test_a_user_is_online_wherever_it_is(self, run):
        async def scenario(here, there):
            watcher, connection = here.connect()
            await here.hub.sign_in(connection, User("7", '{"id":"7","watchlist":["8"]}', watchlist=("8",)))
            watcher.take()
            _, watched = there.connect()
            await there.hub.sign_in(watched, User("8", '{"id":"8"}'))
            await here.settle()
            online = watcher.take()
            there.hub.disconnect(watched)
            await here.settle(there)
            return [json.loads(message["data"])["events"][0]["name"] for message in online + watcher.take()]

        assert run(scenario) == ["online", "offline"]

    def test_a_user_is_sent_away_wherever_it_is(self, run):
        async def scenario(here, there):
            client, connection = there.connect()
            await there.hub.sign_in(connection, User("8", '{"id":"8"}'))
            await here.hub.terminate(APP, "8")
            await there.settle()
            return [refusal.code for refusal in client.dismissals], there.hub.was_terminated(APP, "8", within=60)

        assert run(scenario) == ([4009], True)

    def test_cache_channels_remember_everywhere(self, run):
        async def scenario(here, there):
            await here.publish("cache-a", "cached")
            client, connection = there.connect()
            await there.hub.subscribe(connection, "cache-a")
            return events_of(client.take())

        assert run(scenario) == [("pusher_internal:subscription_succeeded", "{}"), ("e", "cached")]

    def test_who_is_told_what(self, run):
        async def scenario(here, there):
            _, connection = await here.join("a")
            await there.publish("a")
            await here.ledger.catch_up()
            return connection.socket_id, list(here.facts), list(there.facts), list(there.witnessed)

        socket_id, here, there, witnessed = run(scenario)
        assert here == [
            told.Connected("1", socket_id),
            told.Occupied("1", "a"),
            told.Subscribed("1", socket_id, "a"),
            told.Broadcast("1", "a", "e", "1", 1, is_ours=False),
        ]
        assert there == [told.Broadcast("1", "a", "e", "1", 0)]
        assert witnessed == [told.Occupied("1", "a"), told.Subscribed("1", socket_id, "a"), *there]

    def test_what_is_sent_for_all_is_known_to_all(self, run):
        async def scenario(here, there):
            await asyncio.to_thread(here.ledger.enter_soon, Tell("1", ((1, 2),)))
            await until(lambda: there.witnessed)
            return there.witnessed

        assert run(scenario) == [told.WebhooksTold("1", ((1, 2),))]

    def test_the_app_of_another_project_is_none_of_ours(self, shared_redis):
        other = App(id="2", key="other", secret="s")

        async def main():
            here, there = (
                Process(shared_redis.url, prefix="apps"),
                Process(shared_redis.url, prefix="apps", apps=(other,)),
            )
            async with running(here, there):
                client, _ = await here.join("cache-a")
                await there.hub.publish(other, channels=["cache-a"], name="e", data="1")
                await here.settle()
                late = Process(shared_redis.url, prefix="apps")
                async with running(late):
                    return client.take(), late.hub.cached(APP, "cache-a")

        assert asyncio.run(main()) == ([], None)

    def test_the_secret_stays_here(self, shared_redis, run, request):
        async def scenario(here, there):
            await here.join("presence-x", member=ADA)
            await here.publish("cache-a")
            async with Redis.from_url(shared_redis.url) as plain:
                found = await plain.xrange(f"{request.node.name}:log")
                keys = [await plain.get(key) async for key in plain.scan_iter(f"{request.node.name}:cache:*")]
            return repr((found, keys))

        assert APP.secret not in run(scenario)

    def test_large_events_take_entries_of_their_own(self, run, monkeypatch):
        monkeypatch.setattr(redis_ledger, "_ENTRY_SIZE", 1_000)

        async def scenario(here, there):
            client, _ = await there.join("a")
            await asyncio.gather(*(here.publish("a", "x" * 900) for _ in range(20)))
            await there.settle()
            return len(client.take())

        assert run(scenario) == 20


class TestWaiting:
    def test_who_asks_for_too_much_at_once_is_sent_away(self, run):
        async def scenario(here, there):
            client, connection = here.connect()
            for number in range(7):
                here.hub.subscribe(connection, f"a{number}")
                here.hub.unsubscribe(connection, f"a{number}")
            refused = [refusal.code for refusal in client.dismissals]
            await here.settle(there)
            return refused[:1], connection.waiting

        assert run(scenario, limits=Limits(channels_per_connection=5)) == ([4100], 0)

    def test_who_has_waited_too_long_disturbs_nobody(self, run):
        async def scenario(here, there):
            waiting = asyncio.get_running_loop().create_future()
            here.ledger._waiting.add(waiting)
            waiting.cancel()
            client, _ = await here.join("a")
            await there.publish("a")
            await here.settle(there)
            return events_of(client.take()), here.ledger.is_alone

        assert run(scenario) == ([("e", "1")], False)


class TestStart:
    def test_a_newcomer_knows_who_is_there(self, run, shared_redis, request):
        async def scenario(here, there):
            await here.join("presence-x", member=ADA)
            await there.join("presence-x", member=BOB)
            await here.publish("cache-a", "cached")
            late = Process(shared_redis.url, prefix=request.node.name)
            async with running(late):
                return (
                    sorted(late.hub.members(APP, "presence-x")),
                    late.hub.cached(APP, "cache-a")[0].data,
                    late.ledger.processes,
                    late.facts,
                )

        assert run(scenario) == (["7", "8"], "cached", 3, [])

    def test_a_newcomer_knows_what_streams_have_missed(self, run, shared_redis, request):
        async def scenario(here, there):
            await here.publish("a", "1")
            cursor = here.hub.histories.now
            _, connection = await there.join("private-a")
            there.hub.relay(connection, Relay("private-a", "client-hi", "2"))
            await there.settle()
            await here.publish("a", "3")
            late = Process(shared_redis.url, prefix=request.node.name)
            async with running(late):
                return [
                    process.hub.histories.missed("1", ["a", "private-a"], cursor, limit=10_000)
                    for process in (here, late)
                ]

        here, late = run(scenario)
        assert here == late
        assert (here.lost, len(here.blocks)) == ((), 2)

    def test_what_was_long_before_is_a_gap(self, run, shared_redis, request):
        async def scenario(here, there):
            cursor = here.hub.histories.now
            # Longer than a history lasts there.
            await asyncio.sleep(0.01)
            await here.publish("a", "1")
            before = here.hub.histories.missed("1", ["a"], cursor, limit=10_000)
            late = Process(shared_redis.url, prefix=request.node.name, limits=Limits(history_age=0.001))
            async with running(late):
                return before.lost, late.hub.histories.missed("1", ["a"], cursor, limit=10_000).lost

        assert run(scenario) == ((), ("a",))

    def test_without_redis_it_goes_on_alone(self, monkeypatch, caplog):
        monkeypatch.setattr(redis_ledger, "START_PATIENCE", 0.2)

        async def main():
            process = Process("redis://127.0.0.1:1")
            async with running(process):
                client, _ = await process.join("a")
                return await process.publish("a"), events_of(client.take()), process.ledger.is_alone

        assert asyncio.run(main()) == (False, [("e", "1")], True)
        assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
            "Redis at redis://127.0.0.1:1 is away"
        ]

    def test_those_who_do_not_answer_are_waited_for_no_longer_than_that(self, shared_redis, monkeypatch):
        monkeypatch.setattr(redis_ledger, "START_PATIENCE", 0.3)

        async def main():
            async with Redis.from_url(shared_redis.url) as plain:
                await plain.xadd("silent:log", {"entry": '["silent",1,1,[["beat",1]]]'})
            process = Process(shared_redis.url, prefix="silent")
            async with running(process):
                return process.ledger.is_alone, process.ledger.processes

        assert asyncio.run(main()) == (False, 2)


class TestStop:
    def test_the_others_know_at_once(self, run, shared_redis, request):
        async def scenario(here, there):
            client, _ = await here.join("presence-x", member=BOB)
            late = Process(shared_redis.url, prefix=request.node.name)
            async with running(late):
                _, connection = await late.join("presence-x", member=ADA)
                client.take()
                late.ledger.depart()
                late.hub.disconnect(connection)
                in_charge = late.ledger.is_in_charge
                await late.publish("presence-x", "last words")
            await here.settle(there)
            return in_charge, [message["event"] for message in client.take()]

        assert run(scenario) == (False, ["pusher_internal:member_removed", "e"])

    def test_what_is_entered_afterwards_concerns_nobody_else(self, run):
        async def scenario(here, there):
            client, _ = await there.join("a")
            there.ledger.depart()
            await there.ledger.stop()
            outcome = await there.publish("a")
            there.ledger.enter_soon(Publish("1", ("a",), "e", "2"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return outcome, events_of(client.take())

        assert run(scenario) == (False, [("e", "1"), ("e", "2")])

    def test_one_that_never_started_stops(self):
        async def main():
            await Process("redis://127.0.0.1:1").ledger.stop()

        asyncio.run(main())


class TestInCharge:
    def test_who_has_stood_still_does_not_know_until_it_has_read_the_log(self, run, monkeypatch):
        monkeypatch.setattr(redis_ledger, "BEAT", 50)

        async def scenario(here, there):
            ledgers = [here.ledger, there.ledger]
            await until(lambda: any(ledger.is_in_charge for ledger in ledgers))
            oldest = next(ledger for ledger in ledgers if ledger.is_in_charge)
            oldest._heard_at -= 60
            at_first = oldest.is_in_charge
            await until(lambda: oldest.is_in_charge)
            return at_first

        assert run(scenario) is False


class TestTrim:
    def test_the_oldest_process_keeps_the_log_short(self, shared_redis, monkeypatch):
        monkeypatch.setattr(redis_ledger, "BEAT", 20)
        monkeypatch.setattr(redis_ledger, "MARGIN", 0.0)

        async def main():
            limits = Limits(history_age=0.001)
            async with Redis.from_url(shared_redis.url) as plain:
                here, there = (Process(shared_redis.url, prefix="trim", limits=limits) for _ in range(2))
                async with running(here, there):
                    for _ in range(300):
                        await here.publish("a")
                    async with asyncio.timeout(TIMEOUT):
                        while await plain.xlen("trim:log") > 200:  # noqa: ASYNC110
                            await asyncio.sleep(0.02)
                    return here.ledger.is_in_charge, there.ledger.is_in_charge

        assert sorted(asyncio.run(main())) == [False, True]


class TestCatchUp:
    def test_what_another_has_answered_is_known(self, run):
        async def scenario(here, there):
            seen = []
            for number in range(50):
                await here.join(f"a{number}")
                await there.ledger.catch_up()
                seen.append(there.hub.subscription_count(APP, f"a{number}"))
            return set(seen)

        assert run(scenario) == {1}


class TestAbsence:
    """Redis is away, and comes back."""

    @pytest.fixture(autouse=True)
    def impatience(self, monkeypatch):
        monkeypatch.setattr(redis_ledger, "PATIENCE", 0.3)

    @pytest.fixture
    def run(self, redis):
        def run(scenario):
            async def main():
                here, there = Process(redis.url), Process(redis.url)
                async with running(here, there):
                    return await scenario(here, there)

            return asyncio.run(main())

        return run

    def test_each_goes_on_alone_and_says_so(self, run, redis):
        async def scenario(here, there):
            (first, _), (second, _) = await here.join("a"), await there.join("a")
            redis.kill()
            outcome = await here.publish("a")
            return outcome, events_of(first.take()), events_of(second.take()), here.ledger.is_alone

        assert run(scenario) == (False, [("e", "1")], [], True)

    def test_a_redis_that_lost_everything(self, run, redis):
        async def scenario(here, there):
            first, _ = await here.join("presence-x", "a", member=ADA)
            _, leaves = await there.join("presence-x", member=BOB)
            await here.ledger.catch_up()
            first.take()
            redis.kill()
            await until(lambda: here.ledger.is_alone and there.ledger.is_alone)
            there.hub.disconnect(leaves)
            await there.join("presence-x", member=Member("9"))
            before = first.take()
            redis.start()
            await until(lambda: not here.ledger.is_alone and not there.ledger.is_alone)
            await until(lambda: sorted(here.hub.members(APP, "presence-x")) == ["7", "9"])
            await until(lambda: sorted(there.hub.members(APP, "presence-x")) == ["7", "9"])
            told = first.take()
            await there.publish("a", "after")
            await here.settle()
            return before, told, events_of(first.take())

        before, told_after, last = run(scenario)
        assert before == []
        assert sorted({message["event"] for message in told_after}) == [
            "pusher:resync",
            "pusher_internal:member_added",
            "pusher_internal:member_removed",
        ]
        assert {message["channel"] for message in told_after if message["event"] == "pusher:resync"} == {
            "a",
            "presence-x",
        }
        assert last == [("e", "after")]

    def test_a_redis_that_stood_still(self, run, redis, monkeypatch):
        async def scenario(here, there):
            (first, _), (second, _) = await here.join("a", "b"), await there.join("a", "b")
            redis.pause()
            outcome = await here.publish("a", "alone")
            redis.go_on()
            await until(lambda: not here.ledger.is_alone)
            await here.publish("a", "together")
            await there.settle(here)
            return outcome, events_of(first.take()), [m for m in second.take() if m["event"] != "e"]

        outcome, first, second = run(scenario)
        assert outcome is False
        # Only what was published alone may be missing elsewhere.
        assert [data for event, data in first if event == "e"] == ["alone", "together"]
        assert [message["channel"] for message in second] == ["a"]

    def test_a_connection_that_is_lost_for_a_moment(self, run, redis, caplog, monkeypatch):
        monkeypatch.setattr(redis_ledger, "PATIENCE", TIMEOUT)

        async def scenario(here, there):
            clients = [(await process.join("a"))[0] for process in (here, there)]
            async with Redis.from_url(redis.url) as plain:
                outcomes = []
                for number in range(20):
                    pending = [process.publish("a", f"{number}") for process in (here, there)]
                    await plain.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    outcomes += await asyncio.gather(*pending)
            await here.settle(there)
            return set(outcomes), [[data for _, data in events_of(client.take())] for client in clients]

        with caplog.at_level(logging.CRITICAL, "pusherable.server"):
            outcomes, (first, second) = run(scenario)
        assert outcomes == {True}
        assert first == second
        assert sorted(first, key=int) == [str(number) for number in range(20) for _ in range(2)]

    @pytest.mark.parametrize("has_arrived", [True, False])
    def test_what_was_not_answered_is_done_once(self, run, monkeypatch, has_arrived):
        async def scenario(here, there):
            client, _ = await there.join("a")
            append = here.ledger._log.append

            async def lose(*args, **options):
                monkeypatch.undo()
                if has_arrived:
                    await append(*args, **options)
                raise ConnectionError("lost")

            monkeypatch.setattr(here.ledger._log, "append", lose)
            outcomes = await asyncio.gather(here.publish("a", "1"), here.publish("a", "2"))
            await there.settle()
            return outcomes, [data for _, data in events_of(client.take())]

        # One that the scenario does not take back.
        with pytest.MonkeyPatch.context() as patient:
            patient.setattr(redis_ledger, "PATIENCE", TIMEOUT)
            assert run(scenario) == ([True, True], ["1", "2"])

    def test_streams_go_on_where_they_were_or_are_told(self, run, redis):
        async def scenario(here, there):
            await here.publish("a", "1")
            cursor = here.hub.histories.now
            await here.publish("a", "2")
            await there.settle()
            missed = there.hub.histories.missed("1", ["a"], cursor, limit=10_000)
            redis.kill()
            await until(lambda: here.ledger.is_alone and there.ledger.is_alone)
            redis.start()
            await until(lambda: not here.ledger.is_alone and not there.ledger.is_alone)
            return len(missed.blocks), there.hub.histories.missed("1", ["a"], cursor, limit=10_000).lost

        assert run(scenario) == (1, ("a",))

    @pytest.mark.parametrize("is_own", [True, False])
    def test_a_log_that_was_cut_before_it_was_read(self, run, redis, monkeypatch, is_own):
        async def scenario(here, there):
            (client, _), _ = await here.join("presence-x", member=ADA), await there.join("presence-x", member=BOB)
            await here.settle(there)
            client.take()
            read, is_held, may_read = here.ledger._log.read, asyncio.Event(), asyncio.Event()

            async def hold(**options):
                is_held.set()
                await may_read.wait()
                return await read(**options)

            monkeypatch.setattr(here.ledger._log, "read", hold)
            await is_held.wait()
            publisher = here if is_own else there
            pending = [publisher.publish("presence-x", str(number)) for number in range(3)]
            tasks = [asyncio.ensure_future(outcome) for outcome in pending]
            async with Redis.from_url(redis.url) as plain:
                while await plain.xlen("p:log") == 0 or not await self.has_come(plain, publisher):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await there.publish("other")
                await plain.xtrim("p:log", maxlen=1, approximate=False)
            may_read.set()
            outcomes = await asyncio.gather(*tasks)
            await until(lambda: not here.ledger.is_alone and here.ledger._patience is None)
            await until(lambda: "pusher:resync" in [message["event"] for message in client.received])
            await until(lambda: sorted(there.hub.members(APP, "presence-x")) == ["7", "8"])
            await until(lambda: sorted(here.hub.members(APP, "presence-x")) == ["7", "8"])
            await here.settle(there)
            return set(outcomes)

        assert run(scenario) == ({False} if is_own else {True})

    async def has_come(self, plain, publisher):
        """Whether the last of three events is in the log."""
        found = await plain.xrevrange("p:log", count=3)
        return any(b'"2"' in fields[b"entry"] for _, fields in found)

    def test_a_fault_of_ours_is_logged_and_does_not_end_it(self, run, redis, caplog, monkeypatch):
        async def scenario(here, there):
            def fail(entry):
                monkeypatch.undo()
                raise RuntimeError("a fault")

            client, _ = await here.join("a")
            monkeypatch.setattr(here.ledger._peers, "read", fail)
            await there.publish("a", "1")
            await until(lambda: "a fault" in caplog.text)
            await until(lambda: client.received)
            await there.publish("a", "2")
            await here.settle()
            return events_of(client.take())

        assert run(scenario) == [("pusher:resync", '{"channels":["a"]}'), ("e", "2")]

    def test_whoever_was_given_up_comes_back(self, run):
        async def scenario(here, there):
            await here.join("presence-x", member=ADA)
            here.ledger._peers.is_forgotten = True
            there.hub.reconcile(here.ledger._name, [])
            await there.publish("a")
            await until(lambda: list(there.hub.members(APP, "presence-x")) == ["7"])
            return here.ledger.is_alone

        assert run(scenario) is False


class TestReplay:
    def test_what_came_twice_is_replayed_once_and_counts_twice(self, run, shared_redis, request):
        async def scenario(here, there):
            for process in (here, there):
                await process.hub.publish(APP, channels=["a", "cache-a"], name="e", data="old", id="x")
                await process.hub.publish(APP, channels=["cache-a"], name="e", data="new")
            await here.settle(there)
            # As if an answer had been lost: what it sets there is out of date.
            await here.hub.publish(APP, channels=["cache-a"], name="e", data="old", id="x")
            late = Process(shared_redis.url, prefix=request.node.name)
            async with running(late):
                await here.settle(there)
                return [
                    (
                        [(place, kept.block) for place, kept in process.hub.histories._kept.items()][:4],
                        process.hub.cached(APP, "cache-a")[0].data,
                    )
                    for process in (here, there, late)
                ]

        first, second, late = run(scenario)
        assert first == second == late
        assert late[1] == "new"

    def test_what_is_recorded_is_what_was_sent(self, run, shared_redis, request):
        """A process that comes later has the very blocks of those that were there."""

        async def scenario(here, there):
            cursor = here.hub.histories.now
            await here.hub.publish(APP, channels=["a", "b", "a"], name="e", data='"é"')
            late = Process(shared_redis.url, prefix=request.node.name)
            async with running(late):
                found = [p.hub.histories.missed("1", ["a", "b"], p.hub.histories.now, limit=9) for p in (here, late)]
                blocks = [[kept.block for kept in p.hub.histories._kept.values()] for p in (here, late)]
            return cursor, found, blocks

        _, found, (here, late) = run(scenario)
        assert found[0] == found[1]
        assert here == late
        assert len(here) == 2
        assert channel_event("e", "a", '"é"').event.encode() in here[0]

"""Real processes on a real Redis under load, each of which is killed or paused: a checker knows every event's fate."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.answering import Service
from tests.server.clusters import Cluster, until
from tests.server.crowds import RESYNC, ROOM, Crowd, Event, Visit, gathered, now
from tests.server.verdicts import (
    judge_changes,
    judge_events,
    judge_order,
    judge_presence,
    judge_resyncs,
    judge_webhooks,
    judge_whispers,
    orderly_visits,
)

pytestmark = [pytest.mark.chaos, pytest.mark.redis]

#: Seconds within which the death of a process is noticed, and all is well again once what was in the way is gone.
NOTICE = 15.0
HEALING = 15.0
# What a quiet phase is long enough for.
EVENTS = 40
VISITS = 4


@dataclass
class Run:
    """One cluster through all its troubles; ``quiet`` are the phases in which nothing is in the way."""

    cluster: Cluster
    crowd: Crowd
    service: Service
    may_resync: bool = False
    quiet: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Of whose visits webhooks tell once, whatever happens; and of whom only that they came.
    told: list[Visit] = field(default_factory=list)
    faithful: list[str] = field(default_factory=list)
    #: Whether nobody is told twice of a visit, for nobody was given up who was still there.
    is_told_once: bool = True
    #: Since when clients have to be told that they may have missed something.
    lacks: list[float] = field(default_factory=list)

    async def be_quiet(self) -> None:
        """Let things go on as usual for a while, until all of it is told."""
        began, crowd = now(), self.crowd
        count = len(crowd.events)
        crowd.go_on_visiting()
        await until(
            lambda: (
                len(crowd.events) >= count + EVENTS and len(orderly_visits(crowd, [(began, float("inf"))])) >= VISITS
            ),
            "there are events and visits",
        )
        crowd.hold_visits()
        phase = began, now()
        # Nobody is on the way any more, and everything is told.
        await self.settle([phase])
        self.quiet.append((began, now()))

    async def settle(self, quiet: list[tuple[float, float]]) -> None:
        try:
            await until(lambda: self._is_settled(quiet), "it settles", patience=HEALING, pause=0.3)
        except AssertionError:
            raise AssertionError(self.describe(await self.problems(quiet))) from None

    async def _is_settled(self, quiet: list[tuple[float, float]]) -> bool:
        return not await self.problems(quiet)

    async def problems(self, quiet: list[tuple[float, float]], *, finally_: bool = False) -> list[str]:
        cluster, crowd = self.cluster, self.crowd
        users = {place: await cluster.users(place, ROOM) for place in cluster.living}
        channels = {place: await cluster.channels(place) for place in cluster.living}
        problems = [
            *map(repr, crowd.faults),
            *judge_presence(crowd, users, channels),
            *judge_webhooks(
                crowd,
                self.service.taken,
                quiet,
                more=self.told,
                faithful=self.faithful,
                at_most_once=self.is_told_once,
            ),
            *judge_changes(crowd, quiet),
            *(problem for since in self.lacks for problem in judge_resyncs(crowd, since)),
            *judge_whispers(crowd, quiet),
        ]
        if finally_:
            problems += [*judge_events(crowd, may_resync=self.may_resync), *judge_order(crowd)]
        return problems

    def describe(self, problems: list[str]) -> str:
        lines = [
            f"process {place}: {line}"
            for place, process in enumerate(self.cluster.processes)
            for line in process.lines
            if " 503: " not in line
        ]
        return "\n".join([*self.notes, *problems[:40], f"{len(problems)} problems", *lines])

    async def heal(self) -> None:
        """Wait until everybody knows the same again, and publishing is answered with success."""
        began, cluster, crowd = now(), self.cluster, self.crowd
        crowd.hold_visits()

        async def is_well() -> bool:
            probes = [await crowd.publish_once(place) for place in cluster.living]
            return all(event.success for event in probes) and not await self.problems(self.quiet)

        try:
            await until(is_well, "it heals", patience=HEALING, pause=0.3)
        except AssertionError:
            raise AssertionError(self.describe(await self.problems(self.quiet))) from None
        self.notes.append(f"well again after {now() - began:.1f} s")

    async def end(self) -> None:
        """Let the load end, and judge all of it."""
        await self.crowd.calm()
        problems: list[str] = []

        async def is_right() -> bool:
            problems[:] = await self.problems(self.quiet, finally_=True)
            return not problems

        try:
            await until(is_right, "all is right", patience=HEALING, pause=1.0)
        except AssertionError:
            raise AssertionError(self.describe(problems)) from None
        for process in self.cluster.processes:
            for word in ("fault of the server", "Traceback", "never retrieved", "never awaited"):
                assert word not in process.output, process.output


Trouble = Callable[[Run], Awaitable[None]]


async def kill_process(run: Run) -> None:
    """Its clients who do not come back are noticed to be gone."""
    cluster, crowd = run.cluster, run.crowd
    visits = [await crowd.come(0, stays=True) for _ in range(3)]
    users, channels = {visit.user for visit in visits}, {visit.channel for visit in visits}
    assert users <= (await cluster.users(1, ROOM) or set())
    run.told += visits
    cluster.signal(0, signal.SIGKILL)

    async def is_noticed() -> bool:
        for place in cluster.living:
            if users & (await cluster.users(place, ROOM) or users):
                return False
            if channels & (await cluster.channels(place) or channels):
                return False
        return True

    took = await until(is_noticed, "its members leave, its channels are vacated", patience=NOTICE)
    run.notes.append(f"the death was noticed after {took:.1f} s")


async def stop_process(run: Run) -> None:
    """It stands still for so long that the others give it up, and goes on as if nothing had happened."""
    cluster, crowd, began = run.cluster, run.crowd, now()
    run.is_told_once = False
    visit = await crowd.come(0, stays=True)
    cluster.signal(0, signal.SIGSTOP)

    async def is_noticed() -> bool:
        return visit.user not in (await cluster.users(1, ROOM) or {visit.user})

    await until(is_noticed, "its members leave", patience=12)
    await asyncio.sleep(began + 12 - now())
    cluster.signal(0, signal.SIGCONT)


async def end_process(run: Run) -> None:
    """Its listeners come back at others at once, and nobody is told that they were away."""
    cluster, crowd = run.cluster, run.crowd
    visit = await crowd.come(0, stays=True)
    run.told.append(visit)
    run.faithful += [sitting.client for sitting in crowd.sittings if ROOM in sitting.channels]
    cluster.signal(0, signal.SIGTERM)
    assert await asyncio.to_thread(cluster.processes[0].wait) == 0

    async def is_gone() -> bool:
        return visit.user not in (await cluster.users(1, ROOM) or {visit.user})

    run.notes.append(f"the end was noticed {await until(is_gone, 'its members leave', patience=3):.1f} s later")


async def cut_connections(run: Run) -> None:
    """All that lead to Redis, again and again: nobody notices."""
    crowd, began = run.crowd, now()
    for _ in range(8):
        count = len(crowd.events)
        await asyncio.to_thread(run.cluster.redis.command, "CLIENT KILL TYPE normal")
        await until(partial(has_more, crowd, count + 4), "there are events")
    events = [event for event in crowd.events.values() if event.attempts[0].began >= began]
    await until(lambda: all(event.attempts[0].status is not None for event in events), "all are answered")
    assert {event.attempts[0].status for event in events} == {200}
    assert not any(item.id == RESYNC for sitting in crowd.sittings for item in sitting.heard)


def has_more(crowd: Crowd, count: int) -> bool:
    return len(crowd.events) >= count


def kill_redis(seconds: float) -> Trouble:
    """Its data are lost."""

    async def trouble(run: Run) -> None:
        run.may_resync = True
        leaver = await run.crowd.come(0, stays=True)
        run.lacks.append(now())
        run.cluster.redis.kill()
        await be_without_redis(run, seconds, leaver)
        await asyncio.to_thread(run.cluster.redis.start)

    return trouble


def pause_redis(seconds: float) -> Trouble:
    async def trouble(run: Run) -> None:
        leaver = await run.crowd.come(0, stays=True)
        if seconds >= 10:
            run.lacks.append(now())
        run.cluster.redis.pause()
        await be_without_redis(run, seconds, leaver)
        run.cluster.redis.go_on()

    return trouble


async def be_without_redis(run: Run, seconds: float, leaver) -> None:
    """Local delivery goes on; publishing is answered truthfully; some come, and some go."""
    began = now()
    if seconds >= 10:
        await asyncio.sleep(4)
        for place in run.cluster.living:
            event = await run.crowd.publish_once(place)
            assert event.attempts[0].status == 503
            await until(partial(has_heard, run, place, event), "it is heard", patience=2)
        await run.crowd.leave(leaver)
        assert (await run.crowd.come(1, stays=True)).came
    if seconds >= 30:
        run.crowd.join_late(await run.cluster.add())
    await asyncio.sleep(max(0, began + seconds - now()))


def has_heard(run: Run, place: int, event: Event) -> bool:
    """Whether all who listen at a process have heard an event."""
    sittings = [sitting for sitting in run.crowd.sittings if sitting.place == place]
    return bool(sittings) and all(any(item.id == event.id for item in sitting.heard) for sitting in sittings)


#: How many processes a cluster has, and what happens to it, one after the other. All clusters live at the same time.
CASES: dict[str, tuple[int, tuple[Trouble, ...]]] = {
    "redis-killed-60s": (2, (kill_redis(60),)),
    "redis-killed-15s": (2, (kill_redis(15), end_process)),
    "redis-paused-15s": (2, (pause_redis(15), end_process)),
    "redis-away-2s": (2, (kill_redis(2), kill_redis(0), pause_redis(2))),
    "process-stopped-and-killed": (3, (stop_process, kill_process)),
    "process-ended": (3, (cut_connections, end_process)),
}


async def live_through(count: int, troubles: tuple[Trouble, ...], folder, service: Service) -> list[str]:
    cluster = Cluster(folder, webhook_url=f"http://127.0.0.1:{service.port}/")
    try:
        await cluster.start(count)
        async with gathered(cluster) as crowd:
            run = Run(cluster, crowd, service)
            await run.be_quiet()
            for trouble in troubles:
                crowd.go_on_visiting()
                await trouble(run)
                await run.heal()
                await run.be_quiet()
            await run.end()
            return [*run.notes, f"{len(crowd.events)} events, {len(crowd.visits)} visits"]
    finally:
        await cluster.close()


@contextmanager
def webhook_receiver():
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        thread.join()
        service.server.server_close()


@pytest.fixture(scope="module")
def lives(request, tmp_path_factory):
    """All clusters that are asked for, each on its own Redis, at the same time."""
    wanted = {item.callspec.params["case"] for item in request.session.items if item.path == request.path}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def live(case: str, folder) -> list[str]:
        with webhook_receiver() as service:
            return await live_through(*CASES[case], folder, service)

    futures: dict[str, Future[list[str]]] = {
        case: asyncio.run_coroutine_threadsafe(live(case, tmp_path_factory.mktemp("cluster")), loop)
        for case in CASES
        if case in wanted
    }
    yield futures
    for future in futures.values():
        future.cancel()
    asyncio.run_coroutine_threadsafe(_end_all(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("case", CASES)
def test_all_is_accounted_for_and_heals(lives, case):
    for note in lives[case].result(200):
        print(note)

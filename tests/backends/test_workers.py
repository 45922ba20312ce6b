import contextlib
import random
import threading
from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pusherable.backends import workers
from pusherable.backends.circuits import FAILURES_TO_OPEN, LONGEST_PAUSE, Circuit
from pusherable.backends.counting import counters
from pusherable.backends.lanes import MAX_REQUEST_SIZE, Job
from pusherable.backends.workers import Surroundings, Worker
from pusherable.conf import Delivery, SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed


def unreachable(retry_after=None):
    return DeliveryFailed("It is gone.", reason="unreachable", retryable=True, retry_after=retry_after)


def refused(reason="bad-request"):
    return DeliveryFailed("It says no.", reason=reason)


class World:
    """A service, a clock and the backend's side, for workers that are stepped by hand."""

    def __init__(self, *, count=1, answer=None, settle=None, **delivery):
        numbers = {"workers": count, "queue_size": 100, "max_age": 60.0, "max_attempts": 20, "exit_timeout": 2.0}
        self.now = 1_000.0
        self.requests = []
        self.disconnected = []
        self.settled = []
        self.is_closing = False
        self.before_settling = settle or (lambda job: None)
        # Raises what the service's answer is, or returns where it takes the events.
        self.answer = answer or (lambda events: None)
        surroundings = Surroundings(
            delivery=Delivery(**numbers | delivery),
            circuit=Circuit(chance=lambda: 1.0),
            deliver=self.deliver,
            disconnect=self.disconnect,
            settle=self.settle,
            is_closing=lambda: self.is_closing,
            clock=lambda: self.now,
        )
        self.workers = [Worker(surroundings) for _ in range(count)]
        self.worker = self.workers[0]

    def deliver(self, events):
        self.requests.append([event.name for event in events])
        self.answer(events)

    def settle(self, job, error):
        self.before_settling(job)
        self.settled.append((job, error))

    def disconnect(self, user_id):
        self.disconnected.append(user_id)
        self.answer([])

    def publish(self, *names, channel="a", data="{}"):
        for name in names:
            self.worker.inbox.put(Job(Event((channel,), name, data), born=self.now))

    def step(self):
        """One step of the first worker; its requests, and how long it wants to pause."""
        done = len(self.requests)
        pause = self.worker.step()
        return self.requests[done:], pause

    def work(self, *, limit=10_000):
        """Let time pass as the first worker likes until nothing is left; how long that was."""
        began = self.now
        for _ in range(limit):
            pause = self.worker.step()
            if pause is None:
                return self.now - began
            self.now += pause
        raise AssertionError("It never comes to an end.")

    @property
    def outcomes(self):
        return [
            (job.event.name if job.event else job.user_id, getattr(error, "reason", error and str(error)))
            for job, error in self.settled
        ]


class TestStep:
    def test_without_a_job_there_is_nothing_to_do(self):
        assert World().step() == ([], None)

    def test_what_has_come_leaves_together(self):
        world = World()
        world.publish("1", "2", "3")
        assert world.step() == ([["1", "2", "3"]], 0.0)
        assert world.outcomes == [("1", None), ("2", None), ("3", None)]

    def test_user_is_disconnected(self):
        world = World()
        world.worker.inbox.put(Job(None, user_id="7", born=world.now))
        world.work()
        assert (world.disconnected, world.outcomes) == (["7"], [("7", None)])

    def test_wake_up_call_is_no_job(self):
        world = World()
        world.worker.inbox.put(None)
        assert world.step() == ([], None)

    def test_retries_are_counted(self):
        counters.reset()
        failures = iter([unreachable(), unreachable()])
        world = World(answer=lambda events: raise_next(failures))
        world.publish("1", "2")
        world.work()
        assert counters.read().retried == 4
        counters.reset()


def raise_next(failures):
    failure = next(failures, None)
    if failure is not None:
        raise failure


def raise_for(*names, error):
    def answer(events):
        if any(event.name in names for event in events):
            raise error

    return answer


def refuse_at_first(tried, *errors):
    """Raise one error after the other, and set ``tried``."""
    remaining = iter(errors)

    def answer(events):
        tried.set()
        raise next(remaining)

    return answer


def fail_to_settle(name):
    def fail(job):
        if job.event.name == name:
            raise RuntimeError("a logging handler")

    return fail


class TestRetries:
    def test_what_may_heal_is_tried_again_with_growing_pauses(self, monkeypatch):
        monkeypatch.setattr(workers, "backoff", lambda attempts: 2.0**attempts)
        failures = iter([unreachable()] * 3)
        world = World(answer=lambda events: raise_next(failures))
        world.publish("1")
        assert world.work() == pytest.approx(2 + 4 + 8)
        assert (len(world.requests), world.outcomes) == (4, [("1", None)])

    @pytest.mark.parametrize("reason", ["unauthorized", "clock", "forbidden", "not-found", "tls", "bad-answer"])
    def test_what_cannot_heal_is_reported_at_once_for_the_whole_batch(self, reason):
        world = World(answer=raise_for("1", "2", error=refused(reason)))
        world.publish("1", "2")
        assert world.work() == 0
        assert (len(world.requests), world.outcomes) == (1, [("1", reason), ("2", reason)])

    @pytest.mark.parametrize(
        "error",
        [refused("bad-request"), refused("too-large"), RuntimeError("a fault"), SettingsError("x", setting="y")],
    )
    def test_poisoned_event_does_not_take_the_others_with_it(self, error):
        world = World(answer=raise_for("3", error=error))
        names = [str(n) for n in range(10)]
        world.publish(*names)
        assert world.work() == 0
        assert world.requests == [names, *([name] for name in names)]
        reason = getattr(error, "reason", str(error))
        assert world.outcomes == [(name, reason if name == "3" else None) for name in names]

    def test_poison_that_looks_like_trouble_ruins_no_other_event_either(self):
        world = World(answer=raise_for("3", error=unreachable()), max_attempts=4)
        for name in map(str, range(10)):
            world.publish(name, channel=name)
        world.work()
        assert dict(world.outcomes) == {str(n): "unreachable" if n == 3 else None for n in range(10)}

    def test_its_followers_on_the_channel_wait_and_others_do_not(self):
        failures = iter([unreachable()])
        world = World(answer=lambda events: raise_next(failures))
        world.publish("1")
        world.step()
        world.publish("2")
        world.publish("3", channel="b")
        world.work()
        assert world.requests == [["1"], ["3"], ["1", "2"]]

    def test_size_that_was_too_large_is_remembered(self):
        limit = 10_000

        def answer(events):
            if sum(len(event.data) for event in events) > limit:
                raise refused("too-large")

        world = World(answer=answer)
        assert limit < MAX_REQUEST_SIZE
        names = [str(n) for n in range(40)]
        world.publish(*names, data="x" * 3_000)
        assert world.work() == 0
        assert world.outcomes == [(name, None) for name in names]
        assert len(world.requests) < 45

    def test_attempts_are_bounded(self):
        world = World(answer=raise_for("1", error=unreachable()), max_attempts=3)
        world.publish("1")
        world.work()
        assert len(world.requests) == 3
        [(_, error)] = world.settled
        assert (error.reason, error.retryable) == ("unreachable", True)
        assert str(error).startswith("It is gone. It was given up after ")
        assert str(error).endswith(" s and 3 attempts (PUSHERABLE_MAX_AGE, PUSHERABLE_MAX_ATTEMPTS).")

    def test_age_is_bounded(self):
        world = World(answer=raise_for("1", error=unreachable()), max_age=7.0, max_attempts=1_000)
        world.publish("1")
        assert 5 < world.work() <= 8.1
        assert world.outcomes == [("1", "unreachable")]

    def test_request_that_took_longer_than_the_age_is_the_last(self):
        def answer(events):
            world.now += 10
            raise unreachable()

        world = World(answer=answer, max_age=7.0)
        world.publish("1")
        world.work()
        assert (len(world.requests), world.outcomes) == (1, [("1", "unreachable")])

    @pytest.mark.parametrize("retry_after", [0.0, 7.0, 30.0])
    def test_pause_that_the_service_asks_for_is_kept(self, retry_after):
        failures = iter([unreachable(retry_after)])
        world = World(answer=lambda events: raise_next(failures))
        world.publish("1")
        world.step()
        world.publish("2", channel="b")
        took = world.work()
        assert retry_after <= took <= retry_after + 1
        assert world.outcomes[-2:] in ([("1", None), ("2", None)], [("2", None), ("1", None)])


class TestCircuit:
    def test_open_one_spares_the_service_until_the_events_are_too_old(self):
        world = World(answer=raise_for(*map(str, range(50)), error=unreachable()), max_attempts=1_000)
        for name in map(str, range(50)):
            world.publish(name, channel=name)
        world.work()
        assert len(world.requests) < FAILURES_TO_OPEN + 60 / LONGEST_PAUSE + 8
        assert len(world.settled) == 50
        assert {error.reason for _, error in world.settled} == {"unreachable"}

    def test_what_was_never_tried_says_so(self):
        def answer(events):
            world.now += 100
            raise unreachable()

        world = World(answer=answer)
        world.publish("1")
        for n in range(30):
            world.publish(f"more {n}", channel="b")
        world.work()
        late = [error for _, error in world.settled if error.reason == "too-old"]
        assert str(late[0]) == (
            "It has waited for 100 s (PUSHERABLE_MAX_AGE): the service is in trouble, or slower than events come."
        )

    def test_service_that_is_back_is_found_by_a_probe(self):
        world = World(answer=raise_for(*map(str, range(50)), error=unreachable()))
        for name in map(str, range(30)):
            world.publish(name, channel=name)
        while world.worker._around.circuit.is_closed:
            world.now += world.worker.step()
        world.answer = lambda events: None
        assert world.work() < 3
        assert dict(world.outcomes) == dict.fromkeys(map(str, range(30)))

    def test_others_wait_while_one_probes(self):
        world = World(count=2)
        circuit = world.worker._around.circuit
        for _ in range(FAILURES_TO_OPEN):
            circuit.fail(world.now)
        world.publish("1")
        pauses = []
        while (pause := world.worker.step()) and len(pauses) < 10:
            pauses.append(pause)
            world.now += pause
        assert world.requests == [["1"]]

    def test_worker_that_comes_second_puts_back_what_it_took(self):
        world = World(count=2)
        circuit = world.worker._around.circuit
        for _ in range(FAILURES_TO_OPEN):
            circuit.fail(world.now)
        world.now += 1
        assert circuit.admit(world.now) == 0.0
        world.publish("1")
        assert world.step() == ([], 0.25)
        circuit.succeed()
        assert world.step() == ([["1"]], 0.0)


class TestClosing:
    def test_nothing_waits_for_its_time_any_longer(self):
        failures = iter([unreachable(30.0), unreachable(30.0)])
        world = World(answer=lambda events: raise_next(failures))
        world.publish("1")
        world.step()
        world.publish("2", channel="b")
        world.is_closing = True
        assert world.step()[0] == [["1", "2"]]
        assert world.outcomes == []

    def test_attempts_go_on_at_short_pauses(self):
        failures = iter([unreachable()] * 10)
        world = World(answer=lambda events: raise_next(failures))
        world.is_closing = True
        world.publish("1")
        assert world.work() == pytest.approx(1.0)
        assert world.outcomes == [("1", None)]

    def test_attempts_are_not_counted(self):
        """They come so fast that some events would be out of them, and others of time."""
        world = World(answer=raise_for("1", "2", error=unreachable()), max_attempts=3)
        world.publish("1")
        world.step()
        world.is_closing = True
        world.publish("2", channel="b")
        for _ in range(30):
            world.now += world.step()[1]
        assert (len(world.requests) > 10, world.outcomes) == (True, [])

    def test_what_was_reported_already_is_not_tried_again(self):
        world = World()
        world.publish("1", "2")
        world.worker._receive(0.0)
        first, _ = world.worker._lane._fresh
        first.is_settled = True
        world.work()
        assert world.requests == [["2"]]
        world.publish("3")
        world.worker._receive(0.0)
        world.worker._lane._fresh[0].is_settled = True
        assert world.work() == 0
        assert world.requests == [["2"]]


class TestRun:
    def test_report_that_fails_does_not_cost_the_next_its_own(self, caplog):
        world = World(answer=raise_for("1", error=refused("forbidden")), settle=fail_to_settle("1"))
        world.publish("1", "2")
        world.work()
        assert world.outcomes == [("2", "forbidden")]
        assert caplog.messages == ["An event that was given up could not be reported."]

    def test_thread_outlives_what_nobody_expected(self, caplog):
        world = World()
        world.worker.inbox.put("no job at all")
        assert world.worker._step_safely() == workers.LAST_PAUSE
        assert caplog.messages == ["The delivery of events has stumbled, and goes on."]
        assert caplog.records[0].exc_info

    def test_thread_rests_and_is_woken_by_the_end_of_the_process(self):
        world = World()
        world.publish("1")
        tried = threading.Event()
        world.answer = refuse_at_first(tried, unreachable(retry_after=60.0), KeyboardInterrupt())

        def run():
            with contextlib.suppress(KeyboardInterrupt):
                world.worker.run()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert tried.wait(10)
        assert world.worker.is_running
        world.is_closing = True
        world.worker.hurry()
        thread.join(10)
        assert (world.requests, world.worker.is_running) == ([["1"], ["1"]], False)

    def test_thread_works_on(self):
        world = World(answer=raise_for("2", error=KeyboardInterrupt()))
        world.publish("1")
        world.publish("2", channel="x" * 9)
        world.publish(*map(str, range(3, 14)))
        with pytest.raises(KeyboardInterrupt):
            world.worker.run()
        assert world.requests[0][:2] == ["1", "2"]


@st.composite
def histories(draw):
    """Events with their channels, and what goes wrong with each request."""
    count = draw(st.integers(1, 3))
    channels = st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True)
    events = draw(st.lists(channels, min_size=1, max_size=150))
    faults = draw(st.lists(st.sampled_from([None, None, "lost", "heard", "poison", "asks"]), max_size=80))
    turns = draw(st.lists(st.integers(0, count - 1), max_size=200))
    return count, events, faults, turns


class TestOrder:
    """Whatever fails, and however workers take turns."""

    @hypothesis_settings(max_examples=60)
    @given(histories())
    @example((2, [[0], [0, 1]], ["asks", "heard", None, None, "poison"], []))
    def test_channels_keep_it_and_nothing_is_lost(self, history):
        count, events, faults, turns = history
        poisoned, heard, faults = set(), defaultdict(list), iter(faults)

        def answer(requested):
            fault = next(faults, None)
            if fault == "poison":
                poisoned.add((requested[0].name, requested[0].channels))
            if any((event.name, event.channels) in poisoned for event in requested):
                raise refused()
            if fault in ("lost", "asks"):
                raise unreachable(retry_after=3.0 if fault == "asks" else None)
            for event in requested:
                for channel in event.channels:
                    heard[channel].append(int(event.name))
            if fault == "heard":
                # It has taken them, but the answer comes too late.
                raise DeliveryFailed("slow", reason="timeout", retryable=True)

        world = World(count=count, answer=answer, max_age=86_400.0, max_attempts=1_000)
        jobs = []
        for number, channels in enumerate(events):
            lanes = defaultdict(list)
            for channel in channels:
                lanes[channel % count].append(f"channel{channel}")
            for lane, names in lanes.items():
                jobs.append(Job(Event(tuple(names), str(number), "{}"), born=world.now))
                world.workers[lane].inbox.put(jobs[-1])
        for turn in turns:
            world.now += 0.05
            world.workers[turn].step()
        for _ in range(20_000):
            pauses = [worker.step() for worker in world.workers]
            if all(pause is None for pause in pauses):
                break
            world.now += min(pause for pause in pauses if pause is not None)

        assert sorted(map(id, jobs)) == sorted(id(job) for job, _ in world.settled)
        delivered = {
            (int(job.event.name), channel) for job, error in world.settled if error is None for channel in job.channels
        }
        assert delivered <= {(number, channel) for channel, numbers in heard.items() for number in numbers}
        for channel, numbers in heard.items():
            firsts = list(dict.fromkeys(numbers))
            assert firsts == sorted(firsts), channel
            # What was heard twice was heard again in the same order, but for what was refused the second time.
            lasts = [number for number in dict.fromkeys(reversed(numbers)) if (number, channel) in delivered]
            assert lasts == sorted(lasts, reverse=True), channel

    def test_thousands_of_events_keep_it_too(self):
        chance = random.Random(4)
        heard = defaultdict(list)

        def answer(requested):
            if chance.random() < 0.2:
                raise unreachable()
            for event in requested:
                for channel in event.channels:
                    heard[channel].append(int(event.name))

        world = World(count=4, answer=answer, max_age=86_400.0, max_attempts=1_000, queue_size=10_000)
        for number in range(5_000):
            channel = chance.randrange(40)
            world.workers[channel % 4].inbox.put(Job(Event((f"c{channel}",), str(number), "{}"), born=world.now))
        while len(world.settled) < 5_000:
            pauses = [worker.step() for worker in world.workers]
            world.now += min((pause for pause in pauses if pause is not None), default=0.0)
        assert sum(map(len, heard.values())) == 5_000
        assert {channel: sorted(numbers) for channel, numbers in heard.items()} == heard

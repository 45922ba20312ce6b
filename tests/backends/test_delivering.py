"""What the inline and the threaded backend promise alike, and the threaded one alone."""

import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from pusherable import backends
from pusherable.backends import inline, threaded
from pusherable.backends.counting import DeliveryStats, counters, delivery_stats
from pusherable.backends.inline import InlineBackend
from pusherable.backends.threaded import ThreadedBackend
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.signals import publish_failed


def events(count):
    return [Event(("post_1",), f"event{n}", "{}") for n in range(count)]


@pytest.fixture
def failed():
    calls = []

    def receive(sender, event, reason, **kwargs):
        calls.append((sender, event.name, reason))

    publish_failed.connect(receive)
    yield calls
    publish_failed.disconnect(receive)


class Service:
    """Stands at the seam to the client: takes events, or raises what it is told."""

    def __init__(self):
        self.taken = []
        self.threads = set()
        self.errors = {}
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def deliver(self, events):
        self.entered.set()
        assert self.open.wait(10)
        self.threads.add(threading.current_thread())
        for event in events:
            if event.name in self.errors:
                raise self.errors[event.name]
            self.taken.append(event)

    def disconnect(self, user_id):
        if user_id in self.errors:
            raise self.errors[user_id]
        self.taken.append(user_id)


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setattr(inline, "deliver", service.deliver)
    monkeypatch.setattr(threaded, "deliver", service.deliver)
    monkeypatch.setattr(backends, "disconnect_user", service.disconnect)
    monkeypatch.setattr(threaded, "disconnect_user", service.disconnect)
    return service


def raise_no_thread(thread):
    raise RuntimeError("can't start new thread")


@pytest.fixture(autouse=True)
def fresh_counters():
    counters.reset()
    yield
    counters.reset()


def run(script, *, code=0):
    """Run ``script`` in a process of its own, with a ``backend`` whose service prints the events' names."""
    preparation = """
import os, signal, sys, threading, time
from pusherable.backends import threaded
from pusherable.events import Event
from pusherable.signals import publish_failed

def deliver(events):
    time.sleep(0.05)
    print(*[event.name for event in events], sep="\\n", flush=True)

threaded.deliver = deliver
def tell(event, reason, **kwargs):
    print("failed", event.name, reason, flush=True)

publish_failed.connect(tell)
backend = threaded.ThreadedBackend()
"""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", preparation + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (finished.stderr, finished.returncode) == ("", code)
    return finished


class DeliveringContract:
    backend_class = None

    def test_events_arrive_in_order(self, service):
        backend = self.backend_class()
        sent = events(50)
        for event in sent:
            backend.deliver(event)
        assert backend.flush(10)
        assert service.taken == sent

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (DeliveryFailed("It is gone.", reason="unreachable"), "unreachable"),
            (SettingsError("Nothing is set.", setting="PUSHER_KEY"), "SettingsError"),
        ],
    )
    def test_failure_is_reported_and_the_next_event_goes_on(self, service, failed, caplog, error, reason):
        first, second = events(2)
        service.errors = {first.name: error}
        backend = self.backend_class()
        backend.deliver(first)
        backend.deliver(second)
        assert backend.flush(10)
        assert service.taken == [second]
        assert failed == [(self.backend_class, first.name, reason)]
        assert caplog.messages == [f"The event 'event0' on post_1 was not delivered: {error}"]
        assert delivery_stats() == DeliveryStats(queued=0, sent=1, retried=0, dropped=1)

    def test_user_is_disconnected_after_what_was_sent(self, service):
        backend = self.backend_class()
        notice = Event(("#server-to-user-7",), "goodbye", "{}")
        backend.deliver(notice)
        backend.disconnect("7")
        assert backend.flush(10)
        assert service.taken == [notice, "7"]

    def test_user_who_cannot_be_disconnected_is_in_the_log(self, service, caplog):
        service.errors = {"7": DeliveryFailed("It is gone.", reason="forbidden")}
        backend = self.backend_class()
        backend.disconnect("7")
        assert backend.flush(10)
        assert caplog.messages == ["The user '7' could not be disconnected: It is gone."]


class TestInlineBackend(DeliveringContract):
    backend_class = InlineBackend

    def test_publisher_delivers_itself(self, service):
        InlineBackend().deliver(events(1)[0])
        assert service.threads == {threading.current_thread()}


class TestThreadedBackend(DeliveringContract):
    backend_class = ThreadedBackend

    def test_one_other_thread_delivers(self, service):
        backend = ThreadedBackend()
        publishers = [
            threading.Thread(target=lambda: [backend.deliver(event) for event in events(20)]) for _ in range(5)
        ]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            publisher.join()
        assert backend.flush(10)
        assert len(service.taken) == 100
        assert [thread.name for thread in service.threads] == ["pusherable-delivery"]
        assert delivery_stats() == DeliveryStats(queued=0, sent=100, retried=0, dropped=0)

    def test_slow_service_keeps_no_publisher_waiting(self, service):
        service.open.clear()
        backend = ThreadedBackend()
        backend.deliver_many(events(3))
        assert not backend.flush(0.01)
        assert delivery_stats().queued == 3
        service.open.set()
        assert backend.flush(10)
        assert len(service.taken) == 3

    def test_several_workers_keep_the_order_of_each_channel(self, service, settings):
        settings.PUSHERABLE_WORKERS = 3
        backend = ThreadedBackend()
        names = [f"channel{n}" for n in range(30)]
        for n in range(20):
            backend.deliver(Event(tuple(names), str(n), "{}"))
        assert backend.flush(10)
        assert len(service.threads) == 3
        for name in names:
            heard = [int(event.name) for event in service.taken if name in event.channels]
            assert heard == list(range(20))
        # An event is as many as there are workers for its channels.
        assert delivery_stats() == DeliveryStats(queued=0, sent=60, retried=0, dropped=0)

    def test_event_for_one_of_several_workers_stays_whole(self, service, settings):
        settings.PUSHERABLE_WORKERS = 3
        backend = ThreadedBackend()
        [sent] = events(1)
        backend.deliver(sent)
        backend.disconnect("7")
        assert backend.flush(10)
        assert sorted(map(str, service.taken)) == sorted([str(sent), "7"])

    def test_queue_is_bounded_and_says_so(self, service, failed, caplog, settings):
        settings.PUSHERABLE_QUEUE_SIZE = 3
        service.open.clear()
        backend = ThreadedBackend()
        first, *others = events(5)
        backend.deliver(first)
        assert service.entered.wait(10)
        for event in others:
            backend.deliver(event)
        assert failed == [(ThreadedBackend, "event3", "queue-full"), (ThreadedBackend, "event4", "queue-full")]
        assert caplog.messages == [
            "The event 'event3' on post_1 was not delivered: 3 events are waiting already (PUSHERABLE_QUEUE_SIZE); "
            "the service is slower than the events come."
        ]
        assert delivery_stats() == DeliveryStats(queued=3, sent=0, retried=0, dropped=2)
        service.open.set()
        assert backend.flush(10)
        assert [event.name for event in service.taken] == ["event0", "event1", "event2"]

    def test_what_may_heal_is_tried_again(self, service, failed):
        service.errors = {"event0": DeliveryFailed("It is gone.", reason="unreachable", retryable=True)}
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        assert service.entered.wait(10)
        service.errors = {}
        assert backend.flush(10)
        assert [event.name for event in service.taken] == ["event0"]
        assert failed == []
        assert delivery_stats().retried >= 1

    def test_thread_outlives_what_nobody_expected(self, service, failed, caplog):
        first, second = events(2)
        service.errors = {first.name: RuntimeError("a fault")}
        backend = ThreadedBackend()
        backend.deliver(first)
        backend.deliver(second)
        assert backend.flush(10)
        assert service.taken == [second]
        assert failed == [(ThreadedBackend, "event0", "RuntimeError")]
        assert caplog.messages == ["The event 'event0' on post_1 was not delivered: a fault"]
        assert caplog.records[0].exc_info[1].args == ("a fault",)

    def test_receiver_that_publishes_is_no_knot(self, service):
        first, second = events(2)
        service.errors = {first.name: DeliveryFailed("It says no.", reason="forbidden")}
        backend = ThreadedBackend()

        def publish(event, **kwargs):
            backend.deliver(second)

        publish_failed.connect(publish)
        try:
            backend.deliver(first)
            assert backend.flush(10)
        finally:
            publish_failed.disconnect(publish)
        assert service.taken == [second]

    def test_starting_twice_at_once_starts_one(self, service):
        backend = ThreadedBackend()
        backend._prepare()
        backend._start(0)
        [thread] = backend._threads
        backend._start(0)
        assert backend._threads == [thread]

    def test_preparing_twice_at_once_prepares_once(self):
        backend = ThreadedBackend()
        with backend._lock:
            other = threading.Thread(target=backend._prepare)
            other.start()
            delivery = backend._prepare()
            prepared = backend._workers
        other.join()
        assert (backend._delivery, backend._workers) == (delivery, prepared)

    def test_machine_without_a_thread_to_give_is_reported_and_tried_again(self, service, failed, monkeypatch):
        first, second = events(2)
        backend = ThreadedBackend()
        backend._prepare()
        backend._workers[0].inbox.put(None)
        with monkeypatch.context() as patch:
            patch.setattr(threaded.threading.Thread, "start", raise_no_thread)
            backend.deliver(first)
        assert failed == [(ThreadedBackend, "event0", "no-thread")]
        backend.deliver(second)
        assert backend.flush(10)
        assert service.taken == [second]

    def test_malformed_setting_is_an_error(self, settings):
        settings.PUSHERABLE_WORKERS = "many"
        with pytest.raises(SettingsError, match="PUSHERABLE_WORKERS = many is no whole number"):
            ThreadedBackend().deliver(events(1)[0])


class TestClose:
    def test_what_is_left_is_reported(self, service, failed, caplog):
        service.open.clear()
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        backend.close(0.01)
        assert failed == [(ThreadedBackend, "event0", "exit")]
        assert caplog.messages == [
            "The event 'event0' on post_1 was not delivered: The process ended before the service was known to have "
            "it (PUSHERABLE_EXIT_TIMEOUT)."
        ]
        service.open.set()
        assert backend.flush(10)
        assert delivery_stats() == DeliveryStats(queued=0, sent=0, retried=0, dropped=1)

    def test_last_attempt_is_told(self, service, failed, caplog):
        service.errors = {"event0": DeliveryFailed("It is gone.", reason="unreachable", retryable=True)}
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        while not delivery_stats().retried:
            service.entered.wait(0.01)
        backend.close(0.01)
        assert caplog.messages[0] == "It is gone. Events wait, and are tried again for 60 s."
        assert caplog.messages[1].endswith("(PUSHERABLE_EXIT_TIMEOUT). The last attempt: It is gone.")

    def test_dead_service_is_the_one_reason_for_all_that_is_left(self):
        finished = run(
            """
import logging
logging.disable()
from django.conf import settings
from pusherable.exceptions import DeliveryFailed
settings.PUSHERABLE_EXIT_TIMEOUT = 0.5
settings.PUSHERABLE_MAX_ATTEMPTS = 3

def refuse(events):
    raise DeliveryFailed("It is gone.", reason="unreachable", retryable=True)

def tell_more(reason, exception, **kwargs):
    print(reason, str(exception).endswith("The last attempt: It is gone."), flush=True)

publish_failed.connect(tell_more)
threaded.deliver = refuse
for n in range(25):
    backend.deliver(Event((f"c{n}",), f"event{n}", "{}"))
"""
        )
        told = [line for line in finished.stdout.splitlines() if not line.startswith("failed ")]
        assert told == ["exit True"] * 25

    def test_nothing_is_taken_afterwards(self, service, failed):
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        backend.close(10)
        backend.deliver(events(2)[1])
        assert failed == [(ThreadedBackend, "event1", "exit")]
        assert [event.name for event in service.taken] == ["event0"]

    def test_sigterm_flushes_and_then_ends_the_process_as_ever(self, service, settings, monkeypatch):
        settings.PUSHERABLE_EXIT_TIMEOUT = 10
        monkeypatch.setattr(threaded, "_instances", instances := weakref.WeakSet())
        ended = []
        monkeypatch.setattr(threaded.os, "kill", lambda *args: ended.append(args))
        backend, unused = ThreadedBackend(), ThreadedBackend()
        previous = signal.getsignal(signal.SIGTERM)
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            backend.deliver(events(1)[0])
            handler = signal.getsignal(signal.SIGTERM)
            handler(signal.SIGTERM, None)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        finally:
            signal.signal(signal.SIGTERM, previous)
        assert ended == [(os.getpid(), signal.SIGTERM)]
        assert set(instances) == {backend, unused}
        assert [event.name for event in service.taken] == ["event0"]

    def test_somebody_elses_handler_stays(self, service):
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            ThreadedBackend().deliver(events(1)[0])
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGTERM, previous)


class TestProcesses:
    def test_fork_begins_anew(self, service, monkeypatch):
        monkeypatch.setattr(threaded, "_instances", weakref.WeakSet())
        service.open.clear()
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        threaded._forget_all()
        assert backend.flush(0)
        service.open.set()
        backend.deliver(events(2)[1])
        assert backend.flush(10)

    def test_child_of_multiprocessing_delivers_before_it_ends(self):
        finished = run(
            """
import multiprocessing

def publish():
    backend.deliver(Event(("a",), "from the child", "{}"))

child = multiprocessing.get_context("fork").Process(target=publish)
child.start()
child.join()
"""
        )
        assert finished.stdout.splitlines() == ["from the child"]

    def test_forked_worker_leaves_what_its_parent_has_queued_alone(self):
        finished = run(
            """
threaded.deliver = lambda events: threading.Event().wait(1) or print(events[0].name, flush=True)
backend.deliver(Event(("a",), "from the parent", "{}"))
backend._lock.acquire()
child = os.fork()
if not child:
    threaded.deliver = deliver
    backend.deliver(Event(("a",), "from the child", "{}"))
    sys.exit(0)
backend._lock.release()
print("the child left with", os.waitpid(child, 0)[1], flush=True)
"""
        )
        assert sorted(finished.stdout.splitlines()) == [
            "from the child",
            "from the parent",
            "the child left with 0",
        ]

    def test_short_process_delivers_before_it_ends(self):
        finished = run(
            """
for n in range(3):
    backend.deliver(Event(("a",), f"event{n}", "{}"))
"""
        )
        assert finished.stdout.split() == ["event0", "event1", "event2"]

    def test_process_that_is_terminated_delivers_first(self):
        finished = run(
            """
for n in range(3):
    backend.deliver(Event(("a",), f"event{n}", "{}"))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
""",
            code=-signal.SIGTERM,
        )
        assert finished.stdout.split() == ["event0", "event1", "event2"]

    def test_what_cannot_leave_in_time_is_reported(self):
        finished = run(
            """
import logging
logging.disable()
from django.conf import settings
settings.PUSHERABLE_EXIT_TIMEOUT = 0.3
threaded.deliver = lambda events: threading.Event().wait()
for n in range(3):
    backend.deliver(Event(("a",), f"event{n}", "{}"))
"""
        )
        assert finished.stdout.splitlines() == [f"failed event{n} exit" for n in range(3)]

"""What the inline and the threaded backend promise alike, and the threaded one alone."""

import os
import subprocess
import sys
import threading

import pytest

from pusherable.backends import inline, threaded
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


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setattr(inline, "deliver", service.deliver)
    monkeypatch.setattr(threaded, "deliver", service.deliver)
    return service


def raise_no_thread(thread):
    raise RuntimeError("can't start new thread")


def run(script):
    """Run ``script`` in a process of its own, with a ``backend`` whose service prints an event's name."""
    preparation = """
import time
from pusherable.backends import threaded
from pusherable.events import Event

def deliver(events):
    time.sleep(0.05)
    print(events[0].name, flush=True)

threaded.deliver = deliver
backend = threaded.ThreadedBackend()
"""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", preparation + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert finished.stderr == ""
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

    def test_slow_service_keeps_no_publisher_waiting(self, service):
        service.open.clear()
        backend = ThreadedBackend()
        for event in events(3):
            backend.deliver(event)
        assert not backend.flush(0.01)
        service.open.set()
        assert backend.flush(10)
        assert len(service.taken) == 3

    def test_queue_is_bounded_and_says_so(self, service, failed, caplog, monkeypatch):
        monkeypatch.setattr(ThreadedBackend, "capacity", 2)
        service.open.clear()
        backend = ThreadedBackend()
        first, *others = events(5)
        backend.deliver(first)
        assert service.entered.wait(10)
        for event in others:
            backend.deliver(event)
        assert failed == [(ThreadedBackend, "event3", "queue-full"), (ThreadedBackend, "event4", "queue-full")]
        assert caplog.messages == [
            "The event 'event3' on post_1 was not delivered: 2 events are waiting already; the service is slower "
            "than the events come."
        ]
        service.open.set()
        assert backend.flush(10)
        assert [event.name for event in service.taken] == ["event0", "event1", "event2"]

    def test_thread_outlives_what_nobody_expected(self, service, failed, caplog):
        first, second = events(2)
        service.errors = {first.name: RuntimeError("a fault")}
        backend = ThreadedBackend()
        backend.deliver(first)
        backend.deliver(second)
        assert backend.flush(10)
        assert service.taken == [second]
        assert failed == [(ThreadedBackend, "event0", "RuntimeError")]
        assert caplog.records[0].getMessage() == "Delivering 'event0' failed unexpectedly."
        assert caplog.records[0].exc_info[1].args == ("a fault",)

    def test_starting_twice_at_once_starts_one(self, service):
        backend = ThreadedBackend()
        backend._start()
        worker = backend._worker
        backend._start()
        assert backend._worker is worker

    def test_what_is_left_at_the_end_is_counted_in_the_log(self, service, caplog, monkeypatch):
        monkeypatch.setattr(threaded, "EXIT_TIMEOUT", 0.01)
        service.open.clear()
        backend = ThreadedBackend()
        backend.deliver(events(1)[0])
        backend._flush_at_exit()
        assert caplog.messages == ["1 events were still waiting at the end of the process."]
        service.open.set()
        assert backend.flush(10)
        backend._flush_at_exit()
        assert len(caplog.messages) == 1

    def test_machine_without_a_thread_to_give_is_reported_and_tried_again(self, service, failed, monkeypatch):
        first, second = events(2)
        backend = ThreadedBackend()
        with monkeypatch.context() as patch:
            patch.setattr(threaded.threading.Thread, "start", raise_no_thread)
            backend.deliver(first)
        assert failed == [(ThreadedBackend, "event0", "no-thread")]
        backend.deliver(second)
        assert backend.flush(10)
        assert service.taken == [second]

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
import os, sys, threading
from pusherable.backends import threaded

threaded.deliver = lambda events: threading.Event().wait(1) or print(events[0].name, flush=True)
backend.deliver(Event(("a",), "from the parent", "{}"))
backend._queue.mutex.acquire()
child = os.fork()
if not child:
    sys.exit(0)
backend._queue.mutex.release()
print("the child left with", os.waitpid(child, 0)[1], flush=True)
"""
        )
        assert sorted(finished.stdout.splitlines()) == ["from the parent", "the child left with 0"]

    def test_short_process_delivers_before_it_ends(self):
        finished = run(
            """
for n in range(3):
    backend.deliver(Event(("a",), f"event{n}", "{}"))
"""
        )
        assert finished.stdout.split() == ["event0", "event1", "event2"]

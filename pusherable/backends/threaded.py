"""Deliver from background threads: the publisher only puts the event into a queue."""

import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.util import Finalize
from types import FrameType
from typing import Final

from pusherable.backends import BaseBackend
from pusherable.backends.circuits import Circuit
from pusherable.backends.counting import counters
from pusherable.backends.lanes import Job
from pusherable.backends.workers import Surroundings, Worker
from pusherable.client import deliver, disconnect_user
from pusherable.conf import Delivery, settings
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_disconnect_failure, report_failure


class ThreadedBackend(BaseBackend):
    """Events leave in the order of their arrival on each channel, over connections that stay open.

    The threads start with the first event, and the settings are read then. What can heal is tried again. At the end
    of the process what is queued is given ``PUSHERABLE_EXIT_TIMEOUT`` seconds.
    """

    #: The clock for ages and pauses, in seconds.
    clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        _instances.add(self)
        self._forget()

    def deliver(self, event: Event) -> None:
        delivery = self._delivery or self._prepare()
        now = self.clock()
        parts = [(0, event)] if delivery.workers == 1 else _divide(event, delivery.workers)
        self._enqueue([(lane, Job(part, born=now)) for lane, part in parts], delivery)

    def disconnect(self, user_id: str) -> None:
        """Send a user away after the events that the user has been sent before."""
        delivery = self._prepare()
        job = Job(None, user_id=user_id, born=self.clock())
        self._enqueue([(hash(job.channels[0]) % delivery.workers, job)], delivery)

    def flush(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._idle:
            while self._jobs:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._idle.wait(remaining)
        return True

    def close(self, timeout: float) -> None:
        """Deliver what is left without any further patience, and report the rest; no event is taken afterwards.

        For the end of the process; called by itself then.
        """
        self._is_closing = True
        for worker in self._workers:
            worker.hurry()
        if self.flush(timeout):
            return
        with self._lock:
            left = list(self._jobs.values())
        # What comes behind has not been tried for the same reason as what has.
        last = next((job.error for job in left if job.error), None)
        for job in left:
            self._settle(job, _explain_ending(job.error or last))

    def _forget(self) -> None:
        """Begin anew: in a process that was forked off, the threads are gone and the queue is its parent's."""
        # A signal may interrupt the thread that holds it, and publish or close.
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._jobs: dict[int, Job] = {}
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread | None] = []
        self._delivery: Delivery | None = None
        self._is_closing = False

    def _prepare(self) -> Delivery:
        if self._delivery is None:
            with self._lock:
                if self._delivery is None:
                    self._begin(settings.delivery)
        assert self._delivery is not None
        return self._delivery

    def _begin(self, delivery: Delivery) -> None:
        surroundings = Surroundings(
            delivery=delivery,
            circuit=Circuit(),
            deliver=deliver,
            disconnect=disconnect_user,
            settle=self._settle,
            is_closing=lambda: self._is_closing,
            clock=self.clock,
        )
        self._workers = [Worker(surroundings) for _ in range(delivery.workers)]
        self._threads = [None] * delivery.workers
        _flush_on_sigterm()
        # As `atexit`, but also in the children of multiprocessing, and only in the process that says so.
        Finalize(None, self._close_at_exit, exitpriority=0)
        self._delivery = delivery

    def _enqueue(self, jobs: list[tuple[int, Job]], delivery: Delivery) -> None:
        with self._lock:
            is_taken = len(self._jobs) + len(jobs) <= delivery.queue_size and not self._is_closing
            if is_taken:
                for _, job in jobs:
                    self._jobs[id(job)] = job
        if not is_taken:
            self._refuse(jobs)
            return
        counters.count(queued=len(jobs))
        for lane, job in jobs:
            worker = self._workers[lane]
            worker.inbox.put(job)
            if not worker.is_running:
                self._start(lane)

    def _refuse(self, jobs: list[tuple[int, Job]]) -> None:
        counters.count(dropped=len(jobs))
        refusal = self._refusal()
        for _, job in jobs:
            self._report(job, refusal)

    def _refusal(self) -> DeliveryFailed:
        if self._is_closing:
            return DeliveryFailed("The process is ending already.", reason="exit", retryable=True)
        return DeliveryFailed(
            f"{len(self._jobs)} events are waiting already (PUSHERABLE_QUEUE_SIZE); the service is slower than "
            "the events come.",
            reason="queue-full",
            retryable=True,
        )

    def _start(self, lane: int) -> None:
        with self._lock:
            thread = self._threads[lane]
            if thread is not None and thread.is_alive():
                return
            thread = threading.Thread(target=self._workers[lane].run, name="pusherable-delivery", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The machine has no thread to give, or the process is ending.
                failure = DeliveryFailed(f"No thread can be started ({error}).", reason="no-thread", retryable=True)
            else:
                self._threads[lane] = thread
                return
        # The next event will try again to start one.
        inbox = self._workers[lane].inbox
        while not inbox.empty():
            job = inbox.get_nowait()
            if job is not None:
                self._settle(job, failure)

    def _settle(self, job: Job, error: Exception | None) -> None:
        with self._lock:
            # At the end of the process two may come to an end with one job.
            if job.is_settled:
                return
            job.is_settled = True
            counters.count(queued=-1, sent=error is None, dropped=error is not None)
        try:
            if error is not None:
                self._report(job, error)
        finally:
            # Whoever waits for a flush wants the reports, too.
            with self._lock:
                self._jobs.pop(id(job), None)
                if not self._jobs:
                    self._idle.notify_all()

    def _report(self, job: Job, error: Exception) -> None:
        if job.event is None:
            report_disconnect_failure(job.user_id, error)
        else:
            report_failure(job.event, error, sender=type(self))

    def _close_at_exit(self) -> None:
        assert self._delivery is not None
        self.close(self._delivery.exit_timeout)


def _divide(event: Event, workers: int) -> Iterator[tuple[int, Event]]:
    """The lanes of an event, with its channels of each: on each channel one worker alone keeps the order."""
    lanes: dict[int, list[str]] = {}
    for channel in event.channels:
        lanes.setdefault(hash(channel) % workers, []).append(channel)
    for lane, channels in lanes.items():
        yield lane, event if len(lanes) == 1 else replace(event, channels=tuple(channels))


def _explain_ending(error: Exception | None) -> DeliveryFailed:
    last = f" The last attempt: {error}" if error else ""
    return DeliveryFailed(
        f"The process ended before the service was known to have it (PUSHERABLE_EXIT_TIMEOUT).{last}",
        reason="exit",
        retryable=True,
    )


_instances: Final["weakref.WeakSet[ThreadedBackend]"] = weakref.WeakSet()


def _forget_all() -> None:
    for backend in list(_instances):
        backend._forget()


os.register_at_fork(after_in_child=_forget_all)


def _flush_on_sigterm() -> None:
    """Where nobody else minds SIGTERM, let it end the process only after a flush: by itself it skips ``atexit``."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for backend in list(_instances):
        if backend._delivery is not None:
            backend._close_at_exit()
    # As it would have ended without us.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

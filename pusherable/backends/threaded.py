"""Deliver from one background thread: the publisher only puts the event into a queue."""

import logging
import queue
import threading
import time
from multiprocessing.util import Finalize
from typing import Final

from pusherable.backends import BaseBackend
from pusherable.client import deliver
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_failure

logger = logging.getLogger("pusherable")

#: Seconds that the process waits at its end for what is still queued.
EXIT_TIMEOUT: Final = 5.0


class ThreadedBackend(BaseBackend):
    """Events leave in the order of their arrival, over a connection that stays open.

    The thread starts with the first event. At the end of the process what is queued is given
    ``EXIT_TIMEOUT`` seconds.
    """

    #: Events that may wait; those beyond are reported as failed, with the reason ``queue-full``.
    capacity = 10_000

    def __init__(self) -> None:
        self._queue: queue.Queue[Event] = queue.Queue(self.capacity)
        self._starting = threading.Lock()
        self._worker: threading.Thread | None = None

    def deliver(self, event: Event) -> None:
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._report_full(event)
            return
        if self._worker is None or not self._worker.is_alive():
            self._start()

    def flush(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._queue.all_tasks_done.wait(remaining)
        return True

    def _start(self) -> None:
        with self._starting:
            if self._worker is not None and self._worker.is_alive():
                return
            worker = threading.Thread(target=self._work, name="pusherable-delivery", daemon=True)
            try:
                worker.start()
            except RuntimeError as error:
                # The machine has no thread to give, or the process is ending.
                self._give_up(error)
                return
            self._worker = worker
            # As `atexit`, but also in the children of multiprocessing, and only in the process that says so.
            Finalize(None, self._flush_at_exit, exitpriority=0)

    def _work(self) -> None:
        while True:
            event = self._queue.get()
            try:
                deliver([event])
            except (DeliveryFailed, SettingsError) as error:
                report_failure(event, error, sender=type(self))
            except Exception as error:
                # The thread must outlive whatever goes wrong with one event.
                logger.exception("Delivering %r failed unexpectedly.", event.name)
                report_failure(event, error, sender=type(self))
            finally:
                self._queue.task_done()

    def _give_up(self, error: RuntimeError) -> None:
        """Report what waits; the next event will try again to start the thread."""
        reason = DeliveryFailed(f"No thread can be started ({error}).", reason="no-thread", retryable=True)
        while not self._queue.empty():
            report_failure(self._queue.get_nowait(), reason, sender=type(self))
            self._queue.task_done()

    def _report_full(self, event: Event) -> None:
        error = DeliveryFailed(
            f"{self.capacity} events are waiting already; the service is slower than the events come.",
            reason="queue-full",
            retryable=True,
        )
        report_failure(event, error, sender=type(self))

    def _flush_at_exit(self) -> None:
        if not self.flush(EXIT_TIMEOUT):
            logger.error("%d events were still waiting at the end of the process.", self._queue.unfinished_tasks)

"""One thread's work: take what may leave, hand it to the service, and decide what becomes of what it did not take."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pusherable.backends.circuits import Circuit, backoff
from pusherable.backends.counting import counters
from pusherable.backends.lanes import Job, Lane
from pusherable.conf import Delivery
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import log_quietly

logger = logging.getLogger("pusherable")

#: Seconds between two looks for events that have become too old.
EXPIRY_INTERVAL: Final = 1.0
#: Seconds in which nobody wakes a worker that has just worked: what comes meanwhile leaves together, and no publisher
#: pays for waking it.
REST: Final = 0.005
#: Seconds between two attempts once the process is ending.
LAST_PAUSE: Final = 0.1
#: What a service says of one event of a batch, so that the others may be delivered without it.
_POISONOUS: Final = frozenset({"bad-request", "too-large"})


@dataclass(frozen=True)
class Surroundings:
    """What the workers of a process share, and the seams to the outside.

    ``settle`` is told of each job once it is delivered, or with an error once it is given up; ``is_closing``
    whether the process is ending.
    """

    delivery: Delivery
    circuit: Circuit
    deliver: Callable[[Sequence[Event]], None]
    disconnect: Callable[[str], None]
    settle: Callable[[Job, Exception | None], None]
    is_closing: Callable[[], bool]
    clock: Callable[[], float]


class Worker:
    """Empties its inbox into a lane, and the lane into the service."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        #: Whether a thread is in ``run``.
        self.is_running = False
        self._hurry = threading.Event()
        self._around = surroundings
        self._lane = Lane()
        self._next_expiry = 0.0
        self._is_hurrying = False

    def run(self) -> None:
        """Work for the life of the process."""
        self.is_running = True
        try:
            self._receive(None)
            while True:
                self._wait(self._step_safely())
        finally:
            self.is_running = False

    def hurry(self) -> None:
        """End every wait: the process is ending."""
        self._hurry.set()
        self.inbox.put(None)

    def step(self) -> float | None:
        """Make at most one request; returns the seconds until there may be more to do, ``None`` until a job comes."""
        self._receive(0.0)
        now = self._around.clock()
        self._expire(now)
        if not self._lane:
            return None
        is_closing = self._around.is_closing()
        if is_closing and not self._is_hurrying:
            self._is_hurrying = True
            self._lane.hurry()
        wait = 0.0 if is_closing else self._around.circuit.wait(now)
        if wait:
            return min(wait, EXPIRY_INTERVAL)
        jobs = self._lane.take(now, is_probing=not (is_closing or self._around.circuit.is_closed))
        if not jobs:
            return min(max(self._lane.wait(now), 0.001), EXPIRY_INTERVAL)
        # Another worker may have been quicker.
        wait = 0.0 if is_closing else self._around.circuit.admit(now)
        if wait:
            self._lane.put_back(jobs)
            return min(wait, EXPIRY_INTERVAL)
        self._attempt(jobs)
        return 0.0

    def _step_safely(self) -> float | None:
        try:
            return self.step()
        except Exception:
            # The thread must outlive whatever goes wrong, such as a logging handler.
            logger.exception("The delivery of events has stumbled, and goes on.")
            return LAST_PAUSE

    def _wait(self, pause: float | None) -> None:
        """Rest a little, and then listen for the next job, for as long as ``step`` has said."""
        if pause == 0.0:
            return
        if pause is not None and self._around.circuit.wait(self._around.clock()):
            # Whatever comes meanwhile has to wait with the others.
            self._hurry.wait(pause)
            return
        rest = REST if pause is None else min(pause, REST)
        self._hurry.wait(rest)
        self._receive(None if pause is None else pause - rest)

    def _receive(self, pause: float | None) -> None:
        """Move what has come into the lane; wait for it so many seconds, or for as long as it takes."""
        try:
            job = self.inbox.get(timeout=pause) if pause is None or pause > 0 else self.inbox.get_nowait()
            while True:
                if job is not None:
                    self._lane.add(job)
                job = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _expire(self, now: float) -> None:
        if now < self._next_expiry:
            return
        self._next_expiry = now + EXPIRY_INTERVAL
        for job in self._lane.expire(now - self._around.delivery.max_age):
            self._give_up(job, now)

    def _attempt(self, taken: list[Job]) -> None:
        # Some may have been reported already, at the end of the process.
        jobs = [job for job in taken if not job.is_settled]
        if not jobs:
            self._around.circuit.succeed()
            return
        counters.count(retried=sum(job.attempts > 0 for job in jobs))
        try:
            self._request(jobs)
        except DeliveryFailed as error:
            self._fail(jobs, error)
        except Exception as error:  # noqa: BLE001
            # A setting that is missing, or a fault of ours: the report has the traceback.
            self._around.circuit.succeed()
            self._drop_or_part(jobs, error)
        else:
            self._around.circuit.succeed()
            self._settle(jobs, None)

    def _request(self, jobs: list[Job]) -> None:
        events = [job.event for job in jobs if job.event is not None]
        if events:
            self._around.deliver(events)
        else:
            self._around.disconnect(jobs[0].user_id)

    def _fail(self, jobs: list[Job], error: DeliveryFailed) -> None:
        if error.retryable:
            self._retry(jobs, error)
            return
        self._around.circuit.succeed()
        if error.reason in _POISONOUS:
            if error.reason == "too-large" and len(jobs) > 1:
                self._lane.shrink(jobs)
            self._drop_or_part(jobs, error)
            return
        # It would be said of each of them.
        self._settle(jobs, error)

    def _drop_or_part(self, jobs: list[Job], error: Exception) -> None:
        """Give up a single job; of several, try each alone, so that one spoils nothing for the others."""
        if len(jobs) == 1:
            self._settle(jobs, error)
            return
        for job in jobs:
            job.is_alone = True
        self._lane.put_back(jobs)

    def _retry(self, jobs: list[Job], error: DeliveryFailed) -> None:
        now = self._around.clock()
        is_closing = self._around.is_closing()
        if not is_closing and any(job.attempts == 0 for job in jobs):
            # It may be a minute until the first of them is given up, and reported.
            log_quietly(
                f"{error} Events wait, and are tried again for {self._around.delivery.max_age:g} s.",
                cause=f"{error.reason} for now",
                level=logging.WARNING,
            )
        is_telling = any(job.attempts < 2 for job in jobs)
        self._around.circuit.fail(now, is_telling=is_telling, retry_after=error.retry_after)
        # One pause for all, so that they stay together.
        pause = LAST_PAUSE if is_closing else backoff(1 + max(job.attempts for job in jobs))
        kept = []
        for job in jobs:
            job.attempts += 1
            job.error = error
            # At the end attempts follow so closely that their number says nothing: the time that is left is the limit.
            has_tried_enough = job.attempts >= self._around.delivery.max_attempts and not is_closing
            if has_tried_enough or self._is_too_old(job, now):
                self._give_up(job, now)
                continue
            job.not_before = now + max(pause, error.retry_after or 0.0)
            # If it is one of them, the next attempt but one finds out which.
            job.is_alone = job.is_alone or job.attempts >= 2
            kept.append(job)
        self._lane.put_back(kept)

    def _is_too_old(self, job: Job, now: float) -> bool:
        return now - job.born >= self._around.delivery.max_age

    def _give_up(self, job: Job, now: float) -> None:
        self._settle([job], explain_giving_up(job, now))

    def _settle(self, jobs: list[Job], error: Exception | None) -> None:
        for job in jobs:
            try:
                self._around.settle(job, error)
            except Exception:
                # A report that fails must not cost the next ones theirs.
                logger.exception("An event that was given up could not be reported.")


def explain_giving_up(job: Job, now: float) -> DeliveryFailed:
    """Why a job is not tried again, by what came in the way the last time."""
    age = f"{now - job.born:.3g} s"
    if not isinstance(job.error, DeliveryFailed):
        return DeliveryFailed(
            f"It has waited for {age} (PUSHERABLE_MAX_AGE): the service is in trouble, or slower than events come.",
            reason="too-old",
            retryable=True,
        )
    return DeliveryFailed(
        f"{job.error} It was given up after {age} and {job.attempts} attempts (PUSHERABLE_MAX_AGE, "
        "PUSHERABLE_MAX_ATTEMPTS).",
        reason=job.error.reason,
        status=job.error.status,
        retryable=True,
    )

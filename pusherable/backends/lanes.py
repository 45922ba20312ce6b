"""What waits for one worker, and what of it may leave next: on each channel in the order of arrival.

No thread and no clock of its own.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final

from pusherable.channels import SERVER_TO_USER_PREFIX
from pusherable.events import MAX_BATCH, Event

#: Characters of data in one request, so that its size stays reasonable whatever they are escaped to.
MAX_REQUEST_SIZE: Final = 30_000
#: What no lesson makes it smaller than.
LEAST_REQUEST_SIZE: Final = 1_000


class Job:
    """An event that waits, or a user to disconnect, and what has been tried; ``born`` is when it was taken."""

    attempts = 0
    error: Exception | None = None
    is_alone = False
    is_settled = False
    not_before = 0.0

    def __init__(self, event: Event | None, *, born: float, user_id: str = "") -> None:
        self.event = event
        self.born = born
        self.user_id = user_id
        if event is None:
            # Behind what the user was sent before.
            self.channels: tuple[str, ...] = (f"{SERVER_TO_USER_PREFIX}{user_id}",)
            self.is_alone = True
        else:
            self.channels = event.channels

    @property
    def size(self) -> int:
        return len(self.event.data) * len(self.channels) if self.event else 0


class Lane:
    """Jobs in the order of their arrival; only one thread may use it.

    Those that have to be tried again hold back what came later on their channels, and nothing else.
    """

    def __init__(self) -> None:
        self._fresh: deque[Job] = deque()
        self._held: OrderedDict[int, Job] = OrderedDict()
        # How many of the held name each channel.
        self._blocked: Counter[str] = Counter()
        self._held_due = 0.0
        self._request_size = MAX_REQUEST_SIZE

    def __len__(self) -> int:
        return len(self._fresh) + len(self._held)

    def add(self, job: Job) -> None:
        self._fresh.append(job)

    def take(self, now: float, *, is_probing: bool = False) -> list[Job]:
        """The jobs of the next request: one of any kind, or events for up to 10 channels together.

        While probing it is but one, preferably one that has not failed yet.
        """
        if is_probing:
            return self._take_probe(now)
        batch = _Batch(self._request_size)
        self._take_held(now, batch)
        if not batch.is_full:
            self._take_fresh(batch)
        return batch.jobs

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Jobs that were taken together, unsent, to the front; they are tried alone, or not before their time."""
        for job in reversed(jobs):
            self._hold(job)
            self._held.move_to_end(id(job), last=False)
        self._held_due = 0.0

    def expire(self, before: float) -> list[Job]:
        """Take out what was born earlier than that."""
        expired = [job for job in self._held.values() if job.born < before]
        for job in expired:
            self._release(job)
        while self._fresh and self._fresh[0].born < before:
            expired.append(self._fresh.popleft())
        if expired:
            self._held_due = 0.0
        return expired

    def hurry(self) -> None:
        """Let nothing wait for its time any longer."""
        for job in self._held.values():
            job.not_before = 0.0
        self._held_due = 0.0

    def wait(self, now: float) -> float:
        """Seconds until something held may be tried, as known from the last time that nothing could be taken."""
        return max(0.0, self._held_due - now)

    def shrink(self, jobs: Sequence[Job]) -> None:
        """Learn that these were too much for one request."""
        size = sum(job.size for job in jobs)
        self._request_size = max(LEAST_REQUEST_SIZE, min(self._request_size, size) // 2)

    def _take_probe(self, now: float) -> list[Job]:
        batch = _Batch(0)
        self._take_fresh(batch)
        if not batch.jobs:
            due = [job for job in self._heads() if job.not_before <= now]
            if due:
                batch.add(min(due, key=lambda job: job.attempts))
                self._release(batch.jobs[0])
            else:
                self._note_due()
        return batch.jobs

    def _take_held(self, now: float, batch: "_Batch") -> None:
        if not self._held or now < self._held_due:
            return
        behind: set[str] = set()
        for job in self._held.values():
            if job.not_before > now or not behind.isdisjoint(job.channels):
                behind.update(job.channels)
            elif batch.has_room_for(job):
                batch.add(job)
            else:
                break
        for job in batch.jobs:
            self._release(job)
        if not batch.jobs:
            self._note_due()

    def _take_fresh(self, batch: "_Batch") -> None:
        while self._fresh:
            job = self._fresh[0]
            if not self._blocked.keys().isdisjoint(job.channels):
                self._hold(self._fresh.popleft())
            elif batch.has_room_for(job):
                batch.add(self._fresh.popleft())
            else:
                return

    def _heads(self) -> Iterable[Job]:
        """The held ones that nothing is in front of."""
        behind: set[str] = set()
        for job in self._held.values():
            if behind.isdisjoint(job.channels):
                yield job
            behind.update(job.channels)

    def _note_due(self) -> None:
        self._held_due = min((job.not_before for job in self._heads()), default=0.0)

    def _hold(self, job: Job) -> None:
        self._held[id(job)] = job
        self._blocked.update(job.channels)

    def _release(self, job: Job) -> None:
        del self._held[id(job)]
        for channel in job.channels:
            self._blocked[channel] -= 1
            if not self._blocked[channel]:
                del self._blocked[channel]


class _Batch:
    """What goes into one request: entries for single channels, or one job however large."""

    def __init__(self, size: int) -> None:
        self.jobs: list[Job] = []
        self._room = size
        self._entries = MAX_BATCH

    @property
    def is_full(self) -> bool:
        return self._entries <= 0 or (bool(self.jobs) and self._room <= 0)

    def has_room_for(self, job: Job) -> bool:
        if not self.jobs:
            return True
        return not job.is_alone and len(job.channels) <= self._entries and job.size <= self._room

    def add(self, job: Job) -> None:
        self.jobs.append(job)
        self._room -= job.size
        # Nobody joins one that is to be alone.
        self._entries -= MAX_BATCH if job.is_alone else len(job.channels)

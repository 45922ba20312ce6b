"""Deliver from a worker of Django's tasks: the publisher only enqueues.

With a queue in the database an event is written in the transaction that it tells of: there is one if there is the
other, whatever becomes of this process.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

import django
from django.apps import apps
from django.db import connections, router
from django.utils import timezone

from pusherable.backends import BaseBackend
from pusherable.backends.circuits import backoff
from pusherable.backends.counting import counters
from pusherable.client import deliver, disconnect_user
from pusherable.conf import SettingsError, settings
from pusherable.events import MAX_BATCH, Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_disconnect_failure, report_failure

# Django's own since 6.0; before that, a package of the same shape.
_tasks: Final[Any] = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")

#: Packages whose queues are tables, which take part in transactions.
_QUEUES_IN_THE_DATABASE: Final = ("django_tasks_db", "django_tasks.backends.database")
# What the service says of one event of a batch, so that the others may be delivered without it.
_POISONOUS: Final = frozenset({"bad-request", "too-large"})


@_tasks.task(takes_context=True)  # type: ignore[untyped-decorator]
def deliver_events(context: Any, events: list[list[Any]], attempts: int = 0, since: float = 0.0) -> None:
    """Deliver in a worker. What may heal is tried again by a task of its own, ``PUSHERABLE_MAX_AGE`` long.

    That is counted from the first attempt at ``since``, in seconds since 1970: what has waited for a worker is not
    too old. A task that has not delivered raises why, for the queue to know, whether or not another follows. What is
    given up is reported as ``publish_failed``.
    """
    # With the queue and the worker that this one came by.
    task = context.task_result.task
    composed = [_read(*event) for event in events]
    try:
        deliver(composed)
    except DeliveryFailed as error:
        if error.reason in _POISONOUS and len(composed) > 1:
            for event in composed:
                _enqueue(task, [event])
            return
        if not _try_again(task, error, events, attempts + 1, since or time.time()):
            _give_up(composed, error)
        elif _is_in_transaction():
            # A failure would roll it back, and the next attempt with it.
            return
        else:
            error.add_note("It is tried again, by another task.")
        raise
    except SettingsError as error:
        _give_up(composed, error)
        raise
    counters.count(sent=len(composed))


@_tasks.task()  # type: ignore[untyped-decorator]
def send_away(user_id: str) -> None:
    """Disconnect a user in a worker; there is one attempt."""
    try:
        disconnect_user(user_id)
    except (DeliveryFailed, SettingsError) as error:
        report_disconnect_failure(user_id, error)
        raise


class TasksBackend(BaseBackend):
    """Each event, or up to ten of one transaction, becomes a task.

    To use another queue than the default one, override ``backend_alias``, a key of ``TASKS``, and ``queue_name``.
    """

    backend_alias = "default"
    queue_name = "default"

    def deliver(self, event: Event) -> None:
        self.deliver_many([event])

    def deliver_many(self, events: Sequence[Event]) -> None:
        task = deliver_events.using(backend=self.backend_alias, queue_name=self.queue_name)
        for batch in _batches(events):
            _enqueue(task, batch)

    def disconnect(self, user_id: str) -> None:
        try:
            send_away.using(backend=self.backend_alias, queue_name=self.queue_name).enqueue(user_id)
        except Exception as error:  # noqa: BLE001
            # A queue is anybody's code.
            report_disconnect_failure(user_id, error)

    @property
    def delivers_at_once(self) -> bool:
        """Whether the queue is none, but runs each task where it is enqueued, as Django does without ``TASKS``."""
        return type(self._queue).__name__ == "ImmediateBackend"

    def joins_transaction(self, using: str) -> bool:
        """True for the queues of ``django-tasks-db`` in that very database.

        Override it for a queue of another kind that takes part in transactions.
        """
        for base in type(self._queue).__mro__:
            if base.__module__.startswith(_QUEUES_IN_THE_DATABASE):
                app = apps.get_containing_app_config(base.__module__)
                return app is not None and using in {router.db_for_write(model) for model in app.get_models()}
        return False

    @property
    def _queue(self) -> Any:
        return _tasks.task_backends[self.backend_alias]


def _enqueue(task: Any, events: Sequence[Event]) -> None:
    task.enqueue([[list(event.channels), event.name, event.data, event.socket_id, event.id] for event in events])


def _read(channels: list[str], name: str, data: str, socket_id: str | None, id: str = "") -> Event:
    """An event out of a task; one that waits since an earlier version has no id yet."""
    event = Event(tuple(channels), name, data, socket_id)
    return event.known_as(id) if id else event


def _batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The events in their order, as many together as one request may carry."""
    batch: list[Event] = []
    for event in events:
        if batch and sum(len(each.channels) for each in [*batch, event]) > MAX_BATCH:
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch


def _try_again(task: Any, error: DeliveryFailed, events: list[list[Any]], attempts: int, since: float) -> bool:
    """Enqueue another attempt, unless it were in vain, or one too many."""
    limits = settings.delivery
    pause = max(backoff(attempts), error.retry_after or 0.0)
    if not error.retryable or attempts >= limits.max_attempts or time.time() + pause - since > limits.max_age:
        return False
    counters.count(retried=len(events))
    if task.get_backend().supports_defer:
        task = task.using(run_after=timezone.now() + timedelta(seconds=pause))
    else:
        # The worker's time, for want of a queue that can wait.
        time.sleep(pause)
    task.enqueue(events, attempts, since)
    return True


def _is_in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


def _give_up(events: Sequence[Event], error: Exception) -> None:
    counters.count(dropped=len(events))
    for event in events:
        report_failure(event, error, sender=TasksBackend)

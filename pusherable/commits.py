"""Nothing leaves before its commit: hooks that a rollback takes away, and what is left of a transaction's events.

Django forgets the hooks of a transaction or savepoint that is rolled back. So each event has a hook of its own, and
the hooks that are still there at the commit are what has happened.
"""

from collections.abc import Sequence
from weakref import WeakValueDictionary, ref

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from pusherable.backends import get_backend
from pusherable.claims import current_claim
from pusherable.conf import SettingsError
from pusherable.events import Event
from pusherable.failures import report_failure
from pusherable.suppression import is_suppressed, silences
from pusherable.thinning import is_automatic, latest


class Hook:
    """Called by Django after the commit, unless it was rolled back; ``is_sent`` where the event has left before."""

    __slots__ = ("__weakref__", "_batch", "events", "is_sent")

    def __init__(self, batch: "Batch", events: Sequence[Event], *, is_sent: bool) -> None:
        self._batch = batch
        self.events = events
        self.is_sent = is_sent

    def __call__(self) -> None:
        self._batch.leave(self)


class Batch:
    """The hooks of one connection, oldest first; it does not keep them alive."""

    def __init__(self) -> None:
        self._hooks: list[ref[Hook]] = []
        #: Hooks by what they are about, for whoever needs to find them again.
        self.marked: WeakValueDictionary[object, Hook] = WeakValueDictionary()

    def add(self, events: Sequence[Event], *, is_sent: bool) -> Hook:
        while self._hooks and self._hooks[-1]() is None:
            self._hooks.pop()
        hook = Hook(self, events, is_sent=is_sent)
        self._hooks.append(ref(hook))
        return hook

    def leave(self, first: Hook) -> None:
        """Hand over what ``first`` and every later hook hold; those are called in vain then."""
        if not first.events:
            return
        alive = [hook for hook in (reference() for reference in self._hooks) if hook is not None]
        leaving = alive[alive.index(first) :]
        events = [event for hook in leaving for event in hook.events]
        sent = {id(event) for hook in leaving if hook.is_sent for event in hook.events}
        for hook in leaving:
            hook.events = ()
        hand_over([event for event in latest(events) if id(event) not in sent])


def send(
    events: Sequence[Event], *, using: str = DEFAULT_DB_ALIAS, immediate: bool = False, mark: object = None
) -> None:
    """Hand events to the backend, after the commit if a transaction is open on ``using``.

    A backend whose queue takes part in that transaction is given them at once. ``mark`` is for ``is_waiting``.
    """
    if silences() and is_suppressed():
        return
    if immediate or not connections[using].in_atomic_block:
        hand_over(latest(events) if len(events) > 1 else events)
    elif not _joins_transaction(using):
        _wait(events, using=using, mark=mark)
    elif current_claim() is None:
        _join(events, using=using)
    elif all(map(is_automatic, events)):
        # The view may still say it; the queue would keep both.
        _wait(events, using=using, mark=mark)
    else:
        _join(events, using=using)
        _wait(events, using=using, is_sent=True)


def is_waiting(mark: object, *, using: str) -> bool:
    """Whether events that were sent with this ``mark`` are waiting for the commit on ``using``."""
    return mark in _batch_of(using).marked


def hand_over(events: Sequence[Event]) -> None:
    """Give events to the backend now, unless a view has to speak first. Nothing is raised: failures are reported."""
    claim = current_claim()
    if claim is not None:
        events = claim.sift(events)
    if not events:
        return
    try:
        if len(events) == 1 and len(events[0].channels) == 1:
            # The most frequent case, and a page waits for it.
            get_backend().deliver(events[0])
        else:
            _deliver(events)
    except Exception as error:  # noqa: BLE001
        # A backend is anybody's code, and this is the last place before a visitor's page.
        _report(events, error)


def _deliver(events: Sequence[Event]) -> None:
    parts = [part for event in events for part in event.parts]
    backend = get_backend()
    if len(parts) == 1:
        backend.deliver(parts[0])
    else:
        backend.deliver_many(parts)


def _report(events: Sequence[Event], error: Exception) -> None:
    for event in events:
        report_failure(event, error, sender=Event)


def _joins_transaction(using: str) -> bool:
    try:
        return get_backend().joins_transaction(using)
    except SettingsError:
        # It will be reported when the event is to leave.
        return False


def _wait(events: Sequence[Event], *, using: str, mark: object = None, is_sent: bool = False) -> None:
    batch = _batch_of(using)
    hook = batch.add(events, is_sent=is_sent)
    if mark is not None:
        batch.marked[mark] = hook
    transaction.on_commit(hook, using=using, robust=True)


def _join(events: Sequence[Event], *, using: str) -> None:
    try:
        # Of a queue that fails only the savepoint is lost, not the work of the page.
        with transaction.atomic(using=using):
            _deliver(latest(events))
    except Exception as error:  # noqa: BLE001
        _report(events, error)


def _batch_of(using: str) -> Batch:
    # A connection belongs to one thread, and so does what is kept with it.
    attributes = vars(connections[using])
    batch: Batch | None = attributes.get("_pusherable_batch")
    if batch is None:
        batch = attributes["_pusherable_batch"] = Batch()
    return batch

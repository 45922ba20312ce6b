"""How and when events leave: the one base class, and the backend that ``PUSHERABLE_BACKEND`` chose."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Final

from django.utils.module_loading import import_string

from pusherable.client import disconnect_user
from pusherable.conf import SettingsError, settings
from pusherable.events import Event
from pusherable.exceptions import DeliveryFailed
from pusherable.failures import report_disconnect_failure

_SHORT_NAMES: Final = {
    "threaded": "pusherable.backends.threaded.ThreadedBackend",
    "tasks": "pusherable.backends.tasks.TasksBackend",
    "inline": "pusherable.backends.inline.InlineBackend",
    "console": "pusherable.backends.console.ConsoleBackend",
    "locmem": "pusherable.backends.locmem.LocmemBackend",
    "dummy": "pusherable.backends.dummy.DummyBackend",
}

_backends: dict[type["BaseBackend"], "BaseBackend"] = {}


class BaseBackend:
    """One road for events out of this process; made once per process, shared by its threads."""

    def deliver(self, event: Event) -> None:
        """Take the event, after its transaction has been committed.

        Called in the publisher's thread: it must not raise for a service that is in trouble, but give the
        event to ``pusherable.failures.report_failure``.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has to define deliver(event).")

    def deliver_many(self, events: Sequence[Event]) -> None:
        """Take events of one transaction, in their order; as ``deliver``, which is called for each by default."""
        for event in events:
            self.deliver(event)

    def joins_transaction(self, using: str) -> bool:
        """Whether the queue is kept in the database ``using``: then events are given while its transaction is open.

        A rollback has to take them back out of the queue. By default they are given after the commit.
        """
        return False

    def disconnect(self, user_id: str) -> None:
        """Send a signed-in user's connections away; as ``deliver``, it does not raise for a service in trouble.

        By default in this very thread, which costs one request.
        """
        try:
            disconnect_user(user_id)
        except (DeliveryFailed, SettingsError) as error:
            report_disconnect_failure(user_id, error)

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for everything taken to have left; return whether it has."""
        return True


def get_backend() -> BaseBackend:
    """The backend of ``PUSHERABLE_BACKEND``; raises ``SettingsError`` where that names none."""
    backend_class = get_backend_class()
    return _backends.get(backend_class) or _backends.setdefault(backend_class, backend_class())


def get_backend_class() -> type[BaseBackend]:
    """The class of that backend, which is not made yet."""
    path = settings.backend
    return _import_backend(_SHORT_NAMES.get(path, path))


@cache
def _import_backend(path: str) -> type[BaseBackend]:
    try:
        backend_class = import_string(path)
    except ImportError as error:
        raise SettingsError(
            f"PUSHERABLE_BACKEND = {path!r} cannot be imported ({error}). It is a dotted path, or one of "
            f"{', '.join(_SHORT_NAMES)}.",
            setting="PUSHERABLE_BACKEND",
        ) from error
    if not (isinstance(backend_class, type) and issubclass(backend_class, BaseBackend)):
        raise SettingsError(
            f"PUSHERABLE_BACKEND = {path!r} is no subclass of pusherable.backends.BaseBackend.",
            setting="PUSHERABLE_BACKEND",
        )
    return backend_class


# What the parent has queued is the parent's to deliver, and its threads do not live on in a fork.
os.register_at_fork(after_in_child=_backends.clear)

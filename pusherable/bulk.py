"""Many objects at once, with a number of queries that does not grow with theirs."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from pusherable.channels import Privacy
from pusherable.commits import send
from pusherable.events import Event
from pusherable.publishing import channel_of, compose, database_of, read_exclusion, username_of
from pusherable.serialization import FieldNames, serialize_many
from pusherable.suppression import is_suppressed

#: Objects that are read and published together.
BATCH_SIZE: Final = 500


def publish_many(
    objects: Iterable[Model],
    event: str,
    *,
    user: Any = None,
    include: FieldNames = None,
    exclude: FieldNames | HttpRequest = None,
    channels: Callable[[Model], str | Iterable[str]] | None = None,
    private: Privacy | None = None,
    origin: str = "",
    socket_id: str | None = None,
    immediate: bool = False,
    batch_size: int = BATCH_SIZE,
) -> int:
    """Tell of ``event`` about each object of a queryset or of any iterable, as ``publish`` does; return how many.

    They are read and handed over in batches of ``batch_size``. A queryset that has not been evaluated takes one query,
    and each batch one for each many-to-many field and one for deferred ones; nothing stays in memory, nor in the
    objects' caches. ``channels`` is asked for the channels of each.

    Raises what ``publish`` does; the batches before the one at fault have been published by then.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; a batch has one object at least.")
    fields, own_socket_id = read_exclusion(exclude)

    def compose_all(batch: list[Model]) -> list[Event]:
        return [
            compose(
                each,
                event,
                object_data=object_data,
                channels=channel_of(each, private=private) if channels is None else channels(each),
                user=username_of(user),
                origin=origin,
                socket_id=socket_id or own_socket_id,
            )
            for each, object_data in zip(batch, serialize_many(batch, include=include, exclude=fields), strict=True)
        ]

    count = 0
    for batch in () if is_suppressed() else _batches(objects, batch_size):
        by_database: dict[str, list[Event]] = {}
        for each, composed in zip(batch, compose_all(batch), strict=True):
            by_database.setdefault(database_of(each), []).append(composed)
        for using, events in by_database.items():
            send(events, using=using, immediate=immediate)
        count += len(batch)
    return count


async def apublish_many(objects: Iterable[Model], event: str, **options: Any) -> int:
    """``publish_many`` for async code: it reads the database where Django does, never in the event loop."""
    return await sync_to_async(publish_many)(objects, event, **options)


def _batches(objects: Iterable[Model], size: int) -> Iterator[list[Model]]:
    """The objects of models that are not suppressed, ``size`` at a time."""
    if not isinstance(objects, Iterable):
        cure = f"write [{objects!r:.200}]" if isinstance(objects, Model) else "Post.objects.all() is a queryset"
        raise TypeError(f"publish_many takes a queryset or a list, not {objects!r:.200}: {cure}.")
    is_unread = isinstance(objects, QuerySet) and objects._result_cache is None
    remaining = iter(objects.iterator(chunk_size=size) if isinstance(objects, QuerySet) and is_unread else objects)
    while batch := list(islice(remaining, size)):
        strangers = [each for each in batch if not isinstance(each, Model)]
        if strangers:
            raise TypeError(f"publish_many takes objects of models, not {strangers[0]!r}: leave out values().")
        if loud := [each for each in batch if not is_suppressed(each._meta.model)]:
            yield loud

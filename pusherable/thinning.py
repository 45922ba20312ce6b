"""Which of several events say it all: what a later one makes superfluous need not be sent."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pusherable.events import Event, Subject


def latest(events: Sequence[Event]) -> Sequence[Event]:
    """``events`` in their order, without those that a later one makes superfluous.

    That is one of the same name, channels, socket id and subject; and for an event that a model has published by
    itself, any later one of its name about the same object.
    """
    if len(events) < 2:
        return events
    last: dict[object, Event] = {}
    for event in events:
        key = (event.channels, event.name, event.socket_id, event.subject) if event.subject is not None else id(event)
        last.pop(key, None)
        last[key] = event
    return _yielding(last.values())


def is_automatic(event: Event) -> bool:
    """Whether a model has published the event by itself."""
    return isinstance(event.subject, Subject) and event.subject.is_automatic


def _yielding(events: Iterable[Event]) -> list[Event]:
    """``events`` without those of models that a later one repeats, on the channels where it does."""
    spoken: dict[tuple[str, str, str], set[str]] = {}
    kept: list[Event] = []
    for event in reversed(list(events)):
        if not isinstance(event.subject, Subject):
            kept.append(event)
            continue
        channels = spoken.setdefault((event.name, event.subject.model, event.subject.pk), set())
        if not event.subject.is_automatic:
            channels.update(event.channels)
            kept.append(event)
        elif rest := tuple(channel for channel in event.channels if channel not in channels):
            kept.append(event if len(rest) == len(event.channels) else replace(event, channels=rest))
    return kept[::-1]

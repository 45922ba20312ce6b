"""A view at work has the first say: what models publish by themselves meanwhile waits, and yields to its event."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from typing import NamedTuple

from pusherable.events import Event, Subject


class Attribution(NamedTuple):
    """Whose work an event tells of, as a view knows it."""

    user: str = ""
    origin: str = ""
    socket_id: str | None = None


class Claim:
    """A view that may still publish ``name``, and whose visitor ``attribute`` tells; it counts while it is entered.

    What it holds in the end (see ``end``) is for its owner to hand over.
    """

    _token: Token["Claim | None"]

    def __init__(self, name: str, attribute: Callable[[], Attribution]) -> None:
        self._name = name
        self._attribute = attribute
        self._attribution: Attribution | None = None
        self._held: list[Event] = []

    def __enter__(self) -> None:
        self._token = _claim.set(self)

    def __exit__(self, *exception: object) -> None:
        _claim.reset(self._token)

    @property
    def attribution(self) -> Attribution:
        """Asked of the view when it is needed, once."""
        if self._attribution is None:
            self._attribution = self._attribute()
        return self._attribution

    def sift(self, events: Sequence[Event]) -> list[Event]:
        """What of ``events`` is to leave now, and before it what has waited long enough.

        Events of models wait. Any other event makes those superfluous that it repeats, and lets go of the rest but
        for those of the view's own name.
        """
        if all(map(is_automatic, events)):
            self._held += events
            return []
        settled = yielding([*self._held, *events])
        spoken = [place for place, event in enumerate(settled) if not is_automatic(event)]
        before = settled[: spoken[-1] + 1]
        self._held = [event for event in before if self._may_yet_be_repeated(event)] + settled[spoken[-1] + 1 :]
        return [event for event in before if not self._may_yet_be_repeated(event)]

    def end(self) -> list[Event]:
        """What the view has left for the models to say."""
        held, self._held = self._held, []
        return held

    def _may_yet_be_repeated(self, event: Event) -> bool:
        return event.name == self._name and is_automatic(event)


_claim: ContextVar[Claim | None] = ContextVar("pusherable_claim", default=None)


def current_claim() -> Claim | None:
    """The claim of the view that is at work in this thread or task."""
    return _claim.get()


def is_automatic(event: Event) -> bool:
    """Whether a model has published the event by itself."""
    return isinstance(event.subject, Subject) and event.subject.is_automatic


def yielding(events: Iterable[Event]) -> list[Event]:
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

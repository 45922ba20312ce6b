"""A view at work has the first say: what models publish by themselves meanwhile waits, and yields to its event."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Final, NamedTuple

from pusherable.events import Event, Subject
from pusherable.thinning import is_automatic, latest

#: Models that publish by themselves. Without any there is nothing to claim, and views need not pay for it.
publishing_models: Final[set[type]] = set()


class Attribution(NamedTuple):
    """Whose work an event tells of, as a view knows it."""

    user: str = ""
    origin: str = ""
    socket_id: str | None = None


class Claim:
    """A view that may still publish ``name``, and whose visitor ``attribute`` tells; it counts while it is entered.

    What it holds in the end (see ``end``) is for its owner to hand over.
    """

    __slots__ = ("_attribute", "_attribution", "_held", "_name", "_token")

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
        settled = latest([*self._held, *events])
        if all(map(is_automatic, events)):
            self._held = list(settled)
            return []
        spoken = [place for place, event in enumerate(settled) if not is_automatic(event)]
        before = settled[: spoken[-1] + 1]
        self._held = [event for event in before if self._may_yet_be_repeated(event)]
        self._held += settled[spoken[-1] + 1 :]
        return [event for event in before if not self._may_yet_be_repeated(event)]

    def holds(self, name: str, model: str, pk: str) -> bool:
        """Whether a model's event of that name about that object is waiting."""
        subjects = (event.subject for event in self._held if event.name == name)
        return any(isinstance(each, Subject) and (each.model, each.pk) == (model, pk) for each in subjects)

    def end(self) -> list[Event]:
        """What the view has left for the models to say."""
        held, self._held = self._held, []
        return held

    def _may_yet_be_repeated(self, event: Event) -> bool:
        return event.name == self._name and is_automatic(event)


_claim: ContextVar[Claim | None] = ContextVar("pusherable_claim", default=None)


#: The claim of the view that is at work in this thread or task, if there is one.
current_claim: Callable[[], Claim | None] = _claim.get

"""For the tests of projects that use this package: an outbox, as for mail, and assertions about it.

Events wait for the commit, which a ``TestCase`` never reaches: publish inside
``with self.captureOnCommitCallbacks(execute=True)``, or in a ``TransactionTestCase``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db.models import Model
from django.test import SimpleTestCase, override_settings

from pusherable.backends.locmem import disconnected, outbox
from pusherable.channels import ChannelKind, bare_name
from pusherable.events import Event
from pusherable.publishing import channel_of

__all__ = [
    "PusherableTestMixin",
    "assert_not_published",
    "assert_published",
    "capture_events",
    "disconnected",
    "outbox",
    "published",
]

Target = Model | type[Model] | str


@contextmanager
def capture_events() -> Iterator[list[Event]]:
    """Keep events in an empty ``outbox`` instead of delivering them; it is emptied again afterwards.

    So is ``disconnected``, the ids of users that were sent away.
    """
    with override_settings(PUSHERABLE_BACKEND="locmem"):
        outbox.clear()
        disconnected.clear()
        try:
            yield outbox
        finally:
            outbox.clear()
            disconnected.clear()


def published(target: Target | None = None, event: str | None = None) -> list[Event]:
    """What is in the outbox for an object, a model or a channel's name, of that event's name, oldest first.

    The channels of an object or a model are meant whether they are public, private or of another kind.
    """
    return [sent for sent in outbox if _is_on(sent, target) and event in (None, sent.name)]


def assert_published(
    target: Target, event: str, *, count: int = 1, object: Mapping[str, Any] | None = None, **payload: Any
) -> Event:
    """Assert that ``event`` was published ``count`` times for ``target``, and return the last of them.

    Keywords are compared with the last one's payload (``user="ada"``); ``object`` needs to name only the
    fields that matter.
    """
    if count < 1:
        raise ValueError("To assert that nothing was published, use assert_not_published.")
    found = published(target, event)
    if len(found) != count:
        raise AssertionError(
            f"{event!r} was published {len(found)} times on {channel_of(target)}, not {count}. {_describe_outbox()}"
        )
    _assert_holds(found[-1].payload, payload, "")
    if object is not None:
        _assert_holds(found[-1].payload["object"], object, "object.")
    return found[-1]


def assert_not_published(target: Target | None = None, event: str | None = None) -> None:
    """Assert that nothing was published, for ``target`` or of the name ``event`` where they are given."""
    found = published(target, event)
    if found:
        raise AssertionError(f"{len(found)} events were published that should not have been. {_describe_outbox()}")


class PusherableTestMixin(SimpleTestCase):
    """For Django's test cases: each test has an empty ``self.outbox``, and nothing is delivered."""

    outbox = outbox

    def setUp(self) -> None:
        capture = capture_events()
        capture.__enter__()
        self.addCleanup(capture.__exit__, None, None, None)
        super().setUp()

    def assertPublished(self, target: Target, event: str, **expected: Any) -> Event:
        """As ``assert_published``."""
        return assert_published(target, event, **expected)

    def assertNotPublished(self, target: Target | None = None, event: str | None = None) -> None:
        """As ``assert_not_published``."""
        assert_not_published(target, event)


def _is_on(sent: Event, target: Target | None) -> bool:
    if target is None:
        return True
    if isinstance(target, str):
        return channel_of(target) in sent.channels
    return channel_of(target, kind=ChannelKind.PUBLIC) in map(bare_name, sent.channels)


def _assert_holds(found: Mapping[str, Any], expected: Mapping[str, Any], prefix: str) -> None:
    wrong = [
        f"{prefix}{name} is {found.get(name, '(missing)')!r}, not {value!r}"
        for name, value in expected.items()
        if name not in found or found[name] != value
    ]
    if wrong:
        raise AssertionError(f"{'; '.join(wrong)}. The payload's part: {dict(found)!r}")


def _describe_outbox() -> str:
    if not outbox:
        return (
            "The outbox is empty. Events wait for the commit: in a TestCase publish inside "
            "`with self.captureOnCommitCallbacks(execute=True)`."
        )
    lines = "\n".join(f"  {sent.name} on {', '.join(sent.channels)}: {sent.data}" for sent in outbox)
    return f"The outbox holds:\n{lines}"

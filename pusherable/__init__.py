"""Tell every open page, at once, who is looking at an object and who is changing it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pusherable.backends.counting import delivery_stats as delivery_stats
    from pusherable.bulk import apublish_many as apublish_many
    from pusherable.bulk import publish_many as publish_many
    from pusherable.client import get_client as get_client
    from pusherable.publishers import publishes as publishes
    from pusherable.publishing import apublish as apublish
    from pusherable.publishing import atrigger as atrigger
    from pusherable.publishing import publish as publish
    from pusherable.publishing import trigger as trigger
    from pusherable.suppression import suppress as suppress

__version__ = "1.0.0"

_DOORS = {
    "apublish": "pusherable.publishing",
    "apublish_many": "pusherable.bulk",
    "atrigger": "pusherable.publishing",
    "delivery_stats": "pusherable.backends.counting",
    "get_client": "pusherable.client",
    "publish": "pusherable.publishing",
    "publish_many": "pusherable.bulk",
    "publishes": "pusherable.publishers",
    "suppress": "pusherable.suppression",
    "trigger": "pusherable.publishing",
}


def __getattr__(name: str) -> Any:
    # Lazily, since Django imports this module before its settings may be read.
    if name in _DOORS:
        return getattr(import_module(_DOORS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOORS})

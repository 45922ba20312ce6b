"""What the settings say of the server's app and of its limits. It needs no package of the ``server`` extra."""

from dataclasses import asdict
from typing import Any, Final, TypedDict

from pusherable.conf import SettingsError, settings
from pusherable.server.config import Limits

_DEFAULTS: Final = asdict(Limits())


class Features(TypedDict):
    """What the clients of an app may do, by the names of ``App``."""

    has_client_events: bool
    has_subscription_counts: bool
    authorization_timeout: float | None


def read_features() -> Features:
    """What the project has turned on; raises ``SettingsError`` for a setting that is malformed."""
    return {
        "has_client_events": settings.client_events,
        "has_subscription_counts": settings.subscription_counts,
        "authorization_timeout": settings.authorization_timeout,
    }


def read_limits() -> Limits:
    """The hosted service's limits, but for those that the project sets; raises ``SettingsError``."""
    limits = settings.server_limits
    for name, value in limits.items():
        _check_limit(name, value)
    return Limits(**limits)


def _check_limit(name: Any, value: Any) -> None:
    if name not in _DEFAULTS:
        known = ", ".join(sorted(_DEFAULTS))
        raise _fault(f"PUSHERABLE_SERVER_LIMITS names {name!r}, which is no limit. There are {known}.")
    is_time = isinstance(_DEFAULTS[name], float)
    kinds = (int, float) if is_time else int
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf"):
        what = "number" if is_time else "whole number"
        raise _fault(f"PUSHERABLE_SERVER_LIMITS[{name!r}] is {value!r}; it is a {what} above zero.")


def _fault(message: str) -> SettingsError:
    return SettingsError(message, setting="PUSHERABLE_SERVER_LIMITS")

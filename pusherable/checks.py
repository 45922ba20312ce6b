"""System checks: what is wrong with the settings, before a visitor finds out."""

from collections.abc import Callable, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from pusherable.backends import get_backend_class
from pusherable.conf import SettingsError, settings
from pusherable.management.features import read_features, read_limits


@register("pusherable")
def check_service(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E001``: the credentials or the address of the service are missing or malformed."""
    return _complaint(lambda: settings.service, "pusherable.E001")


@register("pusherable")
def check_browser(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E002``: the public address for browsers is malformed."""
    if _complaint(lambda: settings.service, ""):
        return []
    return _complaint(lambda: settings.browser, "pusherable.E002")


@register("pusherable")
def check_backend(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E003``: ``PUSHERABLE_BACKEND`` names no backend."""
    return _complaint(get_backend_class, "pusherable.E003")


@register("pusherable")
def check_json_encoder(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E004``: ``PUSHERABLE_JSON_ENCODER`` is no encoder."""
    return _complaint(lambda: settings.json_encoder, "pusherable.E004")


@register("pusherable")
def check_webhook_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E005``: ``PUSHERABLE_WEBHOOK_URL`` is malformed."""
    return _complaint(lambda: settings.webhook_url, "pusherable.E005")


@register("pusherable")
def check_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E006``: what ``runpushserver`` is told of its app and its limits is malformed."""
    return _complaint(lambda: (read_features(), read_limits()), "pusherable.E006")


def _complaint(read: Callable[[], object], id: str) -> list[CheckMessage]:
    try:
        read()
    except SettingsError as error:
        return [Error(str(error), id=id)]
    return []

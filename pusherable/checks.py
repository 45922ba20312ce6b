"""System checks: what is wrong with the settings, before a visitor finds out."""

from collections.abc import Callable, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from pusherable.backends import get_backend_class
from pusherable.conf import SettingsError, settings
from pusherable.transport import make_tls_context


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
def check_encryption_master_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E010``: ``PUSHER_ENCRYPTION_MASTER_KEY`` is malformed."""
    return _complaint(lambda: settings.encryption_master_key, "pusherable.E010")


@register("pusherable")
def check_ca_file(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E011``: ``PUSHER_CA_FILE`` is no file with certificates."""
    if _complaint(lambda: settings.service, "") or not settings.service.ca_file:
        return []
    return _complaint(lambda: make_tls_context(ca_file=settings.service.ca_file), "pusherable.E011")


@register("pusherable")
def check_delivery(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E012``: a number for the threaded backend is malformed."""
    return _complaint(lambda: settings.delivery, "pusherable.E012")


@register("pusherable")
def check_webhook_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E020``: ``PUSHERABLE_WEBHOOK_SECRETS`` is malformed."""
    if _complaint(lambda: settings.service, ""):
        return []
    return _complaint(lambda: settings.webhook_secrets, "pusherable.E020")


@register("pusherable")
def check_webhook_max_age(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E021``: ``PUSHERABLE_WEBHOOK_MAX_AGE`` is no time."""
    return _complaint(lambda: settings.webhook_max_age, "pusherable.E021")


@register("pusherable")
def check_disconnect_users(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``pusherable.E022``: ``PUSHERABLE_DISCONNECT_USERS`` is neither true nor false."""
    return _complaint(lambda: settings.disconnect_users, "pusherable.E022")


def _complaint(read: Callable[[], object], id: str) -> list[CheckMessage]:
    try:
        read()
    except SettingsError as error:
        return [Error(str(error), id=id)]
    return []

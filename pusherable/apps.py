"""The Django app."""

import re

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.views.debug import SafeExceptionReporterFilter


class PusherableConfig(AppConfig):
    """Registers the system checks and each app's rules, and watches who may log in no longer; imports nothing heavy.

    It also keeps ``PUSHER_URL`` out of debug pages.
    """

    name = "pusherable"

    def ready(self) -> None:
        from pusherable import checks  # noqa: F401
        from pusherable.users import connect_signals

        connect_signals()

        # It holds the secret, and its name tells Django's debug page nothing of it.
        known = SafeExceptionReporterFilter.hidden_settings
        SafeExceptionReporterFilter.hidden_settings = re.compile(f"{known.pattern}|PUSHER_URL", known.flags)
        # Each app's rules about who may listen.
        autodiscover_modules("channels")

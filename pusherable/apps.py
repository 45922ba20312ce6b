"""The Django app."""

import re

from django.apps import AppConfig
from django.views.debug import SafeExceptionReporterFilter


class PusherableConfig(AppConfig):
    """Registers the system checks, and keeps ``PUSHER_URL`` out of debug pages; imports nothing heavy."""

    name = "pusherable"

    def ready(self) -> None:
        from pusherable import checks  # noqa: F401

        # It holds the secret, and its name tells Django's debug page nothing of it.
        known = SafeExceptionReporterFilter.hidden_settings
        SafeExceptionReporterFilter.hidden_settings = re.compile(f"{known.pattern}|PUSHER_URL", known.flags)

"""The Django app."""

from django.apps import AppConfig


class PusherableConfig(AppConfig):
    """Registers the system checks; imports nothing heavy."""

    name = "pusherable"

    def ready(self) -> None:
        from pusherable import checks  # noqa: F401

import pytest
from django.core.checks import Error, run_checks


def complaints():
    return run_checks(tags=["pusherable"])


class TestChecks:
    def test_good_settings_have_none(self):
        assert complaints() == []

    @pytest.mark.parametrize(
        ("name", "value", "id", "message"),
        [
            (
                "PUSHER_SECRET",
                "",
                "pusherable.E001",
                "PUSHER_SECRET is not set, though PUSHER_APP_ID and PUSHER_KEY are: an app has all three.",
            ),
            (
                "PUSHER_PUBLIC_PORT",
                "x",
                "pusherable.E002",
                "PUSHER_PUBLIC_PORT = 'x' is no port: it is a number from 1 to 65535.",
            ),
            (
                "PUSHERABLE_BACKEND",
                "builtins.dict",
                "pusherable.E003",
                "PUSHERABLE_BACKEND = 'builtins.dict' is no subclass of pusherable.backends.BaseBackend.",
            ),
            (
                "PUSHERABLE_JSON_ENCODER",
                dict,
                "pusherable.E004",
                "PUSHERABLE_JSON_ENCODER is <class 'dict'>; it is a subclass of json.JSONEncoder, or its dotted path.",
            ),
            (
                "PUSHERABLE_WEBHOOK_URL",
                "example.com",
                "pusherable.E005",
                "PUSHERABLE_WEBHOOK_URL is no address to send to; its form is https://host:port/path, without a user.",
            ),
            (
                "PUSHERABLE_SUBSCRIPTION_COUNTS",
                "x",
                "pusherable.E006",
                "PUSHERABLE_SUBSCRIPTION_COUNTS = 'x' is neither True nor False.",
            ),
            (
                "PUSHERABLE_SERVER_LIMITS",
                {"connections": 0},
                "pusherable.E006",
                "PUSHERABLE_SERVER_LIMITS['connections'] is 0; it is a whole number above zero.",
            ),
        ],
    )
    def test_bad_setting_has_one(self, settings, name, value, id, message):
        setattr(settings, name, value)
        assert complaints() == [Error(message, id=id)]

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
                "PUSHER_ENCRYPTION_MASTER_KEY",
                "abc",
                "pusherable.E010",
                "PUSHER_ENCRYPTION_MASTER_KEY is not 32 bytes in base64. `openssl rand -base64 32` makes one.",
            ),
            (
                "PUSHER_CA_FILE",
                __file__,
                "pusherable.E011",
                f"PUSHER_CA_FILE = {__file__!r} cannot be used: there is no certificate in it. It is a file with "
                "certificates in PEM form.",
            ),
            (
                "PUSHERABLE_WORKERS",
                0,
                "pusherable.E012",
                "PUSHERABLE_WORKERS = 0 is no whole number from 1 to 64.",
            ),
            (
                "PUSHERABLE_WEBHOOK_SECRETS",
                {"old-key": ""},
                "pusherable.E020",
                "PUSHERABLE_WEBHOOK_SECRETS holds a key or a secret that is empty, or no text. Its form is "
                "{'key': 'secret'}, or {'key': ['secret', 'secret']}.",
            ),
            (
                "PUSHERABLE_WEBHOOK_MAX_AGE",
                "0",
                "pusherable.E021",
                "PUSHERABLE_WEBHOOK_MAX_AGE = '0' is no time to wait: it is a number of seconds, up to 86400.",
            ),
            (
                "PUSHERABLE_DISCONNECT_USERS",
                "never",
                "pusherable.E022",
                "PUSHERABLE_DISCONNECT_USERS = 'never' is neither True nor False.",
            ),
        ],
    )
    def test_bad_setting_has_one(self, settings, name, value, id, message):
        setattr(settings, name, value)
        assert complaints() == [Error(message, id=id)]

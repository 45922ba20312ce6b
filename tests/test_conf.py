import base64
import json
import sys
import uuid

import pytest
from django.conf import Settings
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.test import override_settings
from django.views.debug import ExceptionReporter

from pusherable import conf
from pusherable.channels import ChannelKind
from pusherable.conf import Delivery, Service, SettingsError
from pusherable.conf import settings as pusherable_settings
from pusherable.exceptions import PusherableError


class Encoder(json.JSONEncoder):
    pass


NAMES = [
    "APP_ID", "KEY", "SECRET", "CLUSTER", "HOST", "PORT", "SSL", "TIMEOUT", "URL",
    "PUBLIC_HOST", "PUBLIC_PORT", "PUBLIC_SSL", "PUBLIC_PATH", "CA_FILE", "ENCRYPTION_MASTER_KEY",
]  # fmt: skip


@pytest.fixture
def configure(settings, monkeypatch):
    """Set exactly these ``PUSHER_`` settings, and DEBUG, as outside of tests."""
    monkeypatch.setattr(conf, "_in_tests", lambda: False)
    monkeypatch.delenv("PUSHER_URL", raising=False)
    monkeypatch.delenv("PUSHERABLE_LOCAL_SERVER", raising=False)
    monkeypatch.delenv("PUSHERABLE_LOCAL_SAME_ORIGIN", raising=False)
    monkeypatch.delenv("PUSHERABLE_LOCAL_CERTIFICATE", raising=False)
    monkeypatch.delenv("PUSHERABLE_LOCAL_PATH", raising=False)
    for name in NAMES:
        if hasattr(settings, f"PUSHER_{name}"):
            delattr(settings, f"PUSHER_{name}")

    def configure(*, debug=False, **values):
        settings.DEBUG = debug
        for name, value in values.items():
            setattr(settings, f"PUSHER_{name}", value)

    return configure


def hosted(**changes):
    return Service(
        **{
            "app_id": "3",
            "key": "k",
            "secret": "s",
            "cluster": "mt1",
            "host": "api-mt1.pusher.com",
            "port": 443,
            "ssl": True,
            "timeout": 5.0,
        }
        | changes
    )


# Reports of errors quote lines of source, too: it stands in none.
SECRET = str(uuid.uuid4())

CREDENTIALS = {"APP_ID": "3", "KEY": "k", "SECRET": "s"}


class TestService:
    @pytest.mark.parametrize(
        ("values", "service"),
        [
            ({}, hosted()),
            ({"APP_ID": 3}, hosted()),
            ({"CLUSTER": "", "HOST": "", "PORT": "", "SSL": "", "TIMEOUT": "", "URL": ""}, hosted()),
            ({"CLUSTER": None, "HOST": None, "PORT": None, "SSL": None, "TIMEOUT": None}, hosted()),
            ({"CLUSTER": "eu"}, hosted(cluster="eu", host="api-eu.pusher.com")),
            ({"HOST": "api-eu.pusher.com"}, hosted(cluster="eu", host="api-eu.pusher.com")),
            ({"TIMEOUT": "2.5"}, hosted(timeout=2.5)),
            ({"CA_FILE": "/etc/ca.pem"}, hosted(ca_file="/etc/ca.pem")),
            ({"SSL": False}, hosted(ssl=False, port=80)),
            ({"SSL": "False"}, hosted(ssl=False, port=80)),
            ({"SSL": "on"}, hosted()),
            ({"HOST": "ws.example.com"}, hosted(host="ws.example.com")),
            ({"HOST": "ws.example.com", "PORT": "6001"}, hosted(host="ws.example.com", port=6001)),
            ({"HOST": "127.0.0.1", "PORT": 6001}, hosted(host="127.0.0.1", port=6001, ssl=False)),
            ({"HOST": "localhost"}, hosted(host="localhost", port=80, ssl=False)),
            ({"HOST": "[::1]", "SSL": True}, hosted(host="::1")),
        ],
    )
    def test_settings_give_service(self, configure, values, service):
        configure(**(CREDENTIALS | values))
        assert pusherable_settings.service == service

    @pytest.mark.parametrize(
        ("url", "service"),
        [
            ("http://k:s@localhost:6001/apps/3", hosted(host="localhost", port=6001, ssl=False)),
            ("http://k:s@localhost/apps/3", hosted(host="localhost", port=80, ssl=False)),
            ("https://k:s@ws.example.com/apps/3/", hosted(host="ws.example.com")),
            ("http://k:s@ws.example.com:8080/apps/3", hosted(host="ws.example.com", port=8080, ssl=False)),
            ("https://k:s%2F%40@ws.example.com/apps/3", hosted(host="ws.example.com", secret="s/@")),
            ("http://k:s@[::1]:6001/apps/3", hosted(host="::1", port=6001, ssl=False)),
            # What hosting add-ons set: plain HTTP to a service that speaks TLS.
            ("http://k:s@api.pusherapp.com/apps/3", hosted(host="api.pusherapp.com")),
            ("http://k:s@api-eu.pusher.com/apps/3", hosted(host="api-eu.pusher.com", cluster="eu")),
        ],
    )
    def test_url_gives_service(self, configure, monkeypatch, url, service):
        """F.4: with and without a port."""
        configure(URL=url)
        assert pusherable_settings.service == service
        configure(URL="")
        monkeypatch.setenv("PUSHER_URL", url)
        assert pusherable_settings.service == service

    def test_setting_goes_before_environment(self, configure, monkeypatch):
        monkeypatch.setenv("PUSHER_URL", "http://env:s@localhost:1/apps/9")
        configure(URL="http://k:s@localhost:6001/apps/3")
        assert pusherable_settings.service.key == "k"

    def test_three_settings_go_before_url(self, configure):
        configure(URL="http://url:s@localhost:1/apps/9", **CREDENTIALS)
        assert pusherable_settings.service == hosted()

    def test_single_settings_go_before_parts_of_url(self, configure):
        configure(URL="http://k:s@localhost:6001/apps/3", PORT=7001, SSL=True, CLUSTER="eu")
        assert pusherable_settings.service == hosted(host="localhost", port=7001, ssl=True, cluster="eu")

    def test_debug_and_nothing_set_gives_local_server(self, configure, settings):
        settings.SECRET_KEY = "first"
        configure(debug=True)
        service = pusherable_settings.service
        assert service == hosted(
            app_id="1",
            key="pusherable-local",
            secret=service.secret,
            cluster="local",
            host="127.0.0.1",
            port=8001,
            ssl=False,
            is_local=True,
        )
        assert len(service.secret) == 64
        settings.SECRET_KEY = "second"
        assert pusherable_settings.service.secret != service.secret

    @pytest.mark.parametrize(
        ("address", "expected"), [("127.0.0.1:8000", ("127.0.0.1", 8000)), ("[::1]:9", ("::1", 9))]
    )
    def test_local_server_says_where_it_is(self, configure, monkeypatch, address, expected):
        configure(debug=True)
        monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", address)
        assert (pusherable_settings.service.host, pusherable_settings.service.port) == expected

    def test_local_server_at_no_address_is_an_error(self, configure, monkeypatch):
        configure(debug=True)
        monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", "localhost")
        with pytest.raises(SettingsError, match="PUSHERABLE_LOCAL_SERVER = 'localhost' is no address"):
            _ = pusherable_settings.service

    def test_local_server_elsewhere_by_settings(self, configure):
        configure(debug=True, HOST="10.0.0.5", PORT=8005, SSL=True)
        service = pusherable_settings.service
        assert (service.host, service.port, service.ssl) == ("10.0.0.5", 8005, True)

    def test_tests_need_nothing_set_though_django_turns_debug_off(self, configure, monkeypatch):
        configure()
        monkeypatch.setattr(conf, "_in_tests", lambda: True)
        assert pusherable_settings.service.is_local

    def test_nothing_set_outside_debug_is_an_error(self, configure):
        configure()
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.service
        assert str(refusal.value) == (
            "No Pusher service is configured. Set PUSHER_APP_ID, PUSHER_KEY and PUSHER_SECRET, or "
            "PUSHER_URL = 'http://key:secret@host:port/apps/id'. (Only with DEBUG = True does the local "
            "server stand in.)"
        )
        assert isinstance(refusal.value, ImproperlyConfigured)
        assert isinstance(refusal.value, PusherableError)

    @pytest.mark.parametrize(
        ("values", "setting", "message"),
        [
            (
                {"APP_ID": "3", "KEY": "k"},
                "PUSHER_SECRET",
                "PUSHER_SECRET is not set, though PUSHER_APP_ID and PUSHER_KEY are: an app has all three.",
            ),
            (
                {"KEY": "k"},
                "PUSHER_APP_ID",
                "PUSHER_APP_ID and PUSHER_SECRET are not set, though PUSHER_KEY is: an app has all three.",
            ),
            (
                CREDENTIALS | {"APP_ID": "app-id"},
                "PUSHER_APP_ID",
                "The app's id 'app-id' is not made of digits alone; mend PUSHER_APP_ID.",
            ),
            (
                CREDENTIALS | {"KEY": "a b"},
                "PUSHER_KEY",
                "The app's key 'a b' holds a space, a slash or a colon; mend PUSHER_KEY.",
            ),
            (CREDENTIALS | {"KEY": ["k"]}, "PUSHER_KEY", "PUSHER_KEY is ['k']; it is a text."),
            (CREDENTIALS | {"SECRET": b"hidden"}, "PUSHER_SECRET", "PUSHER_SECRET is bytes; it is a text."),
            (
                CREDENTIALS | {"PORT": "70000"},
                "PUSHER_PORT",
                "PUSHER_PORT = '70000' is no port: it is a number from 1 to 65535.",
            ),
            (CREDENTIALS | {"SSL": "maybe"}, "PUSHER_SSL", "PUSHER_SSL = 'maybe' is neither True nor False."),
            (
                CREDENTIALS | {"CLUSTER": "e/u"},
                "PUSHER_CLUSTER",
                "PUSHER_CLUSTER = 'e/u' is no cluster's name: 'eu' and 'mt1' are.",
            ),
            (
                CREDENTIALS | {"HOST": "https://x"},
                "PUSHER_HOST",
                "The host 'https://x' of PUSHER_HOST is no host's name: leave out the scheme and any path, and set "
                "the port by PUSHER_PORT.",
            ),
            (
                CREDENTIALS | {"HOST": "x:6001"},
                "PUSHER_HOST",
                "The host 'x:6001' of PUSHER_HOST is no host's name: leave out the scheme and any path, and set "
                "the port by PUSHER_PORT.",
            ),
            *(
                (
                    CREDENTIALS | {"TIMEOUT": value},
                    "PUSHER_TIMEOUT",
                    f"PUSHER_TIMEOUT = {value!r} is no time to wait: it is a number of seconds, up to 600.",
                )
                for value in (0, -1, "soon", float("nan"), 601, [])
            ),
            (
                {"URL": "ftp://localhost"},
                "PUSHER_URL",
                "PUSHER_URL lacks the scheme http or https, the key, the secret, /apps/ and the app's id at "
                "the end; its form is http://key:secret@host:port/apps/id.",
            ),
            (
                {"URL": "http://k:hidden@localhost:x/apps/3"},
                "PUSHER_URL",
                "PUSHER_URL is malformed; its form is http://key:secret@host:port/apps/id.",
            ),
            (
                {"URL": "http://k:hidden@ho$t/apps/3"},
                "PUSHER_URL",
                "The host 'ho$t' of PUSHER_URL is no host's name: leave out the scheme and any path, and set the "
                "port by PUSHER_URL.",
            ),
            (
                {"URL": "http://k:hidden@localhost/apps/x"},
                "PUSHER_URL",
                "The app's id 'x' is not made of digits alone; mend PUSHER_URL.",
            ),
        ],
    )
    def test_bad_setting_is_an_error_that_names_it(self, configure, values, setting, message):
        configure(**values)
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.service
        assert (refusal.value.setting, str(refusal.value)) == (setting, message)
        assert "hidden" not in repr(refusal.value)

    def test_secret_is_in_no_repr(self):
        assert "hidden" not in repr(hosted(secret="hidden"))


class TestInTests:
    def test_outbox_for_mail_is_not_enough(self, monkeypatch):
        assert conf._in_tests()
        monkeypatch.delattr("django.test.utils._TestState.saved_data")
        assert not conf._in_tests()


class TestErrorReports:
    def test_secret_is_in_no_report_of_an_error(self, configure, rf):
        configure(**(CREDENTIALS | {"SECRET": SECRET, "PORT": "x"}))
        try:
            _ = pusherable_settings.service
        except SettingsError:
            report = ExceptionReporter(rf.get("/"), *sys.exc_info()).get_traceback_html()
        assert "PUSHER_PORT" in report
        assert SECRET not in report

    def test_url_is_hidden_from_debug_pages(self, configure, rf):
        configure(debug=True, URL=f"http://k:{SECRET}@localhost/apps/3")
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            report = ExceptionReporter(rf.get("/"), *sys.exc_info()).get_traceback_html()
        assert "PUSHER_URL" in report
        assert SECRET not in report


class TestBrowser:
    @pytest.mark.parametrize(
        ("values", "options"),
        [
            ({}, {"key": "k", "cluster": "mt1", "forceTLS": True}),
            (
                {"HOST": "ws.example.com"},
                {
                    "key": "k",
                    "cluster": "mt1",
                    "wsHost": "ws.example.com",
                    "wsPort": 443,
                    "wssPort": 443,
                    "forceTLS": True,
                },
            ),
            (
                {"HOST": "::1", "PORT": 6001, "PUBLIC_SSL": True, "PUBLIC_PORT": 8443},
                {
                    "key": "k",
                    "cluster": "mt1",
                    "wsHost": "[::1]",
                    "wsPort": 8443,
                    "wssPort": 8443,
                    "forceTLS": True,
                },
            ),
            (
                {"HOST": "127.0.0.1", "PUBLIC_HOST": "www.example.com", "PUBLIC_PATH": "live/"},
                {
                    "key": "k",
                    "cluster": "mt1",
                    "wsPath": "/live",
                    "wsHost": "www.example.com",
                    "wsPort": 80,
                    "wssPort": 443,
                    "forceTLS": None,
                },
            ),
        ],
    )
    def test_settings_give_options(self, configure, values, options):
        configure(**(CREDENTIALS | values))
        assert pusherable_settings.browser == options

    def test_local_server_leaves_the_host_to_the_page(self, configure):
        configure(debug=True)
        assert pusherable_settings.browser == {
            "key": "pusherable-local",
            "cluster": "local",
            "wsHost": None,
            "wsPort": 8001,
            "wssPort": 8001,
            "forceTLS": None,
        }

    def test_one_address_for_all_leaves_the_port_to_the_page_too(self, configure, monkeypatch):
        configure(debug=True)
        monkeypatch.setenv("PUSHERABLE_LOCAL_SERVER", "127.0.0.1:8000")
        monkeypatch.setenv("PUSHERABLE_LOCAL_SAME_ORIGIN", "1")
        assert pusherable_settings.browser == {
            "key": "pusherable-local",
            "cluster": "local",
            "wsHost": None,
            "wsPort": None,
            "wssPort": None,
            "forceTLS": None,
        }

    def test_local_server_with_tls_and_a_path_says_so(self, configure, monkeypatch):
        configure(debug=True)
        monkeypatch.setenv("PUSHERABLE_LOCAL_CERTIFICATE", "/etc/cert.pem")
        monkeypatch.setenv("PUSHERABLE_LOCAL_PATH", "/push")
        options = {
            "key": "pusherable-local",
            "cluster": "local",
            "wsPath": "/push",
            "wsHost": None,
            "wsPort": 8001,
            "wssPort": 8001,
            "forceTLS": True,
        }
        assert pusherable_settings.browser == options
        assert (pusherable_settings.service.ssl, pusherable_settings.service.certificate) == (True, "/etc/cert.pem")
        configure(debug=True, SSL=False, PUBLIC_SSL=False, PUBLIC_PATH="live")
        assert pusherable_settings.browser == options | {"wsPath": "/live", "forceTLS": False}
        assert pusherable_settings.service.ssl is False

    def test_path_of_the_local_server_is_not_that_of_another(self, configure, monkeypatch):
        configure(**(CREDENTIALS | {"HOST": "ws.example.com"}))
        monkeypatch.setenv("PUSHERABLE_LOCAL_PATH", "/push")
        assert "wsPath" not in pusherable_settings.browser

    def test_secret_is_never_among_them(self, configure):
        configure(**(CREDENTIALS | {"SECRET": "hidden", "HOST": "x"}))
        assert "hidden" not in repr(pusherable_settings.browser)


class TestTransport:
    @pytest.mark.parametrize(
        ("value", "transport"),
        [(None, "websocket"), ("", "websocket"), ("websocket", "websocket"), ("sse", "sse"), (" SSE ", "sse")],
    )
    def test_is_what_the_setting_says_or_else_the_websocket(self, settings, value, transport):
        settings.PUSHERABLE_TRANSPORT = value
        assert pusherable_settings.transport == transport

    def test_anything_else_is_an_error(self, settings):
        settings.PUSHERABLE_TRANSPORT = "polling"
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.transport
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_TRANSPORT",
            "PUSHERABLE_TRANSPORT = 'polling' is neither 'websocket' nor 'sse'.",
        )


class TestStreams:
    def test_are_where_browsers_find_the_server(self):
        assert pusherable_settings.stream_server == pusherable_settings.browser

    def test_of_the_hosted_service_there_are_none(self, settings):
        settings.PUSHER_HOST = settings.PUSHER_PORT = ""
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.stream_server
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHER_HOST",
            "Hosted Pusher has no event streams: runpushserver has. Set PUSHER_HOST, or keep to "
            "PUSHERABLE_TRANSPORT = 'websocket'.",
        )

    @pytest.mark.parametrize(
        ("value", "limits", "lifetime"),
        [
            (None, {}, 3600),
            (60, {}, 60),
            ("86400", {}, 86_400),
            (None, {"stream_lifetime": 600.0}, 600),
            (100_000, {"stream_lifetime": 200_000}, 100_000),
            (None, {"stream_lifetime": "x"}, 3600),
            (None, {"stream_lifetime": True}, 3600),
            (None, {"stream_lifetime": float("inf")}, 3600),
            (None, {"stream_lifetime": 0}, 3600),
        ],
    )
    def test_are_valid_as_long_as_the_setting_says_and_the_server_allows(self, settings, value, limits, lifetime):
        settings.PUSHERABLE_STREAM_LIFETIME = value
        settings.PUSHERABLE_SERVER_LIMITS = limits
        assert pusherable_settings.stream_lifetime == lifetime

    @pytest.mark.parametrize(("value", "limits"), [(86_401, {}), (601, {"stream_lifetime": 600}), (0, {}), ("x", {})])
    def test_that_would_be_valid_longer_are_an_error(self, settings, value, limits):
        settings.PUSHERABLE_STREAM_LIFETIME = value
        settings.PUSHERABLE_SERVER_LIMITS = limits
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.stream_lifetime
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_STREAM_LIFETIME",
            f"PUSHERABLE_STREAM_LIFETIME = {value} is no whole number from 1 to "
            f"{limits.get('stream_lifetime', 86400)}.",
        )

    @pytest.mark.parametrize(("limits", "channels"), [(None, 100), ({"channels_per_stream": 250}, 250)])
    def test_have_as_many_channels_as_the_server_allows(self, settings, limits, channels):
        settings.PUSHERABLE_SERVER_LIMITS = limits
        assert pusherable_settings.stream_channels == channels


class TestBackend:
    def test_default_is_threaded(self, settings, configure):
        del settings.PUSHERABLE_BACKEND
        assert pusherable_settings.backend == "threaded"

    def test_default_of_tests_keeps_events_from_open_pages(self, settings):
        del settings.PUSHERABLE_BACKEND
        assert pusherable_settings.backend == "locmem"


class TestWebhookUrl:
    @pytest.mark.parametrize("value", ["", None, "https://example.com", "http://[::1]:8000/hooks/?token=7"])
    def test_address_or_none(self, settings, value):
        settings.PUSHERABLE_WEBHOOK_URL = value
        assert pusherable_settings.webhook_url == (value or "")

    @pytest.mark.parametrize(
        "value",
        [
            "example.com/hidden",
            "ftp://example.com/hidden",
            "https:///hidden",
            "https://user:hidden@example.com",
            "https://example.com:x/hidden",
            "https://example.com:0/hidden",
            "https://example.com/hid den",
            "https://example.com/hiddén",
            "https://[hidden",
        ],
    )
    def test_anything_else_is_an_error_that_does_not_quote_it(self, settings, value):
        settings.PUSHERABLE_WEBHOOK_URL = value
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.webhook_url
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_WEBHOOK_URL",
            "PUSHERABLE_WEBHOOK_URL is no address to send to; its form is https://host:port/path, without a user.",
        )


class TestRedis:
    @pytest.mark.parametrize(
        "value", ["", None, "redis://127.0.0.1:6379/0", "rediss://user:hidden@redis.example", "unix:///run/redis.sock"]
    )
    def test_address_or_none(self, settings, value):
        settings.PUSHERABLE_REDIS_URL = value
        assert pusherable_settings.redis_url == (value or "")

    @pytest.mark.parametrize("value", ["127.0.0.1:6379", "http://hidden@127.0.0.1"])
    def test_anything_else_is_an_error_that_does_not_quote_it(self, settings, value):
        settings.PUSHERABLE_REDIS_URL = value
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.redis_url
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_REDIS_URL",
            "PUSHERABLE_REDIS_URL is no address of Redis; its form is redis://host:6379/0, rediss://… for TLS, or "
            "unix://path.",
        )

    @pytest.mark.parametrize(("value", "prefix"), [(None, "pusherable"), ("", "pusherable"), ("newsroom", "newsroom")])
    def test_prefix(self, settings, value, prefix):
        settings.PUSHERABLE_REDIS_PREFIX = value
        assert pusherable_settings.redis_prefix == prefix


class TestSwitches:
    @pytest.mark.parametrize(
        ("name", "attribute", "default"),
        [
            ("PUSHERABLE_SUBSCRIPTION_COUNTS", "subscription_counts", False),
            ("PUSHERABLE_CLIENT_EVENTS", "client_events", True),
        ],
    )
    def test_on_or_off(self, settings, name, attribute, default):
        assert getattr(pusherable_settings, attribute) is default
        for value, expected in [(True, True), ("no", False), ("", default), (None, default)]:
            setattr(settings, name, value)
            assert getattr(pusherable_settings, attribute) is expected
        setattr(settings, name, "perhaps")
        with pytest.raises(SettingsError) as refusal:
            getattr(pusherable_settings, attribute)
        assert (refusal.value.setting, str(refusal.value)) == (name, f"{name} = 'perhaps' is neither True nor False.")


class TestAuthorizationTimeout:
    @pytest.mark.parametrize(("value", "expected"), [(None, None), ("", None), (10, 10.0), ("2.5", 2.5)])
    def test_seconds_or_none(self, settings, value, expected):
        settings.PUSHERABLE_AUTHORIZATION_TIMEOUT = value
        assert pusherable_settings.authorization_timeout == expected

    @pytest.mark.parametrize("value", [0, -1, "soon", float("nan"), 3_601])
    def test_anything_else_is_an_error(self, settings, value):
        settings.PUSHERABLE_AUTHORIZATION_TIMEOUT = value
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.authorization_timeout
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_AUTHORIZATION_TIMEOUT",
            f"PUSHERABLE_AUTHORIZATION_TIMEOUT = {value!r} is no time to wait: it is a number of seconds, up to 3600.",
        )


class TestServerLimits:
    @pytest.mark.parametrize(("value", "expected"), [(None, {}), ({}, {}), ({"connections": 5}, {"connections": 5})])
    def test_a_dict_or_nothing(self, settings, value, expected):
        settings.PUSHERABLE_SERVER_LIMITS = value
        assert pusherable_settings.server_limits == expected

    def test_anything_else_is_an_error(self, settings):
        settings.PUSHERABLE_SERVER_LIMITS = 100
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.server_limits
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_SERVER_LIMITS",
            "PUSHERABLE_SERVER_LIMITS is 100; it is a dict, such as {'connections': 100}.",
        )


def describe(user):
    return {}


class TestMemberInfo:
    @pytest.mark.parametrize("value", [None, ""])
    def test_default_is_none(self, settings, value):
        settings.PUSHERABLE_MEMBER_INFO = value
        assert pusherable_settings.member_info is None

    @pytest.mark.parametrize("value", [describe, f"{__name__}.describe"])
    def test_function_or_path(self, settings, value):
        settings.PUSHERABLE_MEMBER_INFO = value
        assert pusherable_settings.member_info is describe

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("nowhere.describe", "PUSHERABLE_MEMBER_INFO = 'nowhere.describe' cannot be imported: No module named"),
            (7, "PUSHERABLE_MEMBER_INFO is 7; it is a function of a user, or its dotted path."),
            (f"{__name__}.SECRET", "PUSHERABLE_MEMBER_INFO is '"),
        ],
    )
    def test_anything_else_is_an_error(self, settings, value, message):
        settings.PUSHERABLE_MEMBER_INFO = value
        with pytest.raises(SettingsError, match="PUSHERABLE_MEMBER_INFO") as refusal:
            _ = pusherable_settings.member_info
        assert str(refusal.value).startswith(message)


class TestPrivateChannels:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (None, ChannelKind.PUBLIC),
            ("", ChannelKind.PUBLIC),
            (False, ChannelKind.PUBLIC),
            ("false", ChannelKind.PUBLIC),
            (True, ChannelKind.PRIVATE),
            ("True", ChannelKind.PRIVATE),
            ("encrypted", ChannelKind.ENCRYPTED),
        ],
    )
    def test_value_gives_the_kind(self, settings, value, kind):
        settings.PUSHERABLE_PRIVATE_CHANNELS = value
        assert pusherable_settings.private_channels is kind

    @pytest.mark.parametrize("value", ["presence", 7, []])
    def test_anything_else_is_an_error(self, settings, value):
        settings.PUSHERABLE_PRIVATE_CHANNELS = value
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.private_channels
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_PRIVATE_CHANNELS",
            f"PUSHERABLE_PRIVATE_CHANNELS = {value!r} is none of True, False and 'encrypted'.",
        )


class TestEncryptionMasterKey:
    def test_base64_of_32_bytes_is_read(self, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
        assert pusherable_settings.encryption_master_key == bytes(range(32))

    @pytest.mark.parametrize("value", [None, "", " "])
    def test_without_it_there_is_none(self, settings, value):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = value
        assert pusherable_settings.encryption_master_key is None

    @pytest.mark.parametrize("value", [f"{SECRET}!", "c2hvcnQ=", "ä" * 32, base64.b64encode(bytes(33)).decode()])
    def test_malformed_one_is_an_error_that_does_not_show_it(self, settings, value):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = value
        with pytest.raises(SettingsError) as refusal:
            pusherable_settings.encryption_master_key  # noqa: B018
        assert str(refusal.value) == (
            "PUSHER_ENCRYPTION_MASTER_KEY is not 32 bytes in base64. `openssl rand -base64 32` makes one."
        )
        report = ExceptionReporter(None, refusal.type, refusal.value, refusal.tb)
        assert SECRET not in report.get_traceback_text()

    def test_other_kinds_of_value_are_named_by_their_type(self, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = SECRET.encode()
        with pytest.raises(SettingsError, match="PUSHER_ENCRYPTION_MASTER_KEY is bytes; it is a text"):
            pusherable_settings.encryption_master_key  # noqa: B018


class TestDelivery:
    def test_defaults(self):
        assert pusherable_settings.delivery == Delivery(
            workers=1, queue_size=10_000, max_age=60.0, max_attempts=20, exit_timeout=2.0
        )

    def test_text_of_the_environment_is_welcome(self, settings):
        settings.PUSHERABLE_WORKERS, settings.PUSHERABLE_QUEUE_SIZE = "4", "100"
        settings.PUSHERABLE_MAX_AGE, settings.PUSHERABLE_MAX_ATTEMPTS = "0.5", 3
        settings.PUSHERABLE_EXIT_TIMEOUT = 10
        assert pusherable_settings.delivery == Delivery(
            workers=4, queue_size=100, max_age=0.5, max_attempts=3, exit_timeout=10.0
        )

    @pytest.mark.parametrize(
        ("name", "value", "rule"),
        [
            ("WORKERS", "0", "no whole number from 1 to 64"),
            ("WORKERS", 65, "no whole number from 1 to 64"),
            ("WORKERS", "two", "no whole number from 1 to 64"),
            ("QUEUE_SIZE", -1, "no whole number from 1 to 10000000"),
            ("MAX_ATTEMPTS", "²", "no whole number from 1 to 1000000"),
            ("MAX_AGE", 0, "no time to wait: it is a number of seconds, up to 86400"),
            ("EXIT_TIMEOUT", "soon", "no time to wait: it is a number of seconds, up to 600"),
        ],
    )
    def test_malformed_number_is_an_error(self, settings, name, value, rule):
        setattr(settings, f"PUSHERABLE_{name}", value)
        with pytest.raises(SettingsError) as refusal:
            pusherable_settings.delivery  # noqa: B018
        shown = value if "number from" in rule else repr(value)
        assert str(refusal.value) == f"PUSHERABLE_{name} = {shown} is {rule}."
        assert refusal.value.setting == f"PUSHERABLE_{name}"


class TestProject:
    def test_what_the_server_asks_of_it(self, settings):
        settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
        settings.MIDDLEWARE = ["a.B"]
        assert pusherable_settings.trusted_origins == ("https://*.example.com",)
        assert pusherable_settings.middleware == ("a.B",)

    def test_what_the_question_to_a_view_asks_of_it(self, settings):
        settings.LANGUAGE_CODE = "de"
        assert (pusherable_settings.language_code, pusherable_settings.root_urlconf) == ("de", "tests.urls")

    def test_what_its_pages_prove_themselves_by(self, settings):
        assert pusherable_settings.csrf == {"header": "X-Csrftoken", "cookie": "csrftoken"}
        settings.CSRF_HEADER_NAME, settings.CSRF_COOKIE_NAME = "HTTP_X_XSRF_TOKEN", "XSRF-TOKEN"
        assert pusherable_settings.csrf == {"header": "X-Xsrf-Token", "cookie": "XSRF-TOKEN"}

    @pytest.mark.parametrize("name", ["CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY"])
    def test_whose_token_scripts_cannot_read_names_no_cookie(self, settings, name):
        setattr(settings, name, True)
        assert pusherable_settings.csrf["cookie"] == ""


class TestJSONEncoder:
    def test_default_is_djangos(self):
        assert pusherable_settings.json_encoder is DjangoJSONEncoder

    @pytest.mark.parametrize("value", [Encoder, f"{__name__}.Encoder"])
    def test_class_or_path(self, settings, value):
        settings.PUSHERABLE_JSON_ENCODER = value
        assert pusherable_settings.json_encoder is Encoder

    def test_path_to_nothing_is_an_error(self, settings):
        settings.PUSHERABLE_JSON_ENCODER = "nowhere.Encoder"
        with pytest.raises(SettingsError, match="PUSHERABLE_JSON_ENCODER = 'nowhere.Encoder' cannot be imported"):
            _ = pusherable_settings.json_encoder

    def test_other_class_is_an_error(self, settings):
        settings.PUSHERABLE_JSON_ENCODER = dict
        with pytest.raises(SettingsError, match=r"is a subclass of json.JSONEncoder, or its dotted path"):
            _ = pusherable_settings.json_encoder


class TestWebhookSecrets:
    def test_service_is_always_among_them(self, settings):
        assert pusherable_settings.webhook_secrets == (("test-key", "test-secret"),)
        settings.PUSHERABLE_WEBHOOK_SECRETS = {"old-key": "old", "test-key": ["older", "oldest"]}
        assert pusherable_settings.webhook_secrets == (
            ("test-key", "test-secret"),
            ("old-key", "old"),
            ("test-key", "older"),
            ("test-key", "oldest"),
        )

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (["hidden"], "is of the type list"),
            ({"key": 7}, "holds a key or a secret that is empty, or no text"),
            ({"key": ["hidden", ""]}, "holds a key or a secret that is empty, or no text"),
            ({"key": []}, "holds a key or a secret that is empty, or no text"),
            ({7: "hidden"}, "holds a key or a secret that is empty, or no text"),
        ],
    )
    def test_anything_else_is_an_error_that_does_not_quote_it(self, settings, value, problem):
        settings.PUSHERABLE_WEBHOOK_SECRETS = value
        with pytest.raises(SettingsError) as refusal:
            _ = pusherable_settings.webhook_secrets
        assert (refusal.value.setting, str(refusal.value)) == (
            "PUSHERABLE_WEBHOOK_SECRETS",
            f"PUSHERABLE_WEBHOOK_SECRETS {problem}. Its form is {{'key': 'secret'}}, or "
            "{'key': ['secret', 'secret']}.",
        )


class TestWebhookMaxAge:
    def test_default_number_and_none(self, settings):
        assert pusherable_settings.webhook_max_age == 600.0
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = "330"
        assert pusherable_settings.webhook_max_age == 330.0
        settings.PUSHERABLE_WEBHOOK_MAX_AGE = None
        assert pusherable_settings.webhook_max_age is None


class TestDisconnectUsers:
    @pytest.mark.parametrize(("value", "read"), [(None, None), ("", None), (True, True), ("no", False)])
    def test_yes_no_or_unsaid(self, settings, value, read):
        settings.PUSHERABLE_DISCONNECT_USERS = value
        assert pusherable_settings.disconnect_users is read


class TestComposing:
    def test_it_is_what_the_two_settings_are(self, settings):
        def look():
            return conf.settings.composing == (conf.settings.json_encoder, conf.settings.private_channels)

        assert look()
        settings.PUSHERABLE_PRIVATE_CHANNELS = "encrypted"
        assert look()
        assert conf.settings.composing[1] is ChannelKind.ENCRYPTED

    def test_one_that_is_set_in_the_file_of_settings_is_seen(self, monkeypatch):
        assert conf.settings.composing == (DjangoJSONEncoder, ChannelKind.PUBLIC)
        # As a settings module would have it; an override is another object.
        holder = object.__getattribute__(django_settings, "__dict__")["_wrapped"]
        while not isinstance(holder, Settings):
            holder = holder.default_settings
        monkeypatch.setitem(object.__getattribute__(django_settings, "__dict__"), "_wrapped", holder)
        monkeypatch.setitem(vars(holder), "PUSHERABLE_PRIVATE_CHANNELS", True)
        assert conf.settings.composing == (DjangoJSONEncoder, ChannelKind.PRIVATE)


class TestReading:
    def test_deleted_assigned_and_overridden_settings_are_seen_at_once(self):
        with override_settings(PUSHERABLE_BACKEND="dummy"):
            assert conf.settings.backend == "dummy"
            with override_settings(PUSHERABLE_BACKEND="console"):
                assert conf.settings.backend == "console"
                django_settings.PUSHERABLE_BACKEND = "inline"
                assert conf.settings.backend == "inline"
                del django_settings.PUSHERABLE_BACKEND
                assert conf.settings.backend == "locmem"
            assert conf.settings.backend == "dummy"

    def test_settings_of_another_kind_are_asked_as_any_object(self, monkeypatch):
        class Settings:
            PUSHERABLE_BACKEND = "console"

        monkeypatch.setattr(conf, "django_settings", Settings())
        assert (conf.settings.backend, conf.settings.private_channels) == ("console", ChannelKind.PUBLIC)

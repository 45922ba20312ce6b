"""Every setting as a typed property, read at each access; the only reader of ``django.conf.settings``.

``PUSHER_*`` says where the service is, ``PUSHERABLE_*`` how this package behaves.
"""

import ipaddress
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from pusherable.exceptions import PusherableError
from pusherable.signing import sign

#: Where ``runpushserver`` listens, as ``host:port``; it tells its own Django by this variable.
LOCAL_SERVER_VARIABLE: Final = "PUSHERABLE_LOCAL_SERVER"
#: Set where one address serves pages and sockets (``runpushserver --allrequests``).
SAME_ORIGIN_VARIABLE: Final = "PUSHERABLE_LOCAL_SAME_ORIGIN"
#: The server's certificate, if it speaks TLS: the one that is trusted, whoever has issued it.
LOCAL_CERTIFICATE_VARIABLE: Final = "PUSHERABLE_LOCAL_CERTIFICATE"
#: The prefix of the server's addresses, such as ``/push`` (``runpushserver --path``).
LOCAL_PATH_VARIABLE: Final = "PUSHERABLE_LOCAL_PATH"
LOCAL_SERVER_DEFAULT: Final = "127.0.0.1:8001"

_HOSTED_CLUSTER = re.compile(r"api-([a-z0-9-]+)\.pusher\.com")
_HOSTED_WITHOUT_CLUSTER: Final = ("api.pusherapp.com", "api.pusher.com")
_URL_FORM: Final = "http://key:secret@host:port/apps/id"
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class SettingsError(PusherableError, ImproperlyConfigured):
    """A setting that is missing or malformed; ``setting`` names the one to mend."""

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True, slots=True)
class Service:
    """Where events are delivered to, and as which app; ``timeout`` is in seconds for one request.

    ``certificate`` is a file with the only certificate to trust, whatever name it is for.
    """

    app_id: str
    key: str
    secret: str = field(repr=False)
    cluster: str
    host: str
    port: int
    ssl: bool
    timeout: float
    is_local: bool = False
    certificate: str = ""

    @property
    def is_hosted(self) -> bool:
        """Whether this is Pusher's own service, which browsers reach by the cluster's name alone."""
        return self.host in _HOSTED_WITHOUT_CLUSTER or _HOSTED_CLUSTER.fullmatch(self.host) is not None


class PusherableSettings:
    """The project's settings; every property raises ``SettingsError`` for a value it cannot use."""

    @property
    @sensitive_variables()
    def service(self) -> Service:
        """The service, from ``PUSHER_APP_ID``, ``…_KEY`` and ``…_SECRET``, or from ``PUSHER_URL``.

        The three settings go before the URL, the setting before the environment variable. With none of
        them it is the local server under ``DEBUG`` and in tests, for which Django turns ``DEBUG`` off.
        """
        credentials = {name: _text(name) for name in ("PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET")}
        if any(credentials.values()):
            return _service_from_settings(credentials)
        url = _text("PUSHER_URL") or os.environ.get("PUSHER_URL", "").strip()
        if url:
            return _service_from_url(url)
        if django_settings.DEBUG or _in_tests():
            return _local_service()
        raise SettingsError(
            "No Pusher service is configured. Set PUSHER_APP_ID, PUSHER_KEY and PUSHER_SECRET, or "
            f"PUSHER_URL = {_URL_FORM!r}. (Only with DEBUG = True does the local server stand in.)",
            setting="PUSHER_APP_ID",
        )

    @property
    def browser(self) -> dict[str, Any]:
        """The options for pusher-js. Never the secret.

        ``None`` leaves a value to the page's own address: ``wsHost``, ``wsPort`` and ``wssPort`` to its
        host and port, ``forceTLS`` to its scheme. The hosted service has no ``ws…`` options at all.
        """
        service = self.service
        public_host = _host("PUSHER_PUBLIC_HOST")
        public_port = _port("PUSHER_PUBLIC_PORT")
        public_ssl = _boolean("PUSHER_PUBLIC_SSL")
        path = _text("PUSHER_PUBLIC_PATH") or (os.environ.get(LOCAL_PATH_VARIABLE, "") if service.is_local else "")
        options: dict[str, Any] = {"key": service.key, "cluster": service.cluster}
        if service.is_hosted and not public_host:
            return options | {"forceTLS": True}
        if path:
            options["wsPath"] = "/" + path.strip("/")
        if public_host:
            port, ssl = public_port, public_ssl
            return options | {
                "wsHost": public_host,
                "wsPort": port or 80,
                "wssPort": port or 443,
                "forceTLS": ssl,
            }
        if service.is_local:
            port = public_port or (None if os.environ.get(SAME_ORIGIN_VARIABLE) else service.port)
            # By itself a page uses the scheme it came with.
            ssl = True if public_ssl is None and service.ssl else public_ssl
            return options | {"wsHost": None, "wsPort": port, "wssPort": port, "forceTLS": ssl}
        port = public_port or service.port
        ssl = service.ssl if public_ssl is None else public_ssl
        return options | {"wsHost": bracketed(service.host), "wsPort": port, "wssPort": port, "forceTLS": ssl}

    @property
    def backend(self) -> str:
        """``PUSHERABLE_BACKEND``: a dotted path, or the short name of a backend of this package.

        By default ``threaded``; in tests ``locmem``, so that no test is heard by a developer's open pages.
        """
        return _text("PUSHERABLE_BACKEND") or ("locmem" if _in_tests() else "threaded")

    @property
    def json_encoder(self) -> type[json.JSONEncoder]:
        """``PUSHERABLE_JSON_ENCODER``: a subclass of ``json.JSONEncoder`` or its dotted path."""
        value = getattr(django_settings, "PUSHERABLE_JSON_ENCODER", None) or DjangoJSONEncoder
        if isinstance(value, str):
            try:
                value = import_string(value)
            except ImportError as error:
                raise SettingsError(
                    f"PUSHERABLE_JSON_ENCODER = {value!r} cannot be imported: {error}",
                    setting="PUSHERABLE_JSON_ENCODER",
                ) from error
        if not (isinstance(value, type) and issubclass(value, json.JSONEncoder)):
            raise SettingsError(
                f"PUSHERABLE_JSON_ENCODER is {value!r}; it is a subclass of json.JSONEncoder, or its dotted path.",
                setting="PUSHERABLE_JSON_ENCODER",
            )
        return value

    @property
    def webhook_url(self) -> str:
        """``PUSHERABLE_WEBHOOK_URL``: where ``runpushserver`` sends webhooks; by default ``""``, nowhere."""
        url = _text("PUSHERABLE_WEBHOOK_URL")
        if url and not _is_plain_url(url):
            # It may hold a password or a token, and is not shown.
            raise SettingsError(
                "PUSHERABLE_WEBHOOK_URL is no address to send to; its form is https://host:port/path, without a user.",
                setting="PUSHERABLE_WEBHOOK_URL",
            )
        return url

    @property
    def subscription_counts(self) -> bool:
        """``PUSHERABLE_SUBSCRIPTION_COUNTS``: whether ``runpushserver`` tells subscribers how many they are."""
        return _boolean("PUSHERABLE_SUBSCRIPTION_COUNTS") is True

    @property
    def client_events(self) -> bool:
        """``PUSHERABLE_CLIENT_EVENTS``: whether ``runpushserver`` takes events of clients; by default it does."""
        return _boolean("PUSHERABLE_CLIENT_EVENTS") is not False

    @property
    def authorization_timeout(self) -> float | None:
        """``PUSHERABLE_AUTHORIZATION_TIMEOUT``: seconds for a client of ``runpushserver`` to show a signature."""
        return _seconds("PUSHERABLE_AUTHORIZATION_TIMEOUT", limit=3_600)

    @property
    def server_limits(self) -> dict[str, Any]:
        """``PUSHERABLE_SERVER_LIMITS``: where ``runpushserver`` says no, by the names of its limits."""
        value = getattr(django_settings, "PUSHERABLE_SERVER_LIMITS", None) or {}
        if not isinstance(value, Mapping):
            raise SettingsError(
                f"PUSHERABLE_SERVER_LIMITS is {value!r}; it is a dict, such as {{'connections': 100}}.",
                setting="PUSHERABLE_SERVER_LIMITS",
            )
        return dict(value)

    @property
    def debug(self) -> bool:
        """The project's ``DEBUG``."""
        return bool(django_settings.DEBUG)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The project's ``ALLOWED_HOSTS``."""
        return tuple(django_settings.ALLOWED_HOSTS)

    @property
    def trusted_origins(self) -> tuple[str, ...]:
        """The project's ``CSRF_TRUSTED_ORIGINS``."""
        return tuple(django_settings.CSRF_TRUSTED_ORIGINS)

    @property
    def middleware(self) -> tuple[str, ...]:
        """The project's ``MIDDLEWARE``."""
        return tuple(django_settings.MIDDLEWARE)

    @property
    def asgi_application(self) -> str:
        """``ASGI_APPLICATION``: the dotted path of the project's own, or ``""`` where Django's will do."""
        return _text("ASGI_APPLICATION")


settings: Final = PusherableSettings()


def _in_tests() -> bool:
    """Whether Django's test environment is set up."""
    # It leaves no public trace of its own: a site may keep its mail in an outbox, too.
    return hasattr(getattr(sys.modules.get("django.test.utils"), "_TestState", None), "saved_data")


@sensitive_variables()
def _service_from_settings(credentials: Mapping[str, str]) -> Service:
    missing = [name for name, value in credentials.items() if not value]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, though "
            f"{' and '.join(name for name in credentials if name not in missing)} "
            f"{'is' if len(missing) == 2 else 'are'}: an app has all three.",
            setting=missing[0],
        )
    app_id, key, secret = credentials.values()
    cluster = _cluster("PUSHER_CLUSTER")
    host = _host("PUSHER_HOST")
    return _build(app_id=app_id, key=key, secret=secret, cluster=cluster, host=host, origin="PUSHER_APP_ID")


@sensitive_variables()
def _service_from_url(url: str) -> Service:
    parts, port = _split_url(url)
    app_id = parts.path.rstrip("/").removeprefix("/apps/")
    return _build(
        app_id=app_id,
        key=unquote(parts.username or ""),
        secret=unquote(parts.password or ""),
        cluster=_cluster("PUSHER_CLUSTER"),
        host=_host("PUSHER_HOST") or _check_host(parts.hostname or "", "PUSHER_URL"),
        port=port,
        ssl=parts.scheme == "https",
        origin="PUSHER_URL",
    )


@sensitive_variables()
def _split_url(url: str) -> tuple[SplitResult, int | None]:
    # The URL itself holds the secret: neither it nor an error that quotes it may be shown.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"PUSHER_URL is malformed; its form is {_URL_FORM}.", setting="PUSHER_URL") from None
    found = {
        "the scheme http or https": parts.scheme in ("http", "https"),
        "the key": parts.username,
        "the secret": parts.password,
        "the host": parts.hostname,
        "/apps/ and the app's id at the end": re.fullmatch(r"/apps/[^/]+/?", parts.path),
    }
    missing = [name for name, present in found.items() if not present]
    if missing:
        raise SettingsError(f"PUSHER_URL lacks {', '.join(missing)}; its form is {_URL_FORM}.", setting="PUSHER_URL")
    return parts, port


def _local_service() -> Service:
    address = os.environ.get(LOCAL_SERVER_VARIABLE) or LOCAL_SERVER_DEFAULT
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        raise SettingsError(
            f"{LOCAL_SERVER_VARIABLE} = {address!r} is no address: its form is host:port.",
            setting=LOCAL_SERVER_VARIABLE,
        )
    certificate = os.environ.get(LOCAL_CERTIFICATE_VARIABLE, "")
    ssl = _boolean("PUSHER_SSL")
    return Service(
        app_id="1",
        key="pusherable-local",
        secret=sign(str(django_settings.SECRET_KEY), "pusherable local server"),
        cluster="local",
        host=_host("PUSHER_HOST") or host.strip("[]"),
        port=_port("PUSHER_PORT") or int(port),
        ssl=bool(certificate) if ssl is None else ssl,
        timeout=_timeout(),
        is_local=True,
        certificate=certificate,
    )


@sensitive_variables()
def _build(
    *,
    app_id: str,
    key: str,
    secret: str,
    cluster: str,
    host: str,
    origin: str,
    port: int | None = None,
    ssl: bool | None = None,
) -> Service:
    """Fill in what is derived; a setting of its own goes before what the URL says."""
    if not re.fullmatch(r"[0-9]+", app_id):
        raise SettingsError(f"The app's id {app_id!r} is not made of digits alone; mend {origin}.", setting=origin)
    if re.search(r"[\s/:]", key):
        raise SettingsError(
            f"The app's key {key!r} holds a space, a slash or a colon; mend {origin.replace('APP_ID', 'KEY')}.",
            setting=origin.replace("APP_ID", "KEY"),
        )
    if not host:
        cluster = cluster or "mt1"
        host = f"api-{cluster}.pusher.com"
    hosted_cluster = _HOSTED_CLUSTER.fullmatch(host)
    is_hosted = hosted_cluster is not None or host in _HOSTED_WITHOUT_CLUSTER
    if not cluster:
        cluster = hosted_cluster[1] if hosted_cluster else "mt1"
    explicit_ssl = _boolean("PUSHER_SSL")
    if explicit_ssl is not None:
        ssl = explicit_ssl
    elif is_hosted:
        # Add-ons hand out http:// addresses of a service that speaks TLS.
        ssl, port = True, None
    elif ssl is None:
        ssl = not _is_loopback(host)
    return Service(
        app_id=app_id,
        key=key,
        secret=secret,
        cluster=cluster,
        host=host,
        port=_port("PUSHER_PORT") or port or (443 if ssl else 80),
        ssl=ssl,
        timeout=_timeout(),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@sensitive_variables()
def _text(name: str) -> str:
    """The setting as text, ``""`` where it is unset; numbers are welcome where text is meant."""
    value = getattr(django_settings, name, None)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        shown = type(value).__name__ if name in ("PUSHER_SECRET", "PUSHER_URL") else repr(value)
        raise SettingsError(f"{name} is {shown}; it is a text.", setting=name)
    return str(value).strip()


def _cluster(name: str) -> str:
    value = _text(name)
    if value and not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise SettingsError(f"{name} = {value!r} is no cluster's name: 'eu' and 'mt1' are.", setting=name)
    return value


def _host(name: str) -> str:
    return _check_host(_text(name).strip("[]"), name)


def _check_host(value: str, name: str) -> str:
    if re.search(r"[^A-Za-z0-9._:-]", value) or (":" in value and not _is_ipv6(value)):
        raise SettingsError(
            f"The host {value!r} of {name} is no host's name: leave out the scheme and any path, and set the "
            f"port by {name.replace('HOST', 'PORT')}.",
            setting=name,
        )
    return value


def bracketed(host: str) -> str:
    """The host as a URL has it: an IPv6 address stands in brackets."""
    return f"[{host}]" if ":" in host else host


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_clean = re.fullmatch(r"[!-~]+", url) is not None and parts.username is None and port != 0
    return is_clean and parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_ipv6(value: str) -> bool:
    try:
        return ipaddress.ip_address(value).version == 6
    except ValueError:
        return False


def _port(name: str) -> int | None:
    value = _text(name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise SettingsError(f"{name} = {value!r} is no port: it is a number from 1 to 65535.", setting=name)
    return int(value)


def _boolean(name: str) -> bool | None:
    value = getattr(django_settings, name, None)
    if isinstance(value, bool) or value is None:
        return value
    text = str(value).strip().lower()
    if not text:
        return None
    if text not in _TRUE | _FALSE:
        raise SettingsError(f"{name} = {value!r} is neither True nor False.", setting=name)
    return text in _TRUE


def _timeout() -> float:
    return _seconds("PUSHER_TIMEOUT", limit=600) or 5.0


def _seconds(name: str, *, limit: int) -> float | None:
    value = getattr(django_settings, name, None)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= limit:
        raise SettingsError(
            f"{name} = {value!r} is no time to wait: it is a number of seconds, up to {limit}.", setting=name
        )
    return seconds

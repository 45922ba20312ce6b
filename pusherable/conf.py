"""Every setting as a typed property, read at each access; the only reader of ``django.conf.settings``.

``PUSHER_*`` says where the service is, ``PUSHERABLE_*`` how this package behaves.
"""

import base64
import binascii
import ipaddress
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import Settings, UserSettingsHolder, global_settings
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.http.request import HttpHeaders
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from pusherable.channels import ChannelKind
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
_SECRETS: Final = frozenset({"PUSHER_SECRET", "PUSHER_URL", "PUSHER_ENCRYPTION_MASTER_KEY"})
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

    ``certificate`` is a file with the only certificate to trust, whatever name it is for; ``ca_file`` one with
    the authorities to trust in place of the system's.
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
    ca_file: str = ""

    @property
    def is_hosted(self) -> bool:
        """Whether this is Pusher's own service, which browsers reach by the cluster's name alone."""
        return self.host in _HOSTED_WITHOUT_CLUSTER or _HOSTED_CLUSTER.fullmatch(self.host) is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the threaded backend works; ``max_age`` and ``exit_timeout`` are in seconds."""

    workers: int
    queue_size: int
    max_age: float
    max_attempts: int
    exit_timeout: float


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
    def transport(self) -> Literal["websocket", "sse"]:
        """``PUSHERABLE_TRANSPORT``: what pages listen by."""
        value = _text("PUSHERABLE_TRANSPORT").lower() or "websocket"
        if value not in ("websocket", "sse"):
            raise SettingsError(
                f"PUSHERABLE_TRANSPORT = {value!r} is neither 'websocket' nor 'sse'.", setting="PUSHERABLE_TRANSPORT"
            )
        return "sse" if value == "sse" else "websocket"

    @property
    def stream_server(self) -> dict[str, Any]:
        """Where browsers find event streams, by the names of ``browser``; the hosted service has none."""
        options = self.browser
        if "wsHost" not in options:
            raise SettingsError(
                "Hosted Pusher has no event streams: runpushserver has. Set PUSHER_HOST, or keep to "
                "PUSHERABLE_TRANSPORT = 'websocket'.",
                setting="PUSHER_HOST",
            )
        return options

    @property
    def stream_lifetime(self) -> int:
        """``PUSHERABLE_STREAM_LIFETIME``: seconds for which the signed address of an event stream is valid."""
        limit = self._server_limit("stream_lifetime", default=86_400)
        return _whole_number("PUSHERABLE_STREAM_LIFETIME", default=min(3_600, limit), limit=limit)

    @property
    def stream_channels(self) -> int:
        """How many channels one event stream may have."""
        return self._server_limit("channels_per_stream", default=100)

    def _server_limit(self, name: str, *, default: int) -> int:
        value = self.server_limits.get(name, default)
        # What is malformed has a check of its own.
        return int(value) if type(value) in (int, float) and 1 <= value < float("inf") else default

    @property
    def backend(self) -> str:
        """``PUSHERABLE_BACKEND``: a dotted path, or the short name of a backend of this package.

        By default ``threaded``; in tests ``locmem``, so that no test is heard by a developer's open pages.
        """
        value = _read("PUSHERABLE_BACKEND")
        if not isinstance(value, str):
            value = _text("PUSHERABLE_BACKEND")
        return value.strip() or ("locmem" if _in_tests() else "threaded")

    @property
    def delivery(self) -> Delivery:
        """``PUSHERABLE_WORKERS``, ``…_QUEUE_SIZE``, ``…_MAX_AGE``, ``…_MAX_ATTEMPTS`` and ``…_EXIT_TIMEOUT``."""
        return Delivery(
            workers=_whole_number("PUSHERABLE_WORKERS", default=1, limit=64),
            queue_size=_whole_number("PUSHERABLE_QUEUE_SIZE", default=10_000, limit=10_000_000),
            max_age=_seconds("PUSHERABLE_MAX_AGE", default=60.0, limit=86_400),
            max_attempts=_whole_number("PUSHERABLE_MAX_ATTEMPTS", default=20, limit=1_000_000),
            exit_timeout=_seconds("PUSHERABLE_EXIT_TIMEOUT", default=2.0, limit=600),
        )

    @property
    @sensitive_variables()
    def encryption_master_key(self) -> bytes | None:
        """``PUSHER_ENCRYPTION_MASTER_KEY``: the 32 bytes behind all encrypted channels, written in base64."""
        text = _text("PUSHER_ENCRYPTION_MASTER_KEY")
        if not text:
            return None
        try:
            key = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != 32:
            # What it is instead must stay unsaid.
            raise SettingsError(
                "PUSHER_ENCRYPTION_MASTER_KEY is not 32 bytes in base64. `openssl rand -base64 32` makes one.",
                setting="PUSHER_ENCRYPTION_MASTER_KEY",
            ) from None
        return key

    @property
    def json_encoder(self) -> type[json.JSONEncoder]:
        """``PUSHERABLE_JSON_ENCODER``: a subclass of ``json.JSONEncoder`` or its dotted path."""
        given = _read("PUSHERABLE_JSON_ENCODER")
        if not given:
            return DjangoJSONEncoder
        encoder = _import(given, "PUSHERABLE_JSON_ENCODER")
        if not (isinstance(encoder, type) and issubclass(encoder, json.JSONEncoder)):
            raise SettingsError(
                f"PUSHERABLE_JSON_ENCODER is {encoder!r}; it is a subclass of json.JSONEncoder, or its dotted path.",
                setting="PUSHERABLE_JSON_ENCODER",
            )
        return encoder

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
    def redis_url(self) -> str:
        """``PUSHERABLE_REDIS_URL``: by which several ``runpushserver`` are one; by default ``""``, each is its own."""
        url = _text("PUSHERABLE_REDIS_URL")
        check_redis_url(url, source="PUSHERABLE_REDIS_URL")
        return url

    @property
    def redis_prefix(self) -> str:
        """``PUSHERABLE_REDIS_PREFIX``: what the names of all keys in Redis begin with."""
        return _text("PUSHERABLE_REDIS_PREFIX") or "pusherable"

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
        return _seconds("PUSHERABLE_AUTHORIZATION_TIMEOUT", default=0.0, limit=3_600) or None

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
    @sensitive_variables()
    def webhook_secrets(self) -> tuple[tuple[str, str], ...]:
        """Key and secret of everybody whose webhooks are taken: the service, and ``PUSHERABLE_WEBHOOK_SECRETS``.

        A key comes several times where several secrets go with it.
        """
        service = self.service
        more = _read("PUSHERABLE_WEBHOOK_SECRETS") or {}
        if not isinstance(more, Mapping):
            raise _webhook_secrets_error(f"is of the type {type(more).__name__}")
        pairs = [(service.key, service.secret)]
        for key, secrets in more.items():
            several = secrets if isinstance(secrets, list | tuple) and secrets else [secrets]
            pairs += [(key, secret) for secret in several]
        if not all(isinstance(text, str) and text for pair in pairs for text in pair):
            raise _webhook_secrets_error("holds a key or a secret that is empty, or no text")
        return tuple(pairs)

    @property
    def webhook_max_age(self) -> float | None:
        """``PUSHERABLE_WEBHOOK_MAX_AGE``: seconds that a webhook's time may be off, or ``None`` for any time."""
        if getattr(django_settings, "PUSHERABLE_WEBHOOK_MAX_AGE", "") is None:
            return None
        return _seconds("PUSHERABLE_WEBHOOK_MAX_AGE", default=600.0, limit=86_400)

    @property
    def disconnect_users(self) -> bool | None:
        """``PUSHERABLE_DISCONNECT_USERS``; ``None`` is the default: where this package's URLs are included."""
        return _boolean("PUSHERABLE_DISCONNECT_USERS")

    @property
    def private_channels(self) -> ChannelKind:
        """``PUSHERABLE_PRIVATE_CHANNELS``: the kind of an object's or a model's channel where nobody says another."""
        value = _read("PUSHERABLE_PRIVATE_CHANNELS")
        if value is None or isinstance(value, bool):
            return ChannelKind.PRIVATE if value else ChannelKind.PUBLIC
        if isinstance(value, str) and value.strip().lower() == "encrypted":
            return ChannelKind.ENCRYPTED
        try:
            is_private = _boolean("PUSHERABLE_PRIVATE_CHANNELS")
        except SettingsError:
            raise SettingsError(
                f"PUSHERABLE_PRIVATE_CHANNELS = {value!r} is none of True, False and 'encrypted'.",
                setting="PUSHERABLE_PRIVATE_CHANNELS",
            ) from None
        return ChannelKind.PRIVATE if is_private else ChannelKind.PUBLIC

    @property
    def member_info(self) -> Callable[[Any], object] | None:
        """``PUSHERABLE_MEMBER_INFO``: what a presence channel is told of a user, as a callable; ``None`` if unset."""
        given = getattr(django_settings, "PUSHERABLE_MEMBER_INFO", None) or None
        value: Callable[[Any], object] | None = _import(given, "PUSHERABLE_MEMBER_INFO")
        if value is not None and not callable(value):
            raise SettingsError(
                f"PUSHERABLE_MEMBER_INFO is {value!r}; it is a function of a user, or its dotted path.",
                setting="PUSHERABLE_MEMBER_INFO",
            )
        return value

    @property
    def composing(self) -> tuple[type[json.JSONEncoder], ChannelKind]:
        """``json_encoder`` and ``private_channels``, in one look where both are as most projects have them."""
        holder: Any = object.__getattribute__(django_settings, "__dict__").get("_wrapped")
        if type(holder) is Settings:
            values = holder.__dict__
            if values.get("PUSHERABLE_JSON_ENCODER") is None and values.get("PUSHERABLE_PRIVATE_CHANNELS") is None:
                return DjangoJSONEncoder, ChannelKind.PUBLIC
        return self.json_encoder, self.private_channels

    @property
    def language_code(self) -> str:
        """The project's ``LANGUAGE_CODE``."""
        return str(django_settings.LANGUAGE_CODE)

    @property
    def root_urlconf(self) -> str:
        """The project's ``ROOT_URLCONF``."""
        return str(django_settings.ROOT_URLCONF)

    @property
    def debug(self) -> bool:
        """The project's ``DEBUG``."""
        return bool(django_settings.DEBUG)

    @property
    def csrf(self) -> dict[str, str]:
        """The header that carries the CSRF token, and the cookie to take it from; ``""`` where scripts cannot."""
        is_hidden = django_settings.CSRF_USE_SESSIONS or django_settings.CSRF_COOKIE_HTTPONLY
        return {
            "header": str(HttpHeaders.parse_header_name(django_settings.CSRF_HEADER_NAME)),
            "cookie": "" if is_hidden else str(django_settings.CSRF_COOKIE_NAME),
        }

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


def _read(name: str) -> Any:
    """The setting as the project wrote it, ``None`` where it is unset.

    As ``getattr`` on Django's object, which takes ten microseconds to find that a setting is not there; a page's view
    reads several. Nothing is kept, so that overriding works.
    """
    holder: Any = object.__getattribute__(django_settings, "__dict__").get("_wrapped")
    if type(holder) is Settings:
        return holder.__dict__.get(name)
    while type(holder) is UserSettingsHolder:
        values = vars(holder)
        if name in values:
            return values[name]
        if name in values["_deleted"]:
            return None
        holder = values["default_settings"]
    if type(holder) is Settings or holder is global_settings:
        return vars(holder).get(name)
    # Not set up yet, or the object of another package that keeps settings its own way.
    return getattr(django_settings, name, None)


def _in_tests() -> bool:
    """Whether Django's test environment is set up."""
    # It leaves no public trace of its own: a site may keep its mail in an outbox, too.
    return hasattr(getattr(sys.modules.get("django.test.utils"), "_TestState", None), "saved_data")


def _webhook_secrets_error(problem: str) -> SettingsError:
    # What it holds must stay unsaid.
    return SettingsError(
        f"PUSHERABLE_WEBHOOK_SECRETS {problem}. Its form is {{'key': 'secret'}}, or {{'key': ['secret', 'secret']}}.",
        setting="PUSHERABLE_WEBHOOK_SECRETS",
    )


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
        ca_file=_text("PUSHER_CA_FILE"),
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
        ca_file=_text("PUSHER_CA_FILE"),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _import(value: Any, name: str) -> Any:
    """What a dotted path names; whatever is no text stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise SettingsError(f"{name} = {value!r} cannot be imported: {error}", setting=name) from error


@sensitive_variables()
def check_redis_url(url: str, *, source: str) -> None:
    """Raise ``SettingsError`` unless ``url`` is empty or leads to Redis; it may hold a password, and is not shown."""
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(
            f"{source} is no address of Redis; its form is redis://host:6379/0, rediss://… for TLS, or unix://path.",
            setting=source,
        )


def _text(name: str) -> str:
    """The setting as text, ``""`` where it is unset; numbers are welcome where text is meant."""
    value = _read(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        shown = type(value).__name__ if name in _SECRETS else repr(value)
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
    value = _read(name)
    if isinstance(value, bool) or value is None:
        return value
    text = str(value).strip().lower()
    if not text:
        return None
    if text not in _TRUE | _FALSE:
        raise SettingsError(f"{name} = {value!r} is neither True nor False.", setting=name)
    return text in _TRUE


def _timeout() -> float:
    return _seconds("PUSHER_TIMEOUT", default=5.0, limit=600)


def _seconds(name: str, *, default: float, limit: int) -> float:
    value = _read(name)
    if value is None or value == "":
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= limit:
        raise SettingsError(
            f"{name} = {value!r} is no time to wait: it is a number of seconds, up to {limit}.",
            setting=name,
        )
    return seconds


def _whole_number(name: str, *, default: int, limit: int) -> int:
    value = _text(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= limit):
        raise SettingsError(f"{name} = {value} is no whole number from 1 to {limit}.", setting=name)
    return int(value)

"""The ``pusher`` package lives here and nowhere else: one long-lived client per process and credentials.

It is imported at first use: it costs 20 MB and a tenth of a second (protocol F.14).
"""

import json
import os
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies, proxy_bypass

from pusherable.conf import Service, SettingsError, bracketed, settings
from pusherable.events import MAX_BATCH, Event
from pusherable.exceptions import DeliveryFailed

if TYPE_CHECKING:
    import urllib3
    from pusher import Pusher
    from pusher.http import Request

_CONNECTIONS: Final = 10

_clients: dict[Service, "Pusher"] = {}

# A pooled connection must not be shared with the process it was forked from.
os.register_at_fork(after_in_child=_clients.clear)


def get_client() -> "Pusher":
    """The configured ``pusher`` client, made once per process and credentials; threads may share it.

    Raises ``SettingsError`` where no service is configured. Its calls raise the errors of
    ``pusher.errors`` where the service refuses, and ``DeliveryFailed`` where it gives no answer.
    """
    service = settings.service
    return _clients.get(service) or _clients.setdefault(service, _make_client(service))


def deliver(events: Sequence[Event]) -> None:
    """Hand events to the service in one request, their order kept: one event, or up to 10 channels' worth.

    Raises ``SettingsError`` where no service is configured, and ``DeliveryFailed`` whose ``reason`` is
    ``unreachable``, ``timeout``, ``tls``, ``bad-answer``, ``bad-request``, ``unauthorized``, ``forbidden``,
    ``not-found``, ``too-large``, ``rate-limited`` or ``service-error``.
    """
    path, body = _compose_request(events)
    client = get_client()
    from pusher.errors import PusherError
    from pusher.http import POST, Request

    sender = client._pusher_client
    try:
        sender.http.send_request(Request(sender, POST, f"/apps/{sender.app_id}/{path}", body))
    except PusherError as error:
        raise _explain(error.status, error.answer, settings.service) from error


def _compose_request(events: Sequence[Event]) -> tuple[str, dict[str, Any]]:
    """The path below the app, and the body; an entry of a batch names one channel (protocol B.18)."""
    if len(events) == 1:
        event = events[0]
        return "events", {
            "name": event.name,
            "channels": event.channels,
            "data": event.data,
            **_exclusion(event),
        }
    batch = [
        {"name": event.name, "channel": channel, "data": event.data, **_exclusion(event)}
        for event in events
        for channel in event.channels
    ]
    if len(batch) > MAX_BATCH:
        raise ValueError(f"These events make a batch of {len(batch)}; {MAX_BATCH} is the limit.")
    return "batch_events", {"batch": batch}


def _exclusion(event: Event) -> dict[str, str]:
    return {} if event.socket_id is None else {"socket_id": event.socket_id}


def _make_client(service: Service) -> "Pusher":
    from pusher import Pusher

    transport = _Transport(service)
    return Pusher(
        app_id=service.app_id,
        key=service.key,
        secret=service.secret,
        ssl=service.ssl,
        host=bracketed(service.host),
        port=service.port,
        timeout=service.timeout,
        json_encoder=settings.json_encoder,
        # `Pusher` makes two clients inside; they share one pool.
        backend=lambda client: transport,
    )


class _Transport:
    """Sends what ``pusher`` has signed, over pooled connections that stay open.

    In place of the package's own, which trusts a list of authorities from 2021 and raises bare
    ``requests`` errors (protocol F.10, F.11).
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pool = _make_pool(service)

    def send_request(self, request: "Request") -> Any:
        import urllib3
        from pusher.errors import PusherError
        from pusher.http import process_response

        try:
            response = self._pool.request(request.method, request.url, body=request.body, headers=request.headers)
        except urllib3.exceptions.HTTPError as error:
            raise _explain_silence(error, self._service) from error
        text = response.data.decode(errors="replace")
        if 200 <= response.status < 300:
            return self._read_answer(text)
        try:
            return process_response(response.status, text)
        except PusherError as refusal:
            refusal.status, refusal.answer = response.status, text
            raise

    def _read_answer(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise DeliveryFailed(
                f"{_address(self._service)} answered with something else than JSON ({text[:60]!r}…): is it really a "
                "Pusher service? Check PUSHER_HOST and PUSHER_PORT.",
                reason="bad-answer",
            ) from error


def _make_pool(service: Service) -> "urllib3.PoolManager":
    import urllib3

    options: dict[str, Any] = {
        "maxsize": _CONNECTIONS,
        "retries": False,
        "timeout": urllib3.Timeout(total=service.timeout),
    }
    if service.ssl:
        options["ssl_context"] = make_tls_context(trusting=service.certificate)
    proxy = None if proxy_bypass(service.host) else getproxies().get("https" if service.ssl else "http")
    if proxy is None:
        return urllib3.PoolManager(**options)
    try:
        credentials = urllib3.util.parse_url(proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=credentials) if credentials else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    except urllib3.exceptions.HTTPError as error:
        raise SettingsError(
            f"The proxy of the environment cannot be used to reach {service.host} ({type(error).__name__}): it is "
            "an http:// or https:// address. Mend http_proxy or https_proxy, or name the host in no_proxy.",
            setting="https_proxy" if service.ssl else "http_proxy",
        ) from error


def make_tls_context(*, trusting: str = "") -> ssl.SSLContext:
    """Trust what the system trusts, or where it has no list of authorities, that of ``certifi``.

    With a file in ``trusting``, trust the certificate in it and no other.
    """
    if trusting:
        context = ssl.create_default_context(cafile=trusting)
        # Only who holds the key of this very certificate gets through, under whatever name or address.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _explain_silence(error: Exception, service: Service) -> DeliveryFailed:
    import urllib3

    address = _address(service)
    # A failed attempt through a proxy is wrapped once more.
    cause = getattr(error, "original_error", error)
    if isinstance(cause, urllib3.exceptions.SSLError):
        return DeliveryFailed(
            f"{address} could not be trusted ({cause}): check PUSHER_SSL, PUSHER_PORT and the certificate.",
            reason="tls",
        )
    # Of urllib3 1.26 a refused connection is a kind of timeout.
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
        return DeliveryFailed(
            f"{address} did not answer within {service.timeout:g} s (PUSHER_TIMEOUT).",
            reason="timeout",
            retryable=True,
        )
    hint = "Is `manage.py runpushserver` running?" if service.is_local else "Check PUSHER_HOST and PUSHER_PORT."
    return DeliveryFailed(f"{address} cannot be reached ({cause}). {hint}", reason="unreachable", retryable=True)


_REFUSALS: Final[dict[int, tuple[str, str]]] = {
    400: ("bad-request", "The event was refused."),
    401: ("unauthorized", "Check PUSHER_KEY and PUSHER_SECRET, and this machine's clock."),
    403: ("forbidden", "The app is disabled or over its quota."),
    404: ("not-found", "Check PUSHER_APP_ID, and PUSHER_CLUSTER or PUSHER_HOST."),
    413: ("too-large", "Publish fewer fields."),
    429: ("rate-limited", "Too many events at once."),
}


_IN_TROUBLE: Final = ("service-error", "The service is in trouble.")
_NO_SERVICE: Final = ("bad-answer", "Is it really a Pusher service? Check PUSHER_HOST, PUSHER_PORT and PUSHER_SSL.")


def _explain(status: int, answer: str, service: Service) -> DeliveryFailed:
    reason, advice = _REFUSALS.get(status, _IN_TROUBLE if status >= 500 else _NO_SERVICE)
    answer = " ".join(answer.replace(service.secret, "[secret]").split())[:300]
    return DeliveryFailed(
        f"{_address(service)} answered {status}: {answer or 'nothing more'}. {advice}",
        reason=reason,
        status=status,
        retryable=status == 429 or status >= 500,
    )


def _address(service: Service) -> str:
    return f"{'https' if service.ssl else 'http'}://{bracketed(service.host)}:{service.port}"

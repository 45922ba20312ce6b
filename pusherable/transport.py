"""Requests over pooled connections that stay open, each with a deadline that no slow answer can stretch.

In place of the ``pusher`` package's own, which trusts a list of authorities from 2021, raises bare ``requests``
errors, and waits for a dripping answer for ever (protocol F.10, F.11). ``urllib3`` is imported at first use.
"""

import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cache
from http.client import HTTPResponse
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies, proxy_bypass

from pusherable.conf import Service, SettingsError, settings
from pusherable.diagnosis import Answer, explain_silence

if TYPE_CHECKING:
    import urllib3


class Transport:
    """The connections to one service; threads may share it, processes must not."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pool = _make_pool(service)

    def exchange(self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One request and its answer, whatever its status; raises ``DeliveryFailed`` where there is none in time."""
        import urllib3

        _deadline.at = time.monotonic() + self._service.timeout
        try:
            response = self._pool.request(method, url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise explain_silence(error, self._service) from error
        return Answer(
            response.status,
            response.data.decode(errors="replace"),
            date=response.headers.get("Date", ""),
            retry_after=response.headers.get("Retry-After", ""),
        )


def make_tls_context(*, trusting: str = "", ca_file: str = "") -> ssl.SSLContext:
    """Trust what the system trusts, or where it has no list of authorities, that of ``certifi``.

    With a ``ca_file`` trust the authorities in it instead; with a file in ``trusting``, the certificate in it and
    no other. Raises ``SettingsError`` for a ``ca_file`` that cannot be used.
    """
    if trusting:
        context = ssl.create_default_context(cafile=trusting)
        # Only who holds the key of this very certificate gets through, under whatever name or address.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
    if ca_file:
        return _make_own_context(ca_file)
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _make_own_context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        why = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"PUSHER_CA_FILE = {ca_file!r} cannot be used: {why}. It is a file with certificates in PEM form.",
            setting="PUSHER_CA_FILE",
        ) from error


def _make_pool(service: Service) -> "urllib3.PoolManager":
    import urllib3

    options: dict[str, Any] = {
        # No more are open at once than threads deliver; others are made for the moment.
        "maxsize": max(10, settings.delivery.workers),
        "retries": False,
        "timeout": urllib3.Timeout(total=service.timeout),
    }
    if service.ssl:
        options |= _tls_options(service)
    proxy = None if proxy_bypass(service.host) else getproxies().get("https" if service.ssl else "http")
    pool = urllib3.PoolManager(**options) if proxy is None else _make_proxy_pool(proxy, service, options)
    pool.pool_classes_by_scheme = _bounded_pools()
    return pool


def _tls_options(service: Service) -> dict[str, Any]:
    context = make_tls_context(trusting=service.certificate, ca_file=service.ca_file)
    if service.certificate:
        # Whatever name it is for; else urllib3 compares where the context does not.
        return {"ssl_context": context, "assert_hostname": False}
    if version("urllib3").startswith("1."):
        # Of a host by its address it tells the context nothing, and compares by itself.
        context.check_hostname = False
    return {"ssl_context": context}


def _make_proxy_pool(proxy: str, service: Service, options: Mapping[str, Any]) -> "urllib3.ProxyManager":
    import urllib3

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


class _Deadline(threading.local):
    """When the request of this thread has to have its whole answer."""

    at = float("inf")


_deadline: Final = _Deadline()


class _BoundedReader(io.RawIOBase):
    """Reads from a socket until the deadline; by itself a socket waits anew for each byte."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket) -> None:
        self._stream = stream
        self._socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = _deadline.at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("The answer was not complete in time.")
        self._socket.settimeout(remaining)
        count: int | None = self._stream.readinto(buffer)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


@cache
def _bounded_pools() -> dict[str, Any]:
    """Pools whose connections read their answers by the deadline."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class BoundedConnection(HTTPConnection):
        response_class = _BoundedResponse

    class BoundedTLSConnection(HTTPSConnection):
        response_class = _BoundedResponse

    class BoundedPool(HTTPConnectionPool):
        ConnectionCls = BoundedConnection

    class BoundedTLSPool(HTTPSConnectionPool):
        ConnectionCls = BoundedTLSConnection

    return {"http": BoundedPool, "https": BoundedTLSPool}


_transports: dict[Service, Transport] = {}

# A pooled connection must not be shared with the process it was forked from.
os.register_at_fork(after_in_child=_transports.clear)


def get_transport(service: Service) -> Transport:
    """The transport to ``service``, made once per process; threads may share it."""
    return _transports.get(service) or _transports.setdefault(service, Transport(service))

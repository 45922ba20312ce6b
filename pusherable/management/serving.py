"""Where the project and the server meet: settings become a ``ServerConfig``, Django the rest of its pages."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import apps
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

from pusherable.conf import Service, settings
from pusherable.management.features import read_features, read_limits
from pusherable.management.handovers import Handover
from pusherable.management.visitors import VisitorSignals, has_receivers
from pusherable.server.addresses import Address
from pusherable.server.api import create_api
from pusherable.server.asgi import ApiFirst, Application, CountedRequests, LoggedRequests, answer_without_prefix
from pusherable.server.certificates import Certificate
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.console import Console
from pusherable.server.facts import Observer
from pusherable.server.hooks import Webhooks, make_sender
from pusherable.server.hub import Hub
from pusherable.server.ledger import Ledger, OwnLedger
from pusherable.server.listener import PushServer, Traffic
from pusherable.server.metrics import Audience, Metrics, monitoring_routes
from pusherable.server.openings import Openings
from pusherable.server.origins import Origins
from pusherable.server.streams import Streams
from pusherable.server.viewers import Feed
from pusherable.transport import make_tls_context

logger = logging.getLogger("django.server")

# Seconds in which a stop sends what still waits: to Django's receivers, and to the URL of the webhooks.
_PATIENCE: Final = 0.4
_WEBHOOK_PATIENCE: Final = 0.8
# For modules, databases, the HTTP API, and those who are just told that there is no room.
_FILES_OF_OURS: Final = 100
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says of the server; ``path`` is a prefix such as ``/push``."""

    path: str = ""
    certificate: Certificate | None = None
    has_public_metrics: bool = False
    console_key: str | None = None
    #: From the last process under the same supervisor, and for the next one.
    handover: Handover | None = None
    #: Where Redis is, if several processes are one server.
    redis_url: str = ""
    #: How many files may be open, if there is a limit to it.
    open_files: int | None = None


class ProjectServer:
    """A server for the project's app, with all that the settings ask for; ``pages`` answers what is not its own."""

    def __init__(
        self,
        service: Service,
        address: Address,
        choices: Choices,
        *,
        observers: Iterable[Observer] = (),
        pages: Application | None = None,
    ) -> None:
        app = App(id=service.app_id, key=service.key, secret=service.secret, **read_features())
        self._address = address
        self._choices = choices
        ledger = _make_ledger(choices.redis_url)
        self._webhooks = self._make_webhooks(app, ledger)
        openings = Openings() if has_receivers() else None
        self._signals = None if openings is None else VisitorSignals(openings)
        feed, metrics, traffic = Feed(app), Metrics(), Traffic()
        config = ServerConfig(
            apps=(app,),
            host=address.host,
            port=address.port,
            path=choices.path,
            origins=read_origins(),
            limits=_fit(read_limits(), choices.open_files),
        )
        visits = [] if openings is None or self._signals is None else [self._signals.observe, openings.observe]
        hub = Hub(
            config,
            observers=[*observers, feed.observe, metrics.observe, *visits],
            witnesses=[] if self._webhooks is None else [self._webhooks.observe],
            ledger=ledger,
        )
        self._histories = hub.histories
        self._streams = Streams(hub, openings=openings)
        self._feed = feed
        # Among pages, the address may be one of the project's.
        audience: Audience = "this machine" if pages is None else "nobody"
        if choices.has_public_metrics:
            audience = "everybody"
        self._console = Console(hub, feed, key=choices.console_key)
        api = create_api(hub)
        answer_without_prefix(api, choices.path)
        signed = list(api.routes)
        api.add_middleware(CountedRequests, count=metrics.count_request)
        api.router.routes += [*self._streams.routes(), *self._console.routes()]
        api.router.routes += monitoring_routes(metrics, hub, traffic, webhooks=self._webhooks, audience=audience)
        self._server = PushServer(
            hub,
            api if pages is None else ApiFirst(api, pages, signed=signed),
            traffic=traffic,
            openings=openings,
            certificate=choices.certificate,
            on_stop=self._close_streams,
            on_departure=self._tell_departures if self._webhooks else None,
        )
        #: What answers HTTP.
        self.app = self._server.config.app

    @property
    def console_link(self) -> str:
        """The address that opens the debug console, once."""
        return self._console.link(self._address, scheme="https" if self._choices.certificate else "http")

    def run(self, listener: socket.socket) -> None:
        """Serve until asked to stop."""
        workers = [worker for worker in (self._webhooks, self._signals) if worker is not None]
        for worker in workers:
            worker.start()
        self._take_over()
        try:
            self._server.run(sockets=[listener])
            self._hand_over()
        finally:
            for worker in workers:
                worker.stop(timeout=_PATIENCE)

    def request_stop(self) -> None:
        """Stop within about a second, from whatever thread; clients are told to come back."""
        self._server.request_stop()

    def _close_streams(self) -> None:
        self._feed.close()
        self._streams.close()

    def _take_over(self) -> None:
        """Go on with the streams of the process that was here before."""
        if self._choices.handover is None or self._choices.redis_url:
            return
        text, age = self._choices.handover.take()
        # Where there is nothing to go on with, clients are told that they may have missed something.
        with suppress(ValueError):
            self._histories.restore(text, age=age)

    def _hand_over(self) -> None:
        if self._choices.handover is not None and not self._choices.redis_url:
            self._choices.handover.write(self._histories.dump())

    async def _tell_departures(self) -> None:
        """Send the last webhooks while the project's pages still answer: one of them may be who they are for."""
        assert self._webhooks is not None
        await asyncio.to_thread(self._webhooks.stop, timeout=_WEBHOOK_PATIENCE)

    def _make_webhooks(self, app: App, ledger: Ledger) -> Webhooks | None:
        url = settings.webhook_url
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme == "http":
            return Webhooks(app, make_sender(url), ledger=ledger)
        # The project itself may be what answers there, with a certificate that only we trust.
        certificate = self._choices.certificate
        is_here = certificate is not None and is_same_place(parts.hostname or "", parts.port or 443, self._address)
        tls = make_tls_context(trusting=str(certificate.cert) if certificate and is_here else "")
        return Webhooks(app, make_sender(url, tls=tls), ledger=ledger)


def _make_ledger(redis_url: str) -> Ledger:
    if not redis_url:
        return OwnLedger()
    from pusherable.server.redis_ledger import RedisLedger

    return RedisLedger(redis_url, prefix=settings.redis_prefix)


def _fit(limits: Limits, open_files: int | None) -> Limits:
    """Stop short of the last file: who finds no room is told so, and a listener without files says nothing."""
    if open_files is None or limits.capacity is not None:
        return limits
    return replace(limits, capacity=open_files - min(_FILES_OF_OURS, open_files // 4))


def read_origins() -> Origins:
    """Whose pages may connect: those of the hosts that Django answers for, and of the origins that it trusts."""
    hosts = settings.allowed_hosts
    if settings.debug and not hosts:
        # As Django itself does then.
        hosts = (".localhost", "127.0.0.1", "[::1]")
    return Origins(hosts=frozenset(hosts), trusted=frozenset(settings.trusted_origins))


def make_pages(*, serve_static: bool) -> Application:
    """The project itself as an ASGI app that logs its requests as ``runserver`` does."""
    path = settings.asgi_application
    application: Any = import_string(path) if path else get_asgi_application()
    if serve_static and settings.debug and apps.is_installed("django.contrib.staticfiles"):
        application = ASGIStaticFilesHandler(application)
    return LoggedRequests(application, log=_log_request)


def _log_request(line: str, status: int) -> None:
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    # What Django's own formatter for this logger shows and colours by.
    logger.log(level, "%s", line, extra={"status_code": status, "server_time": time.strftime("%d/%b/%Y %H:%M:%S")})


def is_same_place(host: str, port: int, address: Address) -> bool:
    """Whether a client on this machine that goes to ``host`` and ``port`` arrives at ``address``."""
    here = address.reachable
    return port == here.port and (host == here.host or {host, here.host} <= _LOCAL_NAMES)


def explain_mismatch(service: Service, address: Address, choices: Choices) -> str:
    """What to tell a developer whose settings lead elsewhere than to this server; nothing if they do not."""
    here, has_tls = address.reachable, choices.certificate is not None
    wanted: dict[str, object] = {}
    if not is_same_place(service.host, service.port, address):
        wanted |= {"PUSHER_HOST": here.host, "PUSHER_PORT": here.port}
    if service.ssl != has_tls:
        wanted |= {"PUSHER_SSL": has_tls}
    if settings.browser.get("wsPath", "") != choices.path:
        wanted |= {"PUSHER_PUBLIC_PATH": choices.path}
    if not wanted:
        return ""
    scheme = "https" if service.ssl else "http"
    place = f"{scheme}://{Address(service.host, service.port)}{settings.browser.get('wsPath', '')}"
    *most, last = [f"{name} = {value!r}" for name, value in wanted.items()]
    advice = f"{', '.join(most)} and {last}" if most else last
    return f"Your settings lead to {place}, not to this server. To use this one, set {advice}."

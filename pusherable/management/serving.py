"""Where the project and the server meet: settings become a ``ServerConfig``, Django the rest of its pages."""

import logging
import time
from collections.abc import Iterable
from typing import Any, Final

from django.apps import apps
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

from pusherable.conf import Service, settings
from pusherable.server.addresses import Address
from pusherable.server.api import create_api
from pusherable.server.asgi import ApiFirst, Application, LoggedRequests
from pusherable.server.config import App, ServerConfig
from pusherable.server.facts import Observer
from pusherable.server.hub import Hub
from pusherable.server.listener import PushServer

logger = logging.getLogger("django.server")

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def make_server(
    service: Service, address: Address, *, observers: Iterable[Observer] = (), pages: Application | None = None
) -> PushServer:
    """A server for the project's app; ``pages`` answers what is not the server's own."""
    app = App(id=service.app_id, key=service.key, secret=service.secret)
    hub = Hub(ServerConfig(apps=(app,), host=address.host, port=address.port), observers=observers)
    api = create_api(hub)
    return PushServer(hub, api if pages is None else ApiFirst(api, pages))


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


def explain_mismatch(service: Service, address: Address) -> str:
    """What to tell a developer whose settings publish elsewhere than to ``address``; nothing if they do not."""
    here = address.reachable
    is_same_host = service.host == here.host or {service.host, here.host} <= _LOCAL_NAMES
    if is_same_host and service.port == here.port and not service.ssl:
        return ""
    scheme = "https" if service.ssl else "http"
    return (
        f"Your settings publish to {scheme}://{Address(service.host, service.port)}, not to this server. To use this "
        f"one, set PUSHER_HOST = {here.host!r}, PUSHER_PORT = {here.port} and PUSHER_SSL = False."
    )

"""``manage.py runpushserver``: the local server, and with ``--allrequests`` the whole project, in one process."""

import os
import re
import secrets
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import autoreload

from pusherable.conf import (
    LOCAL_CERTIFICATE_VARIABLE,
    LOCAL_PATH_VARIABLE,
    LOCAL_SERVER_VARIABLE,
    SAME_ORIGIN_VARIABLE,
    Service,
    SettingsError,
    check_redis_url,
    settings,
)
from pusherable.management.handovers import Handover
from pusherable.management.supervision import (
    CAN_HAND_ON,
    Supervisor,
    exit_in_time,
    on_signal,
    run_supervised,
    take_inherited_socket,
    take_supervisor,
)
from pusherable.server.addresses import (
    Address,
    CannotListen,
    InvalidAddress,
    address_of,
    listen,
    parse_address,
    redact,
)
from pusherable.server.certificates import Certificate, UnusableCertificate
from pusherable.server.config import DEFAULT_HOST, DEFAULT_PORT
from pusherable.server.descriptors import FileLimit, raise_file_limit
from pusherable.server.journal import Tone, describe, is_essential, tone_of

if TYPE_CHECKING:
    from pusherable.management.serving import Choices, ProjectServer
    from pusherable.server.facts import Fact, Observer

#: What the ``server`` extra installs, and the ``metrics`` extra.
_EXTRA: Final = ("uvicorn", "websockets", "starlette", "httptools")
_METRICS_EXTRA: Final = ("prometheus_client",)
_REDIS_EXTRA: Final = ("redis",)
_PORT_OF_ALL: Final = 8000
#: What keeps visitors of the console known from one reload to the next.
_CONSOLE_VARIABLE: Final = "PUSHERABLE_CONSOLE_KEY"
#: Colours of Django's own palettes, which DJANGO_COLORS may change.
_STYLES: Final[dict[Tone, str]] = {
    "wrong": "WARNING",
    "arrival": "SUCCESS",
    "departure": "HTTP_NOT_MODIFIED",
    "event": "HTTP_INFO",
    "note": "HTTP_SUCCESS",
}


class Command(BaseCommand):
    help = "Runs a Pusher Channels server for development."
    # They run in the child, once for every reload; and only where the project's pages are served.
    requires_system_checks = ()

    _server: "ProjectServer | None" = None
    _is_stopping = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("addrport", nargs="?", default="", help="Optional port number, or ipaddr:port")
        parser.add_argument("--ipv6", "-6", action="store_true", dest="use_ipv6", help="Listen at an IPv6 address.")
        parser.add_argument(
            "--noreload", action="store_false", dest="use_reloader", help="Do not restart when the code changes."
        )
        parser.add_argument(
            "--allrequests",
            action="store_true",
            dest="serves_all",
            help=f"Serve the project's pages too, as runserver does (default port {_PORT_OF_ALL}).",
        )
        parser.add_argument(
            "--nostatic", action="store_false", dest="serve_static", help="Do not serve static files by itself."
        )
        parser.add_argument("--cert", metavar="FILE", help="Speak TLS, by this certificate in PEM form.")
        parser.add_argument("--key", metavar="FILE", help="The certificate's key, if it is in a file of its own.")
        parser.add_argument("--path", default="", help="Where the server's addresses begin, such as /push.")
        parser.add_argument(
            "--metrics", action="store_true", help="Show /metrics to all who can reach it, not to this machine alone."
        )
        parser.add_argument(
            "--redis",
            metavar="URL",
            default="",
            help="Be one server with all others that have the same Redis, such as redis://127.0.0.1:6379/0.",
        )
        parser.add_argument("--skip-checks", action="store_true", help="Skip the checks that --allrequests makes.")

    def handle(self, *args: Any, **options: Any) -> None:
        _require_extra("server", _EXTRA)
        if options["metrics"]:
            _require_extra("metrics", _METRICS_EXTRA)
        # Here already, where it is no traceback in a thread.
        _read_settings()
        options |= {
            "path": _read_path(options["path"]),
            "certificate": _read_certificate(options),
            # Whatever this process starts is not to know it.
            "console_key": os.environ.pop(_CONSOLE_VARIABLE, None),
            "handover": Handover.take_inherited(),
            "redis": _read_redis_url(options["redis"]),
        }
        supervisor = take_supervisor()
        if supervisor is not None:
            with take_inherited_socket() or _listen(options) as listener:
                run_supervised(
                    lambda: self._serve(listener, options), request_stop=self._request_stop, supervisor=supervisor
                )
        elif options["use_reloader"]:
            os.environ[_CONSOLE_VARIABLE] = secrets.token_urlsafe(32)
            with _listen(options) if CAN_HAND_ON else nullcontext() as listener:
                sys.exit(Supervisor(listener).run())
        else:
            with _listen(options) as listener:
                on_signal(self._leave)
                self._serve(listener, options)

    def _serve(self, listener: socket.socket, options: dict[str, Any]) -> None:
        """Serve until asked to stop; every reload comes through here again."""
        autoreload.raise_last_exception()
        address = address_of(listener)
        if options["serves_all"]:
            # Before anything of the project is loaded that may publish.
            _lead_project_here(address, options)
            self._check_project(options)
        service = _read_settings()
        options |= {"file_limit": raise_file_limit()}
        self._server = self._make_server(service, address, options)
        if self._is_stopping:
            return
        self._announce(service, address, options)
        self._server.run(listener)

    def _leave(self) -> None:
        exit_in_time()
        self._request_stop()

    def _request_stop(self) -> None:
        self._is_stopping = True
        if self._server is not None:
            self._server.request_stop()

    def _check_project(self, options: dict[str, Any]) -> None:
        if not settings.debug and not settings.allowed_hosts:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()

    def _make_server(self, service: Service, address: Address, options: dict[str, Any]) -> "ProjectServer":
        from pusherable.management.serving import ProjectServer, make_pages

        pages = make_pages(serve_static=options["serve_static"]) if options["serves_all"] else None
        observers = [self._observe(options["verbosity"])]
        try:
            return ProjectServer(service, address, _choices(options), observers=observers, pages=pages)
        except SettingsError as wrong:
            raise CommandError(str(wrong)) from wrong

    def _observe(self, verbosity: int) -> "Observer":
        """An observer that writes a line for every happening, or for those that went wrong, or for none."""
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"

        def observe(fact: "Fact") -> None:
            if verbosity >= 2 or (verbosity == 1 and is_essential(fact)):
                line = f"[{time.strftime('%d/%b/%Y %H:%M:%S')}] {describe(fact)}"
                # Whatever was published must not fail for the sake of a terminal that cannot show it.
                line = line.encode(encoding, "backslashreplace").decode(encoding)
                # Nor for one that has gone away.
                with suppress(OSError):
                    self.stdout.write(getattr(self.style, _STYLES[tone_of(fact)])(line))

        return observe

    def _announce(self, service: Service, address: Address, options: dict[str, Any]) -> None:
        from pusherable.management.serving import explain_mismatch

        assert self._server is not None
        scheme = "https" if options["certificate"] else "http"
        what = "development server with push" if options["serves_all"] else "push server"
        self.stdout.write(
            f"{time.strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {os.environ.get('DJANGO_SETTINGS_MODULE', '')!r}\n"
            f"Starting {what} at {scheme}://{address}{options['path']}/ (app {service.app_id}, key {service.key})\n"
            f"{self._describe_resources(options)}"
            f"Quit the server with {'CTRL-BREAK' if sys.platform == 'win32' else 'CONTROL-C'}."
        )
        mismatch = explain_mismatch(service, address, _choices(options))
        if mismatch:
            self.stderr.write(self.style.WARNING(mismatch))
        self.stdout.flush()

    def _describe_resources(self, options: dict[str, Any]) -> str:
        """Where the console is, and how many may connect; nothing for those who want few lines."""
        limit: FileLimit | None = options["file_limit"]
        if options["verbosity"] < 1 or self._server is None:
            return ""
        text = f"Debug console, by a link that works once: {self._server.console_link}\n"
        if options["redis"]:
            text += f"One server with all others that have Redis at {redact(options['redis'])}.\n"
        if limit is None:
            return text
        raised = f", raised from {limit.before}" if limit.before != limit.now else ""
        return f"{text}Room for {limit.now} open files{raised}; a connection takes one.\n"


def _require_extra(extra: str, packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise CommandError(f"runpushserver needs {', '.join(missing)}: pip install django-pusherable[{extra}]")


def _read_path(text: str) -> str:
    """The prefix, beginning with a slash and ending without one; empty where there is none."""
    path = text.strip("/")
    if path and not re.fullmatch(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", path):
        raise CommandError(f"--path {text!r} is no path such as /push, of letters, digits and - . _ ~ alone.")
    return f"/{path}" if path else ""


def _read_redis_url(text: str) -> str:
    """Where Redis is, by the command line or else by the settings; empty where there is none."""
    try:
        check_redis_url(text, source="--redis")
        url = text or settings.redis_url
    except SettingsError as wrong:
        raise CommandError(str(wrong)) from wrong
    if url:
        _require_extra("redis", _REDIS_EXTRA)
    return url


def _read_certificate(options: dict[str, Any]) -> Certificate | None:
    cert, key = options["cert"], options["key"]
    if not cert:
        if key:
            raise CommandError("--key is for the certificate that --cert names.")
        return None
    try:
        return Certificate(Path(cert).absolute(), Path(key).absolute() if key else None)
    except UnusableCertificate as unusable:
        raise CommandError(str(unusable)) from unusable


def _lead_project_here(address: Address, options: dict[str, Any]) -> None:
    """Let Django publish to this very server, and its pages connect to it."""
    certificate = options["certificate"]
    os.environ[LOCAL_SERVER_VARIABLE] = str(address.reachable)
    os.environ[SAME_ORIGIN_VARIABLE] = "1"
    os.environ[LOCAL_CERTIFICATE_VARIABLE] = str(certificate.cert) if certificate else ""
    os.environ[LOCAL_PATH_VARIABLE] = options["path"]


def _choices(options: dict[str, Any]) -> "Choices":
    from pusherable.management.serving import Choices

    return Choices(
        path=options["path"],
        certificate=options["certificate"],
        has_public_metrics=options["metrics"],
        console_key=options["console_key"],
        handover=options["handover"],
        redis_url=options["redis"],
        open_files=options["file_limit"].now if options["file_limit"] else None,
    )


def _listen(options: dict[str, Any]) -> socket.socket:
    is_ipv6 = options["use_ipv6"]
    default = Address("::1" if is_ipv6 else DEFAULT_HOST, _PORT_OF_ALL if options["serves_all"] else DEFAULT_PORT)
    try:
        return listen(parse_address(options["addrport"], default=default), prefers_ipv6=is_ipv6)
    except (InvalidAddress, CannotListen) as problem:
        raise CommandError(str(problem)) from problem


def _read_settings() -> Service:
    try:
        return settings.service
    except SettingsError as wrong:
        raise CommandError(str(wrong)) from wrong

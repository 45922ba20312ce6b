"""``manage.py runpushserver``: the local server, and with ``--allrequests`` the whole project, in one process."""

import os
import socket
import sys
import time
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import autoreload

from pusherable.conf import LOCAL_SERVER_VARIABLE, SAME_ORIGIN_VARIABLE, Service, SettingsError, settings
from pusherable.management.supervision import (
    CAN_HAND_ON,
    Supervisor,
    exit_on_signals,
    exiting_in_time,
    is_child,
    run_supervised,
    take_inherited_socket,
)
from pusherable.server.addresses import Address, CannotListen, InvalidAddress, address_of, listen, parse_address
from pusherable.server.config import DEFAULT_HOST, DEFAULT_PORT

if TYPE_CHECKING:
    from pusherable.server.facts import Fact, Observer
    from pusherable.server.listener import PushServer

#: What the ``server`` extra installs.
_EXTRA: Final = ("uvicorn", "websockets", "starlette")
_PORT_OF_ALL: Final = 8000


class Command(BaseCommand):
    help = "Runs a Pusher Channels server for development."
    # They run in the child, once for every reload; and only where the project's pages are served.
    requires_system_checks = ()

    _server: "PushServer | None" = None

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
        parser.add_argument("--skip-checks", action="store_true", help="Skip the checks that --allrequests makes.")

    def handle(self, *args: Any, **options: Any) -> None:
        _require_extra()
        # Here already, where it is no traceback in a thread.
        _read_settings()
        if not options["use_reloader"]:
            exit_on_signals()
            with exiting_in_time():
                self._serve(_listen(options), options)
        elif is_child():
            listener = take_inherited_socket() or _listen(options)
            run_supervised(lambda: self._serve(listener, options), request_stop=self._request_stop)
        else:
            sys.exit(Supervisor(_listen(options) if CAN_HAND_ON else None).run())

    def _serve(self, listener: socket.socket, options: dict[str, Any]) -> None:
        """Serve until asked to stop; every reload comes through here again."""
        autoreload.raise_last_exception()
        address = address_of(listener)
        if options["serves_all"]:
            # Before anything of the project is loaded that may publish.
            os.environ[LOCAL_SERVER_VARIABLE] = str(address.reachable)
            os.environ[SAME_ORIGIN_VARIABLE] = "1"
            self._check_project(options)
        service = _read_settings()
        self._server = self._make_server(service, address, options)
        self._announce(service, address, options)
        self._server.run(sockets=[listener])

    def _request_stop(self) -> None:
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

    def _make_server(self, service: Service, address: Address, options: dict[str, Any]) -> "PushServer":
        from pusherable.management.serving import make_pages, make_server

        pages = make_pages(serve_static=options["serve_static"]) if options["serves_all"] else None
        return make_server(service, address, observers=[self._observe(options["verbosity"])], pages=pages)

    def _observe(self, verbosity: int) -> "Observer":
        """An observer that writes a line for every happening, or for those that went wrong, or for none."""
        from pusherable.server.journal import describe, is_essential

        encoding = getattr(self.stdout, "encoding", None) or "utf-8"

        def observe(fact: "Fact") -> None:
            is_wrong = is_essential(fact)
            if verbosity >= 2 or (verbosity == 1 and is_wrong):
                line = f"[{time.strftime('%d/%b/%Y %H:%M:%S')}] {describe(fact)}"
                # Whatever was published must not fail for the sake of a terminal that cannot show it.
                line = line.encode(encoding, "backslashreplace").decode(encoding)
                self.stdout.write(self.style.WARNING(line) if is_wrong else line)

        return observe

    def _announce(self, service: Service, address: Address, options: dict[str, Any]) -> None:
        from pusherable.management.serving import explain_mismatch

        what = "development server with push" if options["serves_all"] else "push server"
        self.stdout.write(
            f"{time.strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {os.environ.get('DJANGO_SETTINGS_MODULE', '')!r}\n"
            f"Starting {what} at http://{address}/ (app {service.app_id}, key {service.key})\n"
            f"Quit the server with {'CTRL-BREAK' if sys.platform == 'win32' else 'CONTROL-C'}."
        )
        mismatch = explain_mismatch(service, address)
        if mismatch:
            self.stderr.write(self.style.WARNING(mismatch))
        self.stdout.flush()


def _require_extra() -> None:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise CommandError(f"runpushserver needs {', '.join(missing)}: pip install django-pusherable[server]")


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

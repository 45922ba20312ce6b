"""The whole newsroom by one command: database, first edition, a free port, the server."""

import os
import socket
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any

from django.core.management import BaseCommand, CommandError, call_command
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from newsroom.edition import DEMO_USERS, print_first_edition

FIRST_PORT = 8000
PORTS_TO_TRY = 100

#: Tells the port to the process that the autoreloader starts anew after every change of the code.
PORT_VARIABLE = "NEWSROOM_PORT"
#: Tells it what pages listen by.
TRANSPORT_VARIABLE = "NEWSROOM_TRANSPORT"


class Command(BaseCommand):
    help = "Sets the newsroom up, if need be, and serves it with its WebSockets on a free port of this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            help=f"the port to serve on; by default the first free one from {FIRST_PORT} on",
        )

        parser.add_argument(
            "--sse",
            action="store_true",
            help="let pages listen to event streams, without pusher-js, in place of WebSockets",
        )

    def handle(self, *, port: int | None, sse: bool, **options: Any) -> None:
        if sse:
            os.environ[TRANSPORT_VARIABLE] = "sse"
        if os.environ.get(DJANGO_AUTORELOAD_ENV) != "true":
            os.environ[PORT_VARIABLE] = str(self.open_newsroom(port))
        call_command("runpushserver", f"127.0.0.1:{os.environ[PORT_VARIABLE]}", allrequests=True)

    def open_newsroom(self, port: int | None) -> int:
        """Prepare the data, say hello, and return the port to serve on."""
        call_command("migrate", verbosity=0)
        print_first_edition()
        port = find_free_port() if port is None else check_port(port)
        # Without the extra there is nothing to welcome to: runpushserver says what to install.
        if find_spec("uvicorn"):
            self.stdout.write(self.get_welcome(port))
            # The server's own process writes to the same place.
            self.stdout.flush()
        return port

    def get_welcome(self, port: int) -> str:
        users = "\n".join(f"    {user.username:<6} password {user.password}" for user in DEMO_USERS)
        return f"""
  {self.style.SUCCESS("The newsroom is open:")} {self.style.HTTP_INFO(f"http://127.0.0.1:{port}/")}

  Log in as
{users}

  To try: open a post, and the same address in a second browser (or http://localhost:{port}/ in this
  one, which has a login of its own). Edit the post there and watch the first page.
  Then ring the bell: http://127.0.0.1:{port}/bell/

  Stop it with Ctrl+C. What you write is kept for the next time.
"""


def find_free_port() -> int:
    """The first free port from 8000 on."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TO_TRY):
        if is_free(port):
            return port
    message = f"Every port from {FIRST_PORT} to {port} is taken; name a free one by --port."
    raise CommandError(message)


def check_port(port: int) -> int:
    """Return ``port``, or say what is wrong with it."""
    if not 0 < port < 65536:
        message = f"--port {port} is no port: it is a number from 1 to 65535."
        raise CommandError(message)
    if not is_free(port):
        message = f"Port {port} is taken, or not yours to open; leave out --port to have a free one found."
        raise CommandError(message)
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do; without it a port counts as taken for a minute after its last connection.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

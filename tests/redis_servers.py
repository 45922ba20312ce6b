"""A Redis of the tests' own: Debian's program, a free port of the loopback, nothing kept on disk.

``PUSHERABLE_REDIS_SERVER``, the path of the program, goes before what is installed.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "PUSHERABLE_REDIS_SERVER"
REQUIRED_VARIABLE = "PUSHERABLE_REQUIRE_REDIS"

HOW_TO_GET_ONE = """\
Debian, Ubuntu:  apt-get install redis-server
Fedora:          dnf install redis
Everywhere:      pip install redis"""


def find_redis() -> Path | None:
    """The program, or ``None``."""
    found = os.environ.get(VARIABLE) or shutil.which("redis-server")
    return Path(found) if found and Path(found).exists() else None


def can_run() -> bool:
    return find_redis() is not None and find_spec("redis") is not None


def is_required() -> bool:
    """Whether a run without Redis has to fail."""
    return os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")


def explain_absence() -> str:
    """What is missing, and how to get it."""
    reason = "No redis package is installed." if find_redis() else "No redis-server was found."
    return f"{reason}\n{HOW_TO_GET_ONE}"


class RedisServer:
    """A Redis that can be paused, killed, and started again at the same port; what it holds is lost then.

    ``options`` are those of the program.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = find_redis()
        assert program is not None, explain_absence()
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            "/tmp",
        ]
        self._process = subprocess.Popen(
            [program, *options, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def command(self, line: str) -> None:
        """Carry out one command, such as ``CONFIG SET maxmemory 6mb``; it must not fail."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            client.sendall(f"{line}\r\n".encode())
            answer = client.recv(100)
        assert answer.startswith((b"+", b":")), answer

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def pause(self) -> None:
        """Let it neither answer nor refuse."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, whatever state it is in; one that is ended already is left alone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(100).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A fresh Redis; it is stopped in the end."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()

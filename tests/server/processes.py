"""Real server processes for tests: started, waited for, and ended by their own pid."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BANNER = re.compile(r"Starting .* at https?://(?P<address>[^/\s]+)/")


class ServerProcess:
    """A running ``manage.py runpushserver``; ``lines`` is what it has printed so far, both streams in one."""

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, start_new_session: bool
    ) -> None:
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._is_silent = False
        self._process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=start_new_session,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        match = _BANNER.search(self.wait_for("Starting "))
        assert match is not None
        return match["address"]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, *, count: int = 1, timeout: float = 30) -> str:
        """The ``count``-th line that holds ``text``, as soon as it is printed."""

        def find() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._printed:
            self._printed.wait_for(lambda: len(find()) >= count or self._is_silent, timeout)
        found = find()
        if len(found) < count:
            raise AssertionError(f"{text!r} was not printed {count} times:\n{self.output}")
        return found[count - 1]

    def stop(self, number: int = signal.SIGTERM, *, timeout: float = 10) -> int:
        """Send a signal and give back the exit code; a process that has ended already is left alone."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait(timeout=timeout)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._process.kill()

    def wait(self, *, timeout: float = 10) -> int:
        """The exit code, once it has ended and all that it printed is read."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._reader.join(timeout)
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._printed:
                    self.lines.append(line.rstrip("\n"))
                    self._printed.notify_all()
        with self._printed:
            self._is_silent = True
            self._printed.notify_all()


@contextmanager
def running_server(
    *args: str,
    address: str = "127.0.0.1:0",
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    manage: Sequence[str] = ("-m", "django"),
    start_new_session: bool = False,
) -> Iterator[ServerProcess]:
    """A ``runpushserver`` with the options ``args`` that answers, by default at a free port; it is stopped in the end.

    ``manage`` is what Python runs, such as ``("manage.py",)`` of a project in ``cwd``.
    """
    server = ServerProcess(
        [sys.executable, *manage, "runpushserver", address, *args],
        cwd=cwd,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", **(env or {})},
        start_new_session=start_new_session,
    )
    try:
        server.wait_for("Quit the server with")
        yield server
    finally:
        server.stop()

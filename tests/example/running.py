"""The newsroom as a person runs it: ``manage.py demo`` in a process of its own, on a database of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "example_project"

#: Seconds until what never happens fails.
PATIENCE = 30


def environment(database: Path | str) -> dict[str, str]:
    """The surroundings of a newsroom's process: nothing of this process' own Django."""
    strange = ("DJANGO_", "PUSHER", "NEWSROOM_", "RUN_MAIN", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {"NEWSROOM_DATABASE": str(database), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run_manage(*arguments: str, database: Path | str) -> subprocess.CompletedProcess[str]:
    """Run one of the newsroom's commands to its end; warnings are errors."""
    command = [sys.executable, "-W", "error", str(PROJECT / "manage.py"), *arguments]
    return subprocess.run(
        command,
        env=environment(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningNewsroom:
    """A context in which ``manage.py demo`` runs and answers; leaving it stops the process, if it still runs."""

    def __init__(self, database: Path, *arguments: str, project: Path = PROJECT) -> None:
        self._output: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, str(project / "manage.py"), "demo", *arguments],
            env=environment(database),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        try:
            self.url = self.wait_for_output(r"http://127\.0\.0\.1:\d+/")
            self.wait_for_page("/")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def output(self) -> str:
        return "".join(self._output)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_for_output(self, pattern: str) -> str:
        """The first match of ``pattern`` in what the process prints."""
        with self._changed:
            self._changed.wait_for(lambda: re.search(pattern, self.output) or not self._reader.is_alive(), PATIENCE)
        found = re.search(pattern, self.output)
        assert found, f"The newsroom did not print {pattern!r}, but:\n{self.output}"
        return found[0]

    def wait_for_page(self, path: str, condition: Callable[[str], bool] = bool) -> None:
        """Ask for a page until it answers and its text is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                text = self.get(path)[1]
            except ConnectionError as error:
                text = repr(error)
            else:
                if condition(text):
                    return
            assert self._process.poll() is None, f"The newsroom ended:\n{self.output}"
            assert time.monotonic() < deadline, f"{path} stays as it is:\n{text}\n{self.output}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal as a terminal or a service manager does, and return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        # The pipe ends when the last child that writes to it has ended.
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "The newsroom left a child behind."
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._output.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

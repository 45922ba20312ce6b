"""Autoreload with an open door: a parent holds the listening socket while children come and go."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from django.utils import autoreload

from pusherable.management.handovers import Handover

#: The file descriptor of the listening socket, told to the child.
SOCKET_VARIABLE: Final = "PUSHERABLE_SERVER_FD"
#: The process id of a supervisor, told to its child and to nobody further down.
SUPERVISOR_VARIABLE: Final = "PUSHERABLE_SUPERVISOR"
#: With which ``django.utils.autoreload`` ends a child whose code has changed.
RELOAD_CODE: Final = 3
#: Whether a child can be given an open socket; Windows has no file descriptors for them.
CAN_HAND_ON: Final = sys.platform != "win32"
#: Seconds for everything that a stop may take.
STOP_TIMEOUT: Final = 2.0

_POLL_INTERVAL: Final = 0.5


def take_supervisor() -> int | None:
    """The process id of the supervisor that has started this process, if one has; only the first call gets it.

    Django's own variable would not do: whatever a reloading server starts inherits it.
    """
    supervisor = os.environ.pop(SUPERVISOR_VARIABLE, None)
    return None if supervisor is None else int(supervisor)


def take_inherited_socket() -> socket.socket | None:
    """The parent's listening socket, if there is one to take; only the first call gets it."""
    descriptor = os.environ.pop(SOCKET_VARIABLE, None)
    return None if descriptor is None else socket.socket(fileno=int(descriptor))


class Supervisor:
    """Starts the same command again as a child, and again whenever its code changes.

    ``listener`` stays open all the while, so that a client that connects in between waits in its queue
    instead of being refused (protocol A.56). Without one, every child opens its own.
    """

    def __init__(
        self, listener: socket.socket | None, *, arguments: Sequence[str | os.PathLike[str]] | None = None
    ) -> None:
        self._listener = listener
        self._handover = Handover.make()
        self._arguments = arguments
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Supervise until told to stop or until a child ends for good; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            return self._supervise()
        finally:
            self._handover.close()

    def _supervise(self) -> int:
        has_reloaded = False
        while not self._is_stopping:
            before = dict(_modification_times())
            code = self._run_child()
            if self._is_stopping:
                break
            if code == RELOAD_CODE:
                has_reloaded = True
            elif code == 1 and has_reloaded:
                # The change broke the project's start: Django could not even watch for the next one.
                self._await_change(before)
            else:
                return code
        return 0

    def _run_child(self) -> int:
        environment = {
            **os.environ,
            autoreload.DJANGO_AUTORELOAD_ENV: "true",
            SUPERVISOR_VARIABLE: str(os.getpid()),
        }
        if self._listener is not None:
            self._listener.set_inheritable(True)
            environment[SOCKET_VARIABLE] = str(self._listener.fileno())
            environment |= self._handover.lend()
        arguments = self._arguments or autoreload.get_child_arguments()
        self._child = subprocess.Popen(arguments, env=environment, close_fds=False)
        if self._is_stopping:
            self._child.terminate()
        return self._child.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Let the child say goodbye; kill it if it takes too long, or if asked a second time."""
        is_repeated, self._is_stopping = self._is_stopping, True
        if self._child is None:
            return
        if is_repeated:
            self._child.kill()
            return
        self._child.terminate()
        killer = threading.Timer(STOP_TIMEOUT + 1, self._child.kill)
        killer.daemon = True
        killer.start()

    def _await_change(self, before: dict[Path, int]) -> None:
        while not self._is_stopping and dict(_modification_times()) == before:
            time.sleep(_POLL_INTERVAL)


def run_supervised(serve: Callable[[], None], *, request_stop: Callable[[], None], supervisor: int) -> None:
    """Run ``serve`` in a thread until the code changes or a signal comes, and leave by ``SystemExit``.

    The end of the process ``supervisor`` counts as a signal.

    However it ends, ``request_stop`` is called and ``serve`` given two seconds to say goodbye.
    """
    finished = threading.Event()

    def serve_and_tell() -> None:
        try:
            serve()
        finally:
            finished.set()

    on_signal(lambda: sys.exit(0))
    try:
        _exit_with(supervisor)
        autoreload.start_django(autoreload.get_reloader(), serve_and_tell)
    except SystemExit as leaving:
        _ignore_signals()
        exit_in_time(leaving.code)
        request_stop()
        finished.wait(STOP_TIMEOUT)
        raise


def on_signal(leave: Callable[[], None]) -> None:
    """Let the first SIGINT or SIGTERM call ``leave``, and the others do nothing."""

    def handle(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        leave()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def exit_in_time(code: object = 0) -> None:
    """End the process in two seconds at the latest, even if a page of the project is still at work."""
    watchdog = threading.Timer(STOP_TIMEOUT, os._exit, [code if isinstance(code, int) else 0])
    watchdog.daemon = True
    watchdog.start()


def _ignore_signals() -> None:
    # Not by SIG_IGN: Python prints a complaint where a signal is just on its way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)


def _exit_with(supervisor: int) -> None:
    """Stop when the supervisor has been killed: an orphan would keep the port for ever."""

    def watch() -> None:
        # On Windows the parent may be a launcher in between.
        while not CAN_HAND_ON or os.getppid() == supervisor:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


def _modification_times() -> Iterator[tuple[Path, int]]:
    """Of every Python file next to one of the project's modules; installed packages are left out."""
    installed = Path(sys.prefix), Path(sys.base_prefix)
    modules = (file for file in autoreload.iter_all_python_module_files())
    directories = {file.parent for file in modules if not any(file.is_relative_to(root) for root in installed)}
    for directory in directories:
        for file in directory.glob("*.py"):
            try:
                yield file, file.stat().st_mtime_ns
            except FileNotFoundError:
                continue

"""Autoreload with an open door: a parent holds the listening socket while children come and go."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from django.utils import autoreload

#: The file descriptor of the listening socket, told to the child.
SOCKET_VARIABLE: Final = "PUSHERABLE_SERVER_FD"
#: With which ``django.utils.autoreload`` ends a child whose code has changed.
RELOAD_CODE: Final = 3
#: Whether a child can be given an open socket; Windows has no file descriptors for them.
CAN_HAND_ON: Final = sys.platform != "win32"
#: Seconds for everything that a stop may take.
STOP_TIMEOUT: Final = 2.0

_POLL_INTERVAL: Final = 0.5


def is_child() -> bool:
    """Whether this process is one that a supervisor has started."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


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
        self._arguments = arguments
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Supervise until told to stop or until a child ends for good; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        has_reloaded = False
        while not self._is_stopping:
            code = self._run_child()
            if self._is_stopping:
                break
            if code == RELOAD_CODE:
                has_reloaded = True
            elif code == 1 and has_reloaded:
                # The change broke the project's start: Django could not even watch for the next one.
                self._await_change()
            else:
                return code
        return 0

    def _run_child(self) -> int:
        environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
        if self._listener is not None:
            self._listener.set_inheritable(True)
            environment[SOCKET_VARIABLE] = str(self._listener.fileno())
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

    def _await_change(self) -> None:
        before = dict(_modification_times())
        while not self._is_stopping and dict(_modification_times()) == before:
            time.sleep(_POLL_INTERVAL)


def run_supervised(serve: Callable[[], None], *, request_stop: Callable[[], None]) -> None:
    """Run ``serve`` in a thread until the code changes or a signal comes, and leave by ``SystemExit``.

    However it ends, ``request_stop`` is called and ``serve`` given two seconds to say goodbye.
    """
    finished = threading.Event()

    def serve_and_tell() -> None:
        try:
            serve()
        finally:
            finished.set()

    exit_on_signals()
    _exit_with_parent()
    with exiting_in_time():
        try:
            autoreload.start_django(autoreload.get_reloader(), serve_and_tell)
        finally:
            _ignore_signals()
            request_stop()
            finished.wait(STOP_TIMEOUT)


def exit_on_signals() -> None:
    """Let the first SIGINT or SIGTERM raise ``SystemExit`` with 0, and the others nothing."""

    def leave(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


@contextmanager
def exiting_in_time() -> Iterator[None]:
    """Where ``SystemExit`` comes out of this block, the process ends in two seconds whatever still runs.

    A thread of the project that is at work would hold it up otherwise.
    """
    try:
        yield
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
        watchdog = threading.Timer(STOP_TIMEOUT, os._exit, [code])
        watchdog.daemon = True
        watchdog.start()
        raise


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _exit_with_parent() -> None:
    """Stop when the parent has been killed: an orphan would keep the port for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


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

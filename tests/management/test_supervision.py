import os
import signal
import socket
import subprocess
import sys

import pytest
from django.utils import autoreload

from pusherable.management import supervision
from pusherable.management.supervision import (
    SOCKET_VARIABLE,
    SUPERVISOR_VARIABLE,
    Supervisor,
    take_inherited_socket,
    take_supervisor,
)


@pytest.fixture(autouse=True)
def signals_restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def supervise(tmp_path):
    """Supervise a child that runs one of these programs after the other; the exit code, and how many have run."""
    runs = tmp_path / "runs"

    def supervise(*programs, listener=None):
        runs.write_text("")
        choose = (
            f"import os, signal, sys, time\nruns = open({str(runs)!r}, 'r+')\nnumber = len(runs.read())\n"
            f"runs.write('x')\nruns.close()\nexec({programs!r}[number])"
        )
        code = Supervisor(listener, arguments=[sys.executable, "-c", choose]).run()
        return code, len(runs.read_text())

    return supervise


class TestSupervisor:
    @pytest.mark.parametrize("code", [0, 1, 5])
    def test_a_first_child_that_ends_is_the_end(self, supervise, code):
        assert supervise(f"sys.exit({code})") == (code, 1)

    def test_a_child_whose_code_has_changed_is_started_anew(self, supervise):
        assert supervise("sys.exit(3)", "sys.exit(3)", "sys.exit(7)") == (7, 3)

    def test_a_child_knows_that_it_is_one(self, supervise):
        told = f"(os.environ[{autoreload.DJANGO_AUTORELOAD_ENV!r}], os.environ[{SUPERVISOR_VARIABLE!r}])"
        assert supervise(f"sys.exit(9 if {told} == ('true', str(os.getppid())) else 0)") == (9, 1)

    def test_a_child_is_given_the_socket(self, supervise, listener):
        port = listener.getsockname()[1]
        program = (
            "import socket\n"
            f"listener = socket.socket(fileno=int(os.environ[{SOCKET_VARIABLE!r}]))\n"
            f"sys.exit(9 if listener.getsockname()[1] == {port} else 0)"
        )
        assert supervise(program, listener=listener) == (9, 1)

    def test_a_child_leaves_something_to_the_next(self, supervise, listener):
        take = "from pusherable.management.handovers import Handover\nhandover = Handover.take_inherited()\n"
        programs = f"{take}handover.write('x')\nsys.exit(3)", f"{take}sys.exit(9 if handover.take()[0] == 'x' else 0)"
        assert supervise(*programs, listener=listener) == (9, 2)

    def test_without_a_socket_there_is_none_to_give(self, supervise):
        assert supervise(f"sys.exit(9 if {SOCKET_VARIABLE!r} not in os.environ else 0)") == (9, 1)

    def test_a_signal_is_passed_on(self, supervise):
        program = (
            "signal.signal(signal.SIGTERM, lambda *args: sys.exit(5))\nos.kill(os.getppid(), signal.SIGTERM)\n"
            "time.sleep(60)"
        )
        assert supervise(program) == (0, 1)

    def test_a_second_signal_kills(self, supervise):
        program = (
            "signal.signal(signal.SIGTERM, lambda *args: os.kill(os.getppid(), signal.SIGINT))\n"
            "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
        )
        assert supervise(program) == (0, 1)

    def test_a_child_that_does_not_stop_is_killed(self, supervise, monkeypatch):
        monkeypatch.setattr(supervision, "STOP_TIMEOUT", -1)
        program = (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
        )
        assert supervise(program) == (0, 1)

    def test_a_signal_while_a_child_is_being_started_is_heeded(self, supervise, monkeypatch):
        start = subprocess.Popen

        def start_and_signal(*args, **options):
            child = start(*args, **options)
            signal.raise_signal(signal.SIGTERM)
            return child

        monkeypatch.setattr(subprocess, "Popen", start_and_signal)
        code, _ = supervise("time.sleep(60)")
        assert code == 0

    def test_a_signal_while_a_change_is_awaited_is_heeded(self, supervise, monkeypatch):
        monkeypatch.setattr(supervision.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGTERM))
        monkeypatch.setattr(autoreload, "iter_all_python_module_files", frozenset)
        assert supervise("sys.exit(3)", "sys.exit(1)") == (0, 2)

    def test_a_change_starts_a_broken_child_anew(self, supervise, monkeypatch, tmp_path):
        module, added = tmp_path / "module.py", tmp_path / "added.py"
        module.touch()
        (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
        monkeypatch.setattr(autoreload, "iter_all_python_module_files", lambda: frozenset([module]))
        monkeypatch.setattr(supervision.time, "sleep", lambda seconds: added.touch())
        assert supervise("sys.exit(3)", "sys.exit(1)", "sys.exit(7)") == (7, 3)


class TestTakeSupervisor:
    def test_it_is_taken_once(self, monkeypatch):
        monkeypatch.setenv(SUPERVISOR_VARIABLE, "123")
        assert take_supervisor() == 123
        assert take_supervisor() is None


class TestTakeInheritedSocket:
    def test_it_is_taken_once(self, monkeypatch, listener):
        monkeypatch.setenv(SOCKET_VARIABLE, str(os.dup(listener.fileno())))
        with take_inherited_socket() as taken:
            assert taken.getsockname() == listener.getsockname()
        assert take_inherited_socket() is None

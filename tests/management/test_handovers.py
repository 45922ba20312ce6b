import os
import subprocess
import sys

import pytest

from pusherable.management.handovers import HANDOVER_VARIABLE, Handover


@pytest.fixture
def handover():
    handover = Handover.make()
    yield handover
    handover.close()


def run_child(handover, program):
    """What a child prints that inherits the handover as ``given``."""
    code = f"from pusherable.management.handovers import Handover\ngiven = Handover.take_inherited()\n{program}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **handover.lend()},
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


class TestHandover:
    def test_a_new_one_holds_nothing(self, handover):
        assert handover.take()[0] == ""

    def test_what_was_left_can_be_taken_once(self, handover):
        handover.write("first, and longer")
        handover.write("second ✓")
        text, age = handover.take()
        assert (text, age < 60) == ("second ✓", True)
        assert handover.take()[0] == ""

    def test_its_age_is_since_it_was_left(self, handover):
        handover.write("x")
        os.utime(handover._file.fileno(), (0, 1_000))
        assert handover.take()[1] > 1_000_000

    def test_one_child_leaves_it_to_the_next(self, handover):
        assert run_child(handover, "given.write('from the first')") == ""
        assert run_child(handover, "print(given.take()[0])") == "from the first\n"
        assert handover.take()[0] == ""

    def test_a_child_keeps_it_to_itself(self, handover):
        program = f"import os; print(os.get_inheritable(given._file.fileno()), {HANDOVER_VARIABLE!r} in os.environ)"
        assert run_child(handover, program) == "False False\n"

    def test_without_a_supervisor_there_is_none(self, monkeypatch):
        monkeypatch.delenv(HANDOVER_VARIABLE, raising=False)
        assert Handover.take_inherited() is None

    def test_one_that_is_inherited_is_taken_once(self, handover, monkeypatch):
        monkeypatch.setenv(HANDOVER_VARIABLE, str(os.dup(handover._file.fileno())))
        taken = Handover.take_inherited()
        handover.write("x")
        assert taken.take()[0] == "x"
        taken.close()
        assert Handover.take_inherited() is None

    def test_where_it_cannot_be_left_it_is_not(self, tmp_path):
        path = tmp_path / "full"
        path.touch()
        # As on a disk that is full, writing is an OSError.
        with path.open("rb") as file:
            Handover(file).write("x")
        assert path.read_bytes() == b""

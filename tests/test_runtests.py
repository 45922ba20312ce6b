import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import browsers, clusters, redis_servers
from tests.browsers import HOW_TO_GET_ONE, explain_absence, find_chromium, is_browser_required

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PUSHERABLE_CHROMIUM", raising=False)
    monkeypatch.delenv("PUSHERABLE_REQUIRE_BROWSER", raising=False)
    monkeypatch.setattr(browsers, "CANDIDATES", ("chromium", "chromium-browser", "google-chrome"))


@pytest.fixture
def make_program(tmp_path):
    def make(name):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    return make


class TestFindChromium:
    def test_nothing_there_is_none(self):
        assert find_chromium() is None

    @pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
    def test_each_usual_name_is_found(self, make_program, name):
        program = make_program(name)
        assert find_chromium() == program

    def test_the_variable_goes_first(self, make_program, monkeypatch):
        make_program("chromium")
        monkeypatch.setenv("PUSHERABLE_CHROMIUM", make_program("my-own-build"))
        assert find_chromium() == os.environ["PUSHERABLE_CHROMIUM"]

    def test_a_variable_that_names_nothing_is_not_passed_over(self, make_program, monkeypatch):
        make_program("chromium")
        monkeypatch.setenv("PUSHERABLE_CHROMIUM", "/nowhere/chromium")
        assert find_chromium() is None
        assert explain_absence() == (
            f"PUSHERABLE_CHROMIUM is '/nowhere/chromium', which is no program.\n{HOW_TO_GET_ONE}"
        )


class TestIsBrowserRequired:
    @pytest.mark.parametrize(("value", "required"), [("1", True), ("yes", True), ("0", False), ("", False)])
    def test_follows_the_variable(self, monkeypatch, value, required):
        monkeypatch.setenv("PUSHERABLE_REQUIRE_BROWSER", value)
        assert is_browser_required() is required


@pytest.fixture
def project(tmp_path):
    """A test in ``tests/browser`` and one beside it, under the real runtests.py and the real rules."""
    tests = tmp_path / "project" / "tests"
    (tests / "browser").mkdir(parents=True)
    for name in ("__init__.py", "browsers.py", "clusters.py", "redis_servers.py", "skipping.py"):
        shutil.copyfile(ROOT / "tests" / name, tests / name)
    (tests / "conftest.py").write_text("from tests.skipping import *")
    (tests / "test_plain.py").write_text("def test_plain(): pass")
    (tests / "browser" / "test_page.py").write_text("def test_page(): pass")
    shutil.copyfile(ROOT / "runtests.py", tests.parent / "runtests.py")
    (tests.parent / "pytest.ini").write_text("[pytest]\nmarkers =\n    browser\n    postgresql\n    redis\n")
    return tests.parent


def run_tests(project, *arguments, **environment):
    """What ``runtests.py`` of the project says: its exit status, lines of output, and errors."""
    done = subprocess.run(
        [sys.executable, project / "runtests.py", *arguments],
        cwd=project.parent,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def outcome(lines):
    return lines[-1].strip("= ").partition(" in ")[0]


class TestWithoutBrowser:
    def test_skips_and_says_so_at_the_start_and_the_end(self, project):
        status, lines, _ = run_tests(project)
        assert (status, outcome(lines)) == (0, "1 passed, 1 skipped")
        how = HOW_TO_GET_ONE.splitlines()
        assert "Debian, Ubuntu:  apt-get install chromium libatomic1" in how
        start = lines.index("THE BROWSER TESTS CANNOT RUN. No Chromium was found.")
        assert lines[start + 1 : start + 1 + len(how)] == how
        assert [line.strip("! ") for line in lines[-8:-1]] == [
            "1 BROWSER TESTS WERE SKIPPED",
            "",
            "No Chromium was found.",
            *how,
        ]

    def test_says_nothing_at_the_end_where_none_was_wanted(self, project):
        status, lines, _ = run_tests(project, "tests/test_plain.py")
        assert (status, outcome(lines)) == (0, "1 passed")
        assert not any("SKIPPED" in line for line in lines)

    def test_that_is_required_fails(self, project):
        status, _, errors = run_tests(project, PUSHERABLE_REQUIRE_BROWSER="1")
        assert status == pytest.ExitCode.USAGE_ERROR
        assert errors == f"ERROR: The browser tests are required. No Chromium was found.\n{HOW_TO_GET_ONE}\n\n"


class TestWithBrowser:
    def test_everything_runs(self, project, make_program):
        chromium = make_program("chromium")
        status, lines, _ = run_tests(project, PUSHERABLE_REQUIRE_BROWSER="1")
        assert (status, outcome(lines)) == (0, "2 passed")
        assert f"chromium: {chromium}" in lines

    def test_arguments_are_passed_on(self, project, make_program):
        make_program("chromium")
        status, lines, _ = run_tests(project, "-m", "browser")
        assert (status, outcome(lines)) == (0, "1 passed, 1 deselected")

    def test_failure_is_passed_on(self, project):
        (project / "tests" / "test_plain.py").write_text("def test_plain(): assert False")
        status, lines, _ = run_tests(project, "tests/test_plain.py")
        assert (status, outcome(lines)) == (1, "1 failed")


class TestWithoutPostgreSQL:
    @pytest.fixture(autouse=True)
    def nowhere(self, project, monkeypatch):
        monkeypatch.setenv("PUSHERABLE_POSTGRESQL", "/nowhere")
        monkeypatch.delenv("PUSHERABLE_REQUIRE_POSTGRESQL", raising=False)
        marked = "import pytest\n@pytest.mark.postgresql\ndef test_commit(): pass"
        (project / "tests" / "test_commit.py").write_text(marked)

    def test_skips_and_says_so_at_the_start_and_the_end(self, project):
        status, lines, _ = run_tests(project, "tests/test_commit.py", "tests/test_plain.py")
        assert (status, outcome(lines)) == (0, "1 passed, 1 skipped")
        how = clusters.HOW_TO_GET_ONE.splitlines()
        start = lines.index("THE POSTGRESQL TESTS CANNOT RUN. No PostgreSQL was found.")
        assert lines[start + 1 : start + 1 + len(how)] == how
        assert [line.strip("! ") for line in lines[-7:-1]] == [
            "1 POSTGRESQL TESTS WERE SKIPPED",
            "",
            "No PostgreSQL was found.",
            *how,
        ]

    def test_that_is_required_fails(self, project):
        status, _, errors = run_tests(project, "tests/test_commit.py", PUSHERABLE_REQUIRE_POSTGRESQL="1")
        assert status == pytest.ExitCode.USAGE_ERROR
        assert errors == (
            f"ERROR: The PostgreSQL tests are required. No PostgreSQL was found.\n{clusters.HOW_TO_GET_ONE}\n\n"
        )


class TestWithoutRedis:
    @pytest.fixture(autouse=True)
    def nowhere(self, project, monkeypatch):
        monkeypatch.setenv("PUSHERABLE_REDIS_SERVER", "/nowhere")
        monkeypatch.delenv("PUSHERABLE_REQUIRE_REDIS", raising=False)
        marked = "import pytest\n@pytest.mark.redis\ndef test_log(): pass"
        (project / "tests" / "test_log.py").write_text(marked)

    def test_skips_and_says_so_at_the_end(self, project):
        status, lines, _ = run_tests(project, "tests/test_log.py", "tests/test_plain.py")
        assert (status, outcome(lines)) == (0, "1 passed, 1 skipped")
        assert "THE REDIS TESTS CANNOT RUN. No redis-server was found." in lines
        assert [line.strip("! ") for line in lines[-7:-1]] == [
            "1 REDIS TESTS WERE SKIPPED",
            "",
            "No redis-server was found.",
            *redis_servers.HOW_TO_GET_ONE.splitlines(),
        ]

    def test_that_is_required_fails(self, project):
        status, _, errors = run_tests(project, "tests/test_log.py", PUSHERABLE_REQUIRE_REDIS="1")
        assert status == pytest.ExitCode.USAGE_ERROR
        assert errors == (
            f"ERROR: The Redis tests are required. No redis-server was found.\n{redis_servers.HOW_TO_GET_ONE}\n\n"
        )


class TestThisProject:
    def run_tests(self, tmp_path, *arguments, **environment):
        return subprocess.run(
            [sys.executable, ROOT / "runtests.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )

    def test_its_tests_run_from_any_folder(self, tmp_path):
        done = self.run_tests(tmp_path, "--collect-only", "-q", "tests/test_signing.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tests/test_signing.py::" in done.stdout

    @pytest.mark.skipif(find_spec("playwright") is None, reason="without Playwright they cannot be collected")
    def test_its_browser_tests_can_be_required(self, tmp_path):
        done = self.run_tests(tmp_path, "--collect-only", "-q", "tests/browser", PUSHERABLE_REQUIRE_BROWSER="1")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "ERROR: The browser tests are required. No Chromium was found." in done.stderr

"""The example project, each time in a process of its own: it has settings of its own."""

import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.example.running import PROJECT, RunningNewsroom, find_free_port, run_manage


class TestProject:
    def test_own_tests_pass(self) -> None:
        # With Django's DEBUG = False of tests there would be no local server to fall back on.
        finished = run_manage("test", "newsroom", database=":memory:")
        assert finished.returncode == 0, finished.stdout

    def test_check_finds_nothing(self) -> None:
        finished = run_manage("check", database=":memory:")
        assert (finished.returncode, finished.stdout) == (0, "System check identified no issues (0 silenced).\n")

    def test_models_have_their_migrations(self) -> None:
        finished = run_manage("makemigrations", "--check", database=":memory:")
        assert (finished.returncode, finished.stdout) == (0, "No changes detected\n")


class TestDemo:
    def test_started_twice_says_where_and_who_and_keeps_the_data(self, tmp_path: Path) -> None:
        database = tmp_path / "db.sqlite3"
        with RunningNewsroom(database) as newsroom:
            status, page = newsroom.get("/")
            assert (status, page.count("data-post=")) == (200, 6)
            for word in ("ada", "lovelace", "grace", "hopper", "Ctrl+C", f"http://localhost:{newsroom.port}/"):
                assert word in newsroom.output
            assert newsroom.stop(signal.SIGTERM) == 0
        with RunningNewsroom(database) as newsroom:
            assert newsroom.get("/posts/1/")[0] == 200
            assert newsroom.get("/posts/7/")[0] == 404

    def test_with_event_streams_loads_no_pusher_js(self, tmp_path: Path) -> None:
        with RunningNewsroom(tmp_path / "db.sqlite3", "--sse") as newsroom:
            page = newsroom.get("/")[1]
            assert re.findall(r'<script src="/static/pusherable/([^"]+)"', page) == ["streams.js", "pusherable.js"]
            assert newsroom.stop(signal.SIGINT) == 0

    def test_reloaded_keeps_its_port_and_is_not_set_up_again(self, tmp_path: Path) -> None:
        project = tmp_path / "project"
        shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
        with RunningNewsroom(tmp_path / "db.sqlite3", project=project) as newsroom:
            views = project / "newsroom" / "views.py"
            views.write_text(views.read_text().replace("FRONT_PAGE_SIZE = 7", "FRONT_PAGE_SIZE = 2"))

            def is_reloaded(page: str) -> bool:
                if page.count("data-post=") == 2:
                    return True
                # What the reloader finds at its first look it takes for old: the change may have come too early.
                views.touch()
                return False

            newsroom.wait_for_page("/", is_reloaded)
            assert newsroom.output.count("The newsroom is open") == 1

    def test_serves_static_files(self, tmp_path: Path) -> None:
        with RunningNewsroom(tmp_path / "db.sqlite3") as newsroom:
            for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', newsroom.get("/")[1]):
                assert newsroom.get(path)[0] == 200, path

    def test_stopped_frees_its_port(self, tmp_path: Path) -> None:
        port = find_free_port()
        with RunningNewsroom(tmp_path / "db.sqlite3", "--port", str(port)) as newsroom:
            assert newsroom.port == port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))

    def test_twice_at_once_takes_two_ports(self, tmp_path: Path) -> None:
        database = tmp_path / "db.sqlite3"
        with RunningNewsroom(database) as first, RunningNewsroom(database) as second:
            assert first.port != second.port
            assert second.get("/")[0] == 200

    def test_on_a_port_that_is_taken_says_so(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            finished = run_manage("demo", "--port", str(port), database=tmp_path / "db.sqlite3")
        expected = (
            f"CommandError: Port {port} is taken, or not yours to open; leave out --port to have a free one found.\n"
        )
        assert (finished.returncode, finished.stdout) == (1, expected)

    @pytest.mark.parametrize("port", ["0", "65536", "-1"])
    def test_on_what_is_no_port_says_so(self, tmp_path: Path, port: str) -> None:
        finished = run_manage("demo", f"--port={port}", database=tmp_path / "db.sqlite3")
        expected = f"CommandError: --port {port} is no port: it is a number from 1 to 65535.\n"
        assert (finished.returncode, finished.stdout) == (1, expected)

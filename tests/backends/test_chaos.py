"""Real processes, and a service in all kinds of trouble: each event is delivered, or reported."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.answering import service
from tests.server.processes import ROOT, ServerProcess, running_server

__all__ = ["service"]

pytestmark = pytest.mark.chaos

PATIENCE = 120.0


class Notes:
    """What a sender has noted."""

    def __init__(self, path):
        self.path = path

    def lines(self, word):
        text = self.path.read_text() if self.path.exists() else ""
        return [line.split()[1:] for line in text.splitlines() if line.split()[0] == word]

    @property
    def published(self):
        return [name for _, name in self.lines("published")]

    @property
    def failed(self):
        return {name: reason for _, name, reason in self.lines("failed")}

    def of_each_channel(self):
        channels = defaultdict(list)
        for channel, name in self.lines("published"):
            channels[channel].append(name)
        return channels

    def wait_for(self, word, count):
        wait_until(lambda: len(self.lines(word)) >= count)


def wait_until(is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "It has not come to pass."
        time.sleep(0.01)


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


@pytest.fixture
def environment(tmp_path, notes):
    """The environment of a sender, made of settings and variables."""

    def make(*, variables=None, **settings):
        chosen = {"PUSHERABLE_BACKEND": "threaded", "PUSHER_TIMEOUT": 2, **settings}
        lines = [f"{name} = {value!r}\n" for name, value in chosen.items()]
        (tmp_path / "chaos_settings.py").write_text("".join(["from tests.settings import *\n", *lines]))
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "chaos_settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "PYTHONWARNINGS": "ignore",
            "CHAOS_NOTES": str(notes.path),
            **(variables or {}),
        }

    return make


class Sender:
    def __init__(self, environment, count, pause):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.sending", str(count), str(pause)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def wait(self):
        """Its log, once it has ended; and how."""
        log = self.process.communicate(timeout=PATIENCE)[1]
        return log, self.process.returncode


def heard_by(service):
    """Channel and name of what the service has taken, in the order of its coming."""
    heard = []
    for body in list(service.taken):
        content = json.loads(body)
        for entry in content.get("batch", [content]):
            heard += [(channel, entry["name"]) for channel in entry.get("channels") or [entry["channel"]]]
    return heard


def assert_accounted_for(notes, heard):
    """Each event was heard or has failed, and those of a channel were heard in their order."""
    names = {name for _, name in heard}
    assert set(notes.published) - names - notes.failed.keys() == set()
    for channel, published in notes.of_each_channel().items():
        firsts = list(dict.fromkeys(name for where, name in heard if where == channel))
        assert firsts == [name for name in published if name in firsts]


class TestServiceInTrouble:
    def test_killed_and_started_again_under_a_stream_it_hears_all(self, environment, notes, tmp_path):
        lines = []
        env = {"PYTHONPATH": str(ROOT)}
        with running_server("--noreload", "-v", "2", env=env) as first:
            address = first.address
            with Sender(
                environment(PUSHER_PORT=first.port, PUSHERABLE_EXIT_TIMEOUT=100, PUSHERABLE_MAX_AGE=600), 300, 0.005
            ) as sender:
                first.wait_for("event40 on")
                first.kill()
                first.wait()
                lines += first.lines
                # Long enough for some to fail.
                notes.wait_for("published", len(notes.published) + 50)
                with running_server("--noreload", "-v", "2", address=address, env=env) as second:
                    log, code = sender.wait()
                    second.stop()
                    lines += second.lines
        heard = [
            (words[words.index("on") + 1], words[words.index("on") - 1])
            for words in map(str.split, lines)
            if "on" in words and words[words.index("on") - 1].startswith("event")
        ]
        assert (len(notes.published), code) == (300, 0), log
        assert_accounted_for(notes, heard)
        assert notes.failed == {}

    @pytest.mark.parametrize("trouble", ["black hole", "500s", "drip"])
    def test_once_it_has_recovered_it_hears_all(self, environment, notes, service, trouble):
        service.answer = (500, b"oh dear") if trouble == "500s" else (200, b'{"a": "slow one"}')
        service.drip = 0.2 if trouble == "drip" else 0.0
        if trouble == "black hole":
            service.silent.clear()
        settings = {
            "PUSHER_PORT": service.port,
            "PUSHER_TIMEOUT": 0.4,
            "PUSHERABLE_EXIT_TIMEOUT": 100,
            "PUSHERABLE_MAX_AGE": 600,
        }
        with Sender(environment(**settings), 100, 0.01) as sender:
            notes.wait_for("published", 60)
            troubled = len(service.requests)
            service.drip, service.answer = 0.0, (200, b"{}")
            service.silent.set()
            log, code = sender.wait()
        assert (len(notes.published), code) == (100, 0), log
        assert troubled
        assert_accounted_for(notes, heard_by(service))
        assert notes.failed == {}

    def test_trouble_without_end_is_reported_in_few_lines(self, environment, notes, service):
        service.silent.clear()
        settings = {"PUSHER_TIMEOUT": 0.2, "PUSHERABLE_MAX_AGE": 0.5, "PUSHERABLE_EXIT_TIMEOUT": 20}
        with Sender(environment(PUSHER_PORT=service.port, **settings), 50, 0.01) as sender:
            log, code = sender.wait()
        assert code == 0, log
        assert set(notes.published) == notes.failed.keys()
        assert set(notes.failed.values()) <= {"timeout", "too-old"}
        # That events wait, and each cause of their end; and for each of these how often it came.
        assert len(log.splitlines()) <= 2 * (1 + len(set(notes.failed.values())))

    def test_wrong_clock_is_named_by_how_much_it_is_off(self, environment, notes):
        with running_server("--noreload", env={"PYTHONPATH": str(ROOT)}) as server:
            settings = environment(PUSHER_PORT=server.port, variables={"CHAOS_CLOCK": "3600"})
            with Sender(settings, 5, 0.0) as sender:
                log, code = sender.wait()
        assert code == 0
        assert notes.failed == {f"event{n}": "clock" for n in range(5)}
        line, more = log.splitlines()
        assert more.startswith("4 more like it since the last line, at last: ")
        # Seconds are rounded, and pass.
        assert re.search(r"It is the clock: this machine's is (1 h|59 min)( \d+ s)? ahead of the service's\.", line)


class TestSenderThatIsStopped:
    def test_what_waits_is_delivered_first(self, environment, notes, service):
        with Sender(environment(PUSHER_PORT=service.port, PUSHERABLE_EXIT_TIMEOUT=100), 100_000, 0.0005) as sender:
            notes.wait_for("published", 200)
            sender.process.send_signal(signal.SIGTERM)
            log, code = sender.wait()
        assert code == -signal.SIGTERM, log
        assert_accounted_for(notes, heard_by(service))
        assert notes.failed == {}

    def test_what_cannot_be_delivered_is_reported(self, environment, notes, service):
        service.silent.clear()
        with Sender(environment(PUSHER_PORT=service.port, PUSHERABLE_EXIT_TIMEOUT=0.5), 100_000, 0.005) as sender:
            notes.wait_for("published", 50)
            sender.process.send_signal(signal.SIGTERM)
            log, code = sender.wait()
        assert code == -signal.SIGTERM, log
        assert set(notes.published) == notes.failed.keys()
        assert "exit" in notes.failed.values()

    def test_spawned_child_delivers_before_it_ends(self, environment, notes, service):
        script = (
            "import multiprocessing; from tests.backends.sending import publish_once; "
            "child = multiprocessing.get_context('spawn').Process(target=publish_once); child.start(); child.join()"
        )
        env = environment(PUSHER_PORT=service.port)
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, check=True, timeout=PATIENCE)
        assert (notes.published, heard_by(service)) == (["spawned"], [("child", "spawned")])

    def test_autoreload_delivers_before_it_starts_again(self, environment, notes, service):
        service.silent.clear()
        env = environment(
            PUSHER_PORT=service.port,
            PUSHER_TIMEOUT=0.3,
            PUSHERABLE_EXIT_TIMEOUT=100,
            ROOT_URLCONF="chaos_urls",
            DEBUG=True,
        )
        urls, port = write_urls(notes), free_port()
        command = [sys.executable, "-m", "django", "runserver", f"127.0.0.1:{port}"]
        site = ServerProcess(command, env=env, cwd=ROOT, start_new_session=True)
        try:
            site.wait_for("development server at")
            assert visit(f"http://127.0.0.1:{port}/?name=before")
            wait_until(lambda: service.requests)
            urls.write_text(urls.read_text() + "# Changed\n")
            site.wait_for("changed, reloading")
            service.silent.set()
            wait_until(lambda: service.taken)
            assert [name for _, name in heard_by(service)] == ["before"]
        finally:
            # The reloader and its child.
            os.killpg(site.pid, signal.SIGKILL)
            site.wait()


class TestGunicorn:
    def test_forked_threaded_and_recycled_workers_account_for_all(self, environment, notes, service):
        variables = {"CHAOS_PRELOAD": "yes"}
        settings = environment(
            variables=variables,
            PUSHER_PORT=service.port,
            PUSHERABLE_EXIT_TIMEOUT=100,
            ROOT_URLCONF="chaos_urls",
        )
        write_urls(notes)
        arguments = ["--preload", "--workers=2", "--threads=4", "--max-requests=10", "--bind=127.0.0.1:0"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments, "tests.backends.sending:application"],
            cwd=ROOT,
            env=settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        log, port = [], threading.Event()

        def read():
            for line in process.stderr:
                log.append(line)
                if "Listening at" in line:
                    port.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert port.wait(PATIENCE), log
            address = next(line for line in log if "Listening at" in line).split()[-2]
            with ThreadPoolExecutor(4) as visitors:
                answers = list(visitors.map(lambda n: visit(f"{address}/?name=visit{n}"), range(60)))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            reader.join()
            process.stderr.close()
        assert len(set(answers)) > 2
        assert sorted(notes.published) == sorted(["preloaded", *(f"visit{n}" for n in range(60))])
        assert_accounted_for(notes, heard_by(service))
        assert notes.failed == {}


def write_urls(notes):
    """A project's URLs, with a page that publishes."""
    urls = notes.path.parent / "chaos_urls.py"
    urls.write_text(
        "from django.urls import path\nfrom tests.backends.sending import bell\nurlpatterns = [path('', bell)]\n"
    )
    return urls


def free_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


def visit(url):
    """The answer to a request; a worker that is just being recycled may hang up on it before it has read it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return answer.read()
        except OSError:
            assert time.monotonic() < deadline

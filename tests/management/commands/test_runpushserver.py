import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from importlib.util import find_spec

import pytest
from django.core.management import CommandError, call_command
from pusher import Pusher
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from pusherable.management.commands import runpushserver
from tests.server.processes import ROOT, running_server

URLS = """
from django.http import HttpResponse
from django.urls import path
from pusherable.publishing import trigger

def index(request):
    trigger("post_1", "view", {"by": "the project"})
    return HttpResponse("the first edition")

urlpatterns = [path("", index)]
"""
SETTINGS = """
SECRET_KEY = "a secret of the tests alone"
DEBUG = True
ALLOWED_HOSTS = []
ROOT_URLCONF = "urls"
STATIC_URL = "/static/"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.staticfiles", "pusherable"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
SUBSCRIBE = '{"event":"pusher:subscribe","data":{"channel":"post_1"}}'


@pytest.fixture
def project(tmp_path):
    """A project of its own, to be changed while it runs; what ``running_server`` needs for it."""
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    return {"cwd": tmp_path, "env": {"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": paths}}


@pytest.fixture
def subscribed():
    """Connect a real WebSocket client and subscribe it."""
    clients = []

    def subscribe(server, key):
        client = connect(f"ws://{server.address}/app/{key}?protocol=7", open_timeout=30).__enter__()
        clients.append(client)
        client.recv(timeout=30)
        client.send(SUBSCRIBE)
        assert json.loads(client.recv(timeout=30))["event"] == "pusher_internal:subscription_succeeded"
        return client

    yield subscribe
    for client in clients:
        client.close()


@pytest.fixture
def signals_restored():
    """The command installs handlers, which other tests must not inherit."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def closing_of(client):
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(timeout=30)
    return caught.value.rcvd


def read(server, path="/"):
    try:
        with urllib.request.urlopen(f"http://{server.address}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


def find_orphans(server):
    """Children of a process that is gone."""
    return subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True, check=False).stdout.split()


@pytest.mark.usefixtures("signals_restored")
class TestArguments:
    @pytest.mark.parametrize("address", ["nonsense", "65536", "::1:80", "http://localhost"])
    def test_a_faulty_address_is_an_error(self, address):
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", address)
        assert str(caught.value) == f'"{address}" is not a valid port number or address:port pair.'

    @pytest.mark.parametrize("use_reloader", [True, False])
    def test_a_port_in_use_is_an_error(self, use_reloader):
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            port = other.getsockname()[1]
            with pytest.raises(CommandError) as caught:
                call_command("runpushserver", str(port), use_reloader=use_reloader)
        assert str(caught.value) == (
            f"Cannot listen at 127.0.0.1:{port}: That port is already in use. Stop what uses it, or give another port."
        )

    @pytest.mark.parametrize(("serves_all", "default"), [(False, "[::1]:8001"), (True, "[::1]:8000")])
    def test_the_default_port_depends_on_what_is_served(self, monkeypatch, serves_all, default):
        def fail(address, *, prefers_ipv6):
            assert prefers_ipv6
            raise runpushserver.CannotListen(str(address))

        monkeypatch.setattr(runpushserver, "listen", fail)
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", use_ipv6=True, serves_all=serves_all)
        assert str(caught.value) == default

    def test_without_the_extra_the_error_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(runpushserver, "find_spec", lambda name: None if name == "uvicorn" else find_spec(name))
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver")
        assert str(caught.value) == "runpushserver needs uvicorn: pip install django-pusherable[server]"

    def test_without_credentials_the_error_says_what_to_set(self, settings):
        settings.PUSHER_APP_ID = settings.PUSHER_KEY = settings.PUSHER_SECRET = ""
        with pytest.raises(CommandError, match="No Pusher service is configured. Set PUSHER_APP_ID"):
            call_command("runpushserver")

    def test_pages_without_debug_need_allowed_hosts(self, settings):
        settings.ALLOWED_HOSTS = []
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", "0", use_reloader=False, serves_all=True)
        assert str(caught.value) == "You must set settings.ALLOWED_HOSTS if DEBUG is False."


class TestServer:
    def test_the_pusher_package_s_events_reach_a_subscriber(self, subscribed):
        with running_server(env={"PYTHONWARNINGS": "error"}) as server:
            client = subscribed(server, "test-key")
            pusher = Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port)
            assert pusher.trigger("post_1", "view", {"a": "é"}) == {}
            assert json.loads(client.recv(timeout=30)) == {
                "event": "view",
                "channel": "post_1",
                "data": '{"a": "é"}',
            }
            batch = [{"channel": "post_1", "name": "update", "data": "1"}, {"channel": "b", "name": "c", "data": "2"}]
            assert pusher.trigger_batch(batch) == {}
            assert json.loads(client.recv(timeout=30))["event"] == "update"
            assert pusher.channels_info() == {"channels": {"post_1": {}}}
            assert pusher.channel_info("post_1", ["subscription_count"]) == {
                "occupied": True,
                "subscription_count": 1,
            }

    def test_the_banner_tells_where_and_which_app_and_not_the_secret(self):
        with running_server("--noreload") as server:
            server.wait_for("Quit the server with CONTROL-C.")
            assert f"Starting push server at http://{server.address}/ (app 1, key test-key)" in server.lines
            assert "using settings 'tests.settings'" in server.output
        assert "test-secret" not in server.output

    def test_settings_that_publish_elsewhere_are_pointed_out(self):
        with running_server("--noreload") as server:
            line = server.wait_for("Your settings publish to")
        assert line == (
            "Your settings publish to http://127.0.0.1:8001, not to this server. To use this one, "
            f"set PUSHER_HOST = '127.0.0.1', PUSHER_PORT = {server.port} and PUSHER_SSL = False."
        )

    def test_every_happening_is_a_line_when_asked_for(self, subscribed):
        with running_server("--noreload", "-v", "2") as server:
            client = subscribed(server, "test-key")
            client.send("{")
            client.close()
            for text in ("connected", "post_1 is occupied", "subscribed to post_1", "was told: Invalid JSON"):
                server.wait_for(text)
            server.wait_for("disconnected")

    @pytest.mark.parametrize(("verbosity", "count"), [("1", 1), ("0", 0)])
    def test_what_went_wrong_is_a_line_unless_unwanted(self, subscribed, verbosity, count):
        with running_server("--noreload", "-v", verbosity) as server:
            client = subscribed(server, "test-key")
            client.send("{")
            client.recv(timeout=30)
        lines = [line for line in server.lines if line.startswith("[")]
        assert len(lines) == count
        assert all(line.endswith("was told: Invalid JSON") for line in lines)

    def test_a_terminal_that_cannot_show_a_name_is_no_obstacle(self, subscribed):
        with running_server("--noreload", "-v", "2", env={"PYTHONIOENCODING": "ascii"}) as server:
            client = subscribed(server, "test-key")
            Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port).trigger(
                "post_1", "é", "ü"
            )
            assert json.loads(client.recv(timeout=30))["event"] == "é"
            server.wait_for(r"\xe9 on post_1 to 1 client: \xfc")


class TestStop:
    @pytest.mark.parametrize("options", [(), ("--noreload",), ("--allrequests",), ("--allrequests", "--noreload")])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_tells_clients_to_come_back_and_ends_with_0(self, subscribed, options, number):
        """A.56"""
        with running_server(*options) as server:
            client = subscribed(server, "test-key")
            assert server.stop(number) == 0
            assert closing_of(client) == Close(1001, "The server is restarting")
        assert "Traceback" not in server.output
        assert find_orphans(server) == []

    def test_signals_to_all_of_a_terminal_s_processes_are_one_stop(self, subscribed):
        with running_server(start_new_session=True) as server:
            client = subscribed(server, "test-key")
            os.killpg(server.pid, signal.SIGINT)
            assert server.wait() == 0
            assert closing_of(client) == Close(1001, "The server is restarting")
        assert "Traceback" not in server.output

    def test_a_child_goes_when_its_parent_is_killed(self):
        with running_server() as server:
            assert len(find_orphans(server)) == 1
            server.kill()
            # The child holds the other end of what we read; it ends when the child does.
            assert server.wait() == -signal.SIGKILL
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), 30).close()


class TestReload:
    def test_a_change_of_the_code_keeps_the_port_open(self, project, subscribed):
        """A.56"""
        with running_server(**project) as server:
            client = subscribed(server, "pusherable-local")
            (project["cwd"] / "project_settings.py").write_text(
                f"{SETTINGS}\nPUSHER_APP_ID = 7\nPUSHER_KEY = 'a-new-key'\nPUSHER_SECRET = 'a new secret'\n"
            )
            assert closing_of(client) == Close(1001, "The server is restarting")
            # No attempt is refused, however early it comes.
            subscribed(server, "a-new-key")
        assert "Traceback" not in server.output

    def test_a_change_that_breaks_the_start_is_waited_out(self, project, subscribed):
        with running_server(**project) as server:
            client = subscribed(server, "pusherable-local")
            settings_file = project["cwd"] / "project_settings.py"
            settings_file.write_text("this is no Python")
            assert closing_of(client).code == 1001
            server.wait_for("SyntaxError")
            settings_file.write_text(SETTINGS)
            subscribed(server, "pusherable-local")

    def test_a_first_start_that_fails_is_the_end(self, project):
        (project["cwd"] / "project_settings.py").write_text(f"{SETTINGS}\nPUSHER_KEY = 'alone'\n")
        result = subprocess.run(
            [sys.executable, "-m", "django", "runpushserver", "0"],
            cwd=project["cwd"],
            env={**os.environ, **project["env"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert "CommandError: PUSHER_APP_ID and PUSHER_SECRET are not set" in result.stderr


class TestAllRequests:
    def test_pages_sockets_and_static_files_share_one_address(self, project, subscribed):
        with running_server("--allrequests", **project) as server:
            client = subscribed(server, "pusherable-local")
            # The page publishes to the very server that serves it.
            assert read(server) == (200, "the first edition")
            assert json.loads(client.recv(timeout=30)) == {
                "event": "view",
                "channel": "post_1",
                "data": '{"by":"the project"}',
            }
            assert read(server, "/static/pusherable/pusherable.js")[0] == 200
            assert read(server, "/apps/1/channels")[0] == 401
            assert read(server, "/nowhere")[0] == 404
            server.wait_for('"GET / HTTP/1.1" 200 17')
        assert "System check identified no issues" in server.output
        assert f"Starting development server with push at http://{server.address}/" in server.output
        assert "Your settings publish to" not in server.output
        assert "Traceback" not in server.output

    def test_all_addresses_are_served_and_the_loopback_one_published_to(self, project, subscribed):
        with running_server("--allrequests", "--noreload", address="0.0.0.0:0", **project) as server:
            client = subscribed(server, "pusherable-local")
            read(server)
            assert json.loads(client.recv(timeout=30))["event"] == "view"

    def test_a_socket_elsewhere_is_refused(self, project):
        """A.5"""
        with (
            running_server("--allrequests", "--noreload", **project) as server,
            connect(f"ws://{server.address}/ws/chat") as client,
        ):
            assert closing_of(client) == Close(4005, "Path not found")

    def test_static_files_are_left_alone_when_unwanted(self, project):
        with running_server("--allrequests", "--noreload", "--nostatic", **project) as server:
            assert read(server, "/static/pusherable/pusherable.js")[0] == 404

    def test_checks_can_be_skipped(self, project):
        with running_server("--allrequests", "--noreload", "--skip-checks", **project) as server:
            assert read(server)[0] == 200
        assert "Performing system checks" not in server.output

    def test_a_changed_page_is_served(self, project):
        with running_server("--allrequests", **project) as server:
            assert read(server) == (200, "the first edition")
            (project["cwd"] / "urls.py").write_text(URLS.replace("first", "second"))
            server.wait_for("Quit the server with", count=2)
            assert read(server) == (200, "the second edition")

    def test_a_page_at_work_does_not_hold_up_a_stop(self, project):
        endless = "import time\ndef index(request):\n    print('At work', flush=True)\n    time.sleep(600)\n"
        (project["cwd"] / "urls.py").write_text(
            f"{endless}\nfrom django.urls import path\nurlpatterns=[path('', index)]"
        )
        with running_server("--allrequests", "--noreload", **project) as server:
            with closing(socket.create_connection(("127.0.0.1", server.port))) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                server.wait_for("At work")
                assert server.stop() == 0

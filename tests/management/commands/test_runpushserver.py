import io
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.management import CommandError, call_command
from django.core.management.color import make_style
from django.test import override_settings
from pusher import Pusher
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from pusherable import conf
from pusherable.management.commands import runpushserver
from pusherable.management.serving import ProjectServer
from pusherable.management.supervision import SUPERVISOR_VARIABLE
from pusherable.server.descriptors import FileLimit
from pusherable.server.facts import Connected
from pusherable.signing import stream_parameters
from tests.redis_servers import running_redis
from tests.server.processes import ROOT, running_server

VARIABLES = [value for name, value in vars(conf).items() if name.endswith("_VARIABLE")] + ["PUSHERABLE_CONSOLE_KEY"]

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
BROWSER_PAGE = """
from django.http import JsonResponse

urlpatterns += [path("browser", lambda request: JsonResponse(settings.browser))]
"""
WEBHOOK_PAGE = """
def take(request):
    with open({!r}, "a") as told:
        print(request.body.decode(), file=told)
    return HttpResponse()

urlpatterns += [path("webhooks", take)]
"""
SUBSCRIBE = '{"event":"pusher:subscribe","data":{"channel":"post_1"}}'


@pytest.fixture
def project(tmp_path):
    """A project of its own, to be changed while it runs; what ``running_server`` needs for it."""
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    return {"cwd": tmp_path, "env": {"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": paths}}


def with_settings(project, **settings):
    """The project with these settings, and the tests' own app."""
    credentials = {"PUSHER_APP_ID": "1", "PUSHER_KEY": "test-key", "PUSHER_SECRET": "test-secret"}
    lines = [f"{name} = {value!r}\n" for name, value in {**credentials, **settings}.items()]
    (project["cwd"] / "project_settings.py").write_text(SETTINGS + "".join(lines))
    return project


class WebhookReceiver:
    """Takes one webhook after the other."""

    def __init__(self, server):
        self.url = f"http://127.0.0.1:{server.server_address[1]}/"
        self._arrived = queue.Queue()

    def put(self, headers, body):
        self._arrived.put((headers, body))

    def wait(self):
        return self._arrived.get(timeout=30)

    def events(self, count):
        """So many events, of as many webhooks as they come in."""
        events = []
        while len(events) < count:
            events += json.loads(self.wait()[1])["events"]
        return events


@contextmanager
def receiving_webhooks():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            receiver.put(dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = WebhookReceiver(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


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
def process_restored(monkeypatch):
    """The command sets signal handlers and variables, which other tests must not inherit."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
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


def change(file, text, server):
    """Write ``text`` until that is noticed: what is there at the reloader's first look counts as old."""
    for _ in range(10):
        file.write_text(text)
        try:
            server.wait_for(f"{file} changed, reloading", timeout=3)
        except AssertionError:
            continue
        return
    raise AssertionError(server.output)


def find_children(server):
    """The process ids of a server's children."""
    return subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True, check=False).stdout.split()


@pytest.fixture
def supervisor_forbidden(monkeypatch):
    """Its child would be these tests once more."""
    monkeypatch.setattr(runpushserver, "Supervisor", lambda listener: pytest.fail("a child was to be started"))


@pytest.mark.usefixtures("process_restored", "supervisor_forbidden")
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

    @pytest.mark.parametrize("package", ["httptools", "starlette", "uvicorn", "websockets"])
    def test_without_the_extra_the_error_says_what_to_install(self, monkeypatch, package):
        monkeypatch.setattr(runpushserver, "find_spec", lambda name: None if name == package else find_spec(name))
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver")
        assert str(caught.value) == f"runpushserver needs {package}: pip install django-pusherable[server]"

    def test_without_credentials_the_error_says_what_to_set(self, settings):
        settings.PUSHER_KEY = ""
        with pytest.raises(CommandError, match="^PUSHER_KEY is not set, though PUSHER_APP_ID and PUSHER_SECRET are"):
            call_command("runpushserver")

    def test_public_metrics_need_their_extra(self, monkeypatch):
        monkeypatch.setattr(
            runpushserver, "find_spec", lambda name: None if name == "prometheus_client" else find_spec(name)
        )
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", metrics=True)
        assert str(caught.value) == "runpushserver needs prometheus_client: pip install django-pusherable[metrics]"

    def test_redis_needs_its_extra(self, monkeypatch, settings):
        monkeypatch.setattr(runpushserver, "find_spec", lambda name: None if name == "redis" else find_spec(name))
        settings.PUSHERABLE_REDIS_URL = "redis://127.0.0.1"
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver")
        assert str(caught.value) == "runpushserver needs redis: pip install django-pusherable[redis]"

    def test_a_faulty_address_of_redis_is_an_error(self):
        with pytest.raises(CommandError, match="^--redis is no address of Redis; its form is redis://host:6379/0"):
            call_command("runpushserver", redis="127.0.0.1:6379")

    @pytest.mark.parametrize("path", ["/{x}", "/a b", "//a//b"])
    def test_a_faulty_path_is_an_error(self, path):
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", path=path)
        assert str(caught.value) == f"--path {path!r} is no path such as /push, of letters, digits and - . _ ~ alone."

    def test_a_key_without_a_certificate_is_an_error(self, certificate):
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", key=str(certificate.key))
        assert str(caught.value) == "--key is for the certificate that --cert names."

    def test_an_unusable_certificate_is_an_error(self, certificate):
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", cert="missing.pem", key=str(certificate.key))
        assert str(caught.value) == f"{Path('missing.pem').absolute()}: No such file or directory."

    def test_a_malformed_webhook_url_is_an_error(self, settings):
        settings.PUSHERABLE_WEBHOOK_URL = "nowhere"
        with pytest.raises(CommandError, match="^PUSHERABLE_WEBHOOK_URL is no address to send to"):
            call_command("runpushserver", "127.0.0.1:0", use_reloader=False)

    @pytest.mark.parametrize(
        ("limit", "line"),
        [
            (FileLimit(1024, 4096), "Room for 4096 open files, raised from 1024; a connection takes one."),
            (FileLimit(4096, 4096), "Room for 4096 open files; a connection takes one."),
            (None, None),
        ],
    )
    def test_how_many_may_connect_is_told(self, monkeypatch, capsys, limit, line):
        monkeypatch.setattr(runpushserver, "raise_file_limit", lambda: limit)
        monkeypatch.setattr(ProjectServer, "run", lambda self, listener: None)
        call_command("runpushserver", "127.0.0.1:0", use_reloader=False)
        printed = capsys.readouterr().out.splitlines()
        assert [text for text in printed if text.startswith("Room for")] == ([line] if line else [])
        assert any(text.startswith("Debug console, by a link that works once: http://127.0.0.1:") for text in printed)
        call_command("runpushserver", "127.0.0.1:0", use_reloader=False, verbosity=0)
        assert not any(text.startswith(("Room for", "Debug console")) for text in capsys.readouterr().out.splitlines())

    def test_pages_without_debug_need_allowed_hosts(self, settings):
        settings.ALLOWED_HOSTS = []
        with pytest.raises(CommandError) as caught:
            call_command("runpushserver", "0", use_reloader=False, serves_all=True)
        assert str(caught.value) == "You must set settings.ALLOWED_HOSTS if DEBUG is False."

    def test_a_signal_before_the_start_is_heeded(self, monkeypatch, capsys):
        monkeypatch.setattr(runpushserver, "exit_in_time", lambda: None)
        monkeypatch.setattr(
            runpushserver.Command, "_check_project", lambda self, options: signal.raise_signal(signal.SIGTERM)
        )
        call_command("runpushserver", "127.0.0.1:0", use_reloader=False, serves_all=True)
        assert capsys.readouterr().out == ""


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
            line = server.wait_for("Your settings lead to")
        assert line == (
            "Your settings lead to http://127.0.0.1:8001, not to this server. To use this one, "
            f"set PUSHER_HOST = '127.0.0.1' and PUSHER_PORT = {server.port}."
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

    def test_a_terminal_that_has_gone_away_is_no_obstacle(self):
        class Gone(io.StringIO):
            def write(self, text):
                raise BrokenPipeError

        runpushserver.Command(stdout=Gone())._observe(2)(Connected("1", "1.2"))

    def test_lines_are_coloured_by_what_they_tell(self, subscribed):
        with running_server("--noreload", "-v", "2", "--force-color", env={"DJANGO_COLORS": "dark"}) as server:
            client = subscribed(server, "test-key")
            client.send('{"event":"\\u001b[2J"}')
            client.close()
            server.wait_for(" disconnected")
            lines = [line for line in server.lines if "] " in line and line.startswith("\x1b[")]
        styles = {line.rpartition(" ")[2].removesuffix("\x1b[0m"): line.partition("m")[0] + "m" for line in lines}
        palette = make_style("dark")
        assert styles["connected"] + "x\x1b[0m" == palette.SUCCESS("x")
        assert styles["disconnected"] + "x\x1b[0m" == palette.HTTP_NOT_MODIFIED("x")
        assert any(r"\x1b[2J" in line for line in lines)

    def test_with_a_certificate_everything_is_under_tls(self, certificate):
        options = ("--cert", str(certificate.cert), "--key", str(certificate.key))
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        with running_server("--noreload", *options, address="127.0.0.1:0") as server:
            assert f"Starting push server at https://{server.address}/ (app 1, key test-key)" in server.lines
            with connect(f"wss://{server.address}/app/test-key", ssl=trusting) as client:
                assert json.loads(client.recv(timeout=30))["event"] == "pusher:connection_established"
            with urllib.request.urlopen(f"https://{server.address}/up", timeout=30, context=trusting) as answer:
                assert answer.read() == b"OK"
            assert server.stop() == 0
        assert "Traceback" not in server.output

    def test_a_page_of_another_site_is_refused(self, subscribed):
        """A.3"""
        reason = "Origin https://evil.example is not allowed"
        with running_server("--noreload") as server:
            with connect(f"ws://{server.address}/app/test-key", origin="https://evil.example") as client:
                assert closing_of(client) == Close(4009, reason)
            assert server.wait_for("was sent away").endswith(f"A client was sent away (4009): {reason}")
            with connect(f"ws://{server.address}/app/test-key", origin="http://localhost:8000") as client:
                assert json.loads(client.recv(timeout=30))["event"] == "pusher:connection_established"

    def test_a_client_that_shows_no_signature_in_time_is_sent_away(self, project):
        """A.52"""
        with (
            running_server("--noreload", **with_settings(project, PUSHERABLE_AUTHORIZATION_TIMEOUT=0.5)) as server,
            connect(f"ws://{server.address}/app/test-key") as client,
        ):
            assert json.loads(client.recv(timeout=30))["event"] == "pusher:connection_established"
            reason = "Connection not authorized within timeout"
            assert json.loads(client.recv(timeout=30)) == {
                "event": "pusher:error",
                "data": {"code": 4009, "message": reason},
            }
            assert closing_of(client) == Close(4009, reason)

    def test_with_a_path_everything_is_below_it_and_django_s_api_at_the_root_too(self):
        with running_server("--noreload", "--path", "push/", "--metrics") as server:
            assert f"Starting push server at http://{server.address}/push/ (app 1, key test-key)" in server.lines
            with connect(f"ws://{server.address}/push/app/test-key") as client:
                assert json.loads(client.recv(timeout=30))["event"] == "pusher:connection_established"
                assert Pusher(
                    "1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port
                ).channels_info() == {"channels": {}}
                assert 'pusherable_connections{app="1"} 1.0' in read(server, "/push/metrics")[1]
            with connect(f"ws://{server.address}/app/test-key") as client:
                assert closing_of(client).code == 4005

    def test_webhooks_arrive_and_are_verified_by_the_pusher_package(self, project, subscribed):
        """C.1, C.2"""
        with (
            receiving_webhooks() as receiver,
            running_server("--noreload", **with_settings(project, PUSHERABLE_WEBHOOK_URL=receiver.url)) as server,
        ):
            subscribed(server, "test-key")
            headers, body = receiver.wait()
            webhook = Pusher("1", "test-key", "test-secret").validate_webhook(
                headers["X-Pusher-Key"], headers["X-Pusher-Signature"], body
            )
            assert webhook["events"] == [{"name": "channel_occupied", "channel": "post_1"}]

    def test_webhooks_tell_of_streams_as_of_sockets(self, project):
        """C.4, C.5"""
        member = json.dumps({"user_id": "7"})
        now = int(time.time())
        query = stream_parameters(
            ["presence-a"], key="test-key", secret="test-secret", issued=now, expires=now + 60, channel_data=member
        )
        come = [{"name": "channel_occupied", "channel": "presence-a"}]
        come.append({"name": "member_added", "channel": "presence-a", "user_id": "7"})
        gone = [{"name": "member_removed", "channel": "presence-a", "user_id": "7"}]
        gone.append({"name": "channel_vacated", "channel": "presence-a"})
        with (
            receiving_webhooks() as receiver,
            running_server("--noreload", **with_settings(project, PUSHERABLE_WEBHOOK_URL=receiver.url)) as server,
        ):
            with urllib.request.urlopen(f"http://{server.address}/stream?{urlencode(query)}", timeout=30) as stream:
                stream.readline()
                assert receiver.events(2) == come
            assert sorted(receiver.events(2), key=str) == sorted(gone, key=str)

    def test_those_who_leave_because_it_stops_are_told_of(self, project, subscribed):
        """C.4"""
        with (
            receiving_webhooks() as receiver,
            running_server("--noreload", **with_settings(project, PUSHERABLE_WEBHOOK_URL=receiver.url)) as server,
        ):
            subscribed(server, "test-key")
            receiver.wait()
            assert server.stop() == 0
            _, body = receiver.wait()
        assert json.loads(body)["events"] == [{"name": "channel_vacated", "channel": "post_1"}]

    def test_a_page_of_the_project_itself_is_told_of_those_too(self, project, subscribed):
        told = project["cwd"] / "told"
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        settings = with_settings(project, PUSHERABLE_WEBHOOK_URL=f"http://{address}/webhooks")
        (project["cwd"] / "urls.py").write_text(URLS + WEBHOOK_PAGE.format(str(told)))
        with running_server("--noreload", "--allrequests", address=address, **settings) as server:
            subscribed(server, "test-key")
            server.wait_for("POST /webhooks")
            assert server.stop() == 0
        assert "not sent" not in server.output
        names = [event["name"] for line in told.read_text().splitlines() for event in json.loads(line)["events"]]
        assert names == ["channel_occupied", "channel_vacated"]

    def test_a_half_open_request_holds_up_nobody(self, subscribed):
        with (
            running_server("--noreload") as server,
            closing(socket.create_connection(("127.0.0.1", server.port))) as half_open,
        ):
            half_open.sendall(b"GET /app/test-key HTTP/1.1\r\nHost: x\r\n")
            subscribed(server, "test-key").close()
            assert server.stop() == 0


class TestSignals:
    """Django is told of every subscription, with the visitor's own session."""

    APP = """
from django.apps import AppConfig

class App(AppConfig):
    name = "visits"

    def ready(self):
        from pusherable.signals import channel_subscribe, channel_unsubscribe

        def tell(signal, request, channel, **others):
            print("TOLD", signal is channel_subscribe, request.session.get("name"), request.user.is_anonymous, channel)

        def fail(**named):
            raise RuntimeError("a fault of a receiver")

        for signal in (channel_subscribe, channel_unsubscribe):
            signal.connect(fail, weak=False)
            signal.connect(tell, weak=False)
"""

    @pytest.fixture
    def told(self, project):
        """A server whose project prints who subscribes, and the cookie of a visitor."""
        (project["cwd"] / "visits.py").write_text(self.APP)
        sessions = "django.contrib.sessions"
        middleware = [
            f"{sessions}.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ]
        options = with_settings(
            project,
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "pusherable", "visits.App"],
            MIDDLEWARE=middleware,
            SESSION_ENGINE=f"{sessions}.backends.signed_cookies",
        )
        with override_settings(SECRET_KEY="a secret of the tests alone"):
            session = SessionStore()
            session["name"] = "Ada"
            session.save()
        with running_server("--noreload", **options) as server:
            yield server, {"Cookie": f"sessionid={session.session_key}"}
            server.wait_for("TOLD False Ada True post_1")
            assert "a fault of a receiver" in server.output
            assert server.stop() == 0

    def test_receivers_are_told_who_it_is(self, told):
        server, headers = told
        with connect(f"ws://{server.address}/app/test-key", additional_headers=headers) as client:
            client.recv(timeout=30)
            client.send(SUBSCRIBE)
            server.wait_for("TOLD True Ada True post_1")

    def test_receivers_are_told_who_listens_to_a_stream(self, told):
        server, headers = told
        request = urllib.request.Request(f"http://{server.address}/stream?channel=post_1", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as stream:
            stream.readline()
            server.wait_for("TOLD True Ada True post_1")


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
        assert find_children(server) == []

    def test_signals_to_all_of_a_terminal_s_processes_are_one_stop(self, subscribed):
        with running_server(start_new_session=True) as server:
            client = subscribed(server, "test-key")
            os.killpg(server.pid, signal.SIGINT)
            assert server.wait() == 0
            assert closing_of(client) == Close(1001, "The server is restarting")
        assert "Traceback" not in server.output

    def test_a_variable_inherited_from_another_reloader_makes_no_child(self):
        with running_server(env={"RUN_MAIN": "true"}) as server:
            assert len(find_children(server)) == 1

    def test_a_child_whose_supervisor_is_gone_from_the_start_ends(self):
        result = subprocess.run(
            [sys.executable, "-m", "django", "runpushserver", "127.0.0.1:0"],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", SUPERVISOR_VARIABLE: str(os.getppid())},
            cwd=ROOT,
            timeout=30,
            check=False,
        )
        assert result.returncode == 0

    def test_a_child_goes_when_its_parent_is_killed(self):
        with running_server() as server:
            assert len(find_children(server)) == 1
            server.kill()
            # The child holds the other end of what we read; it ends when the child does.
            assert server.wait() == -signal.SIGKILL
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), 30).close()


class TestReload:
    def test_a_change_of_the_code_keeps_the_port_open(self, project, subscribed):
        """A.56"""
        credentials = "PUSHER_APP_ID = 7\nPUSHER_KEY = 'a-new-key'\nPUSHER_SECRET = 'a new secret'\n"
        with running_server(**project) as server:
            client = subscribed(server, "pusherable-local")
            change(project["cwd"] / "project_settings.py", f"{SETTINGS}\n{credentials}", server)
            assert closing_of(client) == Close(1001, "The server is restarting")
            # No attempt is refused, however early it comes.
            subscribed(server, "a-new-key")
        assert "Traceback" not in server.output

    def test_a_change_that_breaks_the_start_is_waited_out(self, project, subscribed):
        with running_server(**project) as server:
            client = subscribed(server, "pusherable-local")
            settings_file = project["cwd"] / "project_settings.py"
            change(settings_file, "this is no Python", server)
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
            assert read(server, "/apps/1/channels?auth_key=test-key")[0] == 401
            server.wait_for("GET /apps/1/channels was answered by 401: Missing query parameters: auth_timestamp")
            assert read(server, "/nowhere")[0] == 404
            server.wait_for('"GET / HTTP/1.1" 200 17')
        assert "System check identified no issues" in server.output
        assert f"Starting development server with push at http://{server.address}/" in server.output
        assert "Your settings lead to" not in server.output
        assert "Traceback" not in server.output

    def test_with_a_certificate_and_a_path_pages_publish_to_their_own_server(self, project, certificate):
        options = ("--cert", str(certificate.cert), "--key", str(certificate.key), "--path", "/push")
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        (project["cwd"] / "urls.py").write_text(f"{URLS}\nfrom pusherable.conf import settings\n{BROWSER_PAGE}")
        with (
            running_server("--allrequests", "--noreload", *options, **project) as server,
            connect(f"wss://{server.address}/push/app/pusherable-local", ssl=trusting) as client,
        ):
            client.recv(timeout=30)
            client.send(SUBSCRIBE)
            client.recv(timeout=30)
            for path in ("", "browser"):
                url = f"https://{server.address}/{path}"
                with urllib.request.urlopen(url, timeout=30, context=trusting) as answer:
                    page = answer.read()
            assert json.loads(page) == {
                "key": "pusherable-local",
                "cluster": "local",
                "wsPath": "/push",
                "wsHost": None,
                "wsPort": None,
                "wssPort": None,
                "forceTLS": True,
            }
            assert json.loads(client.recv(timeout=30))["event"] == "view"

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
            change(project["cwd"] / "urls.py", URLS.replace("first", "second"), server)
            server.wait_for("Quit the server with", count=2)
            assert read(server) == (200, "the second edition")

    @pytest.mark.parametrize("options", [(), ("--noreload",)])
    def test_a_page_at_work_does_not_hold_up_a_stop(self, project, options):
        endless = "import time\ndef index(request):\n    print('At work', flush=True)\n    time.sleep(600)\n"
        (project["cwd"] / "urls.py").write_text(
            f"{endless}\nfrom django.urls import path\nurlpatterns=[path('', index)]"
        )
        with (
            running_server("--allrequests", *options, **project) as server,
            closing(socket.create_connection(("127.0.0.1", server.port))) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.wait_for("At work")
            assert server.stop() == 0


@pytest.mark.redis
class TestRedis:
    def test_several_processes_are_one_server(self, project):
        with running_redis() as redis:
            options = with_settings(project, PUSHERABLE_REDIS_URL=redis.url, PUSHERABLE_REDIS_PREFIX="newsroom")
            with (
                running_server("--noreload", **options) as first,
                running_server("--noreload", "--redis", redis.url, **options) as second,
                connect(f"ws://{first.address}/app/test-key?protocol=7") as client,
            ):
                line = f"One server with all others that have Redis at {redis.url}."
                assert line in first.lines
                assert line in second.lines
                client.recv(30)
                client.send(SUBSCRIBE)
                client.recv(30)
                Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=second.port).trigger(
                    "post_1", "view", {"by": "the other"}
                )
                assert json.loads(client.recv(30))["data"] == '{"by": "the other"}'
                assert second.stop() == 0
            assert first.stop() == 0

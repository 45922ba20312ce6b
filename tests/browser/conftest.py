"""A real Chromium, a site that serves what a test gives it, and a push server that does as it is told.

The scripted push server stands in because a real one cannot be brought to lose a connection, to refuse a channel
or to keep an answer back. ``test_end_to_end.py`` meets the real one.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.template import RequestContext, Template
from django.test import RequestFactory
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from pusherable.publishing import request_origin
from tests.browser.waiting import PATIENCE
from tests.browsers import find_chromium
from tests.example.running import RunningNewsroom

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: On a busy machine pusher-js tries twice at once, and gives up the slower of the two.
GIVEN_UP = "WebSocket is closed before the connection is established"

# What is not there in time has gone wrong; how long it takes depends on who else uses the machine.
expect.set_options(timeout=PATIENCE * 1000)

CONTENT_TYPES = {".js": "text/javascript", ".css": "text/css"}


# Playwright keeps a running event loop in this thread, which Django's ORM refuses to work beside: it has to be
# gone when the tests of other rooms run.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def newsroom_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newsroom") / "db.sqlite3"


@pytest.fixture(scope="package")
def newsroom(newsroom_database: Path) -> Iterator[RunningNewsroom]:
    """The example project, as it runs for all tests of this room: what one has changed the next one finds."""
    with RunningNewsroom(newsroom_database) as newsroom:
        yield newsroom


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


@dataclass
class Complaints:
    """What pages said on their consoles that well-made pages do not say, but for what a test allows."""

    lines: list[str] = field(default_factory=list)
    allowed: str | None = None

    def watch(self, page: Page) -> Page:
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        return page

    def allow(self, part: str) -> None:
        self.allowed = part

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def _note(self, kind: str, text: str) -> None:
        allowed = [part for part in (GIVEN_UP, self.allowed) if part is not None]
        if kind in ("error", "warning", "assert") and not any(part in text for part in allowed):
            self.lines.append(text)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    assert complaints.lines == []


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Page:
    return complaints.watch(context.new_page())


@dataclass
class Posted:
    """A request that a page has sent."""

    path: str
    form: dict[str, str]
    headers: dict[str, str]


#: Status and body of an answer, and headers of its own.
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


def let_in(posted: Posted) -> Answer:
    """The answer of an address that lets everybody into everything, as one user."""
    names = [name for key, name in posted.form.items() if key.startswith("channel_name")]
    return 200, {"channels": {name: {"status": 200, "data": sign(name)} for name in names}, "user": USER}


def sign(name: str) -> dict[str, str]:
    signed = {"auth": f"test-key:signature-of-{name}"}
    return signed | {"channel_data": json.dumps({"user_id": "1"})} if name.startswith("presence-") else signed


USER = {"auth": "test-key:signature", "user_data": json.dumps({"id": "1"})}


class Site:
    """Serves ``pages`` by their path, with a policy that allows the site itself and ``connect`` alone.

    What is posted is noted in ``posted`` and answered by ``reply``.
    """

    def __init__(self, connect: str) -> None:
        self.pages: dict[str, str] = {}
        self.missing: set[str] = set()
        self.policy = f"default-src 'self'; connect-src 'self' {connect}"
        self.posted: list[Posted] = []
        self.reply: Callable[[Posted], Answer] = let_in
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def do_POST(self) -> None:
                site.receive(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        found = None if path in self.missing else self._find(path)
        handler.send_response(404 if found is None else 200)
        kind, body = found or ("text/plain", b"")
        handler.send_header("Content-Type", f"{kind}; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Security-Policy", self.policy)
        handler.end_headers()
        handler.wfile.write(body)

    def receive(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in handler.headers.items()}
        posted = Posted(handler.path, dict(parse_qsl(body)), headers)
        status, content, *more = self.reply(posted)
        self.posted.append(posted)
        encoded = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(encoded)), **(more[0] if more else {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(encoded)

    def _find(self, path: str) -> tuple[str, bytes] | None:
        if path in self.pages:
            kind = CONTENT_TYPES.get(Path(path).suffix, "text/html")
            return kind, self.pages[path].encode()
        file = finders.find(path.removeprefix("/static/")) if path.startswith("/static/") else None
        return (CONTENT_TYPES[Path(path).suffix], Path(str(file)).read_bytes()) if file else None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class ScriptedPushServer:
    """Speaks enough of the protocol for public channels (A.6, A.18), and notes what it was sent."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str]] = []
        self.opened = 0
        #: Channels whose subscription is left without an answer.
        self.silent: set[str] = set()
        #: Channels whose subscription is refused.
        self.refused: set[str] = set()
        #: A code to close every new connection with.
        self.closing_code: int | None = None
        #: The members of every presence channel.
        self.members: dict[str, dict[str, Any]] = {}
        self._connections: set[ServerConnection] = set()
        self._changed = threading.Condition()
        self._server: Server = serve(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def publish(self, channel: str, event: str, data: Any) -> None:
        self.send({"event": event, "channel": channel, "data": json.dumps(data)})

    def confirm(self, channel: str) -> None:
        is_presence = channel.startswith("presence-")
        presence = {"ids": list(self.members), "hash": self.members, "count": len(self.members)}
        data = json.dumps({"presence": presence} if is_presence else {})
        self.send({"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": data})

    def join(self, channel: str, user_id: str, name: str) -> None:
        self.members[user_id] = {"name": name}
        data = json.dumps({"user_id": user_id, "user_info": self.members[user_id]})
        self.send({"event": "pusher_internal:member_added", "channel": channel, "data": data})

    def leave(self, channel: str, user_id: str) -> None:
        del self.members[user_id]
        data = json.dumps({"user_id": user_id})
        self.send({"event": "pusher_internal:member_removed", "channel": channel, "data": data})

    def send(self, frame: dict[str, Any]) -> None:
        for connection in list(self._connections):
            connection.send(json.dumps(frame))

    def drop_connections(self, code: int = 1001) -> None:
        for connection in list(self._connections):
            connection.close(code)

    def wait_for(self, condition: Callable[["ScriptedPushServer"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), PATIENCE), self.frames

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _serve(self, connection: ServerConnection) -> None:
        with self._changed:
            self.opened += 1
            self._connections.add(connection)
            socket_id = f"1.{self.opened}"
            self._changed.notify_all()
        established = {"socket_id": socket_id, "activity_timeout": 120}
        try:
            if self.closing_code is not None:
                connection.close(self.closing_code)
                return
            connection.send(json.dumps({"event": "pusher:connection_established", "data": json.dumps(established)}))
            for text in connection:
                self._receive(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)

    def _receive(self, frame: dict[str, Any]) -> None:
        command, channel = frame["event"], frame["data"].get("channel", "")
        if command == "pusher:subscribe" and channel in self.refused:
            error = {"type": "AuthError", "error": "No.", "status": 401}
            self.send({"event": "pusher:subscription_error", "channel": channel, "data": error})
        elif command == "pusher:subscribe" and channel not in self.silent:
            self.confirm(channel)
        elif command == "pusher:signin":
            data = json.dumps({"user_data": frame["data"]["user_data"]})
            self.send({"event": "pusher:signin_success", "data": data})
        with self._changed:
            self.frames.append((command.removeprefix("pusher:"), channel))
            self._changed.notify_all()


@pytest.fixture
def push_server() -> Iterator[ScriptedPushServer]:
    server = ScriptedPushServer()
    yield server
    server.close()


@pytest.fixture
def site(push_server: ScriptedPushServer, settings: Any) -> Iterator[Site]:
    settings.PUSHER_PORT = push_server.port
    settings.ROOT_URLCONF = "tests.templatetags.urls"
    site = Site(connect=f"ws://127.0.0.1:{push_server.port}")
    yield site
    site.close()


@dataclass
class Opened:
    """A page as the browser shows it; ``origin`` is the id of the request that rendered it."""

    page: Page
    origin: str


@pytest.fixture
def open_page(site: Site, page: Page) -> Callable[..., Opened]:
    """Render ``body`` with the tags loaded, behind the scripts, and open it."""

    def open_page(body: str, *, path: str = "/", script: str = "", **variables: Any) -> Opened:
        request = RequestFactory().get(path)
        options = variables.pop("options", "")
        source = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
            '<meta name="viewport" content="width=device-width"><link rel="icon" href="/static/icon.css">'
            f'{{% load pusherable_tags %}}{{% pusherable_script {options} %}}<script src="/page.js"></script></head>'
            f"<body>{body}</body></html>"
        )
        site.pages["/page.js"] = f"window.heard = [];\n{script}"
        site.pages["/static/icon.css"] = ""
        site.pages[path] = Template(source).render(RequestContext(request, variables))
        page.goto(site.url + path)
        return Opened(page, request_origin(request))

    return open_page

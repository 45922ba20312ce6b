"""A hub with one app, what it told its observers, and clients that record what they are sent."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from pusherable.server.asgi import Application
from pusherable.server.config import App, ServerConfig
from pusherable.server.credentials import User, read_user
from pusherable.server.facts import Fact
from pusherable.server.hub import Hub
from pusherable.server.messages import Message
from pusherable.server.protocol import Refusal
from tests.server.pairs import ServerPair
from tests.server.threads import ThreadedServer
from tests.server.twins import Twins
from tests.twice import ALONE, HUBS, PROCESSES, TWO_PROCESSES

APP = App(id="1", key="key", secret="the secret")
# What is no field of a ServerConfig.
SERVER_OPTIONS = {"traffic", "openings", "certificate", "on_stop", "on_departure"}


class RecordingClient:
    """The far end of a connection; ``received`` is what it was sent, decoded, ``dismissals`` why it was sent away."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.dismissals: list[Refusal] = []

    def deliver(self, message: Message) -> None:
        self.received.append(json.loads(message.text))

    def skip(self) -> None:
        pass

    def dismiss(self, refusal: Refusal) -> None:
        self.dismissals.append(refusal)

    def take(self) -> list[dict[str, Any]]:
        """What has come since the last time."""
        received, self.received = self.received, []
        return received


def make_user(id: str, *, watchlist: Iterable[str] = ()) -> User:
    """A user as the app's server describes it."""
    return read_user(json.dumps({"id": id, "watchlist": list(watchlist)}))


@pytest.fixture
def app() -> App:
    return APP


@pytest.fixture
def config() -> ServerConfig:
    return ServerConfig(apps=(APP,))


@pytest.fixture
def facts() -> list[Fact]:
    """What the hub has told, in order."""
    return []


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=HUBS)
def make_hub(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Callable[..., Hub | Twins]]:
    """A hub of its own kind for one test: one that is the whole server, then two that are, and agree at the end."""
    twins = []

    def make_hub(config: ServerConfig, **options: Any) -> Hub | Twins:
        if request.param == ALONE:
            return Hub(config, **{"clock": clock, **options})
        twins.append(Twins(config, **{"clock": clock, **options}))
        return twins[-1]

    yield make_hub
    for each in twins:
        each.check()


@pytest.fixture
def hub(make_hub: Callable[..., Hub | Twins], config: ServerConfig, facts: list[Fact]) -> Hub | Twins:
    return make_hub(config, observers=[facts.append])


@pytest.fixture
def client() -> RecordingClient:
    return RecordingClient()


@pytest.fixture(params=PROCESSES)
def serve(request):
    """Start a server of its own kind for one test, of one process and then of two; it must stop without a fault.

    It takes a whole ``ServerConfig``, or fields of one, and what ``PushServer`` takes.
    """
    redis = request.getfixturevalue("redis") if request.param == TWO_PROCESSES else None
    running = []

    def serve(config=None, **options):
        own = {name: options.pop(name) for name in SERVER_OPTIONS & options.keys()}
        config = config or ServerConfig(apps=(APP,), **options)
        server = ThreadedServer(config, **own) if redis is None else ServerPair(config, redis_url=redis.url, **own)
        running.append(server)
        return server

    yield serve
    for server in running:
        server.stop()


class Answer:
    """What an ASGI app answered."""

    def __init__(self, sent: list[AsgiMessage]) -> None:
        start, *parts = sent
        self.status_code = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.text = b"".join(part.get("body", b"") for part in parts).decode()

    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    app: Application,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    receive: Receive | None = None,
    **scope_too: Any,
) -> Answer:
    """One request to an ASGI app, without a network; ``receive`` takes the place of ``content``."""
    sent: list[AsgiMessage] = []

    whole = [{"type": "http.request", "body": content, "more_body": False}]

    async def send_whole() -> AsgiMessage:
        # The client stays: that it goes away is a message that never comes.
        return whole.pop() if whole else await asyncio.Future()

    async def note(message: AsgiMessage) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),
        "raw_path": quote(path, safe="/%").encode(),
        "query_string": (query or urlencode(params or {})).encode(),
        "headers": [
            (name.lower().encode(), value.encode())
            for name, value in {"Host": "testserver", **(headers or {})}.items()
        ],
        **scope_too,
    }
    asyncio.run(app(scope, receive or send_whole, note))
    return Answer(sent)

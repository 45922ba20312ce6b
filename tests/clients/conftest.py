"""One real server and one site for all clients, and the client by which the site publishes.

The server is one process, and the second time two on one Redis, behind a proxy that takes turns.
"""

import base64
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest
from pusher import Pusher

from pusherable.server.addresses import Address
from tests.clients.receiving import WebhookReceiver
from tests.clients.site import KEY, MASTER_KEY, SECRET, Site
from tests.redis_servers import RedisServer
from tests.server.processes import ROOT, ServerProcess, running_server
from tests.server.proxies import RoundRobinProxy
from tests.twice import PROCESSES, TWO_PROCESSES

pytest.register_assert_rewrite("tests.clients.pusherjs")


class Project:
    """Settings in a folder of their own, for a server that starts anew when they change."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._settings = folder / "client_settings.py"
        # Servers of different projects have nothing to do with each other, though their Redis may be the same.
        settings = {"PUSHERABLE_REDIS_PREFIX": secrets.token_hex(8), **settings}
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        self._settings.write_text("".join(["from tests.settings import *\n\n", *lines]))
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self._env = {"DJANGO_SETTINGS_MODULE": "client_settings", "PYTHONPATH": paths}
        self._folder = folder

    @contextmanager
    def serve(self, *args: str, address: str = "127.0.0.1:0") -> Iterator[ServerProcess]:
        with running_server(*args, "-v", "2", address=address, cwd=self._folder, env=self._env) as process:
            yield process
        assert "Traceback" not in process.output

    def change(self, process: ServerProcess) -> None:
        """Change the code until the server notices: what is there at its first look counts as old."""
        for _ in range(10):
            self._settings.write_text(f"{self._settings.read_text()}# Changed\n")
            with suppress(AssertionError):
                process.wait_for(" changed, reloading", timeout=3)
                return
        raise AssertionError(process.output)


class HasPort(Protocol):
    """What clients need to know of a server."""

    @property
    def port(self) -> int: ...


@contextmanager
def serving(project: Project, redis: RedisServer | None) -> Iterator[HasPort]:
    """The project's server: of one process, or with a ``redis`` of two."""
    if redis is None:
        with project.serve("--noreload") as process:
            yield process
        return
    with ExitStack() as stack:
        processes = [stack.enter_context(project.serve("--noreload", "--redis", redis.url)) for _ in range(2)]
        proxy = RoundRobinProxy([Address("127.0.0.1", process.port) for process in processes])
        stack.callback(proxy.stop)
        yield proxy


@pytest.fixture(scope="package", params=PROCESSES)
def shared(request: pytest.FixtureRequest) -> RedisServer | None:
    """The Redis by which two processes are one server; nothing where it is one process."""
    return request.getfixturevalue("redis") if request.param == TWO_PROCESSES else None


@pytest.fixture(scope="package")
def webhooks(shared) -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory, webhooks, shared) -> Iterator[HasPort]:
    project = Project(tmp_path_factory.mktemp("project"), PUSHERABLE_WEBHOOK_URL=webhooks.url)
    with serving(project, shared) as server:
        yield server


@pytest.fixture
def project(tmp_path) -> Project:
    # Without DEBUG nothing is said of a reload.
    return Project(tmp_path, DEBUG=True)


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="package")
def pusher(server) -> Iterator[Pusher]:
    with publishing_to(server) as pusher:
        yield pusher


@contextmanager
def publishing_to(server: HasPort) -> Iterator[Pusher]:
    """The site's client of this server."""
    pusher = Pusher(
        app_id="1",
        key=KEY,
        secret=SECRET,
        ssl=False,
        host="127.0.0.1",
        port=server.port,
        encryption_master_key_base64=base64.b64encode(MASTER_KEY).decode(),
    )
    yield pusher
    for client in (pusher._pusher_client, pusher._authentication_client):
        client.http.session.close()

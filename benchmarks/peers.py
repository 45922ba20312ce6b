"""The servers that are compared: each in a process of its own at a free port, stopped by its pid."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from measuring import PATIENCE, ROOT, HttpConnection, NotRun, child_pids, end, free_port, http_request, running
from receivers import Door

sys.path.insert(0, str(ROOT))

from pusherable.signing import request_parameters

HERE = Path(__file__).resolve().parent

CHANNEL = "post_1"
EVENT = "update"
KEY, SECRET = "key", "secret"

#: What a contestant is compared with: WebSockets, event streams, or WebSockets of two processes.
Kind = Literal["sockets", "streams", "processes"]

#: Our own of each kind.
OURS: dict[Kind, str] = {
    "sockets": "django-pusherable",
    "streams": "django-pusherable, streams",
    "processes": "django-pusherable, 2 processes",
}

_SUBSCRIBED = b"subscription_succeeded"
_LAYER = "channels_redis.pubsub.RedisPubSubChannelLayer"

_NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"
_NGINX_CONF = """
load_module {module};
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location = /publish {{
            nchan_publisher;
            nchan_channel_id $arg_id;
            nchan_message_buffer_length 1000;
            nchan_message_timeout 60s;
        }}
        location = /subscribe {{
            nchan_subscriber websocket eventsource;
            nchan_channel_id $arg_id;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Peer:
    """A running server: who does its work, how to subscribe to it, and what publishes an event."""

    name: str
    #: Its processes, each of which has a door.
    pids: tuple[int, ...]
    doors: tuple[Door, ...]
    make_request: Callable[[str], bytes]
    #: Of Redis, where it is what the processes hear of each other by.
    bus: int | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(door.port for door in self.doors)

    def make_message(self, data: str) -> bytes:
        """The one message that every server of its kind sends to its subscribers for an event with this data."""
        return f"{EVENT}\n{json.dumps(data)}".encode() if self.doors[0].is_stream else message_text(data)


@dataclass(frozen=True)
class Contestant:
    name: str
    #: How to start it; raises ``NotRun`` where that is impossible.
    start: Callable[[], AbstractContextManager[Peer]]
    kind: Kind = "sockets"
    #: What part of the events it is given: a slow one would take minutes.
    share: float = 1.0


def message_text(data: str) -> bytes:
    """An event with this data as a WebSocket's subscribers receive it."""
    content = {"event": EVENT, "channel": CHANNEL, "data": data}
    return json.dumps(content, separators=(",", ":")).encode()


def signed_request(data: str) -> bytes:
    """An event as a project publishes it to us."""
    body = json.dumps({"name": EVENT, "channels": [CHANNEL], "data": data}).encode()
    path = "/apps/1/events"
    query = request_parameters("POST", path, key=KEY, secret=SECRET, timestamp=int(time.time()), body=body)
    return http_request("POST", f"{path}?{urlencode(query)}", body)


def bare_request(data: str) -> bytes:
    return http_request("POST", f"/publish?id={CHANNEL}", message_text(data), content_type="text/plain")


def stream_request(data: str) -> bytes:
    """An event as a body of its data alone; nchan takes the name from the header."""
    headers = [f"X-EventSource-Event: {EVENT}"]
    body = json.dumps(data).encode()
    return http_request("POST", f"/publish?id={CHANNEL}", body, content_type="text/plain", headers=headers)


@contextlib.contextmanager
def run_ours(name: str = OURS["sockets"], *, options: Sequence[str] = (), is_stream: bool = False) -> Iterator[Peer]:
    port = free_port()
    arguments = [sys.executable, "-m", "django", "runpushserver", f"127.0.0.1:{port}", "--noreload", *options]
    env = {
        "DJANGO_SETTINGS_MODULE": "server_settings",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "BENCHMARK_PORT": str(port),
    }
    with running(arguments, env=env) as (process, _):
        await_port(port)
        subscription = json.dumps({"event": "pusher:subscribe", "data": {"channel": CHANNEL}}).encode()
        door = Door(port, f"/app/{KEY}?protocol=7", subscription, _SUBSCRIBED)
        if is_stream:
            door = Door(port, f"/stream?channel={CHANNEL}", confirmation=_SUBSCRIBED, is_stream=True)
        yield Peer(name, (process.pid,), (door,), signed_request)


@contextlib.contextmanager
def run_our_pair() -> Iterator[Peer]:
    """Two processes with one Redis; they have nothing else in common."""
    name = OURS["processes"]
    with run_redis() as (bus, url), contextlib.ExitStack() as stack:
        pair = [stack.enter_context(run_ours(name, options=["--redis", url])) for _ in range(2)]
        yield _as_one(name, pair, bus)


@contextlib.contextmanager
def run_nchan(name: str = "nginx + nchan", *, is_stream: bool = False) -> Iterator[Peer]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or not Path(_NCHAN).exists():
        raise NotRun("apt-get install nginx libnginx-mod-nchan")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        conf = Path(folder) / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        conf.write_text(_NGINX_CONF.format(module=_NCHAN, folder=folder, port=port, user=user, files=16384))
        process = subprocess.Popen([nginx, "-p", folder, "-c", str(conf)], stdin=subprocess.DEVNULL)
        try:
            await_port(port)
            worker = await_worker(process.pid)
            door = Door(port, f"/subscribe?id={CHANNEL}", is_stream=is_stream)
            yield Peer(name, (worker,), (door,), stream_request if is_stream else bare_request)
        finally:
            end(process)


@contextlib.contextmanager
def run_bare() -> Iterator[Peer]:
    with running([sys.executable, str(HERE / "bare_loop.py")]) as (process, line):
        yield Peer("bare asyncio loop", (process.pid,), (Door(int(line), "/"),), bare_request)


@contextlib.contextmanager
def run_channels(name: str = "Channels, in memory", *, layer: Sequence[str] = ()) -> Iterator[Peer]:
    _require("channels")
    with running([sys.executable, str(HERE / "channels_app.py"), *layer]) as (process, line):
        await_port(int(line))
        yield Peer(name, (process.pid,), (Door(int(line), "/"),), bare_request)


@contextlib.contextmanager
def run_channels_pair() -> Iterator[Peer]:
    _require("channels_redis")
    name = "Channels, 2 processes"
    with run_redis() as (bus, url), contextlib.ExitStack() as stack:
        pair = [stack.enter_context(run_channels(name, layer=[_LAYER, url])) for _ in range(2)]
        yield _as_one(name, pair, bus)


@contextlib.contextmanager
def run_eventstream() -> Iterator[Peer]:
    _require("django_eventstream")
    with running([sys.executable, str(HERE / "eventstream_app.py")]) as (process, line):
        await_port(int(line))
        door = Door(int(line), "/stream", confirmation=b"stream-open", is_stream=True)
        yield Peer("django-eventstream", (process.pid,), (door,), stream_request)


@contextlib.contextmanager
def run_redis() -> Iterator[tuple[int, str]]:
    """A Redis that writes nothing to disk: its process and its address."""
    redis = shutil.which("redis-server")
    if redis is None:
        raise NotRun("apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        options = {"bind": "127.0.0.1", "port": str(port), "dir": folder, "save": "", "appendonly": "no"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        process = subprocess.Popen([redis, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            await_port(port)
            yield process.pid, f"redis://127.0.0.1:{port}"
        finally:
            end(process)


CONTESTANTS = (
    Contestant(OURS["sockets"], run_ours),
    Contestant("nginx + nchan", run_nchan),
    Contestant("bare asyncio loop", run_bare),
    Contestant("Channels, in memory", run_channels, share=0.025),
    Contestant(OURS["streams"], lambda: run_ours(OURS["streams"], is_stream=True), "streams"),
    Contestant("nginx + nchan, streams", lambda: run_nchan("nginx + nchan, streams", is_stream=True), "streams"),
    Contestant("django-eventstream", run_eventstream, "streams", share=0.1),
    Contestant(OURS["processes"], run_our_pair, "processes"),
    Contestant("Channels, 2 processes", run_channels_pair, "processes", share=0.025),
)
KINDS = {contestant.name: contestant.kind for contestant in CONTESTANTS}


def _as_one(name: str, pair: Sequence[Peer], bus: int) -> Peer:
    """Several processes as the one server that they make together."""
    pids = tuple(pid for peer in pair for pid in peer.pids)
    doors = tuple(door for peer in pair for door in peer.doors)
    return Peer(name, pids, doors, pair[0].make_request, bus)


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise NotRun("pip install -r benchmarks/requirements.txt")


def await_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            HttpConnection(port).__exit__()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise NotRun(f"Nothing listens at port {port}") from None
            time.sleep(0.05)
        else:
            return


def await_worker(master: int) -> int:
    """The process of nginx that works: its master listens before there is one."""
    deadline = time.monotonic() + PATIENCE
    while not (workers := child_pids(master)):
        if time.monotonic() > deadline:
            raise NotRun("nginx has no worker")
        time.sleep(0.05)
    return workers[0]


def start_all(stack: contextlib.ExitStack, kinds: Sequence[str]) -> tuple[dict[str, Peer], dict[str, str]]:
    """Those that run, and why the others do not."""
    peers, missing = {}, {}
    for contestant in CONTESTANTS:
        if contestant.kind not in kinds:
            continue
        try:
            peers[contestant.name] = stack.enter_context(contestant.start())
        except NotRun as reason:
            missing[contestant.name] = str(reason)
    return peers, missing

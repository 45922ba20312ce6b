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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from measuring import PATIENCE, ROOT, HttpConnection, NotRun, child_pids, end, free_port, http_request, running
from receivers import Door

sys.path.insert(0, str(ROOT))

from pusherable.signing import request_parameters

HERE = Path(__file__).resolve().parent

CHANNEL = "post_1"
EVENT = "update"
KEY, SECRET = "key", "secret"

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
            nchan_subscriber websocket;
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
    pid: int
    port: int
    door: Door
    make_request: Callable[[str], bytes]


@dataclass(frozen=True)
class Contestant:
    name: str
    #: How to start it; raises ``NotRun`` where that is impossible.
    start: Callable[[], AbstractContextManager[Peer]]
    #: What part of the events it is given: a slow one would take minutes.
    share: float = 1.0


def message_text(data: str) -> bytes:
    """The one text that every server sends to its subscribers for an event with this data."""
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


@contextlib.contextmanager
def run_ours(*options: str) -> Iterator[Peer]:
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
        door = Door(port, f"/app/{KEY}?protocol=7", subscription, b"subscription_succeeded")
        yield Peer("django-pusherable", process.pid, port, door, signed_request)


@contextlib.contextmanager
def run_nchan() -> Iterator[Peer]:
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
            (worker,) = child_pids(process.pid)
            door = Door(port, f"/subscribe?id={CHANNEL}")
            yield Peer("nginx + nchan", worker, port, door, bare_request)
        finally:
            end(process)


@contextlib.contextmanager
def run_bare() -> Iterator[Peer]:
    with running([sys.executable, str(HERE / "bare_loop.py")]) as (process, line):
        door = Door(int(line), "/")
        yield Peer("bare asyncio loop", process.pid, door.port, door, bare_request)


@contextlib.contextmanager
def run_channels() -> Iterator[Peer]:
    if importlib.util.find_spec("channels") is None:
        raise NotRun("pip install -r benchmarks/requirements.txt")
    with running([sys.executable, str(HERE / "channels_app.py")]) as (process, line):
        await_port(int(line))
        door = Door(int(line), "/")
        yield Peer("Channels, in memory", process.pid, door.port, door, bare_request)


CONTESTANTS = (
    Contestant("django-pusherable", run_ours),
    Contestant("nginx + nchan", run_nchan),
    Contestant("bare asyncio loop", run_bare),
    Contestant("Channels, in memory", run_channels, share=0.025),
)


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


def start_all(stack: contextlib.ExitStack) -> tuple[dict[str, Peer], dict[str, str]]:
    """Those that run, and why the others do not."""
    peers, missing = {}, {}
    for contestant in CONTESTANTS:
        try:
            peers[contestant.name] = stack.enter_context(contestant.start())
        except NotRun as reason:
            missing[contestant.name] = str(reason)
    return peers, missing

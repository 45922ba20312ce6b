"""Several real server processes on one Redis: started, asked, hindered, and ended by their own pids."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from pusherable.channels import kind_of
from pusherable.signing import channel_message, request_parameters, sign
from tests import settings
from tests.redis_servers import RedisServer
from tests.server.processes import ROOT, ServerProcess

KEY, SECRET, APP_ID = settings.PUSHER_KEY, settings.PUSHER_SECRET, settings.PUSHER_APP_ID
#: Seconds for what comes to pass by itself, on a machine that is busy.
PATIENCE = 60.0
#: Seconds for which a client waits for an answer.
TIMEOUT = 6.0

NO_ANSWER = 0


class Cluster:
    """Processes that are one server; ``processes`` keeps the places of those that have ended.

    ``packages`` is a folder that goes before those that are installed, ``more`` are settings of the project.
    """

    def __init__(
        self,
        folder: Path,
        *,
        webhook_url: str = "",
        redis: RedisServer | None = None,
        packages: str = "",
        **more: Any,
    ) -> None:
        self.redis = redis or RedisServer()
        self.processes: list[ServerProcess] = []
        self._folder = folder
        self._path = os.pathsep.join(filter(None, [packages, str(folder), str(ROOT)]))
        self._settings = {"PUSHERABLE_WEBHOOK_URL": webhook_url, **more}
        self._http = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, limits=httpx.Limits(max_connections=None))
        self._ended: set[int] = set()
        self._addresses: dict[int, str] = {}

    @property
    def living(self) -> list[int]:
        """The places of those that have come up, and have not been ended."""
        return [place for place in self._addresses if place not in self._ended]

    async def start(self, count: int, *, with_redis: bool = True) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} = {value!r}\n" for name, value in self._settings.items()]
        (self._folder / "cluster_settings.py").write_text("".join(["from tests.settings import *\n", *lines]))
        if with_redis:
            await asyncio.to_thread(self.redis.start)
        for _ in range(count):
            self.processes.append(self._spawn())
        for place in range(count):
            await self._wait_for_start(place)

    async def add(self) -> int:
        """One more process; returns its place."""
        self.processes.append(self._spawn())
        await self._wait_for_start(len(self.processes) - 1)
        return len(self.processes) - 1

    async def close(self) -> None:
        await self._http.aclose()
        for process in self.processes:
            if process.is_running:
                process.kill()
        for process in self.processes:
            await asyncio.to_thread(process.wait)
        await asyncio.to_thread(self.redis.stop)

    def signal(self, place: int, number: int) -> None:
        os.kill(self.processes[place].pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._ended.add(place)

    def address(self, place: int) -> str:
        return self._addresses[place]

    async def request(self, place: int, method: str, path: str, content: Any = None, **query: str) -> tuple[int, Any]:
        """Status and content of the answer; ``NO_ANSWER`` where none came."""
        path, body = f"/apps/{APP_ID}{path}", b"" if content is None else json.dumps(content).encode()
        params = request_parameters(
            method, path, key=KEY, secret=SECRET, timestamp=int(time.time()), body=body, query=query
        )
        url = f"http://{self.address(place)}{path}"
        try:
            answer = await self._http.request(method, url, params=params, content=body)
        except httpx.HTTPError as error:
            return NO_ANSWER, repr(error)
        return answer.status_code, answer.json() if answer.status_code == 200 else answer.text

    async def publish(self, place: int, channels: Sequence[str], name: str, data: str) -> int:
        status, _ = await self.request(
            place, "POST", "/events", {"name": name, "channels": list(channels), "data": data}
        )
        return status

    async def users(self, place: int, channel: str) -> set[str] | None:
        """Who is in a presence channel, as one process has it; ``None`` where it does not say."""
        status, content = await self.request(place, "GET", f"/channels/{channel}/users")
        return {user["id"] for user in content["users"]} if status == 200 else None

    async def channels(self, place: int) -> set[str] | None:
        """The occupied channels, as one process has it; ``None`` where it does not say."""
        status, content = await self.request(place, "GET", "/channels")
        return set(content["channels"]) if status == 200 else None

    def open_stream(self, place: int, channels: Sequence[str], last_event_id: str) -> Any:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        params = [("channel", channel) for channel in channels]
        timeout = httpx.Timeout(TIMEOUT, read=None)
        return self._http.stream(
            "GET", f"http://{self.address(place)}/stream", params=params, headers=headers, timeout=timeout
        )

    def _spawn(self) -> ServerProcess:
        return ServerProcess(
            [sys.executable, "-m", "django", "runpushserver", "127.0.0.1:0", "--noreload", "--redis", self.redis.url],
            cwd=ROOT,
            env={
                "DJANGO_SETTINGS_MODULE": "cluster_settings",
                "PYTHONPATH": self._path,
            },
            start_new_session=False,
        )

    async def _wait_for_start(self, place: int) -> None:
        process = self.processes[place]
        await asyncio.to_thread(process.wait_for, "Quit the server with", timeout=PATIENCE)
        # It is printed before there is anybody to answer, but connections are taken.
        self._addresses[place] = process.address
        status, content = await self.request(place, "GET", "/channels")
        assert status == 200, content


class Grant(NamedTuple):
    """The data of a subscription, with what lets a client in."""

    channel: str
    auth: str = ""
    channel_data: str = ""

    def write(self) -> str:
        fields = {name: value for name, value in self._asdict().items() if value}
        return json.dumps({"event": "pusher:subscribe", "data": fields})


def grant(socket_id: str, channel: str, user_id: str, **info: Any) -> Grant:
    """What the app's own server would answer to a page that wants to subscribe."""
    kind = kind_of(channel)
    if not kind.needs_authorization:
        return Grant(channel)
    data = json.dumps({"user_id": user_id, "user_info": info}) if kind.is_presence else None
    return Grant(channel, f"{KEY}:{sign(SECRET, channel_message(socket_id, channel, data))}", data or "")


async def until(is_so: Callable[[], Any], what: str, *, patience: float = PATIENCE, pause: float = 0.05) -> float:
    """Wait until ``is_so`` is true, or the awaited answer of it; returns how long that took."""
    began = time.monotonic()
    while True:
        answer = is_so()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return time.monotonic() - began
        assert time.monotonic() < began + patience, f"It has not come to pass within {patience} s: {what}"
        await asyncio.sleep(pause)

"""Does anything stay behind? ``python benchmarks/soak.py [--seconds 600] [--seed 1]``; the exit code says.

Visitors connect, subscribe, publish, talk nonsense and leave, politely or not, at random; the seed fixes what each
of them does. When they have gone, the server's objects, file descriptors and memory have to be as before.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import multiprocessing
import os
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from formats import masked_frame
from measuring import (
    PATIENCE,
    ROOT,
    HttpConnection,
    content_length,
    describe_machine,
    print_table,
    raise_file_limit,
    resident_bytes,
)
from peers import KEY, SECRET

sys.path.insert(0, str(ROOT))

from pusherable.signing import channel_message, request_parameters, sign

CHANNELS = (
    *(f"post_{number}" for number in range(8)),
    *(f"private-post_{number}" for number in range(4)),
    *(f"presence-post_{number}" for number in range(4)),
    *(f"cache-post_{number}" for number in range(2)),
    *(f"private-cache-post_{number}" for number in range(2)),
)
#: Whose objects are counted: ours, and those of others that live as long as a connection does.
COUNTED = (
    "pusherable.",
    "uvicorn.protocols.",
    "websockets.server",
    "httptools.",
    "asyncio.selector_events",
    "starlette.",
)
#: What cache channels remember is meant to stay for half an hour.
REMEMBERED = ("pusherable.server.caches.",)
#: Seconds after the last visitor in which timers end and connections close.
_SETTLING = 20.0
#: How often memory is looked at in between: a leak grows with every stage, what only settles does not.
STAGES = 6
#: What is shown even where it is nowhere to be found.
_ALWAYS = ("pusherable.server.connections.Connection", "pusherable.server.listener.WebSocketListener")
_NONSENSE = (b"{", b"[" * 5000, b"null", b'{"event":1}', b'{"event":"pusher:subscribe","data":{}}', b"\xff\xfe", b"")


@dataclass(frozen=True)
class Census:
    """What lives in the server; sizes are in bytes."""

    objects: Counter[str]
    files: int
    connections: int
    occupied: int
    memory: int
    #: Pieces of memory that Python has given to whatever lives: unlike the memory itself, they do not scatter.
    blocks: int
    #: What the server has logged as its own fault.
    faults: tuple[str, ...]


class ServerProcess:
    """The server as a library, in a process of its own that can be asked what lives in it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.port: int = self._receive()

    def take_census(self) -> Census:
        self._pipe.send("census")
        return self._receive()

    def await_idle(self) -> Census:
        """A census once no connection is left of those that came to prepare."""
        census = self.take_census()
        while any("Listener" in name for name in census.objects if census.objects[name]):
            time.sleep(0.1)
            census = self.take_census()
        return census

    def await_empty(self, start: Census) -> Census:
        """A census once everything is as at the start; if that takes too long, whatever is left is in it."""
        deadline = time.monotonic() + _SETTLING
        while True:
            census = self.take_census()
            is_empty = not (census.connections or census.occupied) and census.files <= start.files
            if (is_empty and not find_remains(start, census)) or time.monotonic() > deadline:
                return census
            # asyncio keeps a timer that was cancelled until its time has come, and what it would have called.
            time.sleep(0.25)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise TimeoutError("The server is stuck")
        return self._pipe.recv()


class FaultCounter(logging.Handler):
    """Keeps how a server describes its own faults."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def _serve(pipe: Pipe) -> None:
    from pusherable.server.addresses import Address, address_of, listen
    from pusherable.server.api import create_api
    from pusherable.server.config import App, ServerConfig
    from pusherable.server.hub import Hub
    from pusherable.server.listener import PushServer

    raise_file_limit()
    faults = FaultCounter(logging.ERROR)
    logging.basicConfig(handlers=[faults], force=True)
    app = App(id="1", key=KEY, secret=SECRET)
    # Half-open connections are to be gone soon after the end.
    hub = Hub(ServerConfig(apps=(app,), request_timeout=3.0, close_timeout=2.0))
    server = PushServer(hub, create_api(hub))

    def take_census() -> None:
        gc.collect()
        # By the type's own name: a proxy would answer for another.
        names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
        pipe.send(
            Census(
                Counter(name for name in names if name.startswith(COUNTED)),
                len(list(Path("/proc/self/fd").iterdir())),
                hub.connection_count(app),
                len(list(hub.occupied_channels(app))),
                resident_bytes(os.getpid()),
                sys.getallocatedblocks(),
                tuple(faults.texts),
            )
        )

    def obey(loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(EOFError):
            while pipe.recv() == "census":
                loop.call_soon_threadsafe(take_census)
        server.should_exit = True

    async def serve() -> None:
        listener = listen(Address("127.0.0.1", 0))
        threading.Thread(target=obey, args=(asyncio.get_running_loop(),), daemon=True).start()
        pipe.send(address_of(listener).port)
        await server.serve(sockets=[listener])

    asyncio.run(serve())


@dataclass
class Visitor:
    """Comes and goes until the time is over; ``done`` counts what it did."""

    port: int
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)

    async def stay(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                await self._visit(deadline)
            except (OSError, asyncio.IncompleteReadError):
                # The server may end what it was told nonsense in, and then resets what is still sent.
                self.done["cut off"] += 1

    async def _visit(self, deadline: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        drain = None
        try:
            fate = self.random.random()
            if fate < 0.04:
                writer.write(self.random.randbytes(200))
                self.done["garbage instead of HTTP"] += 1
            elif fate < 0.08:
                writer.write(_upgrade()[: self.random.randrange(1, 60)])
                self.done["half an upgrade"] += 1
            elif fate < 0.25:
                await self._publish(reader, writer)
            else:
                writer.write(_upgrade())
                await reader.readuntil(b"\r\n\r\n")
                greeting = await reader.readuntil(b"}")
                socket_id = greeting.partition(b'socket_id\\":\\"')[2].partition(b"\\")[0].decode()
                self.done["connections"] += 1
                drain = asyncio.create_task(_read_all(reader))
                await self._talk(writer, socket_id, deadline)
            self._leave(writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            if drain is not None:
                await drain

    async def _talk(self, writer: asyncio.StreamWriter, socket_id: str, deadline: float) -> None:
        joined: set[str] = set()
        for _ in range(self.random.randrange(1, 12)):
            if time.monotonic() > deadline:
                return
            writer.write(self._say_something(socket_id, joined))
            await writer.drain()
            await asyncio.sleep(self.random.random() * 0.1)

    def _say_something(self, socket_id: str, joined: set[str]) -> bytes:
        what = self.random.random()
        channel = self.random.choice(CHANNELS)
        if what < 0.5:
            self.done["subscriptions"] += 1
            joined.add(channel)
            return masked_frame(_subscription(socket_id, channel, self.random.randrange(20)))
        if what < 0.65 and joined:
            self.done["unsubscriptions"] += 1
            channel = self.random.choice(sorted(joined))
            joined.discard(channel)
            return masked_frame(_message("pusher:unsubscribe", {"channel": channel}))
        if what < 0.8 and joined:
            self.done["client events"] += 1
            channel = self.random.choice(sorted(joined))
            return masked_frame(_message("client-typing", "x" * self.random.randrange(2000), channel=channel))
        if what < 0.88:
            self.done["pings"] += 1
            return masked_frame(_message("pusher:ping", {})) + masked_frame(b"", opcode=9)
        self.done["nonsense"] += 1
        return masked_frame(self.random.choice(_NONSENSE), opcode=self.random.choice((1, 1, 1, 2)))

    async def _publish(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self.random.randrange(1, 5)):
            channels = self.random.sample(CHANNELS, self.random.randrange(1, 6))
            content = {"name": "update", "channels": channels, "data": "x" * self.random.randrange(5000)}
            body = json.dumps(content).encode()
            is_forged = self.random.random() < 0.1
            writer.write(_signed("/apps/1/events", body, secret="wrong" if is_forged else SECRET))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(content_length(head))
            expected = b"HTTP/1.1 401" if is_forged else b"HTTP/1.1 200"
            self.done["events" if head.startswith(expected) else f"answers {head[:20]!r}"] += 1

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        manner = self.random.choice(("politely", "silently", "by a reset", "in the middle of a frame"))
        self.done[f"left {manner}"] += 1
        if manner == "politely":
            writer.write(masked_frame(struct.pack("!H", 1000), opcode=8))
        elif manner == "in the middle of a frame":
            writer.write(masked_frame(b"x" * 100)[:50])
        elif manner == "by a reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


async def _read_all(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass


def _upgrade() -> bytes:
    return (
        f"GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _message(event: str, data: object, **more: str) -> bytes:
    return json.dumps({"event": event, "data": data, **more}).encode()


def _subscription(socket_id: str, channel: str, user: int) -> bytes:
    fields = {"channel": channel}
    if channel.startswith("presence-"):
        fields["channel_data"] = json.dumps({"user_id": str(user), "user_info": {"name": f"User {user}"}})
    if channel.startswith(("private-", "presence-")):
        signed = channel_message(socket_id, channel, fields.get("channel_data"))
        fields["auth"] = f"{KEY}:{sign(SECRET, signed)}"
    return _message("pusher:subscribe", fields)


def _signed(path: str, body: bytes, *, secret: str) -> bytes:
    query = request_parameters("POST", path, key=KEY, secret=secret, timestamp=int(time.time()), body=body)
    # Nothing in these values has to be escaped.
    target = f"{path}?{'&'.join(f'{name}={value}' for name, value in query.items())}"
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def visit(port: int, *, visitors: int, seconds: float, seed: str) -> Counter[str]:
    """Let so many visitors come and go at once; returns what they have done."""
    deadline = time.monotonic() + seconds
    crowd = [Visitor(port, random.Random(f"{seed}-{number}")) for number in range(visitors)]
    await asyncio.gather(*(visitor.stay(deadline) for visitor in crowd))
    return sum((visitor.done for visitor in crowd), Counter())


def find_remains(start: Census, end: Census) -> dict[str, int]:
    """Objects beyond those of the start, but for what cache channels remember."""
    extra = {name: count - start.objects[name] for name, count in sorted(end.objects.items())}
    return {name: count for name, count in extra.items() if count > 0 and not name.startswith(REMEMBERED)}


def find_leaks(start: Census, warm: Census, end: Census, *, tolerance: int) -> list[str]:
    """What is more at the end than it was; memory is compared with that after the warm-up, and may grow a little."""
    leaks = [f"{count} objects too many: {name}" for name, count in find_remains(start, end).items()]
    if end.faults:
        leaks.append(f"The server failed {len(end.faults)} times, first so:\n{end.faults[0]}")
    if end.files > start.files:
        leaks.append(f"{end.files} open files, {start.files} before")
    if end.connections or end.occupied:
        leaks.append(f"{end.connections} connections and {end.occupied} occupied channels are left")
    if end.memory > warm.memory + tolerance:
        leaks.append(f"{(end.memory - warm.memory) / 1024:.0f} KiB more memory than after the warm-up")
    return leaks


def print_censuses(start: Census, warm: Census, end: Census) -> None:
    censuses = (start, warm, end)
    rows = [
        ["memory, KiB", *(str(census.memory // 1024) for census in censuses)],
        ["pieces of memory", *(str(census.blocks) for census in censuses)],
        ["open files", *(str(census.files) for census in censuses)],
        ["connections", *(str(census.connections) for census in censuses)],
        ["occupied channels", *(str(census.occupied) for census in censuses)],
    ]
    names = set(_ALWAYS).union(*(census.objects for census in censuses))
    counts = {name: [census.objects[name] for census in censuses] for name in sorted(names)}
    rows += [[name, *map(str, each)] for name, each in counts.items() if len(set(each)) > 1 or name in _ALWAYS]
    rows += [["all objects of the server", *(str(census.objects.total()) for census in censuses)]]
    print_table(["", "at the start", "after warming up", "at the end"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="in all; the first tenth warms up")
    parser.add_argument("--visitors", type=int, default=40, help="at once")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--tolerance", type=int, default=4096, help="KiB by which memory may grow")
    options = parser.parse_args()
    raise_file_limit()
    print(describe_machine())
    print(f"Seed {options.seed}, {options.visitors} visitors, {options.seconds:g} s\n", flush=True)
    server = ServerProcess()
    try:
        with HttpConnection(server.port) as connection:
            # Starlette makes some of its objects for the first request.
            connection.send(_signed("/apps/1/events", b'{"name":"e","channel":"c","data":""}', secret=SECRET))
        start = server.await_idle()
        warming = max(1.0, options.seconds / 10)
        crowd = {"visitors": options.visitors}
        asyncio.run(visit(server.port, seconds=warming, seed=f"{options.seed}-warm", **crowd))
        warm = server.await_empty(start)
        done: Counter[str] = Counter()
        course = []
        for stage in range(STAGES):
            seconds = (options.seconds - warming) / STAGES
            done += asyncio.run(visit(server.port, seconds=seconds, seed=f"{options.seed}-{stage}", **crowd))
            census = server.await_empty(start)
            course.append(f"{census.memory // 1024} ({census.blocks})")
        end = server.await_empty(start)
    finally:
        server.stop()
    print(", ".join(f"{name}: {count}" for name, count in sorted(done.items())) + "\n")
    print_censuses(start, warm, end)
    print(f"Memory in KiB (and pieces) after each of {STAGES} stages: {', '.join(course)}")
    leaks = find_leaks(start, warm, end, tolerance=options.tolerance * 1024)
    print("\n".join(leaks) or "Nothing has stayed behind.")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())

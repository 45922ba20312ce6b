"""Many clients come, subscribe and leave in every manner; nothing of them may stay behind."""

import gc
import json
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from pusherable.server import facts
from pusherable.server.config import App, ServerConfig
from pusherable.signing import channel_message, request_parameters, sign
from tests.server.threads import TIMEOUT, RunningServer, client_frame, read_to_end, upgrade_request

APP = App(id="1", key="key", secret="the secret")
CHANNELS = ("post_1", "post_2", "private-post_1", "presence-post_1", "presence-post_2", "cache-post_1")
CONNECTIONS = 200
#: At once, at most.
CROWD = 25
DESCRIPTORS = Path("/proc/self/fd")


class Visitor:
    """A client that does as ``choices`` says."""

    def __init__(self, server: RunningServer, choices: random.Random) -> None:
        self._choices = choices
        self._socket = server.connect_raw()
        self._socket.sendall(upgrade_request("/app/key?protocol=7"))
        received = b""
        while b'}"}' not in received:
            received += self._socket.recv(65536)
        self.socket_id = received.partition(b'socket_id\\":\\"')[2].partition(b"\\")[0].decode()

    def act(self) -> None:
        channel = self._choices.choice(CHANNELS)
        self._socket.sendall(
            self._choices.choice(
                (
                    client_frame(self._subscription(channel)),
                    client_frame(self._subscription(channel)),
                    client_frame(message("pusher:unsubscribe", {"channel": channel})),
                    client_frame(message("client-typing", "x" * 500, channel=channel)),
                    client_frame(message("pusher:ping", {})),
                    client_frame(b"{"),
                    client_frame(b"\x00", opcode=2),
                    client_frame(b"", opcode=9),
                    client_frame(message("pusher:ping", {})[:5], fin=False) + client_frame(b"}", opcode=0),
                )
            )
        )

    def subscribe(self, channel: str, *, user_id: str) -> None:
        self._socket.sendall(client_frame(self._subscription(channel, user_id=user_id)))

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def read_until(self, part: bytes, *, count: int, since: bytes) -> bytes:
        """What comes from ``since`` on, as soon as ``part`` has come so many times in it."""
        received = b""
        while received.partition(since)[2].count(part) < count:
            received += self._socket.recv(65536)
        return received.partition(since)[2]

    def close(self) -> None:
        self._socket.close()

    def leave(self) -> None:
        self._choices.choice((self._say_goodbye, self.close, self._reset, self._stop_in_the_middle))()

    def _subscription(self, channel: str, *, user_id: str = "") -> bytes:
        fields = {"channel": channel}
        if channel.startswith("presence-"):
            fields["channel_data"] = json.dumps({"user_id": user_id or str(self._choices.randrange(5))})
        if channel.startswith(("private-", "presence-")):
            signed = channel_message(self.socket_id, channel, fields.get("channel_data"))
            fields["auth"] = f"key:{sign(APP.secret, signed)}"
        return message("pusher:subscribe", fields)

    def _say_goodbye(self) -> None:
        self._socket.sendall(client_frame(struct.pack("!H", 1000), opcode=8))
        read_to_end(self._socket)
        self._socket.close()

    def _reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _stop_in_the_middle(self) -> None:
        self._socket.sendall(client_frame(b"x" * 100)[:50])
        self.end_sending()
        read_to_end(self._socket)
        self._socket.close()


def message(event: str, data: object, **more: str) -> bytes:
    return json.dumps({"event": event, "data": data, **more}).encode()


def publish(server: RunningServer, channels: list[str]) -> int:
    """The status of an event published by the HTTP API, by a client that then goes away."""
    body = json.dumps({"name": "update", "channels": channels, "data": "x" * 300}).encode()
    path = "/apps/1/events"
    query = request_parameters("POST", path, key="key", secret=APP.secret, timestamp=int(time.time()), body=body)
    connection = HTTPConnection(server.address.host, server.address.port, timeout=TIMEOUT)
    try:
        connection.request("POST", f"{path}?{urlencode(query)}", body)
        return connection.getresponse().status
    finally:
        connection.close()


def live_objects() -> Counter[str]:
    """How many objects of each of the server's own types are reachable, and of what uvicorn makes for each client."""
    gc.collect()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    prefixes = ("pusherable.server.", "uvicorn.protocols.", "websockets.server.")
    # What cache channels and histories remember, and facts that the test itself keeps, are meant to stay.
    kept = ("pusherable.server.caches.", "pusherable.server.histories.", "pusherable.server.facts.")
    return Counter(name for name in names if name.startswith(prefixes) and not name.startswith(kept))


def count_descriptors() -> int:
    """Open files of this process; where the system does not tell, always the same."""
    return len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0


def await_true(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true in time; what it asks for has no fact to wait for."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged as a fault."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


class TestSoak:
    def test_after_everybody_has_left_in_every_manner_nothing_is_left(self, errors, serve):
        choices = random.Random(20)
        # asyncio keeps a cancelled timer until its time has come, and the connection with it.
        config = ServerConfig(apps=(APP,), request_timeout=1.0, close_timeout=1.0, activity_timeout=2.0)
        server = serve(config)
        assert publish(server, ["post_1"]) == 200
        files = count_descriptors()
        before = server.call(live_objects)
        present: list[Visitor] = []
        statuses = set()
        for number in range(CONNECTIONS):
            present.append(Visitor(server, choices))
            for visitor in choices.sample(present, min(8, len(present))):
                visitor.act()
            if number % 5 == 0:
                statuses.add(publish(server, choices.sample(CHANNELS, 3)))
            while len(present) > CROWD or (present and choices.random() < 0.3):
                present.pop(choices.randrange(len(present))).leave()
        for visitor in present:
            visitor.leave()
        server.wait_for(facts.Disconnected, count=CONNECTIONS)

        assert server.call(lambda: list(server.hub.occupied_channels(APP))) == []
        assert server.call(server.hub.connection_count, APP) == 0
        assert await_true(lambda: server.call(live_objects) <= before), server.call(live_objects) - before
        assert await_true(lambda: count_descriptors() <= files)
        assert statuses == {200}
        kinds = Counter(type(fact) for fact in server.facts)
        assert kinds[facts.Occupied] == kinds[facts.Vacated]
        assert kinds[facts.Subscribed] == kinds[facts.Unsubscribed] > CONNECTIONS
        assert kinds[facts.MemberAdded] == kinds[facts.MemberRemoved] > 0
        assert errors() == []

    def test_many_gone_at_the_same_moment_are_no_trouble_to_each_other_or_to_who_stays(self, errors, serve):
        channel = "presence-post_1"
        server = serve()
        choices = random.Random(1)
        staying, *leaving = [Visitor(server, choices) for _ in range(11)]
        for number, visitor in enumerate((staying, *leaving)):
            visitor.subscribe(channel, user_id=str(number))
        server.wait_for(facts.Subscribed, count=11)

        def leave_together() -> None:
            # The server reads nothing before this returns, and then finds all of them gone in one go.
            for visitor in leaving:
                visitor.end_sending()

        server.call(leave_together)
        server.wait_for(facts.Disconnected, count=10)
        assert server.call(server.hub.members, APP, channel) == {"0": {}}
        heard = staying.read_until(b'\\"}"}', count=10, since=b"member_removed")
        for visitor in (staying, *leaving):
            visitor.close()
        assert Counter(re.findall(rb'"user_id\W+(\d+)', heard)) == Counter(b"%d" % n for n in range(1, 11))
        assert errors() == []

"""Clients and publishers who mean harm, at one of two real processes: both go on, and know the same."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from pusherable.signing import channel_message, sign, user_message
from tests.server.clusters import KEY, SECRET, Cluster, until
from tests.server.crowds import ROOM, Crowd, gathered

pytestmark = [pytest.mark.chaos, pytest.mark.redis]

# As deep as a member may be by its size, and a user's data by that of a frame.
DEEP_MEMBER = "[" * 480 + "]" * 480
DEEP_USER = "[" * 15_000 + "]" * 15_000


class Attacker:
    """A client that sends whatever it likes, and for which the app's own server signs it."""

    def __init__(self, socket, socket_id):
        self.socket = socket
        self.socket_id = socket_id

    async def send(self, event, data, **more):
        await self.socket.send(json.dumps({"event": event, "data": data, **more}))

    async def subscribe(self, channel, channel_data=None):
        auth = f"{KEY}:{sign(SECRET, channel_message(self.socket_id, channel, channel_data))}"
        fields = {"channel": channel, "auth": auth}
        await self.send(
            "pusher:subscribe", fields if channel_data is None else {**fields, "channel_data": channel_data}
        )

    async def sign_in(self, user_data):
        auth = f"{KEY}:{sign(SECRET, user_message(self.socket_id, user_data))}"
        await self.send("pusher:signin", {"auth": auth, "user_data": user_data})

    async def answers(self, count):
        """The next messages, or fewer where it was sent away."""
        messages = []
        with suppress(WebSocketException):
            async with asyncio.timeout(30):
                while len(messages) < count:
                    messages.append(json.loads(await self.socket.recv()))
        return messages


@asynccontextmanager
async def attacking(cluster):
    url = f"ws://{cluster.address(0)}/app/{KEY}?protocol=7"
    async with connect(url, compression=None, ping_interval=None, max_size=None, max_queue=None) as socket:
        first = json.loads(await socket.recv())
        yield Attacker(socket, json.loads(first["data"])["socket_id"])


async def join_as_strange_members(cluster, crowd):
    async with attacking(cluster) as attacker:
        strange = ["\ud800", "a\0b", "\u2028", '"\\', "]]", "x" * 128, "pusher:bye", "\x1b[2J"]
        for number, user_id in enumerate(strange):
            data = json.dumps({"user_id": user_id, "user_info": {user_id: [1e308, -0.0, 10**400, None, user_id]}})
            await attacker.subscribe(f"presence-strange-{number}", data)
        for number, info in enumerate(
            (f'{{"a":{DEEP_MEMBER}}}', '{"a":NaN}', '{"a":1e999}', "[]", '{"a":' + "9" * 5_000)
        ):
            await attacker.subscribe(f"presence-odd-{number}", f'{{"user_id":"{number}","user_info":{info}}}')
        await attacker.answers(len(strange) + 1)
        await agree(cluster)


async def sign_in_as_strange_users(cluster, crowd):
    for id in ("\ud800", "a\0b", "x" * 128, "x" * 129):
        async with attacking(cluster) as attacker:
            await attacker.sign_in(json.dumps({"id": id, "watchlist": ["\udfff", "\0"] * 1_000}))
            await attacker.subscribe(f"#server-to-user-{id}")
            await attacker.answers(3)
            await cluster.request(
                1, "POST", "/events", {"name": "e", "channels": [f"#server-to-user-{id}"], "data": id}
            )
            await agree(cluster)
    for info in (DEEP_USER, "[" * 900 + "]" * 900, "9" * 5_000):
        async with attacking(cluster) as attacker:
            await attacker.sign_in(f'{{"id":"u","user_info":{info}}}')
            await attacker.answers(1)
            await agree(cluster)


async def whisper_nonsense(cluster, crowd):
    async with attacking(cluster) as attacker:
        await attacker.subscribe("private-a")
        await attacker.answers(1)
        for data in ("\ud800", "\0", "x" * 10_240, [[[]]], None, 1e300, {"\ud800": "\ud800"}):
            await attacker.send("client-\ud800\0", data, channel="private-a")
        await agree(cluster)


async def join_and_leave_in_bursts(cluster, crowd):
    """All in one write, the names as long as they may be; and be gone before any of it is done."""
    for is_gone in (False, True):
        async with attacking(cluster) as attacker:
            for number in range(5_001):
                await attacker.subscribe(f"{'x' * 150}{number}")
            if is_gone:
                attacker.socket.transport.abort()
            else:
                await attacker.answers(5_001)
                assert len(await cluster.channels(1)) > 5_000
        await agree(cluster)


async def join_leave_and_join(cluster, crowd):
    async with attacking(cluster) as attacker:
        for _ in range(500):
            await attacker.subscribe(ROOM, '{"user_id":"restless"}')
            await attacker.send("pusher:unsubscribe", {"channel": ROOM})
        await attacker.subscribe(ROOM, '{"user_id":"restless"}')
        await agree(cluster)
        assert "restless" in await cluster.users(1, ROOM)


async def publish_as_much_as_possible(cluster, crowd):
    channels = [f"{'y' * 160}{number}" for number in range(100)]
    answers = await asyncio.gather(*(cluster.publish(0, channels, "e" * 200, "\x01" * 10_240) for _ in range(30)))
    assert set(answers) == {200}


async def fill_redis(cluster, crowd):
    """As much as there is room for, and more: of the log the older half goes."""
    await asyncio.to_thread(cluster.redis.command, "CONFIG SET maxmemory 6mb")

    async def is_full():
        await cluster.publish(0, ["unheard"], "e", "x" * 10_000)
        return " is away (" in cluster.processes[0].output

    await until(is_full, "Redis is full", pause=0)

    async def has_room():
        return [await cluster.publish(place, ["unheard"], "e", "x" * 10_000) for place in (0, 1)] == [200, 200]

    await until(has_room, "there is room again", patience=5)


async def publish_nonsense(cluster, crowd):
    for data in ("\ud800", "\0", {"a": "\udfff"}, [[]], 10**400):
        for channels in (["a"], ["cache-\u00e9"], ["cache-a"], ["#server-to-user-\ud800"]):
            await cluster.request(0, "POST", "/events", {"name": "\ud800\n", "channels": channels, "data": data})
    await cluster.request(0, "POST", "/users/%ED%A0%80/terminate_connections", {})
    await cluster.request(0, "POST", "/users/a%00b/terminate_connections", {})


ATTACKS = (
    join_as_strange_members,
    sign_in_as_strange_users,
    whisper_nonsense,
    join_and_leave_in_bursts,
    join_leave_and_join,
    publish_as_much_as_possible,
    publish_nonsense,
    fill_redis,
)


async def agree(cluster):
    """Wait until both processes have the same channels, and the same members in them."""

    async def is_so():
        first, second = [await cluster.channels(place) for place in (0, 1)]
        if first is None or first != second:
            return False
        for channel in sorted(name for name in first if name.startswith("presence-")):
            if await cluster.users(0, channel) != await cluster.users(1, channel):
                return False
        return True

    await until(is_so, "both processes know the same", patience=30)


async def withstand(folder, attack):
    cluster = Cluster(folder)
    try:
        await cluster.start(2)
        async with gathered(cluster, has_load=False) as crowd:
            await attack(cluster, crowd)
            await agree(cluster)
            for place in (0, 1):
                event = await crowd.publish_once(place)
                assert event.success, cluster.processes[place].output
                await until(partial(all_have_heard, crowd, event), "everybody hears it", patience=10)
            # Whoever comes now is told the same.
            place = await cluster.add()
            assert await cluster.channels(place) == await cluster.channels(0)
        assert crowd.faults == []
    finally:
        await cluster.close()
    for process in cluster.processes:
        for word in ("fault", "Traceback", "never retrieved"):
            assert word not in process.output, process.output
        assert attack is fill_redis or " is away (" not in process.output
        # What was published is nobody else's business.
        assert "x" * 200 not in process.output


def all_have_heard(crowd: Crowd, event):
    return all(
        {item.channel for item in sitting.heard if item.id == event.id} == set(event.channels)
        for sitting in crowd.sittings
    )


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_both_processes_go_on_and_know_the_same(tmp_path, attack):
    asyncio.run(withstand(tmp_path / "cluster", attack))

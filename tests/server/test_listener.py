import asyncio
import errno
import json
import logging
import socket
import ssl
import struct
import threading
from contextlib import closing, suppress
from dataclasses import replace

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from pusherable.server.certificates import Certificate
from pusherable.server.config import Limits, ServerConfig
from pusherable.server.credentials import Member
from pusherable.server.facts import (
    Broadcast,
    Connected,
    CountChanged,
    Disconnected,
    Refused,
    Subscribed,
    Unsubscribed,
    Vacated,
)
from pusherable.server.hub import Hub
from pusherable.server.listener import Traffic, WebSocketListener
from pusherable.server.openings import Openings
from pusherable.server.origins import Origins
from pusherable.server.outbox import Outbox
from pusherable.server.protocol import CloseCode, Refusal
from tests.server.conftest import APP, make_user
from tests.server.loops import FakeLoop
from tests.server.threads import client_frame, read_to_end, read_until, upgrade_request

SUBSCRIBE = '{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}'
PING = '{"event":"pusher:ping","data":{}}'
PONG = {"event": "pusher:pong", "data": "{}"}
SUCCEEDED = {"event": "pusher_internal:subscription_succeeded", "channel": "a", "data": "{}"}


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(autouse=True)
def no_faults(caplog):
    """Whatever a client does, the server never logs an error by itself."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def client(server):
    with server.connect() as client:
        client.recv()
        yield client


def receive(client):
    return json.loads(client.recv(timeout=20))


def closing_of(client):
    """The server's close frame, once everything before it is read."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(timeout=20)
    return caught.value.rcvd


class TestOpening:
    def test_the_first_message_tells_the_socket_id(self, server):
        """A.6, A.9"""
        with server.connect() as client:
            message = receive(client)
        socket_id = server.wait_for(Connected).socket_id
        data = json.dumps({"socket_id": socket_id, "activity_timeout": 120}, separators=(",", ":"))
        assert message == {"event": "pusher:connection_established", "data": data}

    def test_a_refusal_comes_after_the_upgrade_as_message_and_close(self, server):
        """A.4, A.5"""
        reason = "App key nope not in this cluster. Did you forget to specify the cluster?"
        with server.connect("/app/nope?protocol=7") as client:
            assert receive(client) == {"event": "pusher:error", "data": {"code": 4001, "message": reason}}
            assert closing_of(client) == Close(4001, reason)
        assert server.wait_for(Refused) == Refused(4001, reason)

    def test_a_long_reason_is_cut_to_what_a_close_frame_holds(self, server):
        with server.connect(f"/app/{'%C3%A9' * 150}") as client:
            assert closing_of(client) == Close(4001, ("App key " + "é" * 150)[: 8 + 57])

    def test_no_compression_is_agreed_on(self, server):
        with closing(server.connect_raw()) as client:
            client.sendall(upgrade_request("/app/key", Sec_WebSocket_Extensions="permessage-deflate"))
            answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"permessage-deflate" not in answer

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (upgrade_request("/app/key", Sec_WebSocket_Key=None), b"400"),
            (upgrade_request("/app/key", Sec_WebSocket_Key="short"), b"400"),
            (upgrade_request("/app/key", Sec_WebSocket_Version="8"), b"400"),
            (upgrade_request("/app/key", Origin="http://a\r\nOrigin: http://b"), b"400"),
            (upgrade_request("/app/key").replace(b"GET", b"POST"), b"405"),
            (upgrade_request(f"/app/{'k' * 10_000}"), b"414"),
            (upgrade_request("/app/key", **{f"X{number}": "x" for number in range(200)}), b"431"),
        ],
    )
    def test_a_request_that_is_no_websocket_s_is_refused(self, server, request_bytes, status):
        with closing(server.connect_raw()) as client:
            client.sendall(request_bytes)
            assert read_to_end(client).split(b" ")[1] == status

    def test_a_client_that_is_refused_and_stays_is_cut_off(self, serve):
        server = serve(close_timeout=0.05)
        with closing(server.connect_raw()) as client:
            client.sendall(upgrade_request("/app/nope"))
            assert read_to_end(client).endswith(b"Did you forget to specify the cluster?")


class TestOrigins:
    """A.3"""

    ORIGINS = Origins(hosts=frozenset({"example.com"}))

    def test_a_page_of_another_site_is_refused_after_the_upgrade(self, serve):
        server = serve(origins=self.ORIGINS)
        reason = "Origin https://evil.example is not allowed"
        with server.connect(origin="https://evil.example") as client:
            assert receive(client) == {"event": "pusher:error", "data": {"code": 4009, "message": reason}}
            assert closing_of(client) == Close(4009, reason)
        assert server.wait_for(Refused) == Refused(4009, reason)
        assert server.hub.connection_count(APP) == 0

    @pytest.mark.parametrize("origin", ["https://example.com", None])
    def test_pages_of_an_allowed_site_and_who_is_no_browser_come_in(self, serve, origin):
        with serve(origins=self.ORIGINS).connect(origin=origin) as client:
            assert receive(client)["event"] == "pusher:connection_established"

    def test_without_a_rule_every_page_comes_in(self, server):
        with server.connect(origin="null") as client:
            assert receive(client)["event"] == "pusher:connection_established"


class TestOpenings:
    def test_an_opening_is_kept_as_long_as_its_client_is_subscribed(self, serve):
        openings, seen = Openings(), []
        server = serve(openings=openings)
        server.on_fact = lambda fact: (
            isinstance(fact, Subscribed | Unsubscribed) and seen.append(openings[fact.socket_id])
        )
        with server.connect(additional_headers={"Cookie": "sessionid=7"}) as client:
            client.recv()
            client.send(SUBSCRIBE)
            peer = server.name_of(client.local_address)
        server.wait_for(Disconnected)
        assert seen[0] is seen[1]
        assert (seen[0].target, seen[0].peer, seen[0].is_secure) == ("/app/key?protocol=7", peer, False)
        assert ("cookie", "sessionid=7") in seen[0].headers
        server.stop()
        assert openings == {}

    def test_who_is_refused_leaves_none(self, serve):
        openings = Openings()
        with serve(openings=openings).connect("/app/nope") as client:
            assert closing_of(client).code == 4001
        assert openings == {}


class TestTraffic:
    def test_whole_messages_of_clients_are_counted(self, serve):
        traffic = Traffic()
        with serve(traffic=traffic).connect() as client:
            client.recv()
            client.send([PING[:5], PING[5:]])
            client.send(b"x")
            client.send("{")
            client.recv(), client.recv(), client.recv()
            client.ping().wait(20)
            assert traffic.received == 3


class TestTls:
    @pytest.fixture
    def openings(self):
        return Openings()

    @pytest.fixture
    def server(self, serve, certificate, openings):
        return serve(
            certificate=Certificate(certificate.cert, certificate.key), openings=openings, request_timeout=0.5
        )

    @pytest.fixture
    def trusting(self, certificate):
        return ssl.create_default_context(cafile=str(certificate.cert))

    def test_messages_pass_and_the_end_is_a_clean_one(self, server, trusting, openings):
        with server.connect(scheme="wss", ssl=trusting) as client:
            client.recv()
            client.send(SUBSCRIBE)
            assert receive(client) == SUCCEEDED
            server.publish("a", data="x" * 10_000)
            assert len(receive(client)["data"]) == 10_000
            [opening] = openings.values()
            assert opening.is_secure
            server.stop()
            assert closing_of(client) == Close(1001, "The server is restarting")

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 1000])
    def test_what_is_no_tls_is_cut_off(self, server, trusting, data):
        with closing(server.connect_raw()) as client:
            client.sendall(data)
            read_to_end(client)
        with server.connect(scheme="wss", ssl=trusting) as client:
            assert receive(client)["event"] == "pusher:connection_established"

    def test_a_client_that_does_not_read_is_closed(self, serve, certificate, trusting):
        server = serve(
            certificate=Certificate(certificate.cert, certificate.key),
            limits=Limits(write_buffer_size=50_000),
            close_timeout=0.05,
        )
        with closing(trusting.wrap_socket(server.connect_raw(), server_hostname="localhost")) as client:
            client.sendall(upgrade_request("/app/key"))
            read_until(client, b'}"}')
            client.sendall(client_frame(SUBSCRIBE.encode()))
            server.wait_for(Subscribed)
            while not any(isinstance(fact, Disconnected) for fact in server.facts):
                server.publish("a", data="x" * 10_000)
            assert server.wait_for(Refused).code == 4100


class TestMessages:
    def test_a_subscriber_receives_events(self, server, client):
        client.send(SUBSCRIBE)
        assert receive(client) == SUCCEEDED
        server.publish("a", "view", '{"x":"é"}')
        assert receive(client) == {"event": "view", "channel": "a", "data": '{"x":"é"}'}

    def test_messages_right_behind_each_other_are_all_answered(self, server):
        """A.11: a client may write at once."""
        with closing(server.upgrade_raw()) as client:
            client.sendall(client_frame(PING.encode()) * 50 + client_frame(struct.pack("!H", 1000), opcode=8))
            assert read_to_end(client).count(b"pusher:pong") == 50

    def test_a_message_that_trickles_in_is_read(self, server):
        with closing(server.upgrade_raw()) as client:
            for byte in client_frame(PING.encode()):
                client.sendall(bytes([byte]))
            read_until(client, b"pusher:pong")

    def test_fragments_are_put_together(self, client):
        client.send([SUBSCRIBE[:10], SUBSCRIBE[10:20], SUBSCRIBE[20:]])
        assert receive(client) == SUCCEEDED

    def test_a_ping_between_fragments_is_answered(self, server):
        with closing(server.upgrade_raw()) as client:
            client.sendall(
                client_frame(PING[:9].encode(), fin=False)
                + client_frame(b"?", opcode=9)
                + client_frame(PING[9:].encode(), opcode=0)
            )
            read_until(client, b"\x8a\x01?", b"pusher:pong")

    def test_a_websocket_ping_is_answered(self, client):
        """A.13"""
        assert client.ping().wait(20)

    @pytest.mark.parametrize("message", [b"x", [b"x", b"y"]])
    def test_a_binary_message_is_objected_to(self, client, message):
        """A.12"""
        client.send(message)
        assert receive(client) == {
            "event": "pusher:error",
            "data": {"code": None, "message": "Binary messages are not supported"},
        }
        client.send(PING)
        assert receive(client) == PONG

    @pytest.mark.parametrize("text", ["", "{", "[" * 65_536, '{"event":' * 7_000, "null", '{"event":"x"}'])
    def test_nonsense_is_objected_to(self, client, text):
        """A.12"""
        client.send(text)
        assert receive(client)["event"] == "pusher:error"
        client.send(PING)
        assert receive(client) == PONG

    def test_a_lone_surrogate_is_sent_back_as_it_came(self, client):
        client.send('{"event":"\\ud800"}')
        assert receive(client)["data"]["message"] == "Unsupported event received on socket: \ud800"

    def test_the_largest_message_is_read(self, client):
        """A.57"""
        client.send(PING[:-1] + " " * (65_536 - len(PING)) + "}")
        assert receive(client) == PONG

    @pytest.mark.parametrize("message", ["x" * 65_537, ["x" * 40_000, "x" * 40_000]])
    def test_a_larger_message_is_the_end(self, client, message):
        # The end may come before all of it is sent.
        with suppress(ConnectionClosed):
            client.send(message)
        assert closing_of(client).code == 1009

    @pytest.mark.parametrize(
        ("frames", "code"),
        [
            (client_frame(b"\xff"), 1007),
            (client_frame(b"\xc3", fin=False) + client_frame(b"x", opcode=0), 1007),
            (client_frame(b"x", masked=False), 1002),
            (client_frame(b"x", opcode=3), 1002),
            (client_frame(b"x", opcode=0), 1002),
            (client_frame(b"x", fin=False) + client_frame(b"x"), 1002),
            (client_frame(b"x" * 126, opcode=9), 1002),
            (client_frame(b"x", opcode=8), 1002),
            (client_frame(b"x" * 65_537), 1009),
            (b"\xff" * 100, 1002),
        ],
    )
    def test_frames_against_the_rules_are_the_end(self, server, frames, code):
        with closing(server.upgrade_raw()) as client:
            client.sendall(frames)
            client.shutdown(socket.SHUT_WR)
            received = read_to_end(client)
        assert received[0] == 0x88
        assert struct.unpack("!H", received[2:4]) == (code,)
        server.wait_for(Disconnected)

    def test_what_follows_an_end_is_not_read(self, server):
        with closing(server.upgrade_raw()) as client:
            client.sendall(client_frame(b"\xff") + client_frame(SUBSCRIBE.encode()))
            server.wait_for(Disconnected)
        assert not any(isinstance(fact, Subscribed) for fact in server.facts)


class TestEnd:
    def test_a_client_that_closes_is_answered(self, server):
        """A.22"""
        with server.connect() as client:
            client.send(SUBSCRIBE)
            server.wait_for(Subscribed)
            client.close(1000)
            assert (client.protocol.close_rcvd, client.protocol.close_rcvd_then_sent) == (Close(1000, ""), False)
        socket_id = server.wait_for(Disconnected).socket_id
        assert Unsubscribed("1", socket_id, "a") in server.facts

    def test_a_client_that_breaks_off_leaves(self, server):
        client = server.upgrade_raw()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.wait_for(Disconnected)

    def test_a_client_that_stops_writing_leaves(self, server):
        with closing(server.upgrade_raw()) as client:
            client.shutdown(socket.SHUT_WR)
            server.wait_for(Disconnected)
            assert read_to_end(client) == b""

    def test_a_client_that_closes_and_stays_is_cut_off(self, serve):
        server = serve(close_timeout=0.05)
        with closing(server.upgrade_raw()) as client:
            client.sendall(client_frame(struct.pack("!H", 1000), opcode=8))
            server.wait_for(Disconnected)
            assert read_to_end(client) == b"\x88\x02\x03\xe8"

    def test_a_fault_of_ours_ends_one_connection_only(self, server, client, caplog):
        def fail(fact):
            if isinstance(fact, Subscribed):
                raise RuntimeError("a fault of the server")

        server.on_fact = fail
        with server.connect() as unlucky:
            unlucky.send(SUBSCRIBE)
            assert closing_of(unlucky).code == 1011
        [message] = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
        assert message.endswith(" This is a fault of the server.")
        caplog.clear()
        client.send(PING)
        assert receive(client) == PONG


class TestSilence:
    """A.14"""

    def test_a_silent_client_is_asked_and_then_closed(self, serve):
        server = serve(activity_timeout=0.05, pong_timeout=0.05)
        with server.connect() as client:
            client.recv()
            assert receive(client) == {"event": "pusher:ping", "data": "{}"}
            reason = "Pong reply not received in time"
            assert receive(client) == {"event": "pusher:error", "data": {"code": 4201, "message": reason}}
            assert closing_of(client) == Close(4201, reason)
        socket_id = server.wait_for(Connected).socket_id
        assert server.wait_for(Refused) == Refused(4201, reason, socket_id)

    @pytest.mark.parametrize("answer", ['{"event":"pusher:pong","data":{}}', "{", b"x"])
    def test_a_client_that_answers_is_asked_again(self, serve, answer):
        """A.15: also one that only listens."""
        server = serve(activity_timeout=0.05, pong_timeout=20)
        with server.connect() as client:
            pings = 0
            while pings < 3:
                if receive(client)["event"] == "pusher:ping":
                    pings += 1
                    client.send(answer)

    def test_a_pong_of_the_websocket_is_a_sign_of_life(self, serve):
        server = serve(activity_timeout=0.05, pong_timeout=20)
        with server.connect() as client:
            client.recv()
            for _ in range(3):
                assert receive(client)["event"] == "pusher:ping"
                client.pong()

    def test_a_client_that_speaks_is_not_asked(self, serve):
        server = serve(activity_timeout=2)
        with server.connect() as client:
            client.recv()
            for _ in range(50):
                client.send(PING)
                assert receive(client) == PONG


class TestSlowReaders:
    def test_a_client_that_does_not_read_is_closed_and_the_others_are_served(self, serve):
        server = serve(limits=Limits(write_buffer_size=50_000), close_timeout=0.05)
        with server.connect() as reader, closing(server.upgrade_raw(receive_buffer=4096)) as slow:
            reader.send(SUBSCRIBE)
            slow.sendall(client_frame(SUBSCRIBE.encode()))
            server.wait_for(Subscribed, count=2)
            reader.recv(), reader.recv()
            sent = 0
            while not any(isinstance(fact, Disconnected) for fact in server.facts):
                server.publish("a", data="x" * 10_000)
                sent += 1
                assert len(receive(reader)["data"]) == 10_000
            server.publish("a", "last")
            assert receive(reader)["event"] == "last"
        receivers = sum(fact.receivers for fact in server.facts if isinstance(fact, Broadcast))
        # One of several processes may have said already that the slow one is gone, and hear of its own word later.
        assert receivers in (2 * sent + 1, 2 * sent)
        refused = server.wait_for(Refused)
        assert (refused.code, refused.reason) == (4100, "You read too slowly")

    def test_a_client_that_sends_and_does_not_read_is_closed(self, serve):
        server = serve(limits=Limits(write_buffer_size=50_000), close_timeout=0.05)
        with closing(server.upgrade_raw(receive_buffer=4096)) as client:
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                while True:
                    client.sendall(client_frame(PING.encode()) * 500)
            assert server.wait_for(Refused).code == 4100


class TestTermination:
    def test_a_user_s_connections_are_told_why_and_closed(self, server, client):
        """A.53, A.4"""
        [connection] = server.call(server.hub.connections, APP)
        server.call(server.hub.sign_in, connection, make_user("7"))
        assert receive(client)["event"] == "pusher:signin_success"
        server.call(server.hub.terminate, APP, "7")
        message = "The user's connections were terminated"
        assert receive(client) == {"event": "pusher:error", "data": {"code": 4009, "message": message}}
        assert closing_of(client) == Close(4009, message)
        assert server.wait_for(Refused) == Refused(4009, message, connection.socket_id)
        assert server.call(server.hub.connections, APP) == ()


class TestTime:
    def test_what_time_alone_brings_about_is_done(self, serve):
        """A.45"""
        app = replace(APP, has_subscription_counts=True)
        limits = Limits(count_threshold=0, count_period=0.05)
        server = serve(ServerConfig(apps=(app,), limits=limits))
        with server.connect() as first, server.connect() as second:
            for count, client in enumerate((first, second), start=1):
                client.send(SUBSCRIBE)
                server.wait_for(Subscribed, count=count)
            assert server.wait_for(CountChanged, count=2) == CountChanged("1", "a", 2)


class TestShutdown:
    """A.56"""

    def test_clients_are_told_to_come_back(self, server):
        with server.connect() as client:
            client.recv()
            server.stop()
            assert closing_of(client) == Close(1001, "The server is restarting")
        server.wait_for(Disconnected)

    def test_who_wants_to_know_of_the_stop_is_called_in_the_server_s_thread(self, serve):
        threads = []
        server = serve(on_stop=lambda: threads.append(threading.current_thread()))
        server.stop()
        assert set(threads) == set(server.threads)

    def test_http_is_answered_until_the_departures_are_told(self, serve):
        """Whoever is told of them may be one of the server's own pages."""
        answers = []

        async def ask() -> None:
            reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
            writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers.append((list(map(type, server.facts[-2:])), (await reader.read())[:12]))
            writer.close()

        server = serve(on_departure=ask)
        with (
            closing(server.connect_raw()) as page,
            server.connect() as client,
        ):
            page.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(page, b"404 NOT FOUND\n")
            client.recv()
            client.send(SUBSCRIBE)
            client.recv()
            server.stop()
            assert closing_of(client) == Close(1001, "The server is restarting")
        assert answers == [([Vacated, Disconnected], b"HTTP/1.1 404")]

    def test_clients_that_do_not_answer_hold_nothing_up(self, serve):
        server = serve(shutdown_timeout=0.05)
        with closing(server.upgrade_raw()) as websocket, closing(server.connect_raw()) as silent:
            server.stop()
            assert read_to_end(websocket)[4:] == b"The server is restarting"
            assert read_to_end(silent) == b""

    def test_a_client_that_is_closing_already_is_cut_off(self, serve):
        server = serve(close_timeout=20)
        with closing(server.upgrade_raw()) as client:
            client.sendall(client_frame(struct.pack("!H", 1000), opcode=8))
            server.wait_for(Disconnected)
            server.stop()
            assert read_to_end(client) == b"\x88\x02\x03\xe8"


class RecordingTransport(asyncio.Transport):
    """A transport that cannot be half closed, as those with TLS cannot; ``loop`` is one that its writes slow down."""

    def __init__(self, *, loop=None, seconds=0.0):
        super().__init__()
        self.done = []
        self._slowed_loop = loop or FakeLoop()
        self._seconds = seconds

    def set_write_buffer_limits(self, high=None, low=None):
        self.done.append(("limit", high))

    def write(self, data):
        self.done.append(("write", data))
        self._slowed_loop.now += self._seconds

    def can_write_eof(self):
        return False

    def close(self):
        self.done.append(("close",))

    def abort(self):
        self.done.append(("abort",))


class DeadTransport(RecordingTransport):
    """A transport whose client has gone, which it has not noticed yet."""

    def can_write_eof(self):
        return True

    def write_eof(self):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")


class TestWebSocketListener:
    """What no real socket can be brought to do on demand."""

    @pytest.fixture
    def converse(self, hub):
        """Open a connection over a recording transport, and give back what was done from ``act`` on."""

        def converse(act, *, over=RecordingTransport):
            async def run():
                transport = over()
                listener = WebSocketListener.bound_to(hub)(uvicorn.Config(app=None), ServerState(), {})
                listener.connection_made(transport)
                listener.data_received(upgrade_request("/app/key"))
                transport.done.clear()
                act(listener)
                await asyncio.sleep(0)
                listener.connection_lost(None)
                return transport.done

            return asyncio.run(run())

        return converse

    def test_with_tls_a_connection_is_closed_as_a_whole(self, converse):
        goodbye = client_frame(struct.pack("!H", 1000), opcode=8)
        assert converse(lambda listener: listener.data_received(goodbye)) == [
            ("write", b"\x88\x02\x03\xe8"),
            ("close",),
        ]

    def test_who_has_gone_without_a_goodbye_is_no_fault_of_the_server(self, converse):
        goodbye = client_frame(struct.pack("!H", 1000), opcode=8)
        assert converse(lambda listener: listener.data_received(goodbye), over=DeadTransport) == [
            ("write", b"\x88\x02\x03\xe8"),
            ("abort",),
        ]

    def test_a_slow_reader_that_has_left_is_not_sent_away(self, converse):
        def act(listener):
            listener.pause_writing()
            listener.close(CloseCode.GOING_AWAY)

        assert converse(act) == [("write", b"\x88\x02\x03\xe9")]

    def test_who_is_to_be_closed_again_is_cut_off(self, converse):
        def act(listener):
            listener.close(CloseCode.GOING_AWAY)
            listener.close(CloseCode.INTERNAL_ERROR)

        assert converse(act) == [("write", b"\x88\x02\x03\xe9"), ("close",)]


class Audience:
    """Some clients of one hub, and what each of them is sent; ``seconds`` is what every write takes."""

    SIZE = 4

    def __init__(self, seconds):
        self._loop = FakeLoop()
        self._hub = Hub(ServerConfig(apps=(APP,)), clock=lambda: 0.0)
        listener = WebSocketListener.bound_to(self._hub, outbox=Outbox(self._loop))
        self._transports = [RecordingTransport(loop=self._loop, seconds=seconds) for _ in range(self.SIZE)]
        self._listeners = [listener(uvicorn.Config(app=None), ServerState(), {}) for _ in range(self.SIZE)]
        for each, transport in zip(self._listeners, self._transports, strict=True):
            each.connection_made(transport)
            each.data_received(upgrade_request("/app/key"))
            # It names the socket id, which is random.
            transport.done.clear()
        self._connections = self._hub.connections(APP)
        self._gone = set()
        for which in range(self.SIZE):
            self._subscribe(which, "a")
        self._loop.advance()

    def take(self, step, which, channel):
        """Take one step; what cannot be done any more is not."""
        if step == "publish":
            excluded = self._connections[which].socket_id if which else None
            self._hub.publish(APP, channels=[channel, "a"], name="e", data=str(len(channel)), socket_id=excluded)
        elif step == "wait":
            self._loop.advance(0.003 * which)
        elif which not in self._gone:
            self._gone |= {which} & ({which} if step in ("leave", "break off", "stop", "terminate") else set())
            getattr(self, f"_{step.replace(' ', '_')}")(which, channel)

    def streams(self):
        """All that each has been sent, and what else was done, in order."""
        self._loop.advance(1.0)
        return [self._join(transport.done) for transport in self._transports]

    def close(self):
        for each in self._listeners:
            each.connection_lost(None)

    def _subscribe(self, which, channel):
        connection = self._connections[which]
        if channel not in connection.channels:
            self._hub.subscribe(connection, channel, Member(str(which)) if channel.startswith("presence-") else None)

    def _unsubscribe(self, which, channel):
        self._say(which, {"event": "pusher:unsubscribe", "data": {"channel": channel}})

    def _send(self, which, channel):
        self._say(which, {"event": "client-e", "channel": channel, "data": which})

    def _ping(self, which, channel):
        self._say(which, {"event": "pusher:ping", "data": {}})
        self._listeners[which].data_received(client_frame(b"?", opcode=9))

    def _leave(self, which, channel):
        self._listeners[which].data_received(client_frame(struct.pack("!H", 1000), opcode=8))

    def _stop(self, which, channel):
        self._listeners[which].eof_received()

    def _break_off(self, which, channel):
        self._listeners[which].connection_lost(None)

    def _terminate(self, which, channel):
        self._listeners[which].dismiss(Refusal("Go", code=CloseCode.UNAUTHORIZED))

    def _say(self, which, message):
        self._listeners[which].data_received(client_frame(json.dumps(message).encode()))

    @staticmethod
    def _join(done):
        joined = []
        for kind, *data in done:
            if joined and kind == joined[-1][0] == "write":
                joined[-1] = ("write", joined[-1][1] + data[0])
            else:
                joined.append((kind, *data))
        return joined


class TestOrder:
    STEPS = ("subscribe", "unsubscribe", "publish", "send", "ping", "wait")

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(STEPS * 3 + ("publish",) * 6 + ("leave", "stop", "terminate")),
                st.integers(0, Audience.SIZE - 1),
                st.sampled_from(["a", "cache-b", "presence-c", "private-d"]),
            ),
            max_size=60,
        )
    )
    def test_a_server_in_a_hurry_sends_every_client_what_an_idle_one_would(self, steps):
        """A.19, A.21: nothing overtakes anything, nothing comes after an end."""

        async def converse(seconds):
            audience = Audience(seconds)
            for step in steps:
                audience.take(*step)
            streams = audience.streams()
            audience.close()
            return streams

        assert asyncio.run(converse(0.002)) == asyncio.run(converse(0.0))

    def test_who_has_broken_off_is_not_written_to(self):
        async def converse():
            audience = Audience(0.005)
            for step in ("publish", "break off"):
                audience.take(step, 0, "a")
            return audience.streams()[0]

        [(_, data)] = asyncio.run(converse())
        assert data.count(b"subscription_succeeded") == 1
        assert b'"event":"e"' not in data


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"Host", b"Upgrade", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Origin", b"X"]
        ),
        st.sampled_from([b"websocket", b"Upgrade", b"chunked", b"-1", b"99999999999999999999", b"\xff", b""])
        | st.binary(max_size=40),
    ),
    max_size=6,
)


class TestHostileClients:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.sampled_from([b"GET", b"POST", b"PRI", b"\x16\x03\x01"]),
        st.sampled_from([b"/app/key", b"/apps/1/events", b"*", b"//app/key", b"/%ff", b"http://x/"])
        | st.binary(max_size=60),
        HEADERS,
        st.binary(max_size=200),
    )
    def test_any_request_is_answered_or_cut_off(self, server, client, method, target, headers, body):
        lines = [method + b" " + target + b" HTTP/1.1", *(name + b": " + value for name, value in headers), b"", body]
        with closing(server.connect_raw()) as hostile:
            hostile.sendall(b"\r\n".join(lines))
            hostile.shutdown(socket.SHUT_WR)
            read_to_end(hostile)
        client.send(PING)
        assert receive(client) == PONG

    def test_a_crowd_of_half_open_connections_is_cut_off_and_holds_up_nobody(self, serve):
        server = serve(request_timeout=0.3)
        starts = [b"", b"G", b"GET /app/key HTTP/1.1\r\n", upgrade_request("/app/key")[:-2], b"\x16\x03\x01\x02\x00"]
        crowd = [server.connect_raw() for _ in range(20 * len(starts))]
        for number, half_open in enumerate(crowd):
            half_open.sendall(starts[number % len(starts)])
        with server.connect() as client:
            client.recv()
            client.send(PING)
            assert receive(client) == PONG
        for half_open in crowd:
            read_to_end(half_open)
            half_open.close()

    @pytest.mark.parametrize("opening", ["[", '{"a":'])
    def test_json_a_million_levels_deep_is_the_end_or_refused(self, serve, opening):
        server = serve(request_timeout=1)
        with server.connect() as hostile, pytest.raises(ConnectionClosed) as caught:
            while True:
                hostile.send(opening * 1_000_000)
                hostile.recv(timeout=20)
        assert caught.value.rcvd.code == 1009
        with closing(server.connect_raw()) as hostile:
            body = (opening * 1_000_000).encode()
            query = "auth_key=key&auth_timestamp=1&auth_version=1.0&auth_signature=x"
            head = f"POST /apps/1/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            with suppress(ConnectionError):
                hostile.sendall(head.encode() + body)
            assert read_to_end(hostile).split(b" ")[1] == b"401"
        with server.connect() as client:
            assert receive(client)["event"] == "pusher:connection_established"

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.binary(max_size=300)
            | st.builds(
                client_frame,
                st.binary(max_size=200) | st.text().map(str.encode),
                opcode=st.integers(0, 15),
                fin=st.booleans(),
                masked=st.booleans(),
            ),
            max_size=6,
        )
    )
    def test_any_bytes_end_a_connection_or_are_answered(self, server, client, parts):
        with closing(server.upgrade_raw()) as hostile:
            hostile.sendall(b"".join(parts))
            hostile.shutdown(socket.SHUT_WR)
            read_to_end(hostile)
        client.send(PING)
        assert receive(client) == PONG

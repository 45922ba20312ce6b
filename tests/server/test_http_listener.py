import asyncio
import gc
import logging
from contextlib import closing, suppress

import pytest

from pusherable.server.config import ServerConfig
from pusherable.server.facts import Connected, Refused
from pusherable.server.http_listener import Chunks, HttpListener, HttpWire, JoinedWrites
from pusherable.server.outbox import Outbox
from tests.server.conftest import APP
from tests.server.loops import FakeLoop
from tests.server.threads import client_frame, read_to_end, read_until, threaded_server, upgrade_request


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(autouse=True)
def no_faults(caplog):
    """Whatever a client does, the server never logs an error by itself."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class ClosingTransport(asyncio.Transport):
    """Keeps what is written to it, and what else is done with it; a write may take some of the loop's time."""

    def __init__(self, loop=None, *, seconds=0.0):
        super().__init__()
        self.done = []
        self._loop = loop
        self._seconds = seconds

    def write(self, data):
        self.done.append(bytes(data))
        if self._seconds:
            self._loop.now += self._seconds

    def close(self):
        self.done.append("closed")

    def abort(self):
        self.done.append("aborted")

    def is_closing(self):
        return "closed" in self.done

    def set_write_buffer_limits(self, high=None, low=None):
        self.done.append(("limit", high))


class TestJoinedWrites:
    @pytest.fixture
    def loop(self):
        return FakeLoop()

    @pytest.fixture
    def transport(self):
        return ClosingTransport()

    @pytest.fixture
    def joined(self, transport, loop):
        return JoinedWrites(transport, loop)

    def test_two_writes_become_one(self, joined, transport, loop):
        joined.write(b"a")
        joined.write(bytearray(b"b"))
        assert transport.done == [b"ab"]
        loop.advance()
        assert transport.done == [b"ab"]

    def test_what_comes_alone_is_written_a_turn_later(self, joined, transport, loop):
        for part in (b"a", b"b"):
            joined.write(part)
            loop.advance()
        assert transport.done == [b"a", b"b"]

    def test_what_is_large_is_not_copied(self, joined, transport):
        joined.write(b"a")
        joined.write(b"b" * 100_000)
        joined.write(b"c" * 100_000)
        assert transport.done == [b"a", b"b" * 100_000, b"c" * 100_000]

    def test_nothing_is_held_back_at_the_end(self, joined, transport):
        joined.write(b"a")
        assert not joined.is_closing()
        joined.close()
        assert transport.done == [b"a", "closed"]
        assert joined.is_closing()


class TestChunks:
    """RFC 9112, 7.1"""

    def test_a_part_is_a_chunk(self):
        assert Chunks().encode(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"

    def test_one_part_for_many_is_made_once(self):
        chunks, part = Chunks(), b"a"
        first = chunks.encode(part)
        assert chunks.encode(part) is first
        assert chunks.encode(b"b") == b"1\r\nb\r\n"
        assert chunks.encode(part) == first


class Cycle:
    """As much of uvicorn's answer to a request as a wire touches."""

    chunked_encoding = None

    async def send(self, message): ...


class TestHttpWire:
    @pytest.fixture
    def loop(self):
        return FakeLoop()

    @pytest.fixture
    def transport(self, loop):
        return ClosingTransport(loop, seconds=0.005)

    @pytest.fixture
    def joined(self, transport, loop):
        return JoinedWrites(transport, loop)

    @pytest.fixture
    def wire(self, transport, joined, loop):
        return HttpWire(transport, joined, outbox=Outbox(loop), chunks=Chunks())

    @pytest.fixture
    def cycle(self):
        return Cycle()

    @pytest.fixture
    def events(self):
        return []

    @pytest.fixture
    def take(self, wire, cycle, events):
        """Take the wire for a request of a version."""

        def take(version="1.1"):
            wire.lend({"http_version": version}, cycle.send).take(
                limit=7, on_slow=lambda: events.append("slow"), on_lost=lambda: events.append("lost")
            )

        return take

    def test_the_first_part_leaves_with_the_head(self, wire, take, joined, transport, cycle):
        take()
        joined.write(b"head ")
        wire.begin(b"a")
        assert transport.done == [("limit", 7), b"head 1\r\na\r\n"]
        assert cycle.chunked_encoding is None

    def test_what_is_empty_is_no_part(self, wire, take, joined, transport):
        """RFC 9112, 7.1"""
        take()
        joined.write(b"head")
        wire.begin(b"")
        assert transport.done == [("limit", 7), b"head"]

    @pytest.mark.parametrize("size", [1, 20_000])
    def test_it_leaves_at_once_even_if_the_head_has_left(self, wire, take, transport, size):
        take()
        wire.begin(b"a" * size)
        assert b"".join(transport.done[1:]) == b"%x\r\n%b\r\n" % (size, b"a" * size)

    def test_to_who_knows_no_chunks_parts_go_as_they_are(self, wire, take, transport, cycle):
        """RFC 9112, 6.1"""
        take("1.0")
        wire.begin(b"a")
        wire.write(b"b")
        assert transport.done == [("limit", 7), b"a", b"b"]
        assert cycle.chunked_encoding is False

    def test_parts_right_behind_each_other_leave_together_and_before_what_follows(self, wire, take, transport, loop):
        take()
        wire.write(b"a")
        wire.write(b"b")
        loop.advance()
        wire.write(b"c")
        wire.write(b"d")
        wire.release()
        assert transport.done == [
            ("limit", 7),
            b"1\r\na\r\n",
            b"1\r\nb\r\n",
            b"1\r\nc\r\n1\r\nd\r\n",
            ("limit", None),
        ]

    def test_it_is_given_back_once(self, wire, take, transport):
        take()
        wire.release()
        wire.release()
        assert transport.done == [("limit", 7), ("limit", None)]
        assert wire.on_slow is wire.on_lost is None

    def test_who_takes_it_is_told_of_its_loss_and_nothing_more_is_written(self, wire, take, transport, events, loop):
        take()
        wire.write(b"a")
        loop.advance()
        wire.write(b"b")
        transport.close()
        wire.forget()
        wire.release()
        assert (events, transport.done) == (["lost"], [("limit", 7), b"1\r\na\r\n", "closed"])

    def test_who_takes_it_too_late_is_told_at_once(self, take, transport, events):
        transport.close()
        take()
        assert events == ["lost"]

    def test_a_loss_that_nobody_waits_for_is_none(self, wire, events):
        wire.forget()
        assert events == []

    def test_it_can_be_cut_off(self, wire, transport):
        wire.abort()
        assert transport.done == ["aborted"]


class TestSlowReaders:
    @pytest.fixture
    def server(self):
        # It looks at the connection itself, and so at one process.
        with threaded_server(ServerConfig(apps=(APP,))) as server:
            yield server

    @pytest.fixture
    def asking(self, server):
        """A client that has asked for something and reads a part of the answer, and the server's end of it."""
        with closing(server.connect_raw()) as client:

            def ask(target, answer):
                client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                read_until(client, answer)
                [listener] = server.call(lambda: list(server.connections))
                return client, listener

            yield ask

    def test_they_are_the_matter_of_who_has_taken_the_wire(self, server, asking):
        client, listener = asking("/stream?channel=a", b"event: ")
        server.call(listener.pause_writing)
        assert server.wait_for(Refused).reason == "You read too slowly"
        read_to_end(client)

    def test_otherwise_answers_wait_for_them(self, server, asking):
        client, listener = asking("/x", b"404 NOT FOUND\n")
        server.call(listener.pause_writing)
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.call(lambda: listener.flow.write_paused)
        server.call(listener.resume_writing)
        read_until(client, b"404 NOT FOUND\n")


class TestUpgrade:
    def test_a_websocket_takes_over(self, server):
        with closing(server.upgrade_raw()) as client:
            client.sendall(client_frame(b"?", opcode=9))
            read_until(client, b"\x8a\x01?")
        assert isinstance(server.wait_for(Connected), Connected)

    def test_nothing_is_left_of_the_request(self, server):
        server.call(gc.collect)
        server.call(gc.disable)
        try:
            with closing(server.upgrade_raw()):
                listeners = [each for each in server.call(gc.get_objects) if issubclass(type(each), HttpListener)]
        finally:
            server.call(gc.enable)
        assert listeners == []

    @pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/2.0"])
    def test_it_takes_http_1_1(self, server, version):
        """RFC 6455, 4.1"""
        with closing(server.connect_raw()) as client:
            client.sendall(upgrade_request("/app/key").replace(b"HTTP/1.1", version))
            received = read_to_end(client)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.endswith(b"A WebSocket takes HTTP/1.1.")
        assert server.facts == []


class TestHttp:
    @pytest.mark.parametrize(
        "data",
        [
            # E.2: what a browser sends that tries TLS.
            bytes.fromhex("16030100c8010000c40303") + b"\x00" * 200,
            b"\x00" * 100,
            b"nonsense\r\n\r\n",
            b"GET /" + b"x" * 100_000,
        ],
    )
    def test_what_is_no_http_is_refused(self, server, data):
        with closing(server.connect_raw()) as client:
            client.sendall(data)
            assert read_to_end(client).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))

    def test_a_connection_without_a_request_is_cut_off(self, serve):
        server = serve(request_timeout=0.05)
        with closing(server.connect_raw()) as client:
            client.sendall(b"GET / HT")
            assert read_to_end(client) == b""

    def test_a_connection_that_does_not_finish_its_next_request_is_cut_off(self, serve):
        server = serve(request_timeout=0.05)
        with closing(server.connect_raw()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(client, b"404 NOT FOUND\n")
            client.sendall(b"GET / HT")
            assert read_to_end(client) == b""

    def test_a_connection_with_a_request_lives_on(self, serve):
        server = serve(request_timeout=0.05)
        with closing(server.connect_raw()) as client, closing(server.connect_raw()) as other:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(client, b"404 NOT FOUND\n")
            # By the time that the other one is cut off, this one's time is over too.
            assert read_to_end(other) == b""
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(client, b"404 NOT FOUND\n")

    def test_requests_right_behind_each_other_are_all_answered(self, server):
        with closing(server.connect_raw()) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /x HTTP/1.0\r\n\r\n")
            assert read_to_end(client).count(b"HTTP/1.1 404 ") == 4

    def test_an_upgrade_to_something_else_is_a_request_like_others(self, server):
        with closing(server.connect_raw()) as client:
            client.sendall(upgrade_request("/app/key", Upgrade="h2c"))
            assert read_until(client, b"404 NOT FOUND\n").startswith(b"HTTP/1.1 404 ")

    @pytest.mark.parametrize(
        "lines",
        [
            b"Content-Length: 4\r\nTransfer-Encoding: chunked",
            b"Content-Length: 4\r\nContent-Length: 5",
            b"Content-Length: +4",
            b"Content-Length : 4",
            b"Content-Length: 4, 4",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"X: x\r\n Content-Length: 4",
            b"X: x\rContent-Length: 4",
            b"X: x\0",
        ],
    )
    def test_a_request_whose_end_two_servers_might_see_in_two_places_is_refused(self, server, lines):
        with closing(server.connect_raw()) as client:
            second = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
            client.sendall(b"POST /first HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n0\r\n\r\n" + second)
            received = read_to_end(client)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1

    @pytest.mark.parametrize(
        ("start", "more"),
        [
            (b"GET /", b"x"),
            (b"GET / HTTP/1.1\r\nX: ", b"x"),
            (b"GET / HTTP/1.1\r\n", b"X: x\r\n"),
            (b"", b"\r\n"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x"),
        ],
        ids=["target", "header", "headers", "lines", "chunk extension", "trailers", "trailer"],
    )
    def test_what_comes_without_an_end_is_cut_off_at_64_kib(self, server, start, more):
        with closing(server.connect_raw()) as client:
            sent = 0
            with suppress(ConnectionError):
                client.sendall(start)
                while sent < 20_000_000:
                    client.sendall(more * (10_000 // len(more)))
                    sent += 10_000
            read_to_end(client)
        assert sent < 20_000_000

    def test_a_body_of_many_small_parts_is_read(self, server):
        head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with closing(server.connect_raw()) as client:
            client.sendall(head + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
            read_until(client, b"404 NOT FOUND\n")
            client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(client, b"404 NOT FOUND\n")

import asyncio
import gc
import logging
from contextlib import closing, suppress

import pytest

from pusherable.server.facts import Connected
from pusherable.server.http_listener import HttpListener, JoinedWrites
from tests.server.loops import FakeLoop
from tests.server.threads import client_frame, read_to_end, read_until, upgrade_request


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(autouse=True)
def no_faults(caplog):
    """Whatever a client does, the server never logs an error by itself."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class ClosingTransport(asyncio.Transport):
    """Keeps what is written to it, and that it is closed."""

    def __init__(self):
        super().__init__()
        self.done = []

    def write(self, data):
        self.done.append(bytes(data))

    def close(self):
        self.done.append("closed")

    def is_closing(self):
        return "closed" in self.done


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

"""The proxy that other tests put in front of servers."""

import socket
import struct
from contextlib import closing, contextmanager

import pytest

from pusherable.server.addresses import Address, address_of, listen
from tests.server.proxies import TIMEOUT, RoundRobinProxy


class Backend:
    """Somebody who listens, and answers what a test wants."""

    def __init__(self):
        self._socket = listen(Address("127.0.0.1", 0))
        self._socket.settimeout(TIMEOUT)
        self.address = address_of(self._socket)

    def accept(self):
        connection, name = self._socket.accept()
        connection.settimeout(TIMEOUT)
        return connection, name

    def close(self):
        self._socket.close()


@pytest.fixture
def backends():
    with closing(Backend()) as first, closing(Backend()) as second:
        yield first, second


@pytest.fixture
def proxy(backends):
    proxy = RoundRobinProxy([backend.address for backend in backends])
    yield proxy
    proxy.stop()


@pytest.fixture
def opened(proxy, backends):
    """A client, and where it arrives."""

    @contextmanager
    def opened(backend=backends[0]):
        client = socket.create_connection((proxy.address.host, proxy.address.port), TIMEOUT)
        server, _ = backend.accept()
        with client, server:
            yield client, server

    return opened


class TestRoundRobinProxy:
    def test_each_connection_goes_to_the_next_one(self, opened, backends):
        for backend in backends * 2:
            with opened(backend) as (client, server):
                client.sendall(b"question")
                assert server.recv(100) == b"question"
                server.sendall(b"answer")
                assert client.recv(100) == b"answer"

    def test_the_name_of_a_client_is_the_one_that_the_backend_sees(self, proxy, opened):
        with opened() as (client, server):
            assert proxy.name_of(client.getsockname()) == server.getpeername()

    def test_one_way_may_end_before_the_other(self, opened):
        with opened() as (client, server):
            client.shutdown(socket.SHUT_WR)
            assert server.recv(100) == b""
            server.sendall(b"still here")
            assert client.recv(100) == b"still here"
            server.close()
            assert client.recv(100) == b""

    @pytest.mark.parametrize("is_client", [True, False])
    def test_a_reset_is_passed_on(self, opened, is_client):
        with opened() as (client, server):
            breaking, staying = (client, server) if is_client else (server, client)
            breaking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            breaking.close()
            with pytest.raises(ConnectionResetError):
                staying.recv(100)

    def test_where_no_backend_is_there_a_connection_is_cut_off(self, proxy, backends):
        backends[0].close()
        # Which of the two notices is a matter of time.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((proxy.address.host, proxy.address.port), TIMEOUT) as client,
        ):
            client.recv(100)

    def test_what_nobody_reads_is_not_kept(self, opened):
        with opened() as (_, server):
            server.settimeout(0)
            sent = 0
            with pytest.raises(BlockingIOError):
                while sent < 50_000_000:
                    sent += server.send(b"x" * 10_000)
        assert sent < 10_000_000

    def test_its_end_is_the_end_of_all(self, proxy, opened):
        with opened() as (client, server):
            proxy.stop()
            assert (client.recv(100), server.recv(100)) == (b"", b"")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.address.host, proxy.address.port), TIMEOUT)

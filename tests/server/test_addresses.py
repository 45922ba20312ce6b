import errno
import socket

import pytest

from pusherable.server import addresses
from pusherable.server.addresses import (
    Address,
    CannotListen,
    InvalidAddress,
    address_of,
    listen,
    parse_address,
    redact,
)

DEFAULT = Address("127.0.0.1", 8001)


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "text"),
        [(DEFAULT, "127.0.0.1:8001"), (Address("::1", 80), "[::1]:80"), (Address("a.b", 1), "a.b:1")],
    )
    def test_str_is_what_stands_in_a_url(self, address, text):
        assert str(address) == text

    @pytest.mark.parametrize(
        ("host", "reachable"),
        [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1"), ("localhost", "localhost")],
    )
    def test_all_addresses_are_reached_by_the_loopback_one(self, host, reachable):
        assert Address(host, 80).reachable == Address(reachable, 80)


class TestParseAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("", DEFAULT),
            ("7000", Address("127.0.0.1", 7000)),
            ("0", Address("127.0.0.1", 0)),
            ("0.0.0.0:7000", Address("0.0.0.0", 7000)),
            ("0:7000", Address("0.0.0.0", 7000)),
            ("localhost:7000", Address("localhost", 7000)),
            ("my-host.example:7000", Address("my-host.example", 7000)),
            ("[::1]:7000", Address("::1", 7000)),
            ("[::]:7000", Address("::", 7000)),
            ("[::ffff:1.2.3.4]:7000", Address("::ffff:1.2.3.4", 7000)),
        ],
    )
    def test_what_runserver_takes_is_taken(self, text, address):
        assert parse_address(text, default=DEFAULT) == address

    @pytest.mark.parametrize(
        "text",
        ["nonsense", "localhost", "7000:localhost", "::1:7000", "65536", "http://localhost:7000", "-1", "٣", "a b:1"],
    )
    def test_anything_else_is_refused(self, text):
        with pytest.raises(InvalidAddress) as caught:
            parse_address(text, default=DEFAULT)
        assert str(caught.value) == f'"{text}" is not a valid port number or address:port pair.'

    def test_a_malformed_ipv6_address_is_refused(self):
        with pytest.raises(InvalidAddress) as caught:
            parse_address("[:::1]:7000", default=DEFAULT)
        assert str(caught.value) == '":::1" is not a valid IPv6 address.'


class TestListen:
    def test_a_client_can_connect(self):
        with listen(Address("127.0.0.1", 0)) as listener:
            address = address_of(listener)
            socket.create_connection((address.host, address.port)).close()
        assert address.host == "127.0.0.1"
        assert address.port > 0

    @pytest.mark.parametrize(("prefers_ipv6", "family"), [(False, socket.AF_INET), (True, socket.AF_INET6)])
    def test_a_name_for_both_kinds_means_the_preferred(self, monkeypatch, prefers_ipv6, family):
        def resolve(host, port, **options):
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
        with listen(Address("localhost", 0), prefers_ipv6=prefers_ipv6) as listener:
            assert listener.family == family

    def test_a_port_in_use_is_explained(self):
        with listen(Address("127.0.0.1", 0)) as listener:
            address = address_of(listener)
            with pytest.raises(CannotListen) as caught:
                listen(address)
        assert str(caught.value) == (
            f"Cannot listen at {address}: That port is already in use. Stop what uses it, or give another port."
        )

    def test_an_address_of_another_machine_is_explained(self):
        with pytest.raises(CannotListen) as caught:
            listen(Address("192.0.2.1", 0))
        assert str(caught.value) == "Cannot listen at 192.0.2.1:0: That address is not one of this machine's."

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (PermissionError(errno.EACCES, "Permission denied"), "You don't have permission to use that port."),
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
            (OSError("something else"), "something else"),
        ],
    )
    def test_whatever_else_is_wrong_is_explained(self, monkeypatch, error, reason):
        def fail(*args, **options):
            raise error

        monkeypatch.setattr(addresses.socket, "getaddrinfo", fail)
        with pytest.raises(CannotListen) as caught:
            listen(Address("nowhere", 80))
        assert str(caught.value) == f"Cannot listen at nowhere:80: {reason}"


class TestRedact:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("rediss://ada:s3cret@redis.example/1?password=s3cret", "rediss://redis.example/1"),
            ("redis://:s3cret@[::1]:6379", "redis://[::1]:6379"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
        ],
    )
    def test_shows_where_it_leads_and_no_secret(self, url, shown):
        assert redact(url) == shown

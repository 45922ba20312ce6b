"""Where a server listens: ``[host:]port`` as ``runserver`` takes it, and the socket for it."""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pusherable.exceptions import PusherableError

_FORM = re.compile(
    r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*):)?"
    r"(?P<port>[0-9]{1,5})"
)
_WILDCARDS: Final = {"0": "0.0.0.0", "0.0.0.0": "0.0.0.0", "::": "::"}
_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_REASONS: Final = {
    errno.EACCES: "You don't have permission to use that port.",
    errno.EADDRINUSE: "That port is already in use. Stop what uses it, or give another port.",
    errno.EADDRNOTAVAIL: "That address is not one of this machine's.",
}


class InvalidAddress(PusherableError, ValueError):
    """A text that is no address to listen at."""


class CannotListen(PusherableError):
    """The address cannot be listened at: it is taken, forbidden or unknown."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; ``str()`` gives it as it stands in a URL."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> "Address":
        """Where a client on this machine finds it: behind "all addresses" that is the loopback one."""
        return Address(_LOOPBACKS.get(self.host, self.host), self.port)


def parse_address(text: str, *, default: Address) -> Address:
    """The address that ``text`` gives, with the rest taken from ``default``; raises ``InvalidAddress``."""
    if not text:
        return default
    match = _FORM.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise InvalidAddress(f'"{text}" is not a valid port number or address:port pair.')
    host = (match["host"] or default.host).strip("[]")
    if ":" in host and not _is_ipv6(host):
        raise InvalidAddress(f'"{host}" is not a valid IPv6 address.')
    return Address(_WILDCARDS.get(host, host), int(match["port"]))


def listen(address: Address, *, prefers_ipv6: bool = False) -> socket.socket:
    """A socket that listens at ``address``; raises ``CannotListen``, saying why.

    A name that stands for both kinds of address, as ``localhost`` may, means the IPv4 one by default.
    """
    wanted = socket.AF_INET6 if prefers_ipv6 else socket.AF_INET
    try:
        choices = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, target = min(choices, key=lambda choice: choice[0] != wanted)
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _explain(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _explain(address, error) from error
    return listener


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens in fact; a port of 0 has become a real one."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _explain(address: Address, error: OSError) -> CannotListen:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return CannotListen(f"Cannot listen at {address}: {reason}")


def redact(url: str) -> str:
    """A URL as everybody may see it: without user, password and query."""
    parts = urlsplit(url)
    place = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{place}{port}{parts.path}"

"""Which sites' pages may connect. Whoever sends no ``Origin`` is no browser, and not to be kept out by one."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origins:
    """Sites by the patterns of Django's settings.

    ``hosts`` are those of ``ALLOWED_HOSTS``: ``example.com``, ``.example.com`` for its subdomains too, ``*`` for
    all; any scheme and port will do. ``trusted`` are those of ``CSRF_TRUSTED_ORIGINS``, with scheme and port:
    ``https://example.com:8443``, ``https://*.example.com``.
    """

    hosts: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()

    def allow(self, origin: str) -> bool:
        """Whether the pages of ``origin``, as a browser names it, may connect."""
        if "*" in self.hosts:
            return True
        try:
            parts = urlsplit(origin.lower())
            host = parts.hostname
        except ValueError:
            return False
        if not host or parts.username is not None or parts.path or parts.query:
            return False
        name = f"[{host}]" if ":" in host else host.removesuffix(".")
        return any(_matches(name, pattern) for pattern in self.hosts) or any(
            _matches_origin(parts.scheme, parts.netloc, pattern) for pattern in self.trusted
        )


def _matches(name: str, pattern: str) -> bool:
    """Whether ``name`` is ``example.com``, or below ``.example.com``, which stands for itself too."""
    pattern = pattern.lower()
    return name == pattern or (pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:]))


def _matches_origin(scheme: str, netloc: str, pattern: str) -> bool:
    wanted, _, site = pattern.lower().partition("://")
    return scheme == wanted and _matches(netloc, site.removeprefix("*") if site.startswith("*.") else site)

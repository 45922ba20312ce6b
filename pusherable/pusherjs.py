"""pusher-js, the browser's client: its pinned version, and how its files are known to be the real ones.

The build reads this file alone, before anything is installed: it imports nothing but the standard library.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

VERSION: Final = "8.6.0"

#: Where the build puts the files; they are never committed.
VENDOR: Final = Path(__file__).parent / "static" / "pusherable" / "vendor"

# `collectstatic` with hashed names fails on a map that is not there, and rewrites the line of one that is,
# which changes the digest (protocol E.9).
_SOURCE_MAP = re.compile(rb"^//# sourceMappingURL=.*\n?\Z", re.MULTILINE)


class WrongDigest(ValueError):
    """The bytes of a file are not those that were pinned."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of pusher-js; its digests have the form of an ``integrity`` attribute."""

    name: str
    #: Its path in the npm package.
    source: str
    #: The digest of what npm, and a CDN, hands out.
    published: str
    #: The digest of what this package ships: the same without the line that names a source map.
    shipped: str

    @property
    def path(self) -> Path:
        return VENDOR / self.name

    @property
    def static_path(self) -> str:
        """The name by which Django's static files know it."""
        return f"pusherable/vendor/{self.name}"

    @property
    def cdn_url(self) -> str:
        """Where a page finds it if this package was built without it; to be used with ``published``."""
        return f"https://cdn.jsdelivr.net/npm/pusher-js@{VERSION}/{self.source}"

    def is_intact(self) -> bool:
        """Whether the file is there, with the pinned digest; read again only when the file changes."""
        try:
            status = self.path.stat()
            return _digest_of_file(self.path, status.st_mtime_ns, status.st_size) == self.shipped
        except OSError:
            return False

    def prepare(self, content: bytes) -> bytes:
        """What to ship of the published ``content``; raises ``WrongDigest`` unless both digests are right."""
        stripped = _SOURCE_MAP.sub(b"", content)
        for state, data, pinned in (("published", content, self.published), ("shipped", stripped, self.shipped)):
            if digest(data) != pinned:
                raise WrongDigest(
                    f"pusher-js {VERSION}: {self.source} as {state} has the digest {digest(data)}, but "
                    f"{pinned} is pinned in pusherable/pusherjs.py."
                )
        return stripped


def digest(content: bytes) -> str:
    """The SHA-384 of ``content`` in the form of an ``integrity`` attribute."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


@lru_cache(maxsize=8)
def _digest_of_file(path: Path, modified: int, size: int) -> str:
    return digest(path.read_bytes())


PLAIN: Final = Asset(
    name="pusher.min.js",
    source="dist/web/pusher.min.js",
    published="sha384-yz6oLe92Sren05O3WPhu8DK05E9PEkh7kTQJ819acmwKwcCMwJXGu9Kta5wYhfaJ",
    shipped="sha384-tqwtKVz2rZ3LtyQsNuTrDWiCCx3nVZqZZ8x7rl5i0CgwpwT1haA9UENLe10Kc4E+",
)

#: The build that can also read encrypted channels, half as large again (protocol E.8).
ENCRYPTED: Final = Asset(
    name="pusher-with-encryption.min.js",
    source="dist/web/pusher-with-encryption.min.js",
    published="sha384-pYFayNmFTq10y7XqhtGrFp6x1ZevpYi0O8M/yGdtx7tm2ubLgj0zTXzp5yMXIIgo",
    shipped="sha384-SJ/2n9vVzI4t0f664iWwO7vYiJEXTKwNmBfiQTtBERjsq34dKdQo8z1rlFDrGoRA",
)

LICENCE: Final = Asset(
    name="LICENCE",
    source="LICENCE",
    published="sha384-pgZ1kHMYCyj/DJ6+cPu1EQIpPZCYMpr7FPPAou6Bl/vq77eMw1w2G2GEGtROZowE",
    shipped="sha384-pgZ1kHMYCyj/DJ6+cPu1EQIpPZCYMpr7FPPAou6Bl/vq77eMw1w2G2GEGtROZowE",
)

ASSETS: Final = (PLAIN, ENCRYPTED, LICENCE)

"""What the service must not read: the data of ``private-encrypted-`` channels, sealed before it leaves.

PyNaCl, a part of the ``pusher`` package, is imported at first use.
"""

import base64
import hashlib
import json


def shared_secret(channel: str, master_key: bytes) -> bytes:
    """The 32 bytes that open what is sealed for ``channel``; its subscribers are told them (protocol D.5)."""
    return hashlib.sha256(channel.encode() + master_key).digest()


def seal(channel: str, data: str, master_key: bytes) -> str:
    """The data as its channel carries it, ``{"nonce": …, "ciphertext": …}``; no two seals are alike."""
    from nacl.secret import SecretBox

    sealed = SecretBox(shared_secret(channel, master_key)).encrypt(data.encode(errors="surrogatepass"))
    parts = {"nonce": _base64(sealed.nonce), "ciphertext": _base64(sealed.ciphertext)}
    return json.dumps(parts, separators=(",", ":"))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

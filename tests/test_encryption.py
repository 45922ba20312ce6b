import base64
import hashlib
import json
import re

import pytest
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pusher.crypto import generate_shared_secret

from pusherable.encryption import seal, shared_secret
from pusherable.events import MAX_DATA_SIZE, MAX_ENCRYPTED_SIZE

CHANNEL = "private-encrypted-post_1"
KEY = bytes(range(32))


def unseal(channel, sealed, key=KEY):
    parts = json.loads(sealed)
    box = SecretBox(shared_secret(channel, key))
    return box.decrypt(base64.b64decode(parts["ciphertext"]), base64.b64decode(parts["nonce"])).decode()


class TestSharedSecret:
    def test_it_is_that_of_the_protocol(self):
        """D.5."""
        assert shared_secret(CHANNEL, KEY) == hashlib.sha256(CHANNEL.encode() + KEY).digest()

    def test_it_is_that_of_the_pusher_package(self):
        assert shared_secret(CHANNEL, KEY) == generate_shared_secret(CHANNEL.encode(), KEY)


class TestSeal:
    def test_form_is_nonce_and_ciphertext_and_nothing_else(self):
        sealed = seal(CHANNEL, '{"a":"ä"}', KEY)
        assert re.fullmatch(r'\{"nonce":"[A-Za-z0-9+/]{32}","ciphertext":"[A-Za-z0-9+/]+=*"\}', sealed)
        assert unseal(CHANNEL, sealed) == '{"a":"ä"}'

    def test_no_two_are_alike(self):
        assert seal(CHANNEL, "{}", KEY) != seal(CHANNEL, "{}", KEY)

    @pytest.mark.parametrize(
        ("channel", "key"), [("private-encrypted-post_2", KEY), (CHANNEL, bytes(32))], ids=["channel", "key"]
    )
    def test_other_channel_or_key_cannot_open_it(self, channel, key):
        with pytest.raises(CryptoError):
            unseal(channel, seal(CHANNEL, "{}", KEY), key)

    def test_largest_data_just_fits(self):
        assert len(seal(CHANNEL, "x" * MAX_ENCRYPTED_SIZE, KEY)) <= MAX_DATA_SIZE
        assert len(seal(CHANNEL, "x" * (MAX_ENCRYPTED_SIZE + 1), KEY)) > MAX_DATA_SIZE

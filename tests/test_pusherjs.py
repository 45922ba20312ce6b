import os

import pytest

from pusherable import pusherjs
from pusherable.pusherjs import ASSETS, ENCRYPTED, LICENCE, PLAIN, Asset, WrongDigest, digest

CONTENT = b"var Pusher;\n//# sourceMappingURL=pusher.min.js.map"
STRIPPED = b"var Pusher;\n"


@pytest.fixture
def asset(tmp_path, monkeypatch):
    monkeypatch.setattr(pusherjs, "VENDOR", tmp_path)
    return Asset(name="some.js", source="dist/some.js", published=digest(CONTENT), shipped=digest(STRIPPED))


class TestDigest:
    def test_has_the_form_of_an_integrity_attribute(self):
        assert digest(b"") == "sha384-OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb"


class TestAssets:
    def test_digests_are_those_that_were_measured(self):
        """Protocol E.9."""
        assert PLAIN.published == "sha384-yz6oLe92Sren05O3WPhu8DK05E9PEkh7kTQJ819acmwKwcCMwJXGu9Kta5wYhfaJ"
        assert PLAIN.shipped == "sha384-tqwtKVz2rZ3LtyQsNuTrDWiCCx3nVZqZZ8x7rl5i0CgwpwT1haA9UENLe10Kc4E+"

    def test_licence_is_shipped_as_it_is(self):
        assert LICENCE.published == LICENCE.shipped

    def test_names_follow_from_the_file(self):
        assert [asset.static_path for asset in ASSETS] == [
            "pusherable/vendor/pusher.min.js",
            "pusherable/vendor/pusher-with-encryption.min.js",
            "pusherable/vendor/LICENCE",
        ]
        assert ENCRYPTED.path == pusherjs.VENDOR / "pusher-with-encryption.min.js"
        assert ENCRYPTED.cdn_url == (
            f"https://cdn.jsdelivr.net/npm/pusher-js@{pusherjs.VERSION}/dist/web/pusher-with-encryption.min.js"
        )


class TestIsIntact:
    def test_absent_is_not(self, asset):
        assert not asset.is_intact()

    def test_the_shipped_bytes_are(self, asset):
        asset.path.write_bytes(STRIPPED)
        assert asset.is_intact()

    def test_the_published_bytes_are_not(self, asset):
        """They would break ``collectstatic`` (protocol E.9)."""
        asset.path.write_bytes(CONTENT)
        assert not asset.is_intact()

    def test_a_change_of_the_file_is_noticed(self, asset):
        asset.path.write_bytes(STRIPPED)
        assert asset.is_intact()
        asset.path.write_bytes(STRIPPED[::-1])
        os.utime(asset.path, ns=(0, 0))
        assert not asset.is_intact()


class TestPrepare:
    def test_line_of_the_source_map_goes(self, asset):
        """Protocol E.9."""
        assert asset.prepare(CONTENT) == STRIPPED

    def test_other_bytes_are_refused(self, asset):
        with pytest.raises(WrongDigest) as caught:
            asset.prepare(b"alert(1)")
        assert str(caught.value) == (
            f"pusher-js {pusherjs.VERSION}: dist/some.js as published has the digest {digest(b'alert(1)')}, "
            f"but {digest(CONTENT)} is pinned in pusherable/pusherjs.py."
        )

    def test_a_wrong_pin_of_the_shipped_bytes_is_noticed(self, asset):
        mistaken = Asset(name=asset.name, source=asset.source, published=asset.published, shipped=digest(b""))
        with pytest.raises(WrongDigest) as caught:
            mistaken.prepare(CONTENT)
        assert str(caught.value) == (
            f"pusher-js {pusherjs.VERSION}: dist/some.js as shipped has the digest {digest(STRIPPED)}, "
            f"but {digest(b'')} is pinned in pusherable/pusherjs.py."
        )

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.origins import Origins


class TestOrigins:
    """A.3"""

    @pytest.mark.parametrize(
        ("pattern", "origin"),
        [
            ("example.com", "https://example.com"),
            ("example.com", "http://example.com:8000"),
            ("Example.com", "https://EXAMPLE.com"),
            ("example.com", "https://example.com."),
            (".example.com", "https://example.com"),
            (".example.com", "https://a.b.example.com"),
            ("127.0.0.1", "http://127.0.0.1:8000"),
            ("[::1]", "http://[::1]:8000"),
            ("localhost", "capacitor://localhost"),
            ("*", "https://anywhere.example"),
            ("*", "null"),
        ],
    )
    def test_pages_of_an_allowed_host_may_connect(self, pattern, origin):
        assert Origins(hosts=frozenset({"other.example", pattern})).allow(origin)

    @pytest.mark.parametrize(
        ("pattern", "origin"),
        [
            ("example.com", "https://a.example.com"),
            ("example.com", "https://example.com.evil.example"),
            ("example.com", "https://evilexample.com"),
            (".example.com", "https://evilexample.com"),
            ("example.com", "https://example.com@evil.example"),
            ("example.com", "https://evil.example/example.com"),
            ("example.com", "https://evil@example.com"),
            ("example.com", "https://example.com/page"),
            ("example.com", "https://example.com?page"),
            ("example.com", "example.com"),
            ("example.com", "https://[example.com"),
            ("example.com", "null"),
            ("example.com", ""),
        ],
    )
    def test_pages_of_another_host_may_not(self, pattern, origin):
        assert not Origins(hosts=frozenset({pattern})).allow(origin)

    @pytest.mark.parametrize(
        ("pattern", "origin", "allowed"),
        [
            ("https://example.com", "https://example.com", True),
            ("https://example.com", "http://example.com", False),
            ("https://example.com", "https://example.com:8443", False),
            ("https://example.com:8443", "https://example.com:8443", True),
            ("https://*.example.com", "https://a.example.com", True),
            ("https://*.example.com", "https://evilexample.com", False),
            ("https://*.example.com", "http://a.example.com", False),
            ("https://*", "https://a.example.com", False),
        ],
    )
    def test_trusted_origins_have_scheme_and_port(self, pattern, origin, allowed):
        assert Origins(trusted=frozenset({pattern})).allow(origin) is allowed

    def test_without_patterns_no_page_may(self):
        assert not Origins().allow("http://localhost")

    @given(st.text(max_size=50) | st.text(max_size=50).map("https://{}".format))
    def test_whatever_is_sent_it_is_no_fault(self, origin):
        assert not Origins(hosts=frozenset({"a.example.com"}), trusted=frozenset({"https://b.example.com"})).allow(
            origin
        )

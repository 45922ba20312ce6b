import pytest

from pusherable import signing

KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"


class TestSign:
    @pytest.mark.parametrize(
        ("message", "signature"),
        [
            ("1234.1234:private-foobar", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
            ('1234.1234::user::{"id":"12345"}', "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"),
            (
                '1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}',
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
        ],
    )
    def test_documented_vectors(self, message, signature):
        """B.10."""
        assert signing.sign(SECRET, message) == signature
        assert signing.sign(SECRET, message.encode()) == signature


class TestVerify:
    def test_right_signature_is_accepted(self):
        assert signing.verify("secret", "message", signing.sign("secret", "message"))

    @pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\ud800"])
    def test_anything_else_is_refused(self, signature):
        assert not signing.verify("secret", "message", signature)

    def test_other_secret_is_refused(self):
        assert not signing.verify("secret", "message", signing.sign("other", "message"))


class TestMessages:
    def test_channel_message(self):
        """A.25."""
        assert signing.channel_message("1.2", "private-x") == "1.2:private-x"
        assert signing.channel_message("1.2", "private-x", "") == "1.2:private-x:"
        assert signing.channel_message("1.2", "presence-x", '{"user_id":"1"}') == '1.2:presence-x:{"user_id":"1"}'

    def test_user_message(self):
        """A.46."""
        assert signing.user_message("1234.1234", '{"id":"12345"}') == '1234.1234::user::{"id":"12345"}'

    def test_request_message_sorts_and_leaves_the_signature_out(self):
        """B.4."""
        parameters = [("b", "2 x"), ("Auth_Key", "k"), ("auth_signature", "s"), ("a", "1")]
        assert signing.request_message("get", "/apps/3/channels", parameters) == (
            "GET\n/apps/3/channels\na=1&auth_key=k&b=2 x"
        )


class TestRequestParameters:
    def test_documented_vector(self):
        """B.10."""
        body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        assert signing.request_parameters(
            "POST", "/apps/3/events", key=KEY, secret=SECRET, timestamp=1353088179, body=body
        ) == {
            "auth_key": KEY,
            "auth_timestamp": "1353088179",
            "auth_version": "1.0",
            "body_md5": "ec365a775a4cd0599faeb73354201b6f",
            "auth_signature": "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
        }

    def test_request_without_body_has_no_digest(self):
        """F.6."""
        parameters = signing.request_parameters(
            "GET", "/apps/3/channels", key=KEY, secret=SECRET, timestamp=1, query={"info": "user_count"}
        )
        assert set(parameters) == {"auth_key", "auth_timestamp", "auth_version", "auth_signature", "info"}


class TestStreamParameters:
    def test_what_is_signed_is_all_but_public_channels(self):
        message = 'stream\n[["private-b", "#server-to-user-1"], 10, 20, "{}", null]'
        assert signing.stream_parameters(
            ["a", "private-b", "#server-to-user-1"],
            key=KEY,
            secret=SECRET,
            issued=10,
            expires=20,
            channel_data="{}",
        ) == [
            ("channel", "a"),
            ("channel", "private-b"),
            ("channel", "#server-to-user-1"),
            ("channel_data", "{}"),
            ("issued", "10"),
            ("expires", "20"),
            ("auth", f"{KEY}:{signing.sign(SECRET, message)}"),
        ]

    def test_a_user_is_signed_too(self):
        pairs = signing.stream_parameters([], key=KEY, secret=SECRET, issued=1, expires=2, user_data="u")
        message = signing.stream_message([], issued=1, expires=2, user_data="u")
        assert message == 'stream\n[[], 1, 2, null, "u"]'
        assert pairs[0] == ("user_data", "u")
        assert pairs[-1] == ("auth", f"{KEY}:{signing.sign(SECRET, message)}")


class TestSameText:
    def test_equal_and_different(self):
        assert signing.same_text("ä", "ä")
        assert not signing.same_text("a", "\ud800")

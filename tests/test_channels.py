import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.channels import (
    MAX_LENGTH,
    ChannelKind,
    ModelChannel,
    bare_name,
    kind_for,
    kind_of,
    model_channel,
    parse_model_channel,
    validate_channel,
)
from pusherable.exceptions import InvalidChannel


class TestKindOf:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("post_1", ChannelKind.PUBLIC),
            ("privateer", ChannelKind.PUBLIC),
            ("Private-x", ChannelKind.PUBLIC),
            ("my-private-x", ChannelKind.PUBLIC),
            ("private-x", ChannelKind.PRIVATE),
            ("private-encryptedx", ChannelKind.PRIVATE),
            ("private-encrypted-x", ChannelKind.ENCRYPTED),
            ("presence-x", ChannelKind.PRESENCE),
            ("cache-x", ChannelKind.CACHE),
            ("private-cache-x", ChannelKind.PRIVATE_CACHE),
            ("private-encrypted-cache-x", ChannelKind.ENCRYPTED_CACHE),
            ("presence-cache-x", ChannelKind.PRESENCE_CACHE),
            ("#server-to-user-7", ChannelKind.SERVER_TO_USER),
        ],
    )
    def test_name_gives_exact_prefix(self, name, kind):
        """A.24: anchored, exact, case-sensitive."""
        assert kind_of(name) is kind

    def test_kinds_know_what_they_are(self):
        assert {kind.name for kind in ChannelKind if kind.is_presence} == {"PRESENCE", "PRESENCE_CACHE"}
        assert {kind.name for kind in ChannelKind if kind.is_encrypted} == {"ENCRYPTED", "ENCRYPTED_CACHE"}
        assert {kind.name for kind in ChannelKind if kind.is_cache} == {
            "CACHE",
            "PRIVATE_CACHE",
            "ENCRYPTED_CACHE",
            "PRESENCE_CACHE",
        }
        assert {kind.name for kind in ChannelKind if not kind.needs_authorization} == {
            "PUBLIC",
            "CACHE",
            "SERVER_TO_USER",
        }


class TestBareName:
    @pytest.mark.parametrize("kind", ChannelKind)
    def test_prefix_of_the_kind_is_left_out(self, kind):
        assert bare_name(f"{kind.prefix}post_1") == "post_1"

    def test_prefix_further_on_stays(self):
        assert bare_name("private-cache-private-x") == "private-x"


class TestKindFor:
    def test_privacy_gives_the_kind(self):
        assert kind_for(False) is ChannelKind.PUBLIC
        assert kind_for(True) is ChannelKind.PRIVATE
        assert kind_for("encrypted") is ChannelKind.ENCRYPTED

    @pytest.mark.parametrize("private", [None, 1, "private", ""])
    def test_anything_else_is_refused(self, private):
        with pytest.raises(InvalidChannel, match=r"is none of True, False and 'encrypted'"):
            kind_for(private)


class TestValidateChannel:
    @pytest.mark.parametrize("name", ["a", "A-z_0=@,.;9", "#server-to-user-7", "x" * MAX_LENGTH])
    def test_legal_name_is_returned(self, name):
        assert validate_channel(name) == name

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a\n", "#", "#a", "#server-to-user-", "a#b", "x\0"])
    def test_illegal_name_is_refused(self, name):
        with pytest.raises(InvalidChannel) as refusal:
            validate_channel(name)
        assert str(refusal.value) == (
            f"{name!r} is no channel name: only letters, digits and _ - = @ , . ; are allowed, "
            "and at least one of them."
        )
        assert refusal.value.channel == name

    def test_long_name_is_refused_with_its_length(self):
        """A.23: 164 characters."""
        with pytest.raises(InvalidChannel) as refusal:
            validate_channel("x" * 165)
        assert str(refusal.value) == f"The channel name {'x' * 40!r}… has 165 characters; 164 is the limit."

    def test_other_types_are_refused(self):
        with pytest.raises(InvalidChannel, match="A channel's name is text, not 7."):
            validate_channel(7)


class TestModelChannel:
    @pytest.mark.parametrize(
        ("pk", "name"),
        [
            (1, "post_1"),
            (None, "post"),
            ("my_slug", "post_my_slug"),
            ("a b/c", "post_a=20b=2Fc"),
            ("a=b", "post_a=3Db"),
            ("ä", "post_=C3=A4"),
            (uuid.UUID(int=0), "post_00000000-0000-0000-0000-000000000000"),
            (("A", 7), "post_A,7"),
            (("A,B", 7), "post_A=2CB,7"),
        ],
    )
    def test_pk_gives_name(self, pk, name):
        assert model_channel("post", pk) == name

    def test_kind_gives_prefix(self):
        assert model_channel("post", 1, kind=ChannelKind.PRIVATE) == "private-post_1"

    def test_underscore_of_model_is_escaped_so_that_the_first_one_divides(self):
        assert model_channel("blog_post", 1) == "blog=5Fpost_1"

    def test_long_pk_is_refused(self):
        with pytest.raises(InvalidChannel, match="has 305 characters; 164 is the limit"):
            model_channel("post", "x" * 300)

    @given(
        st.sampled_from(ChannelKind),
        st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True),
        st.one_of(st.none(), st.text(min_size=1, max_size=10).filter(lambda text: text.isprintable())),
    )
    def test_any_pk_comes_back(self, kind, model, pk):
        assert parse_model_channel(model_channel(model, pk, kind=kind)) == ModelChannel(kind, model, pk)


class TestParseModelChannel:
    @pytest.mark.parametrize("name", ["post_", "_1", "private-_1"])
    def test_other_shape_is_refused(self, name):
        with pytest.raises(InvalidChannel, match="is not the channel of a model or object"):
            parse_model_channel(name)

    def test_escape_that_is_no_utf8_is_refused(self):
        with pytest.raises(InvalidChannel, match="holds escapes that are not UTF-8"):
            parse_model_channel("post_=FF")

    def test_equals_sign_without_digits_stays(self):
        assert parse_model_channel("post_a=x") == ModelChannel(ChannelKind.PUBLIC, "post", "a=x")

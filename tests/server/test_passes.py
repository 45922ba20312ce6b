import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.config import Limits, ServerConfig
from pusherable.server.credentials import Denied, Member, User
from pusherable.server.passes import Pass, read_pass
from pusherable.signing import sign, stream_message, stream_parameters
from tests.server.conftest import APP

NOW = 1_000_000
CONFIG = ServerConfig(apps=(APP,))
OTHER = replace(APP, id="2", key="other", secret="another secret")
MEMBER = json.dumps({"user_id": "7", "user_info": {"name": "Ann"}})
NO_NAME = "is no channel name: only letters, digits and _ - = @ , . ; are allowed, and at least one of them."
USER = json.dumps({"id": "7", "user_info": {"name": "Ann"}})


def signed(*channels, app=APP, issued=NOW, expires=NOW + 60, **data):
    """The query of an address that the app's server has signed."""
    return stream_parameters(channels, key=app.key, secret=app.secret, issued=issued, expires=expires, **data)


def read(query, config=CONFIG, *, now=NOW):
    return read_pass(query, config, now=now)


def denied(query, config=CONFIG, *, now=NOW):
    with pytest.raises(Denied) as caught:
        read(query, config, now=now)
    return caught.value.status, str(caught.value)


class TestPublicChannels:
    def test_they_need_no_signature(self):
        assert read([("channel", "a"), ("channel", "cache-b"), ("channel", "a")]) == Pass(APP, ("a", "cache-b"))

    def test_what_is_unknown_is_passed_over(self):
        assert read([("channel", "a"), ("lastEventId", "x"), ("_", "1")]) == Pass(APP, ("a",))

    @pytest.mark.parametrize(
        ("channels", "reason"),
        [
            ([], "Name a channel, ?channel=…, or several of them, ?channel=…&channel=…"),
            (
                ["a b"],
                f"'a b' {NO_NAME}",
            ),
            (
                [""],
                f"'' {NO_NAME}",
            ),
            (
                ["a\r\n"],
                f"'a\\r\\n' {NO_NAME}",
            ),
            (
                ["private-encrypted-a"],
                "private-encrypted-a is encrypted, and a browser cannot read it without pusher-js: use a WebSocket",
            ),
            ([f"a{number}" for number in range(101)], "A stream has 100 channels at most"),
        ],
    )
    def test_what_is_no_channel_of_a_stream_is_refused(self, channels, reason):
        assert denied([("channel", channel) for channel in channels]) == (400, reason)


class TestApps:
    def test_a_server_with_one_takes_it_for_granted(self):
        assert read([("channel", "a")]).app is APP

    @pytest.mark.parametrize("app", [APP, OTHER])
    def test_among_several_the_key_says_which(self, app):
        config = replace(CONFIG, apps=(APP, OTHER))
        assert read([("key", app.key), ("channel", "a")], config).app is app

    def test_among_several_the_signature_says_which(self):
        config = replace(CONFIG, apps=(APP, OTHER))
        assert read(signed("private-a", app=OTHER), config).app is OTHER

    def test_among_several_one_has_to_be_named(self):
        config = replace(CONFIG, apps=(APP, OTHER))
        reason = "This server has several apps: name yours by its key, ?key=…&channel=…"
        assert denied([("channel", "a")], config) == (400, reason)

    def test_an_unknown_key_is_refused(self):
        assert denied([("key", "nope"), ("channel", "a")]) == (404, "No app has the key nope")

    def test_a_disabled_app_is_refused(self):
        config = replace(CONFIG, apps=(replace(APP, is_enabled=False),))
        assert denied([("channel", "a")], config) == (403, "The app is disabled")

    def test_the_signature_is_of_the_app_that_is_named(self):
        config = replace(CONFIG, apps=(APP, OTHER))
        query = [("key", "other"), *signed("private-a")]
        assert denied(query, config) == (401, "The address was signed with another key than other")


class TestSignatures:
    def test_a_signed_address_lets_in(self):
        assert read(signed("private-a", "b")) == Pass(APP, ("private-a", "b"), issued=NOW)

    def test_public_channels_may_be_added(self):
        assert read([*signed("private-a"), ("channel", "b")]).channels == ("private-a", "b")

    def test_an_address_without_one_is_refused(self):
        reason = "This takes an address that your server has signed; it lacks issued, expires, auth"
        for channel in ("private-a", "presence-a", "#server-to-user-7"):
            assert denied([("channel", channel)]) == (401, reason)

    @pytest.mark.parametrize("name", ["issued", "expires", "auth"])
    def test_what_it_lacks_is_named(self, name):
        query = [pair for pair in signed("private-a") if pair[0] != name]
        assert denied(query) == (401, f"This takes an address that your server has signed; it lacks {name}")

    @pytest.mark.parametrize(
        "change",
        [
            ("channel", "private-b"),
            ("channel", "presence-b"),
            ("channel", "#server-to-user-7"),
            ("issued", str(NOW + 1)),
            ("expires", str(NOW + 61)),
            ("channel_data", MEMBER),
            ("user_data", USER),
            ("auth", "key:" + "0" * 64),
            ("auth", "key:ü"),
            ("auth", "key"),
        ],
    )
    def test_a_changed_address_is_refused(self, change):
        reason = "The signature is wrong: the address is not as your server has signed it"
        assert denied([*signed("private-a"), change]) == (401, reason)

    def test_another_secret_is_refused(self):
        query = signed("private-a", app=replace(APP, secret="guessed"))
        assert denied(query)[0] == 401

    def test_the_secret_is_not_told(self):
        assert APP.secret not in denied([*signed("private-a"), ("auth", "key:0")])[1]

    def test_a_public_address_with_a_signature_has_the_right_one(self):
        assert denied([("channel", "a"), ("auth", "key:0"), ("issued", "1"), ("expires", "2")])[0] == 401

    @given(
        st.lists(st.sampled_from(["private-a", "presence-a", "private-a,b", "#server-to-user-7"])),
        st.lists(st.sampled_from(["private-a", "presence-a", "private-a,b", "#server-to-user-7"])),
        st.none() | st.text(),
        st.none() | st.text(),
    )
    def test_no_two_addresses_have_the_same_message(self, channels, others, channel_data, user_data):
        first = stream_message(channels, issued=1, expires=2, channel_data=channel_data, user_data=user_data)
        second = stream_message(others, issued=1, expires=2, channel_data=user_data, user_data=channel_data)
        assert (first == second) == (channels == others and channel_data == user_data)

    def test_nothing_else_that_is_signed_will_do(self):
        message = stream_message(["private-a"], issued=NOW, expires=NOW + 60)
        assert message == f'stream\n[["private-a"], {NOW}, {NOW + 60}, null, null]'
        assert sign(APP.secret, message) == signed("private-a")[-1][1].partition(":")[2]


class TestTimes:
    def test_an_address_lets_in_until_it_expires(self):
        query = signed("private-a", expires=NOW + 60)
        assert read(query, now=NOW + 59.9).issued == NOW
        assert denied(query, now=NOW + 60) == (401, "The address has expired: load the page again")

    def test_one_for_too_long_is_refused(self):
        assert read(signed("private-a", expires=NOW + 86_400)).issued == NOW
        reason = "The address is valid for more than 86400 seconds, which is the limit"
        assert denied(signed("private-a", expires=NOW + 86_401)) == (401, reason)

    def test_one_from_the_future_is_refused(self):
        assert read(signed("private-a", issued=NOW + 600, expires=NOW + 700)).issued == NOW + 600
        reason = "The address was signed in the future: the clocks of your machines differ"
        assert denied(signed("private-a", issued=NOW + 601, expires=NOW + 700)) == (401, reason)

    @pytest.mark.parametrize("text", ["x", "-1", "1.5", "1" * 12, "١"])
    def test_a_time_is_a_number(self, text):
        query = [*signed("private-a"), ("expires", text)]
        assert denied(query) == (400, f"expires is in whole seconds since 1970, not {text!r}")


class TestMembers:
    def test_channel_data_says_who_comes(self):
        """A.30"""
        found = read(signed("presence-a", channel_data=MEMBER))
        assert found == Pass(APP, ("presence-a",), Member("7", {"name": "Ann"}), issued=NOW)

    def test_a_signed_user_will_do(self):
        """A.31"""
        found = read(signed("presence-a", user_data=USER))
        assert (found.member, found.user) == (Member("7", {"name": "Ann"}), User("7", USER, {"name": "Ann"}))

    def test_nobody_is_refused(self):
        assert denied(signed("presence-a")) == (401, "A presence channel takes channel_data or user_data")

    @pytest.mark.parametrize(
        ("data", "status"), [("[]", 401), ('{"user_id":""}', 401), (json.dumps({"user_id": "x" * 129}), 413)]
    )
    def test_malformed_data_is_refused(self, data, status):
        """A.30, A.36"""
        assert denied(signed("presence-a", channel_data=data))[0] == status

    def test_without_a_presence_channel_it_says_nothing(self):
        assert read(signed("private-a", channel_data=MEMBER)).member is None


class TestUsers:
    def test_a_user_may_listen_to_what_is_for_it(self):
        """A.48"""
        found = read(signed("#server-to-user-7", user_data=USER))
        assert (found.channels, found.user) == (("#server-to-user-7",), User("7", USER, {"name": "Ann"}))

    @pytest.mark.parametrize("data", [{}, {"user_data": USER}])
    def test_nobody_may_listen_to_what_is_for_others(self, data):
        """A.48"""
        reason = "Only the user itself, named in user_data, may listen to #server-to-user-8"
        assert denied(signed("#server-to-user-8", **data)) == (401, reason)

    def test_malformed_data_is_refused(self):
        assert denied(signed("a", user_data="[]")) == (401, "user_data is not a JSON object")

    def test_an_id_has_a_limit(self):
        config = replace(CONFIG, limits=Limits(user_id_length=2))
        assert denied(signed("a", user_data='{"id":"123"}'), config) == (
            413,
            "The id in user_data has more than 2 characters",
        )


NAMES = st.sampled_from(["channel", "key", "auth", "issued", "expires", "channel_data", "user_data"])
VALUES = st.text() | st.sampled_from(["a", "private-a", "presence-a", "#server-to-user-", "key", "key:", "1", "{}"])


class TestHostileAddresses:
    @given(st.lists(st.tuples(NAMES, VALUES)))
    def test_any_address_is_taken_or_refused(self, query):
        try:
            found = read(query)
        except Denied as reason:
            status = reason.status
        else:
            status = 200
            assert (found.member, found.user, found.issued) == (None, None, None)
            assert not any(channel.startswith(("private-", "presence-", "#")) for channel in found.channels)
        assert status in (200, 400, 401, 404)

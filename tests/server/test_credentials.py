import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server import credentials
from pusherable.server.config import Limits
from pusherable.server.credentials import (
    Denied,
    Member,
    User,
    member_of,
    read_member,
    verify_subscription,
    verify_user,
)
from pusherable.signing import channel_message, sign, user_message
from tests.server.conftest import APP

LIMITS = Limits()
SOCKET_ID = "123.456"
INVALID_INFO = "user_info supplied to presence subscription is invalid - if supplied it must be a type of hash"


def auth(signed):
    return f"{APP.key}:{sign(APP.secret, signed)}"


def denial_of(call):
    with pytest.raises(Denied) as caught:
        call()
    return str(caught.value), caught.value.type, caught.value.status


def fail(value):
    raise ValueError("The JSON is nested too deeply")


class TestVerifySubscription:
    """A.25"""

    @pytest.mark.parametrize("data", [None, "", '{"user_id":"1"}'])
    def test_a_signed_one_gives_its_data(self, data):
        fields = {"auth": auth(channel_message(SOCKET_ID, "private-x", data)), "channel_data": data}
        assert verify_subscription(APP, socket_id=SOCKET_ID, channel="private-x", fields=fields) == data

    def test_an_unsigned_one_is_denied(self):
        """A.26"""
        assert denial_of(lambda: verify_subscription(APP, socket_id=SOCKET_ID, channel="private-x", fields={})) == (
            "Auth info required to subscribe to private-x",
            "AuthError",
            401,
        )

    def test_data_that_is_no_text_is_denied(self):
        fields = {"auth": auth(channel_message(SOCKET_ID, "private-x")), "channel_data": {}}
        denial = denial_of(lambda: verify_subscription(APP, socket_id=SOCKET_ID, channel="private-x", fields=fields))
        assert denial == ("channel_data for subscription to private-x is not a string", "AuthError", 401)


class TestVerifyUser:
    """A.46"""

    def verify(self, data):
        fields = {"auth": auth(user_message(SOCKET_ID, data)), "user_data": data}
        return verify_user(APP, socket_id=SOCKET_ID, fields=fields)

    @pytest.mark.parametrize(
        ("content", "user_info", "watchlist"),
        [
            ({"id": "7"}, None, ()),
            ({"id": "7", "user_info": {"name": "Ada"}}, {"name": "Ada"}, ()),
            ({"id": "7", "watchlist": None}, None, ()),
            ({"id": "7", "watchlist": ["9", "8", "9"]}, None, ("9", "8")),
        ],
    )
    def test_a_signed_user_is_read(self, content, user_info, watchlist):
        data = json.dumps(content)
        assert self.verify(data) == User("7", data, user_info, watchlist)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            # A.50
            ("{", "user_data is not JSON"),
            ("[]", "user_data is not a JSON object"),
            ("{}", "user_data needs an id, which is a string that is not empty"),
            # A.47: pusher-js refuses numbers.
            ('{"id":7}', "user_data needs an id, which is a string that is not empty"),
            ('{"id":""}', "user_data needs an id, which is a string that is not empty"),
            ('{"id":"7","watchlist":"8"}', "The watchlist in user_data is not an array of strings"),
            ('{"id":"7","watchlist":[8]}', "The watchlist in user_data is not an array of strings"),
        ],
    )
    def test_a_user_that_is_none_is_denied(self, data, message):
        assert denial_of(lambda: self.verify(data)) == (message, "AuthError", 401)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, "user_data for signin is not a string"),
            ({"user_data": {"id": "7"}}, "user_data for signin is not a string"),
            ({"user_data": "{}"}, "Auth info required to sign in"),
            (
                {"user_data": "{}", "auth": "x"},
                "Auth value for signin is invalid: should be of format 'key:signature'",
            ),
            ({"user_data": "{}", "auth": "other:x"}, "Invalid key in signin auth data: 'other'"),
            (
                {"user_data": "{}", "auth": "key:x"},
                "Invalid signature: Expected HMAC SHA256 hex digest of 123.456::user::{}, but got x",
            ),
        ],
    )
    def test_a_user_nobody_signed_for_is_denied(self, fields, message):
        """A.50"""
        denial = denial_of(lambda: verify_user(APP, socket_id=SOCKET_ID, fields=fields))
        assert denial == (message, "AuthError", 401)


class TestReadMember:
    """A.30"""

    @pytest.mark.parametrize(
        ("data", "member"),
        [
            ('{"user_id":"a"}', Member("a", {})),
            ('{"user_id":1}', Member("1", {})),
            ('{"user_id":1.5}', Member("1.5", {})),
            ('{"user_id":9007199254740993}', Member("9007199254740993", {})),
            # A.35
            ('{"user_id":"a","user_info":null}', Member("a", {})),
            ('{"user_id":"a","user_info":{"b":[1]}}', Member("a", {"b": [1]})),
        ],
    )
    def test_an_id_becomes_text_and_info_an_object(self, data, member):
        assert read_member(data, LIMITS) == member

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("", "channel_data is not JSON"),
            ('{"user_id":NaN}', "channel_data is not JSON"),
            ("[" * 60_000, "channel_data is not JSON"),
            ("[]", "channel_data is not a JSON object"),
            ("{}", "channel_data needs a user_id, which is a string or a number"),
            ('{"user_id":""}', "channel_data needs a user_id, which is a string or a number"),
            ('{"user_id":null}', "channel_data needs a user_id, which is a string or a number"),
            ('{"user_id":true}', "channel_data needs a user_id, which is a string or a number"),
            ('{"user_id":["a"]}', "channel_data needs a user_id, which is a string or a number"),
            ('{"user_id":"a","user_info":"b"}', INVALID_INFO),
            ('{"user_id":"a","user_info":[]}', INVALID_INFO),
        ],
    )
    def test_what_is_no_member_is_denied(self, data, message):
        assert denial_of(lambda: read_member(data, LIMITS)) == (message, "AuthError", 401)

    def test_the_longest_id_is_accepted(self):
        """A.36"""
        assert read_member(json.dumps({"user_id": "é" * 128}), LIMITS) == Member("é" * 128, {})

    def test_a_longer_id_is_denied(self):
        """A.36"""
        message = "The user_id has 129 characters; 128 is the limit"
        data = json.dumps({"user_id": "x" * 129})
        assert denial_of(lambda: read_member(data, LIMITS)) == (message, "LimitReached", 413)

    def test_the_largest_user_object_is_accepted(self):
        """A.36: 1,024 bytes, however they were written."""
        info = {"b": "x" * (1_024 - len('{"user_id":"a","user_info":{"b":""}}'))}
        assert read_member(json.dumps({"user_id": "a", "user_info": info}, indent=2), LIMITS) == Member("a", info)

    @pytest.mark.parametrize("last", ["xx", "é", "\ud800"])
    def test_a_larger_user_object_is_denied(self, last):
        """A.36"""
        info = {"b": "x" * (1_023 - len('{"user_id":"a","user_info":{"b":""}}')) + last}
        denial = denial_of(lambda: read_member(json.dumps({"user_id": "a", "user_info": info}), LIMITS))
        assert denial[1:] == ("LimitReached", 413)

    def test_info_too_deep_to_be_passed_on_is_denied(self, monkeypatch):
        monkeypatch.setattr(credentials, "encode", fail)
        denial = denial_of(lambda: read_member('{"user_id":"a"}', LIMITS))
        assert denial == ("The JSON is nested too deeply", "AuthError", 401)

    @given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
    def test_any_text_is_read_or_denied(self, data):
        with suppress(Denied):
            assert isinstance(read_member(data, LIMITS), Member)


class TestMemberOf:
    """A.31"""

    def test_a_user_is_known_by_its_info(self):
        assert member_of(User("7", "{}", {"name": "Ada"}), LIMITS) == Member("7", {"name": "Ada"})

    def test_a_user_without_info_is_a_member(self):
        """A.35"""
        assert member_of(User("7", "{}"), LIMITS) == Member("7", {})

    def test_info_that_is_no_object_is_denied(self):
        assert denial_of(lambda: member_of(User("7", "{}", "Ada"), LIMITS)) == (INVALID_INFO, "AuthError", 401)

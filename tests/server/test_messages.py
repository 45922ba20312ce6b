import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.messages import (
    PING,
    PONG,
    Message,
    cache_miss,
    channel_event,
    connection_established,
    error,
    member_added,
    member_removed,
    presence_succeeded,
    quote,
    signin_success,
    subscription_count,
    subscription_error,
    subscription_succeeded,
    watchlist_events,
)


class TestMessage:
    def test_a_short_text_is_a_frame_with_two_bytes_of_header(self):
        assert PONG.frame == b"\x81\x23" + b'{"event":"pusher:pong","data":"{}"}'

    def test_non_ascii_text_is_sent_as_it_is(self):
        assert Message("e", "é").frame == b"\x81\x19" + '{"event":"e","data":"é"}'.encode()

    def test_a_lone_surrogate_stays_an_escape(self):
        assert Message("e", "\ud800").text == '{"event":"e","data":"\\ud800"}'

    @given(st.text(st.characters()), st.text(st.characters()))
    def test_whatever_is_sent_is_read_as_it_was(self, name, data):
        message = channel_event(name, "c", data)
        assert json.loads(message.text) == {"event": name, "channel": "c", "data": data}
        assert message.frame.endswith(message.text.encode())


class TestForms:
    """What each message looks like on the wire."""

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            # A.6: the data is text.
            (
                connection_established("1.2", 120),
                r'{"event":"pusher:connection_established",'
                r'"data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}',
            ),
            # A.13, A.14
            (PING, '{"event":"pusher:ping","data":"{}"}'),
            (PONG, '{"event":"pusher:pong","data":"{}"}'),
            # A.18
            (
                subscription_succeeded("c"),
                '{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}',
            ),
            # A.26
            (error("No"), '{"event":"pusher:error","data":{"code":null,"message":"No"}}'),
            (error("No", code=4001), '{"event":"pusher:error","data":{"code":4001,"message":"No"}}'),
            # A.28
            (
                subscription_error("c", type="AuthError", error="No", status=401),
                '{"event":"pusher:subscription_error","channel":"c",'
                '"data":{"type":"AuthError","error":"No","status":401}}',
            ),
            # B.15
            (channel_event("view", "c", '{"a": 1}'), r'{"event":"view","channel":"c","data":"{\"a\": 1}"}'),
            # A.39
            (
                channel_event("client-hi", "presence-c", "", user_id="7"),
                '{"event":"client-hi","channel":"presence-c","data":"","user_id":"7"}',
            ),
            # A.32
            (
                presence_succeeded("presence-c", {"7": {"name": "Ada"}, "8": {}}),
                '{"event":"pusher_internal:subscription_succeeded","channel":"presence-c",'
                r'"data":"{\"presence\":{\"ids\":[\"7\",\"8\"],'
                r'\"hash\":{\"7\":{\"name\":\"Ada\"},\"8\":{}},\"count\":2}}"}',
            ),
            # A.33
            (
                member_added("presence-c", "7", {"name": "Ada"}),
                '{"event":"pusher_internal:member_added","channel":"presence-c",'
                r'"data":"{\"user_id\":\"7\",\"user_info\":{\"name\":\"Ada\"}}"}',
            ),
            # A.34
            (
                member_removed("presence-c", "7"),
                '{"event":"pusher_internal:member_removed","channel":"presence-c",'
                r'"data":"{\"user_id\":\"7\"}"}',
            ),
            # A.44
            (cache_miss("cache-c"), '{"event":"pusher:cache_miss","channel":"cache-c"}'),
            # A.45
            (
                subscription_count("c", 3),
                '{"event":"pusher_internal:subscription_count","channel":"c",'
                r'"data":"{\"subscription_count\":3}"}',
            ),
            # A.47: the data is an object that holds text.
            (
                signin_success('{"id":"7"}'),
                r'{"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"7\"}"}}',
            ),
            # A.51
            (
                watchlist_events(online=["a"], offline=["b"]),
                '{"event":"pusher_internal:watchlist_events","data":'
                r'"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\"]},'
                r'{\"name\":\"offline\",\"user_ids\":[\"b\"]}]}"}',
            ),
            (
                watchlist_events(offline=["b"]),
                '{"event":"pusher_internal:watchlist_events","data":'
                r'"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"b\"]}]}"}',
            ),
        ],
    )
    def test_is_the_documented_one(self, message, text):
        assert message.text == text

    @pytest.mark.parametrize(
        "message",
        [
            connection_established("1.2", 120),
            PING,
            PONG,
            error("No"),
            signin_success("{}"),
            watchlist_events(online=["a"]),
        ],
    )
    def test_a_message_of_the_connection_has_no_channel(self, message):
        """A.8: pysher drops it otherwise."""
        assert "channel" not in json.loads(message.text)


class TestQuote:
    def test_a_short_text_is_quoted_whole(self):
        assert quote("x" * 200) == "x" * 200

    def test_a_long_text_is_cut(self):
        assert quote("x" * 201) == "x" * 200 + "…"

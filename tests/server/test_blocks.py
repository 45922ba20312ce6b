import json

from hypothesis import example, given
from hypothesis import strategies as st

from pusherable.server.blocks import HEARTBEAT, encode_event, encode_position, encode_retry
from pusherable.server.decoding import decode
from tests.server.eventsource import Received, read_stream

#: Whatever may end a line somewhere, and what fields are made of.
HOSTILE = st.text(
    st.sampled_from('\r\n\0\u2028\u2029\x85\x0b\x0c: {}"\\a\ufeff\ud800') | st.characters()
) | st.sampled_from(["id: 1", "\ndata: x", "\r\revent: x", "\n\n", "retry: 1\n", ":", "\r\n\r\ndata: x\r\n\r\n"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | HOSTILE, st.lists, max_leaves=5)


class TestEncodeEvent:
    def test_an_event_is_a_block(self):
        assert (
            encode_event("update", '{"a":1}', id="x-1/post_1") == b'event: update\ndata: {"a":1}\nid: x-1/post_1\n\n'
        )

    def test_an_event_without_an_id_has_none(self):
        assert encode_event("update", "1") == b"event: update\ndata: 1\n\n"

    def test_json_of_several_lines_takes_a_field_for_each(self):
        assert encode_event("e", "[1,\r\n2,\r3,\n4]") == b"event: e\ndata: [1,\ndata: 2,\ndata: 3,\ndata: 4]\n\n"

    def test_text_that_is_no_json_becomes_a_json_string(self):
        assert encode_event("e", "hello\nid: 1") == b'event: e\ndata: "hello\\nid: 1"\n\n'

    def test_no_text_at_all_is_not_passed_over(self):
        assert encode_event("e", "") == b'event: e\ndata: ""\n\n'

    @given(HOSTILE, HOSTILE, HOSTILE)
    @example("a\nb", '"a\u2028b"', "1\r2\0")
    def test_nothing_in_it_becomes_a_field(self, name, data, id):
        source = read_stream(encode_event(name, data, id=id) + encode_event("next", "2"))
        first, second = source.events
        assert second == Received("next", "2", first.id)
        assert (source.retry, source.comments) == (None, 0)
        if name and not set(name) & {"\r", "\n", "\0"}:
            assert first.name == name.encode(errors="backslashreplace").decode()
        if not set(id) & {"\r", "\n", "\0"}:
            assert first.id == id.encode(errors="backslashreplace").decode()

    @given(HOSTILE)
    def test_text_arrives_as_it_was(self, text):
        [event] = read_stream(encode_event("e", text)).events
        try:
            meant = decode(text)
        except ValueError:
            meant = text
        assert json.loads(event.data) == meant

    @given(JSON, st.booleans())
    def test_json_arrives_as_it_was(self, value, is_ascii):
        text = json.dumps(value, ensure_ascii=is_ascii, indent=1)
        [event] = read_stream(encode_event("e", text)).events
        assert json.loads(event.data) == value


class TestSilentBlocks:
    def test_a_position_is_no_event(self):
        source = read_stream(encode_position("x-1"))
        assert (source.events, source.last_event_id) == ([], "x-1")

    def test_a_pause_is_no_event(self):
        source = read_stream(encode_retry(1500))
        assert (source.events, source.retry) == ([], 1500)

    def test_a_heartbeat_is_a_comment(self):
        source = read_stream(HEARTBEAT)
        assert (source.events, source.comments) == ([], 1)

import json
import uuid

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from hypothesis import given
from hypothesis import strategies as st

from pusherable.events import (
    MAX_DATA_SIZE,
    MAX_ENCRYPTED_SIZE,
    Event,
    check_data_size,
    encode,
    is_socket_id,
    size_limit,
    validate_event_name,
)
from pusherable.exceptions import EventTooLarge, InvalidChannel, InvalidEvent, NotSerializable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


class TestEvent:
    def test_composed_event_holds_frozen_text(self):
        data = {"title": "Tür"}
        event = Event.compose(["post_1"], "view", data, socket_id="1.2")
        data["title"] = "changed"
        assert event == Event(channels=("post_1",), name="view", data='{"title":"Tür"}', socket_id="1.2")
        assert event.payload == {"title": "Tür"}

    def test_no_channel_is_refused(self):
        with pytest.raises(InvalidEvent, match="The event 'view' names no channel."):
            Event((), "view", "{}")

    def test_subject_is_no_part_of_what_travels(self):
        event = Event(("a",), "view", "{}", subject=("post", "1"))
        assert (event, repr(event)) == (Event(("a",), "view", "{}"), repr(Event(("a",), "view", "{}")))

    @pytest.mark.parametrize(
        ("channels", "parts"),
        [
            (["a"], [["a"]]),
            (["private-encrypted-a"], [["private-encrypted-a"]]),
            (["a", "b"], [["a", "b"]]),
            ([f"c{n}" for n in range(100)], [[f"c{n}" for n in range(100)]]),
            ([f"c{n}" for n in range(101)], [[f"c{n}" for n in range(100)], ["c100"]]),
            (
                ["private-encrypted-a", "b", "private-encrypted-c"],
                [["b"], ["private-encrypted-a"], ["private-encrypted-c"]],
            ),
        ],
    )
    def test_one_call_has_100_channels_and_an_encrypted_one_to_itself(self, channels, parts):
        """B.13."""
        event = Event(tuple(channels), "view", "{}", "1.2", subject="x")
        assert [list(part.channels) for part in event.parts] == parts
        assert {(part.name, part.data, part.socket_id, part.subject) for part in event.parts} == {
            ("view", "{}", "1.2", "x")
        }

    def test_illegal_channel_is_refused(self):
        with pytest.raises(InvalidChannel):
            Event(("a b",), "view", "{}")

    @pytest.mark.parametrize("socket_id", ["", "1", "1.", "a.b", "1.2\n", "1.2.3", "١.٢"])
    def test_malformed_socket_id_is_refused(self, socket_id):
        with pytest.raises(InvalidEvent, match="is no socket id"):
            Event(("a",), "view", "{}", socket_id=socket_id)


class Writer:
    def __init__(self):
        self.written = 0

    def write(self, number):
        self.written += 1
        return json.dumps({"a": number}, separators=(",", ":"))

    def name_subject(self, number):
        return f"number {number}"


def drafted(writer=None, **options):
    return Event.drafted(("a",), "view", writer=writer or Writer(), draft=(1,), **options)


class TestDraftedEvent:
    def test_it_is_written_when_it_is_first_read(self):
        writer = Writer()
        event = drafted(writer, socket_id="1.2")
        assert (event.channels, event.name, event.socket_id, writer.written) == (("a",), "view", "1.2", 0)
        assert (event.data, event.payload, writer.written) == ('{"a":1}', {"a": 1}, 1)
        assert event == Event(("a",), "view", '{"a":1}', "1.2")

    def test_it_tells_of_what_the_draft_tells_of(self):
        assert drafted().subject == "number 1"

    def test_it_has_no_attributes_of_its_own(self):
        with pytest.raises(AttributeError, match="'Event' object has no attribute 'date'"):
            _ = drafted().date

    def test_it_stays_as_it_is(self):
        with pytest.raises(AttributeError):
            drafted().data = "{}"


class TestValidateEventName:
    def test_200_characters_are_accepted(self):
        assert validate_event_name("x" * 200) == "x" * 200

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("", "An event's name is a text that is not empty, not ''."),
            (None, "An event's name is a text that is not empty, not None."),
            ("x" * 201, f"The event name {'x' * 40!r}… has 201 characters; 200 is the limit."),
            (
                "pusher:ping",
                "The event name 'pusher:ping' is reserved: 'pusher:' and 'pusher_internal:' are Pusher's own.",
            ),
            (
                "pusher_internal:x",
                "The event name 'pusher_internal:x' is reserved: 'pusher:' and 'pusher_internal:' are Pusher's own.",
            ),
        ],
    )
    def test_bad_name_is_refused_with_its_rule(self, name, message):
        with pytest.raises(InvalidEvent) as refusal:
            validate_event_name(name)
        assert str(refusal.value) == message


class TestCheckDataSize:
    @pytest.mark.parametrize("text", ["x" * MAX_DATA_SIZE, "😀" * (MAX_DATA_SIZE // 4), "é" * (MAX_DATA_SIZE // 2)])
    def test_10240_bytes_are_accepted(self, text):
        """B.14: 10 240 accepted."""
        check_data_size(text)

    @pytest.mark.parametrize("text", ["x" * 10_241, "😀" * 2_560 + "x", "é" * 5_120 + "x"])
    def test_10241_bytes_are_refused(self, text):
        """B.14: 10 241 refused; bytes of UTF-8 count, whatever Python keeps them in (F.8)."""
        with pytest.raises(EventTooLarge) as refusal:
            check_data_size(text)
        assert (refusal.value.size, refusal.value.limit) == (10_241, 10_240)


class TestEncode:
    @given(json_values)
    def test_any_json_comes_back(self, value):
        text = encode(value)
        text.encode()
        assert json.loads(text) == value

    def test_encoder_writes_its_types(self):
        assert encode({"id": uuid.UUID(int=0)}, encoder=DjangoJSONEncoder) == (
            '{"id":"00000000-0000-0000-0000-000000000000"}'
        )

    def test_nan_is_refused_with_the_place_where_it_is(self):
        with pytest.raises(NotSerializable) as refusal:
            encode({"object": {"title": "x", "readings": [1.0, float("nan")]}})
        assert refusal.value.field == "object.readings.1"
        assert str(refusal.value).startswith("object.readings.1 holds nan, which JSON has no form for (")
        assert "PUSHERABLE_JSON_ENCODER" in str(refusal.value)

    def test_infinity_is_refused(self):
        with pytest.raises(NotSerializable) as refusal:
            encode(float("-inf"))
        assert refusal.value.field == ""
        assert str(refusal.value).startswith("The data holds -inf")

    def test_unknown_type_is_refused(self):
        with pytest.raises(NotSerializable, match=r"^shape holds <object object"):
            encode({"shape": object()})

    def test_key_that_is_no_text_is_refused(self):
        with pytest.raises(NotSerializable, match=r"^The data holds"):
            encode({(1, 2): "x"})

    def test_endless_nesting_is_refused(self):
        loop = []
        loop.append(loop)
        with pytest.raises(NotSerializable, match=r"^loop"):
            encode({"loop": loop})

    def test_lone_surrogate_stays_an_escape(self):
        assert encode("\ud800ä") == '"\\ud800\\u00e4"'


class TestSizeLimit:
    def test_encrypted_channels_take_less(self):
        assert size_limit(["post_1", "private-post_1"]) == MAX_DATA_SIZE
        assert size_limit(["post_1", "private-encrypted-post_1"]) == MAX_ENCRYPTED_SIZE

    @pytest.mark.parametrize("channel", ["private-encrypted-post_1", "private-encrypted-cache-post_1"])
    def test_event_for_one_of_them_has_to_keep_it(self, channel):
        Event((channel,), "view", "x" * MAX_ENCRYPTED_SIZE)
        with pytest.raises(EventTooLarge) as refusal:
            Event(("post", channel), "view", "x" * (MAX_ENCRYPTED_SIZE + 1))
        assert (refusal.value.size, refusal.value.limit) == (7620, 7619)


class TestIsSocketId:
    def test_two_numbers_and_a_dot(self):
        assert is_socket_id("123.456")

    def test_anything_else_is_none(self):
        assert [is_socket_id(value) for value in ("", "1", None, 1.2, "1.2 ")] == [False] * 5


class TestId:
    def test_is_its_own_and_stays(self):
        first, second = Event(("a",), "view", "{}"), Event(("a",), "view", "{}")
        assert first.id == first.id
        assert first.id != second.id
        assert first == second

    def test_that_it_had_elsewhere_is_kept(self):
        assert Event(("a",), "view", "{}").known_as("7").id == "7"

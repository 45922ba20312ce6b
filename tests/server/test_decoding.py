import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.decoding import decode, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class TestDecode:
    @given(VALUES)
    def test_whatever_json_holds_is_read(self, value):
        assert decode(json.dumps(value)) == value

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Expecting value"),
            ("{", "Expecting property name"),
            ("NaN", "NaN is not JSON"),
            ("[Infinity]", "Infinity is not JSON"),
            ("-Infinity", "-Infinity is not JSON"),
            ("1e999", "A number is too large"),
            ("9" * 10_000, "Exceeds the limit"),
            ("[" * 500_000, "The JSON is nested too deeply"),
        ],
    )
    def test_anything_else_is_an_error(self, text, message):
        with pytest.raises(ValueError, match=message):
            decode(text)


class TestEncode:
    @given(VALUES)
    def test_whatever_was_read_is_written(self, value):
        assert decode(encode(value)) == value

    def test_the_form_is_the_shortest(self):
        assert encode({"a": [1, "é"]}) == '{"a":[1,"é"]}'

    def test_a_value_too_deep_to_be_written_is_an_error(self):
        value = None
        for _ in range(100_000):
            value = [value]
        with pytest.raises(ValueError, match="The JSON is nested too deeply"):
            encode(value)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server import publications
from pusherable.server.config import Limits
from pusherable.server.publications import Publication, check_channel, read_info, read_object, read_publication
from pusherable.server.verification import ApiError

LIMITS = Limits()


def fault_of(call):
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status, str(caught.value)


class TestReadObject:
    """B.13"""

    def test_an_object_is_read(self):
        assert read_object(b'{"a":1}') == {"a": 1}

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[1e999]", b"[" * 500_000])
    def test_what_is_no_json_is_a_fault(self, body):
        assert fault_of(lambda: read_object(body)) == (400, "The body is not JSON in UTF-8")

    @pytest.mark.parametrize("body", [b"[]", b"1", b"null"])
    def test_what_is_no_object_is_a_fault(self, body):
        assert fault_of(lambda: read_object(body)) == (400, "The body is not a JSON object")


class TestReadPublication:
    """B.12, B.13"""

    def test_everything_in_it_is_read(self):
        content = {
            "name": "view",
            "channels": ["b", "a", "b"],
            "data": {"x": [1]},
            "socket_id": "1.2",
            "info": "user_count, subscription_count",
        }
        info = frozenset({"user_count", "subscription_count"})
        assert read_publication(content, LIMITS) == Publication(("b", "a"), "view", '{"x":[1]}', "1.2", info)

    def test_an_event_of_a_batch_names_one_channel(self):
        """B.18"""
        content = {"name": "view", "channel": "a", "channels": ["b"], "data": ""}
        expected = Publication(("a",), "view", "", None, None)
        assert read_publication(content, LIMITS, is_in_batch=True) == expected

    @pytest.mark.parametrize(
        ("changes", "status", "message"),
        [
            ({"channels": []}, 400, "Expected channels parameter to be an array of strings that is not empty"),
            ({"channels": ["a"] * 101}, 400, "An event names 100 channels at most"),
            ({"name": 1}, 400, "Expected name parameter to be a string"),
            ({"name": ""}, 400, "An event's name is a text that is not empty, not ''."),
            ({"socket_id": []}, 400, "Expected socket_id parameter to be a string"),
            ({"socket_id": "x"}, 400, 'Invalid socket_id: "x"'),
            ({"info": 1}, 400, "Expected info parameter to be a string"),
        ],
    )
    def test_a_faulty_one_is_a_fault(self, changes, status, message):
        content = {"name": "view", "channels": ["a"], "data": "{}"} | changes
        assert fault_of(lambda: read_publication(content, LIMITS)) == (status, message)

    def test_data_is_needed(self):
        fault = fault_of(lambda: read_publication({"name": "view", "channel": "a"}, LIMITS))
        assert fault == (400, "Expected data parameter to be a string")

    def test_data_over_the_limit_is_another_fault(self):
        """B.14"""
        content = {"name": "view", "channel": "a", "data": "x" * 10_241}
        assert fault_of(lambda: read_publication(content, LIMITS))[0] == 413

    def test_data_too_deep_to_be_written_is_a_fault(self, monkeypatch):
        def fail(value):
            raise ValueError("The JSON is nested too deeply")

        monkeypatch.setattr(publications, "encode", fail)
        content = {"name": "view", "channel": "a", "data": []}
        assert fault_of(lambda: read_publication(content, LIMITS)) == (400, "The JSON is nested too deeply")

    @given(st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
    def test_anything_is_read_or_a_fault(self, content):
        assert fault_of(lambda: read_publication(content, LIMITS))[0] == 400


class TestCheckChannel:
    @pytest.mark.parametrize("channel", ["a", "presence-a", "#server-to-user-é/ "])
    def test_a_name_is_given_back(self, channel):
        """A.23, B.16"""
        assert check_channel(channel, LIMITS) == channel

    @pytest.mark.parametrize("channel", ["", "a b", "#a", "x" * 165, None, ["a"], "#server-to-user-"])
    def test_anything_else_is_a_fault(self, channel):
        assert fault_of(lambda: check_channel(channel, LIMITS))[0] == 400


class TestReadInfo:
    """B.17"""

    @pytest.mark.parametrize(
        ("info", "attributes"), [(None, set()), ("", set()), ("a", {"a"}), ("a,b", {"a", "b"}), ("a, b", {"a", "b"})]
    )
    def test_attributes_stand_between_commas(self, info, attributes):
        assert read_info(info) == attributes

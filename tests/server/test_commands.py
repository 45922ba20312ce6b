import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.exceptions import PusherableError
from pusherable.server.commands import (
    Depart,
    Join,
    Leave,
    Publish,
    SignIn,
    Tell,
    Terminate,
    Whisper,
    decode_values,
    encode_values,
    read_command,
    read_member,
    write_command,
    write_member,
)
from pusherable.server.credentials import Member, User

TEXT = st.text(st.characters())
COMMANDS = st.one_of(
    st.builds(Join, TEXT, TEXT, TEXT, st.none() | st.builds(Member, TEXT, st.dictionaries(TEXT, TEXT))),
    st.builds(Leave, TEXT, TEXT, TEXT),
    st.builds(Depart, TEXT, TEXT),
    st.builds(
        lambda app_id, socket_id, id: SignIn(app_id, socket_id, User(id, json.dumps({"id": id}))),
        TEXT,
        TEXT,
        TEXT.filter(bool),
    ),
    st.builds(Publish, TEXT, st.lists(TEXT).map(tuple), TEXT, TEXT, st.none() | TEXT, st.none() | TEXT),
    st.builds(Whisper, TEXT, TEXT, TEXT, TEXT, TEXT),
    st.builds(Terminate, TEXT, TEXT),
    st.builds(Tell, TEXT, st.lists(st.tuples(st.integers(0), st.integers(0))).map(tuple)),
)


class TestWriteCommand:
    @given(COMMANDS)
    def test_is_read_again_whatever_is_in_it(self, command):
        assert read_command(decode_values(encode_values(write_command(command)))) == command

    def test_is_short_json(self):
        assert encode_values(write_command(Join("1", "1.2", "presence-é", Member("7", {"name": "Ada"})))) == (
            '["join","1","1.2","presence-é","7",{"name":"Ada"}]'.encode()
        )


class TestReadCommand:
    @pytest.mark.parametrize(
        "values",
        [
            [],
            ["jump", "1"],
            ["join", "1", "1.2"],
            ["join", "1", "1.2", "a", "7"],
            ["join", 1, "1.2", "a"],
            ["publish", "1", "a", "e", "{}", None, None],
            ["publish", "1", ["a"], "e", "{}", 7, None],
            ["publish", "1", ["a"], "e", "{}", None, 7],
            ["tell", "1", [["x", 1]]],
        ],
    )
    def test_anything_else_is_refused(self, values):
        with pytest.raises(ValueError, match="^This is no |invalid literal"):
            read_command(values)

    def test_a_user_that_is_none_is_refused(self):
        with pytest.raises(PusherableError):
            read_command(["sign in", "1", "1.2", "{}"])


class TestReadMember:
    @pytest.mark.parametrize("member", [None, Member("7"), Member("7", {"name": "Ada"})])
    def test_is_what_was_written(self, member):
        assert read_member(write_member(member)) == member

    def test_anything_else_is_refused(self):
        with pytest.raises(ValueError, match="^This is no member of a presence channel$"):
            read_member([7, {}])


class TestEncodeValues:
    def test_a_lone_surrogate_stays_an_escape(self):
        assert encode_values(["\ud800é"]) == b'["\\ud800\\u00e9"]'
        assert decode_values(b'["\\ud800\\u00e9"]') == ["\ud800é"]

    def test_what_is_no_json_is_refused(self):
        with pytest.raises(ValueError, match="Expecting"):
            decode_values(b"[1")

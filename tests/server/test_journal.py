import pytest

from pusherable.server.facts import (
    Broadcast,
    Complained,
    Connected,
    Disconnected,
    Occupied,
    Refused,
    Subscribed,
    Unsubscribed,
    Vacated,
)
from pusherable.server.journal import describe, is_essential

LINES = [
    (Connected("1", "1.2"), "1.2 connected"),
    (Disconnected("1", "1.2"), "1.2 disconnected"),
    (Subscribed("1", "1.2", "a"), "1.2 subscribed to a"),
    (Unsubscribed("1", "1.2", "a"), "1.2 unsubscribed from a"),
    (Occupied("1", "a"), "a is occupied"),
    (Vacated("1", "a"), "a is vacated"),
    (Broadcast("1", "a", "view", '{"b":"é"}', 1), 'view on a to 1 client: {"b":"é"}'),
    (Broadcast("1", "a", "view", "{}", 0), "view on a to 0 clients: {}"),
    (Refused(4001, "No such app"), "A client was sent away (4001): No such app"),
    (Refused(4100, "Too slow", "1.2"), "1.2 was sent away (4100): Too slow"),
    (Complained("1", "1.2", "Invalid JSON"), "1.2 was told: Invalid JSON"),
]


class TestDescribe:
    @pytest.mark.parametrize(("fact", "line"), LINES)
    def test_every_fact_has_its_line(self, fact, line):
        assert describe(fact) == line

    def test_what_would_not_print_is_escaped(self):
        fact = Broadcast("1", "a", "x\x1b[2J", "\n\ud800\u202e", 2)
        assert describe(fact) == r"x\x1b[2J on a to 2 clients: \n\ud800\u202e"


class TestIsEssential:
    @pytest.mark.parametrize(("fact", "line"), LINES)
    def test_only_what_went_wrong_is(self, fact, line):
        assert is_essential(fact) == isinstance(fact, Refused | Complained)

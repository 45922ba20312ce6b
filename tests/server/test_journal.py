import pytest

from pusherable.server.facts import (
    Broadcast,
    CacheMissed,
    ClientEvent,
    Complained,
    Connected,
    CountChanged,
    Disconnected,
    MemberAdded,
    MemberRemoved,
    Occupied,
    Refused,
    Rejected,
    SignedIn,
    Subscribed,
    Unsubscribed,
    Vacated,
)
from pusherable.server.journal import describe, is_essential, tone_of

LINES = [
    (Connected("1", "1.2"), "1.2 connected"),
    (Connected("1", "1.2", None), "1.2 connected, naming no protocol: it is taken for 7"),
    (Disconnected("1", "1.2"), "1.2 disconnected"),
    (Subscribed("1", "1.2", "a"), "1.2 subscribed to a"),
    (Subscribed("1", "1.2", "presence-a", "7"), "1.2 subscribed to presence-a as 7"),
    (Unsubscribed("1", "1.2", "a"), "1.2 unsubscribed from a"),
    (Occupied("1", "a"), "a is occupied"),
    (Vacated("1", "a"), "a is vacated"),
    (Broadcast("1", "a", "view", '{"b":"é"}', 1), 'view on a to 1 client: {"b":"é"}'),
    (Broadcast("1", "a", "view", "{}", 0), "view on a to 0 clients: {}"),
    (Broadcast("1", "a", "view", "x" * 300, 0), f"view on a to 0 clients: {'x' * 300}"),
    (Broadcast("1", "a", "view", "x" * 1_301, 0), f"view on a to 0 clients: {'x' * 300}… (1,301 characters)"),
    (MemberAdded("1", "presence-a", "7"), "7 came to presence-a"),
    (MemberRemoved("1", "presence-a", "7"), "7 left presence-a"),
    (ClientEvent("1", "private-a", "client-hi", "{}", "1.2"), "1.2 sent client-hi on private-a: {}"),
    (CacheMissed("1", "cache-a"), "cache-a remembers no event"),
    (CountChanged("1", "a", 1), "a has 1 subscriber"),
    (CountChanged("1", "a", 2), "a has 2 subscribers"),
    (SignedIn("1", "1.2", "7"), "1.2 signed in as 7"),
    (Refused(4001, "No such app"), "A client was sent away (4001): No such app"),
    (Refused(4100, "Too slow", "1.2"), "1.2 was sent away (4100): Too slow"),
    (Rejected("POST /apps/1/events", 401, "No"), "POST /apps/1/events was answered by 401: No"),
    (Complained("1", "1.2", "Invalid JSON"), "1.2 was told: Invalid JSON"),
]


class TestDescribe:
    @pytest.mark.parametrize(("fact", "line"), LINES)
    def test_every_fact_has_its_line(self, fact, line):
        assert describe(fact) == line

    def test_what_would_not_print_is_escaped(self):
        fact = Broadcast("1", "a", "x\x1b[2J", "\n\ud800\u202e", 2)
        assert describe(fact) == r"x\x1b[2J on a to 2 clients: \n\ud800\u202e"


class TestToneOf:
    def test_lines_look_like_what_they_tell(self):
        tones = {}
        for fact, _ in LINES:
            tones.setdefault(tone_of(fact), set()).add(type(fact).__name__)
        assert tones == {
            "wrong": {"Refused", "Rejected", "Complained"},
            "arrival": {"Connected", "Subscribed", "Occupied", "MemberAdded", "SignedIn"},
            "departure": {"Disconnected", "Unsubscribed", "Vacated", "MemberRemoved"},
            "event": {"Broadcast", "ClientEvent"},
            "note": {"CacheMissed", "CountChanged"},
        }


class TestIsEssential:
    @pytest.mark.parametrize(("fact", "line"), LINES)
    def test_only_what_went_wrong_is(self, fact, line):
        assert is_essential(fact) == isinstance(fact, Refused | Rejected | Complained)

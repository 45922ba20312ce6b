import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pusherable.server.config import Limits
from pusherable.server.histories import Cursor, Histories, Missed
from pusherable.server.messages import channel_event, member_removed, resync
from tests.server.conftest import Clock
from tests.server.eventsource import read_stream

LIMITS = Limits()
PLENTY = 10**9


@pytest.fixture
def histories(clock):
    return Histories(LIMITS, clock=clock)


def publish(histories, channel, data="1", *, app="1"):
    """Record an event and give back its block, if one was made."""
    message = channel_event("e", channel, data)
    histories.record(app, message)
    return message.block


def data_of(missed):
    return [event.data for event in read_stream(b"".join(missed.blocks)).events]


class TestCursor:
    @pytest.mark.parametrize("channel", [None, "a", "#server-to-user-\r\nid: 1/\u2028\ud800"])
    def test_what_is_written_can_be_read(self, channel):
        cursor = Cursor("0123abcd", 7)
        text = cursor.write(channel)
        assert Cursor.parse(text) == cursor
        assert text.isascii()
        assert text.isprintable()

    def test_the_channel_follows_a_slash(self):
        assert Cursor("0123abcd", 7).write("#server-to-user-a/b") == "0123abcd-7/%23server-to-user-a%2Fb"

    @pytest.mark.parametrize(
        "text", ["x", "0123abcd", "0123abcd-", "0123abcd-1 ", "0123ABCD-1", "0123abcd-1\x00", "-1"]
    )
    def test_what_is_none_is_nobodys(self, text):
        assert Cursor.parse(text) == Cursor("", 0)


class TestMissed:
    def test_who_was_never_here_has_missed_nothing(self, histories):
        assert histories.missed("1", ["a"], None, limit=PLENTY) == Missed()

    def test_events_come_in_the_order_of_all_channels(self, histories):
        for channel in ("a", "b", "c"):
            histories.follow("1", channel)
        start = histories.now
        for number, channel in enumerate("abcba"):
            publish(histories, channel, str(number))
        assert data_of(histories.missed("1", ["b", "a"], start, limit=PLENTY)) == ["0", "1", "3", "4"]

    def test_only_what_came_after_the_cursor_counts(self, histories):
        histories.follow("1", "a")
        publish(histories, "a", "1")
        middle = histories.now
        publish(histories, "a", "2")
        assert data_of(histories.missed("1", ["a"], middle, limit=PLENTY)) == ["2"]
        assert histories.missed("1", ["a"], histories.now, limit=PLENTY) == Missed()

    def test_the_id_of_an_event_is_a_cursor_after_it(self, histories):
        histories.follow("1", "a")
        first, second = publish(histories, "a", "1"), publish(histories, "a", "2")
        cursor = Cursor.parse(read_stream(first).last_event_id)
        assert histories.missed("1", ["a"], cursor, limit=PLENTY) == Missed((second,))

    @pytest.mark.parametrize("cursor", [Cursor("00000000", 0), Cursor("", 0)])
    def test_the_cursor_of_another_run_has_missed_everything(self, histories, cursor):
        histories.follow("1", "a")
        assert histories.missed("1", ["a", "b"], cursor, limit=PLENTY) == Missed(lost=("a", "b"))

    def test_a_cursor_from_the_future_is_another_runs(self, histories):
        histories.follow("1", "a")
        future = replace(histories.now, sequence=1)
        assert histories.missed("1", ["a"], future, limit=PLENTY) == Missed(lost=("a",))

    def test_a_channel_that_nobody_followed_may_have_had_events(self, histories):
        histories.follow("1", "a")
        block = publish(histories, "a")
        missed = histories.missed("1", ["b", "a"], Cursor(histories.now.epoch, 0), limit=PLENTY)
        assert missed == Missed((block,), lost=("b",))

    def test_more_than_can_be_sent_at_once_is_lost(self, histories):
        histories.follow("1", "a")
        start = histories.now
        block = publish(histories, "a")
        assert histories.missed("1", ["a"], start, limit=len(block)) == Missed((block,))
        assert histories.missed("1", ["a"], start, limit=len(block) - 1) == Missed(lost=("a",))

    def test_apps_know_nothing_of_each_other(self, histories):
        histories.follow("1", "a")
        start = histories.now
        assert publish(histories, "a", app="2") is None
        assert histories.missed("1", ["a"], start, limit=PLENTY) == Missed()
        assert histories.missed("2", ["a"], start, limit=PLENTY) == Missed(lost=("a",))


class TestSkip:
    def test_of_a_count_of_ones_own_nothing_is_left_out(self, histories):
        before = histories.now
        histories.skip()
        assert histories.now == before


class TestStamp:
    def test_a_message_is_written_once(self, histories):
        message = channel_event("e", "a", "1")
        assert histories.stamp(message) is histories.stamp(message)

    def test_what_is_not_kept_says_how_far_all_have_read(self, histories):
        histories.follow("1", "a")
        publish(histories, "a")
        block = histories.stamp(member_removed("presence-b", "7"))
        epoch = histories.now.epoch
        assert block.decode() == (
            f'event: pusher:member_removed\ndata: {{"user_id":"7"}}\nid: {epoch}-1/presence-b\n\n'
        )

    def test_a_message_to_one_client_says_how_far_that_one_has_read(self, histories):
        message = channel_event("e", "a", "1")
        block = histories.stamp(message, at=Cursor("0123abcd", 5))
        assert (block, message.block) == (b"event: e\ndata: 1\nid: 0123abcd-5/a\n\n", None)


class TestResync:
    def test_is_told_as_the_stream_itself_tells_it(self, histories):
        histories.follow("1", "a")
        message = resync("a")
        histories.record("1", message)
        [event] = read_stream(message.block).events
        assert (event.name, event.data, event.id) == ("resync", '{"channels":["a"]}', histories.now.write())


class TestBounds:
    def test_without_streams_nothing_is_kept(self, histories):
        assert (histories.keeps("1", "a"), publish(histories, "a")) == (False, None)
        assert histories.now.sequence == 0

    def test_past_the_length_the_oldest_of_a_channel_goes(self, clock):
        histories = Histories(Limits(history_length=2), clock=clock)
        histories.follow("1", "a")
        cursors = [histories.now]
        for number in range(3):
            publish(histories, "a", str(number))
            cursors.append(histories.now)
        assert histories.missed("1", ["a"], cursors[0], limit=PLENTY) == Missed(lost=("a",))
        assert data_of(histories.missed("1", ["a"], cursors[1], limit=PLENTY)) == ["1", "2"]

    def test_what_is_too_old_goes(self, histories, clock):
        histories.follow("1", "a")
        start = histories.now
        publish(histories, "a", "1")
        middle = histories.now
        clock.advance(LIMITS.history_age - 1)
        publish(histories, "a", "2")
        histories.purge()
        assert data_of(histories.missed("1", ["a"], start, limit=PLENTY)) == ["1", "2"]
        clock.advance(1)
        histories.purge()
        assert histories.missed("1", ["a"], start, limit=PLENTY) == Missed(lost=("a",))
        assert data_of(histories.missed("1", ["a"], middle, limit=PLENTY)) == ["2"]

    def test_who_has_read_it_all_loses_nothing_by_age(self, histories, clock):
        histories.follow("1", "a")
        publish(histories, "a")
        clock.advance(10 * LIMITS.history_age)
        histories.purge()
        assert histories.missed("1", ["a"], histories.now, limit=PLENTY) == Missed()

    def test_a_channel_is_kept_for_a_while_after_its_last_stream(self, histories, clock):
        histories.follow("1", "a")
        histories.follow("1", "a")
        histories.leave("1", "a")
        clock.advance(LIMITS.history_age)
        histories.purge()
        histories.leave("1", "a")
        clock.advance(LIMITS.history_age - 1)
        start = histories.now
        publish(histories, "a", "1")
        histories.purge()
        assert data_of(histories.missed("1", ["a"], start, limit=PLENTY)) == ["1"]
        clock.advance(1)
        histories.purge()
        assert not histories.keeps("1", "a")
        assert histories.missed("1", ["a"], start, limit=PLENTY) == Missed(lost=("a",))

    def test_who_comes_back_stops_the_time(self, histories, clock):
        histories.follow("1", "a")
        histories.leave("1", "a")
        histories.follow("1", "a")
        clock.advance(10 * LIMITS.history_age)
        histories.purge()
        assert histories.keeps("1", "a")

    def test_past_the_size_channels_that_nobody_follows_go_first(self, clock):
        histories = Histories(Limits(history_size=5_000), clock=clock)
        for channel in ("a", "b", "c"):
            histories.follow("1", channel)
        start = histories.now
        histories.leave("1", "c")
        histories.leave("1", "b")
        publish(histories, "b", "1")
        publish(histories, "a", '"' + "x" * 1_000 + '"')
        assert [channel for channel in "abc" if histories.keeps("1", channel)] == ["a", "b"]
        assert len(histories.missed("1", ["a", "b"], start, limit=PLENTY).blocks) == 2

    def test_then_the_oldest_events_of_all_go(self, clock):
        histories = Histories(Limits(history_size=5_000), clock=clock)
        for channel in ("a", "b"):
            histories.follow("1", channel)
        start = histories.now
        for channel in ("a", "b", "b"):
            publish(histories, channel, '"' + "x" * 900 + '"')
        missed = histories.missed("1", ["a", "b"], start, limit=PLENTY)
        assert (len(missed.blocks), missed.lost) == (2, ("a",))

    def test_streams_themselves_take_what_they_take(self, clock):
        histories = Histories(Limits(history_size=1), clock=clock)
        histories.follow("1", "a")
        start = histories.now
        publish(histories, "a")
        assert histories.missed("1", ["a"], start, limit=PLENTY) == Missed(lost=("a",))


class TestShare:
    """A count that several processes have in common."""

    @pytest.fixture
    def shared(self, histories):
        histories.share("0123abcd", 1_000)
        return histories

    def test_begins_anew(self, histories):
        histories.follow("1", "a")
        publish(histories, "a")
        histories.share("0123abcd", 1_000)
        assert histories.now == Cursor("0123abcd", 1_000)
        assert histories.missed("1", ["a"], Cursor("0123abcd", 999), limit=PLENTY) == Missed(lost=("a",))

    def test_every_channel_is_kept(self, shared):
        assert shared.keeps("1", "a")
        start = shared.now
        publish(shared, "a", "1")
        publish(shared, "b", "2")
        assert data_of(shared.missed("1", ["a", "b", "c"], start, limit=PLENTY)) == ["1", "2"]

    def test_who_follows_and_leaves_changes_nothing(self, shared):
        start = shared.now
        shared.follow("1", "a")
        publish(shared, "a", "1")
        shared.leave("1", "a")
        assert data_of(shared.missed("1", ["a"], start, limit=PLENTY)) == ["1"]

    def test_the_common_places_are_taken(self, shared):
        shared.advance(5_000)
        publish(shared, "a", "1")
        publish(shared, "a", "2")
        assert shared.now == Cursor("0123abcd", 5_001)
        shared.advance(5_001)
        publish(shared, "a", "3")
        assert shared.now == Cursor("0123abcd", 5_002)

    def test_a_place_that_is_left_out_is_one_for_all(self, shared):
        start = shared.now
        shared.skip()
        publish(shared, "a", "1")
        assert shared.now.sequence == start.sequence + 2
        assert data_of(shared.missed("1", ["a"], start, limit=PLENTY)) == ["1"]

    def test_a_count_of_its_own_is_nobody_elses(self, shared):
        before = shared.now
        shared.count_as("89abcdef")
        publish(shared, "a", "1")
        alone = shared.now
        assert not shared.knows(before)
        shared.count_as("0123abcd")
        assert shared.knows(before)
        assert shared.missed("1", ["a"], alone, limit=PLENTY) == Missed(lost=("a",))

    def test_what_was_dropped_makes_a_gap_before_it(self, shared, clock):
        start = shared.now
        publish(shared, "a", "1")
        clock.advance(LIMITS.history_age)
        publish(shared, "b", "2")
        shared.purge()
        # Nor is it known any more whether a channel without events ever had one.
        assert shared.missed("1", ["a", "b", "c"], start, limit=PLENTY).lost == ("a", "c")
        assert data_of(shared.missed("1", ["a", "b"], replace(start, sequence=1_001), limit=PLENTY)) == ["2"]

    def test_past_the_length_only_that_channel_has_a_gap(self, clock):
        shared = Histories(replace(LIMITS, history_length=2), clock=clock)
        shared.share("0123abcd", 1_000)
        start = shared.now
        for number in range(3):
            publish(shared, "a", str(number))
        publish(shared, "b", "3")
        missed = shared.missed("1", ["a", "b"], start, limit=PLENTY)
        assert (missed.lost, data_of(missed)) == (("a",), ["3"])

    def test_memory_is_bounded(self, clock):
        shared = Histories(replace(LIMITS, history_size=20_000), clock=clock)
        shared.share("0123abcd", 1_000)
        for number in range(1_000):
            publish(shared, f"channel-{number}")
        assert shared._size <= 20_000
        assert len(shared._histories) < 20
        assert data_of(shared.missed("1", ["channel-999"], replace(shared.now, sequence=1_999), limit=PLENTY)) == ["1"]


class TestHandover:
    def restored(self, text, clock, *, limits=LIMITS, age=0.0):
        histories = Histories(limits, clock=clock)
        histories.restore(text, age=age)
        return histories

    def test_who_comes_back_to_another_process_loses_nothing(self, histories, clock):
        histories.follow("1", "a")
        histories.follow("2", "b\u2028")
        start = histories.now
        for number in range(3):
            publish(histories, "a", str(number))
        after = self.restored(histories.dump(), Clock())
        assert after.now == histories.now
        publish(after, "a", "3")
        assert data_of(after.missed("1", ["a"], start, limit=PLENTY)) == ["0", "1", "2", "3"]
        assert after.missed("2", ["b\u2028"], start, limit=PLENTY) == Missed()

    def test_gaps_stay_gaps(self, clock):
        histories = Histories(Limits(history_length=1), clock=clock)
        histories.follow("1", "a")
        start = histories.now
        publish(histories, "a")
        publish(histories, "a")
        after = self.restored(histories.dump(), clock)
        assert after.missed("1", ["a"], start, limit=PLENTY) == Missed(lost=("a",))

    def test_time_goes_on(self, histories, clock):
        histories.follow("1", "a")
        publish(histories, "a")
        clock.advance(100)
        text = histories.dump()
        start = Cursor(histories.now.epoch, 0)
        other = Clock()
        after = self.restored(text, other, age=LIMITS.history_age - 101)
        assert len(after.missed("1", ["a"], start, limit=PLENTY).blocks) == 1
        other.advance(1)
        after.purge()
        assert after.missed("1", ["a"], start, limit=PLENTY) == Missed(lost=("a",))
        assert after.keeps("1", "a")
        other.advance(100)
        after.purge()
        assert not after.keeps("1", "a")

    def test_who_has_gone_longest_is_forgotten_first(self, histories, clock):
        for channel in ("a", "b"):
            histories.follow("1", channel)
        histories.leave("1", "b")
        clock.advance(10)
        histories.leave("1", "a")
        after = self.restored(histories.dump(), clock)
        clock.advance(LIMITS.history_age - 10)
        after.purge()
        assert [channel for channel in "ab" if after.keeps("1", channel)] == ["a"]

    def test_a_smaller_limit_holds(self, histories, clock):
        for channel in ("a", "b"):
            histories.follow("1", channel)
            for _ in range(2):
                publish(histories, channel, '"' + "x" * 5_000 + '"')
        after = self.restored(histories.dump(), clock, limits=Limits(history_size=3_000))
        assert not after.missed("1", ["a", "b"], after.now, limit=PLENTY).blocks

    @pytest.mark.parametrize(
        "text",
        ["", "[", "[]", "{}", '{"epoch":"a","sequence":null,"histories":[]}', '{"epoch":1,"sequence":1}', "null"],
    )
    def test_what_cannot_be_read_leaves_all_as_it_was(self, histories, text):
        before = histories.now
        with pytest.raises(ValueError, match="The histories that were handed over cannot be read"):
            histories.restore(text)
        assert histories.now == before

    def test_it_is_json(self, histories):
        assert json.loads(histories.dump()) == {"epoch": histories.now.epoch, "sequence": 0, "histories": []}


CHANNELS = ("a", "b", "c")


class Model(RuleBasedStateMachine):
    """Whatever happens, a client that comes back has every event once and in order, or is told of the gap."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.limits = Limits(history_length=3, history_age=50, history_size=6_000)
        self.histories = Histories(self.limits, clock=self.clock)
        self.published = 0
        #: What was published on each channel, by number, ever.
        self.everything = []
        #: A stream: its channels, its cursor, all that it has read or was told to have lost, whether it is there.
        self.streams = []

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1))
    def come(self, channels):
        for channel in channels:
            self.histories.follow("1", channel)
        stream = {"channels": channels, "cursor": self.histories.now, "here": True, "from": self.published}
        self.streams.append({**stream, "read": [], "lost": set()})

    @rule(index=st.integers(0, 5))
    def go_or_come_back(self, index):
        if index >= len(self.streams):
            return
        stream = self.streams[index]
        if stream["here"]:
            for channel in stream["channels"]:
                self.histories.leave("1", channel)
            stream["here"] = False
            return
        missed = self.histories.missed("1", stream["channels"], stream["cursor"], limit=PLENTY)
        for channel in stream["channels"]:
            self.histories.follow("1", channel)
        unseen = {(channel, number) for channel, number in self.everything if channel in missed.lost}
        stream["lost"] |= unseen - set(stream["read"])
        stream["here"] = True
        self.read(stream, b"".join(missed.blocks))
        stream["cursor"] = self.histories.now

    @rule(channel=st.sampled_from(CHANNELS), size=st.sampled_from([1, 1_000]))
    def publish(self, channel, size):
        self.published += 1
        self.everything.append((channel, self.published))
        block = publish(self.histories, channel, json.dumps([self.published, "x" * size]))
        for stream in self.streams:
            if stream["here"] and channel in stream["channels"]:
                self.read(stream, block)

    def read(self, stream, content):
        for event in read_stream(content).events:
            assert event.id.partition("/")[2] in stream["channels"]
            stream["read"].append((event.id.partition("/")[2], json.loads(event.data)[0]))
            stream["cursor"] = Cursor.parse(event.id)

    @rule(seconds=st.sampled_from([1, 30]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.histories.purge()

    @rule()
    def reload(self):
        for stream in self.streams:
            if stream["here"]:
                for channel in stream["channels"]:
                    self.histories.leave("1", channel)
                stream["here"] = False
        text = self.histories.dump()
        self.histories = Histories(self.limits, clock=self.clock)
        self.histories.restore(text)

    @invariant()
    def everybody_here_has_it_all_or_knows_better(self):
        for stream in self.streams:
            numbers = [number for _, number in stream["read"]]
            assert numbers == sorted(set(numbers))
            if stream["here"]:
                wanted = {
                    (channel, number)
                    for channel, number in self.everything
                    if channel in stream["channels"] and number > stream["from"]
                }
                assert wanted <= set(stream["read"]) | stream["lost"]


TestNothingIsSkippedInSilence = Model.TestCase
TestNothingIsSkippedInSilence.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)

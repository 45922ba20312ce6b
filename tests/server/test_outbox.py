import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.outbox import Outbox
from tests.server.loops import FakeLoop, SlowTransport


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def outbox(loop):
    return Outbox(loop)


@pytest.fixture
def held(loop, outbox):
    """A transport that has just been written to for 5 ms; what follows waits so long."""
    transport = SlowTransport(loop, seconds=0.005)
    outbox.post(transport, b"first")
    loop.advance()
    transport.written.clear()
    return transport


class TestPost:
    def test_a_lone_frame_is_written_at_once(self, loop, outbox):
        transport = SlowTransport(loop)
        outbox.post(transport, b"a")
        assert transport.written == [b"a"]

    def test_frames_of_turns_that_are_short_are_written_at_once(self, loop, outbox):
        transport = SlowTransport(loop, seconds=0.0002)
        for frame in (b"a", b"b", b"c"):
            outbox.post(transport, frame)
            outbox.post(transport, frame)
            loop.advance()
        assert transport.written == [b"a", b"a", b"b", b"b", b"c", b"c"]

    def test_frames_of_one_turn_are_written_at_once_however_long_it_is(self, loop, outbox):
        transport = SlowTransport(loop, seconds=1)
        for frame in (b"a", b"b"):
            outbox.post(transport, frame)
        assert transport.written == [b"a", b"b"]

    def test_what_follows_a_long_turn_waits_as_long_and_is_joined(self, loop, outbox, held):
        outbox.post(held, b"a")
        outbox.post(held, b"b")
        loop.advance(0.004)
        assert held.written == []
        loop.advance(0.0015)
        assert held.written == [b"ab"]

    def test_nothing_waits_longer_than_a_fiftieth_of_a_second(self, loop, outbox):
        transport = SlowTransport(loop, seconds=60)
        outbox.post(transport, b"a")
        loop.advance()
        outbox.post(transport, b"b")
        loop.advance(0.0201)
        assert transport.written == [b"a", b"b"]

    def test_after_a_pause_a_frame_is_written_at_once_again(self, loop, outbox, held):
        loop.advance(0.006)
        outbox.post(held, b"a")
        assert held.written == [b"a"]

    def test_as_long_as_more_comes_it_is_written_in_turns(self, loop, outbox, held):
        for frame in (b"a", b"b", b"c"):
            outbox.post(held, frame)
            outbox.post(held, frame)
            loop.advance(0.006)
        assert held.written == [b"aa", b"bb", b"cc"]

    def test_what_is_the_same_for_many_is_joined_once(self, loop, outbox, held):
        others = [SlowTransport(loop) for _ in range(3)]
        for frame in (b"a", b"b"):
            for transport in (held, *others):
                outbox.post(transport, frame)
        outbox.post(others[2], b"c")
        loop.advance(0.006)
        assert [transport.written for transport in (held, *others)] == [[b"ab"], [b"ab"], [b"ab"], [b"abc"]]
        assert held.written[0] is others[0].written[0] is others[1].written[0]

    def test_so_much_that_it_takes_memory_is_written_before_its_time(self, loop, outbox, held):
        frames = [bytes([number]) * 10_000 for number in range(10)]
        for frame in frames:
            outbox.post(held, frame)
        assert held.written == [b"".join(frames[:7])]
        loop.advance(0.0201)
        assert held.written == [b"".join(frames[:7]), b"".join(frames[7:])]

    def test_what_goes_to_many_counts_once(self, loop, outbox, held):
        others = [SlowTransport(loop) for _ in range(20)]
        frame = b"x" * 10_000
        for transport in others:
            outbox.post(transport, frame)
        outbox.post(held, b"y")
        assert [transport.written for transport in (held, *others)] == [[]] * 21

    def test_without_a_loop_it_takes_the_one_that_runs(self):
        async def run():
            transport, outbox = SlowTransport(loop=FakeLoop()), Outbox()
            outbox.post(transport, b"a")
            await asyncio.sleep(0)
            outbox.post(transport, b"b")
            return transport.written

        assert asyncio.run(run()) == [b"a", b"b"]


class TestWrite:
    def test_what_waits_goes_first(self, outbox, held):
        outbox.post(held, b"a")
        outbox.post(held, b"b")
        outbox.write(held, b"c")
        assert held.written == [b"ab", b"c"]

    def test_where_nothing_waits_it_is_written_alone(self, outbox, held):
        outbox.write(held, b"a")
        assert held.written == [b"a"]


class TestRelease:
    def test_what_waits_is_written_and_only_once(self, loop, outbox, held):
        outbox.post(held, b"a")
        outbox.release(held)
        outbox.release(held)
        loop.advance(0.006)
        assert held.written == [b"a"]


class TestForget:
    def test_a_transport_that_is_gone_is_not_written_to(self, loop, outbox, held):
        outbox.post(held, b"a")
        outbox.forget(held)
        outbox.forget(held)
        loop.advance(0.006)
        assert held.written == []


class TestOrder:
    @given(
        costs=st.lists(st.sampled_from([0.0, 0.0004, 0.003, 0.05]), min_size=3, max_size=3),
        steps=st.lists(
            st.tuples(st.sampled_from(["post", "post", "post", "write", "release"]), st.integers(0, 2))
            | st.tuples(st.just("wait"), st.sampled_from([0.0, 0.0005, 0.002, 0.03])),
            max_size=60,
        ),
        size=st.sampled_from([1, 5_000]),
    )
    def test_whatever_waits_each_transport_is_sent_what_it_would_have_been_without(self, costs, steps, size):
        loop = FakeLoop()
        outbox = Outbox(loop)
        transports = [SlowTransport(loop, seconds=cost) for cost in costs]
        expected = [b"", b"", b""]
        for number, (step, which) in enumerate(steps):
            frame = bytes([number]) * size
            if step == "wait":
                loop.advance(which)
            elif step == "release":
                outbox.release(transports[which])
            else:
                getattr(outbox, step)(transports[which], frame)
                expected[which] += frame
        loop.advance(1.0)
        assert [b"".join(transport.written) for transport in transports] == expected

from collections import defaultdict

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pusherable.backends.lanes import LEAST_REQUEST_SIZE, MAX_REQUEST_SIZE, Job, Lane
from pusherable.events import Event


def job(*channels, name="view", data="{}", born=0.0):
    return Job(Event(channels or ("a",), name, data), born=born)


def lane(*jobs):
    made = Lane()
    for each in jobs:
        made.add(each)
    return made


def fail(made, jobs, until):
    for each in jobs:
        each.attempts += 1
        each.not_before = until
    made.put_back(jobs)


class TestJob:
    def test_user_is_disconnected_behind_what_was_sent_to_it(self):
        made = Job(None, user_id="7", born=1.0)
        assert (made.channels, made.is_alone, made.size) == (("#server-to-user-7",), True, 0)


class TestTake:
    def test_nothing_is_taken_of_nothing(self):
        assert lane().take(0.0) == []
        assert lane().take(0.0, is_probing=True) == []

    def test_ten_channels_are_taken_together(self):
        jobs = [job(f"{n}") for n in range(25)]
        made = lane(*jobs)
        assert [made.take(0.0) for _ in range(4)] == [jobs[:10], jobs[10:20], jobs[20:], []]
        assert len(made) == 0

    def test_channels_are_counted_not_events(self):
        first, second, third = job("a", "b", "c", "d"), job("a", "b", "c", "d"), job("a", "b", "c")
        made = lane(first, second, third)
        assert [made.take(0.0), made.take(0.0)] == [[first, second], [third]]

    def test_event_for_many_channels_travels_alone(self):
        few, many, last = job("a"), job(*(f"{n}" for n in range(100))), job("a")
        made = lane(few, many, last)
        assert [made.take(0.0) for _ in range(3)] == [[few], [many], [last]]

    def test_user_is_disconnected_alone(self):
        first, second, third = job("a"), Job(None, user_id="7", born=0.0), job("a")
        made = lane(first, second, third)
        assert [made.take(0.0) for _ in range(3)] == [[first], [second], [third]]

    def test_large_events_share_a_request_up_to_its_size(self):
        jobs = [job("a", data="x" * (MAX_REQUEST_SIZE // 3)) for _ in range(4)]
        made = lane(*jobs)
        assert [made.take(0.0), made.take(0.0)] == [jobs[:3], jobs[3:]]

    def test_lesson_makes_requests_smaller(self):
        jobs = [job("a", data="x" * 2_000) for _ in range(4)]
        made = lane(*jobs)
        made.shrink(jobs)
        assert made.take(0.0) == jobs[:2]
        made.shrink(jobs[:1])
        assert made.take(0.0) == jobs[2:3]
        for _ in range(10):
            made.shrink(jobs[:1])
        assert made._request_size == LEAST_REQUEST_SIZE


class TestPutBack:
    def test_what_failed_holds_back_its_channels_alone(self):
        failed, behind, other = job("a"), job("a", "b"), job("c")
        made = lane(failed)
        fail(made, made.take(0.0), until=5.0)
        behind_the_one_behind = job("b")
        for each in (behind, other, behind_the_one_behind):
            made.add(each)
        assert made.take(0.0) == [other]
        assert (made.take(0.0), made.wait(1.0)) == ([], 4.0)
        assert made.take(5.0) == [failed, behind, behind_the_one_behind]

    def test_order_of_what_is_put_back_is_kept(self):
        jobs = [job("a"), job("b"), job("a")]
        made = lane(*jobs)
        made.put_back(made.take(0.0))
        assert made.take(0.0) == jobs

    def test_what_is_to_be_alone_is(self):
        jobs = [job("a"), job("b"), job("c")]
        made = lane(*jobs)
        taken = made.take(0.0)
        taken[0].is_alone = taken[1].is_alone = True
        made.put_back(taken)
        assert [made.take(0.0) for _ in range(3)] == [[jobs[0]], [jobs[1]], [jobs[2]]]

    def test_full_request_leaves_the_others_held(self):
        jobs = [job("a") for _ in range(12)]
        made = lane(*jobs[:10])
        first = made.take(0.0)
        made.put_back(first)
        for each in jobs[10:]:
            made.add(each)
        assert [made.take(0.0), made.take(0.0)] == [jobs[:10], jobs[10:]]

    def test_hurry_lets_nothing_wait(self):
        failed = job("a")
        made = lane(failed)
        fail(made, made.take(0.0), until=5.0)
        assert made.take(0.0) == []
        made.hurry()
        assert made.take(0.0) == [failed]


class TestProbe:
    def test_it_is_what_has_not_failed_yet(self):
        failed, fresh = job("a"), job("b")
        made = lane(failed)
        fail(made, made.take(0.0), until=0.0)
        made.add(fresh)
        assert [made.take(0.0, is_probing=True) for _ in range(3)] == [[fresh], [failed], []]

    def test_else_what_has_failed_least(self):
        often, once = job("a"), job("b")
        made = lane(often, once)
        fail(made, made.take(0.0), until=0.0)
        often.attempts = 2
        assert made.take(0.0, is_probing=True) == [once]

    def test_it_does_not_jump_the_queue(self):
        failed, behind = job("a"), job("a")
        made = lane(failed)
        fail(made, made.take(0.0), until=3.0)
        made.add(behind)
        assert (made.take(0.0, is_probing=True), made.wait(0.0)) == ([], 3.0)


class TestExpire:
    def test_old_ones_are_taken_out_wherever_they_are(self):
        failed, old, young = job("a", born=0.0), job("b", born=1.0), job("a", born=2.0)
        made = lane(failed)
        fail(made, made.take(0.0), until=9.0)
        made.add(old)
        made.add(young)
        assert made.expire(2.0) == [failed, old]
        assert made.take(2.0) == [young]

    def test_nothing_old_leaves_all(self):
        made = lane(job("a", born=5.0))
        assert (made.expire(5.0), len(made)) == ([], 1)


# What a service may do with a request: take it, fail it for a while, or fail it and be asked again at once.
answers = st.lists(st.sampled_from(["take", "take", "later", "again", "alone"]), min_size=200, max_size=200)
channel_sets = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4, unique=True)


class TestOrder:
    @hypothesis_settings(max_examples=40)
    @given(jobs=st.lists(channel_sets, max_size=60), answers=answers, probing=st.lists(st.booleans(), max_size=200))
    def test_channels_keep_it_whatever_fails(self, jobs, answers, probing):
        made, taken, now = Lane(), defaultdict(list), 0.0
        answers, probing = iter([*answers, *["take"] * 1_000]), iter([*probing, *[False] * 1_000])
        sent = [job(*channels, name=f"{n}") for n, channels in enumerate(jobs)]
        coming = iter(sent)
        for _ in range(900):
            for each in (next(coming, None), next(coming, None)):
                if each is not None:
                    made.add(each)
            now += 1.0
            batch = made.take(now, is_probing=next(probing))
            match next(answers):
                case "take":
                    for each in batch:
                        for channel in each.channels:
                            taken[channel].append(int(each.event.name))
                case "later":
                    fail(made, batch, until=now + 3.0)
                case "alone":
                    for each in batch:
                        each.is_alone = True
                    made.put_back(batch)
                case _:
                    made.put_back(batch)
        assert len(made) == 0
        assert {channel: sorted(numbers) for channel, numbers in taken.items()} == taken
        assert sum(map(len, taken.values())) == sum(map(len, jobs))

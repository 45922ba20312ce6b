from hypothesis import given
from hypothesis import strategies as st

from pusherable.server.rates import Rate, Throttle


class TestRate:
    """A.41"""

    def test_as_many_as_the_limit_are_allowed(self):
        rate = Rate(3)
        assert [rate.allows(now) for now in (0.0, 0.1, 0.9, 0.9)] == [True, True, True, False]

    def test_what_is_a_period_ago_does_not_count(self):
        rate = Rate(2, period=5.0)
        assert [rate.allows(now) for now in (0.0, 4.0, 4.9, 5.0, 8.9, 9.0)] == [True, True, False, True, False, True]

    def test_a_limit_of_none_at_all_allows_nothing(self):
        assert not Rate(0).allows(0.0)

    @given(st.integers(1, 5), st.lists(st.floats(0, 10)).map(sorted))
    def test_no_second_sees_more_than_the_limit(self, limit, times):
        rate = Rate(limit)
        allowed = [now for now in times if rate.allows(now)]
        assert all(later - earlier >= 1 for earlier, later in zip(allowed, allowed[limit:], strict=False))


class TestThrottle:
    """A.45"""

    def test_the_first_change_is_told_at_once(self):
        throttle = Throttle(period=5.0)
        assert throttle.allows("a", 0.0)
        assert throttle.due(10.0) == []

    def test_later_changes_are_told_together_when_the_period_is_over(self):
        throttle = Throttle(period=5.0)
        assert [throttle.allows("a", now) for now in (0.0, 1.0, 2.0)] == [True, False, False]
        assert [throttle.due(now) for now in (4.9, 5.0, 10.0)] == [[], ["a"], []]
        assert not throttle.allows("a", 9.9)

    def test_a_change_after_the_period_is_told_at_once(self):
        throttle = Throttle(period=5.0)
        throttle.allows("a", 0.0)
        throttle.allows("a", 1.0)
        assert throttle.allows("a", 5.0)
        assert throttle.due(5.0) == []

    def test_what_is_urgent_waits_for_nothing(self):
        throttle = Throttle(period=5.0)
        throttle.allows("a", 0.0)
        throttle.allows("a", 1.0)
        assert throttle.allows("a", 1.0, is_urgent=True)
        assert throttle.due(6.0) == []

    def test_names_do_not_wait_for_each_other(self):
        throttle = Throttle(period=5.0)
        assert [throttle.allows(name, 0.0) for name in ("b", "a", "b", "a")] == [True, True, False, False]
        assert throttle.due(5.0) == ["a", "b"]

    def test_what_is_forgotten_is_not_told(self):
        throttle = Throttle(period=5.0)
        throttle.allows("a", 0.0)
        throttle.allows("a", 1.0)
        throttle.forget("a")
        throttle.forget("b")
        assert throttle.due(5.0) == []
        assert throttle.allows("a", 1.0)

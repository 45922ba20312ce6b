import pytest

from pusherable.backends.circuits import FAILURES_TO_OPEN, FIRST_PAUSE, LONGEST_PAUSE, Circuit, backoff


def circuit(chance=1.0):
    return Circuit(chance=lambda: chance)


def opened():
    made = circuit()
    for _ in range(FAILURES_TO_OPEN):
        made.fail(0.0)
    return made


class TestBackoff:
    @pytest.mark.parametrize(
        ("attempts", "longest"), [(1, 0.25), (2, 0.5), (3, 1.0), (6, 8.0), (7, 10.0), (10_000, 10.0)]
    )
    def test_it_doubles_up_to_a_bound(self, attempts, longest):
        assert backoff(attempts, chance=lambda: 1.0) == longest
        assert backoff(attempts, chance=lambda: 0.0) == longest / 2

    def test_it_is_scattered(self):
        assert len({backoff(1) for _ in range(10)}) > 1


class TestCircuit:
    def test_it_is_closed_at_first(self):
        made = circuit()
        assert (made.is_closed, made.wait(0.0), made.admit(0.0)) == (True, 0.0, 0.0)

    def test_failures_in_a_row_open_it(self):
        made = circuit()
        for _ in range(FAILURES_TO_OPEN - 1):
            made.fail(0.0)
        assert made.is_closed
        made.fail(0.0)
        assert (made.is_closed, made.wait(0.0), made.admit(0.1)) == (False, 0.5, 0.4)

    def test_success_between_them_keeps_it_closed(self):
        made = circuit()
        for _ in range(FAILURES_TO_OPEN):
            made.fail(0.0)
            made.succeed()
        assert made.is_closed

    def test_failures_that_tell_nothing_keep_it_closed(self):
        made = circuit()
        for _ in range(FAILURES_TO_OPEN):
            made.fail(0.0, is_telling=False)
        assert made.is_closed

    def test_after_the_pause_one_may_probe(self):
        made = opened()
        assert made.admit(0.5) == 0.0
        assert made.admit(0.5) == FIRST_PAUSE

    def test_probe_that_succeeds_closes_it(self):
        made = opened()
        made.admit(0.5)
        made.succeed()
        assert (made.is_closed, made.admit(0.5), made.admit(0.5)) == (True, 0.0, 0.0)

    def test_probe_that_fails_opens_it_for_longer(self):
        made = opened()
        pauses, now = [], 0.5
        for _ in range(7):
            assert made.admit(now) == 0.0
            made.fail(now)
            pauses.append(made.wait(now))
            now += pauses[-1]
        assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE])

    def test_those_under_way_when_it_opened_do_not_lengthen_the_pause(self):
        made = opened()
        made.fail(0.1)
        assert made.wait(0.1) == 0.4

    def test_pause_that_the_service_asks_for_is_kept(self):
        made = circuit()
        made.fail(0.0, retry_after=7.0)
        assert (made.is_closed, made.wait(2.0), made.admit(2.0), made.admit(7.0)) == (True, 5.0, 5.0, 0.0)

    def test_shorter_one_does_not_cut_a_longer_one_short(self):
        made = circuit()
        made.fail(0.0, retry_after=7.0)
        made.fail(0.0, retry_after=1.0)
        assert made.wait(0.0) == 7.0

from pusherable.server.repeats import Repeats


class TestIsRepeat:
    def test_only_the_first_is_none(self):
        repeats = Repeats()
        assert [repeats.is_repeat(id, "x", 0.0) for id in ("a", "b", "a")] == [False, False, True]

    def test_is_known_for_a_while_from_the_first_on(self):
        repeats = Repeats(age=10)
        assert [repeats.is_repeat("a", "x", now) for now in (0.0, 9.9, 10.0, 19.9)] == [False, True, False, True]

    def test_each_channel_is_one_of_its_own(self):
        repeats = Repeats()
        assert [repeats.is_repeat("a", channel, 0.0) for channel in "xyx"] == [False, False, True]

    def test_past_the_count_the_oldest_is_forgotten(self):
        repeats = Repeats(count=2)
        assert [repeats.is_repeat(id, "x", 0.0) for id in ("a", "b", "c", "b", "a")] == [
            False,
            False,
            False,
            True,
            False,
        ]


class TestPurge:
    def test_gives_back_what_is_too_old(self):
        repeats = Repeats(age=10)
        for number in range(3):
            repeats.is_repeat(str(number), "x", float(number))
        repeats.purge(11.0)
        assert list(repeats._times) == [("2", "x")]

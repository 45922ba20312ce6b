import pytest
from hypothesis import given
from hypothesis import strategies as st

from pusherable.thinning import is_automatic, latest
from tests.events import about, message


class TestLatest:
    def test_same_name_channels_and_subject_leave_once_at_the_place_of_the_last(self):
        first, other, last = about(data="1"), about("2", channels=["post_2"]), about(data="2")
        assert latest([first, other, last]) == [other, last]

    @pytest.mark.parametrize(
        "different",
        [
            about(name="archived"),
            about(channels=["post_1", "post"]),
            about(socket_id="1.2"),
            about("2"),
            about(user="ada"),
            about(origin="x"),
            about(fields=("title",)),
        ],
    )
    def test_whatever_is_different_is_news(self, different):
        assert latest([about(), different]) == [about(), different]

    def test_messages_are_all_sent(self):
        assert latest([message(), message()]) == [message(), message()]

    def test_messages_with_an_equal_subject_leave_once(self):
        assert latest([message("1", subject=()), message("2", subject=())]) == [message("2")]

    def test_models_own_event_yields_to_a_later_one_on_the_same_channels(self):
        own = about(is_automatic=True, fields=("title",))
        assert latest([own, about(user="ada")]) == [about(user="ada")]
        assert latest([own, about("2")]) == [own, about("2")]
        assert latest([own, about(name="archived")]) == [own, about(name="archived")]
        assert latest([about(user="ada"), own]) == [about(user="ada"), own]

    def test_models_own_event_keeps_the_channels_that_nobody_else_tells(self):
        own = about(channels=["post_1", "post"], is_automatic=True)
        assert latest([own, about()]) == [about(channels=["post"]), about()]

    @given(
        st.lists(
            st.builds(
                about,
                st.sampled_from("12"),
                st.sampled_from(["created", "updated"]),
                st.sampled_from([("a",), ("b",), ("a", "b")]),
                user=st.sampled_from(["", "ada"]),
                is_automatic=st.booleans(),
            )
            | st.builds(message),
            max_size=12,
        )
    )
    def test_nobody_misses_the_last_state_of_anything(self, events):
        left = latest(events)
        for event in events:
            for channel in event.channels:
                told = [
                    each
                    for each in left
                    if channel in each.channels
                    and each.name == event.name
                    and (each.subject is None) == (event.subject is None)
                    and (each.subject is None or each.subject.pk == event.subject.pk)
                ]
                assert told
        assert [each for each in left if each.subject is None] == [each for each in events if each.subject is None]
        assert len(left) <= len(events)


class TestIsAutomatic:
    def test_only_what_a_model_has_published_is(self):
        assert is_automatic(about(is_automatic=True))
        assert not any(map(is_automatic, [about(), message(), message(subject=())]))

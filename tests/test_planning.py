import copy
import datetime
import decimal
import json
import pickle
import uuid
import zoneinfo

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from hypothesis import given
from hypothesis import strategies as st

from pusherable.channels import MAX_LENGTH
from pusherable.events import MAX_ENCRYPTED_SIZE, Subject
from pusherable.exceptions import InvalidEvent, UnknownField
from pusherable.planning import Plan, find_plan
from pusherable.publishing import channel_of, compose
from pusherable.serialization import serialize
from tests.testapp.models import Comment, Document, Elsewhere, FeaturedPost, Page, Post, Review, Seat


class Encoder(json.JSONEncoder):
    pass


class Stubborn(datetime.tzinfo):
    def utcoffset(self, moment):
        raise ZeroDivisionError


def plan_for(model, event="view", *, include=None, exclude=None, private=None):
    return find_plan(model, event, include=include, exclude=exclude, private=private)


def by_plan(instance, event="view", *, user="ada", origin="abc", socket_id=None, max_size=10_240, **options):
    plan = plan_for(type(instance), event, **options)
    return plan.compose(instance, user=user, origin=origin, socket_id=socket_id, max_size=max_size)


def by_hand(instance, event="view", *, user="ada", origin="abc", socket_id=None, private=None, **fields):
    return compose(
        instance,
        event,
        object_data=serialize(instance, **fields),
        channels=channel_of(instance, private=private),
        user=user,
        origin=origin,
        socket_id=socket_id,
    )


def elsewhere(name, pk=1):
    return Elsewhere(id=pk, name=name)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet=st.characters(codec=None), max_size=30),
    st.text(alphabet='"\\\n\x00é😀x', max_size=3_000),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC, zoneinfo.ZoneInfo("Europe/Berlin")])),
    st.decimals(),
    st.uuids(),
    st.lists(st.integers(), max_size=2),
)


class TestPlan:
    @given(name=values, pk=st.integers() | st.uuids() | st.text(min_size=1, max_size=5), user=st.text(max_size=20))
    def test_it_makes_what_is_made_without_it_or_nothing(self, name, pk, user):
        instance = elsewhere(name, pk)
        planned = by_plan(instance, user=user, socket_id="1.2")
        if planned is not None:
            made = by_hand(instance, user=user, socket_id="1.2")
            assert (planned, planned.subject, hash(planned)) == (made, made.subject, hash(made))
            assert "truncated" not in planned.payload

    @pytest.mark.parametrize(
        "value",
        [
            *(None, True, 1, -1.5, "Tür", 10**19),
            *(datetime.date(2026, 1, 2), decimal.Decimal("1.50")),
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001
            *(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), uuid.UUID(int=1)),
            *("x" * 7_000, "é" * 3_500, "\n" * 1_200),
        ],
    )
    def test_values_that_stay_as_they_are_take_it(self, value):
        assert by_plan(elsewhere(value)) == by_hand(elsewhere(value))

    @pytest.mark.parametrize(
        "value",
        [
            *([1], {"a": 1}, b"x", 10**20, 10**4_200, float("nan"), float("inf"), datetime.time(1)),
            *(datetime.timedelta(1), datetime.datetime(2026, 1, 2, tzinfo=Stubborn()), object(), "\ud800"),
            *("x" * MAX_ENCRYPTED_SIZE, "é" * 3_800, "\n" * 1_400, decimal.Decimal("1" * 8_000)),
        ],
    )
    def test_others_do_not(self, value):
        assert by_plan(elsewhere(value)) is None

    def test_view_with_a_limit_of_its_own(self):
        event = by_plan(elsewhere("x" * 100))
        assert by_plan(elsewhere("x" * 100), max_size=len(event.data) - 1) is None

    def test_deferred_value_does_not(self):
        instance = Elsewhere.from_db("default", ["id"], [1])
        assert by_plan(instance) is None

    @pytest.mark.parametrize("pk", ["slug", None, True, 10**20])
    def test_key_that_is_no_plain_number_does_not(self, pk):
        assert by_plan(elsewhere("x", pk)) is None

    def test_key_that_is_a_uuid(self):
        instance = Document(id=uuid.UUID(int=7), name="x")
        assert by_plan(instance) == by_hand(instance)
        assert by_plan(instance).channels == ("document_00000000-0000-0000-0000-000000000007",)

    def test_fields_and_channel_are_those_that_are_asked_for(self):
        instance = Comment(id=3, text="yes")
        event = by_plan(instance, "update", include="text", exclude=["id"], private="encrypted")
        assert event == by_hand(instance, "update", include="text", exclude=["id"], private="encrypted")
        assert (event.channels, event.payload["object"]) == (("private-encrypted-comment_3",), {"text": "yes"})

    def test_proxy_is_told_as_its_model(self):
        instance = FeaturedPost(id=1, title="x")
        event = by_plan(instance, include="title")
        assert event == by_hand(instance, include="title")
        assert event.subject == Subject("testapp.Post", "1", "ada", "abc", ("id", "title"))

    def test_child_with_a_table_of_its_own(self):
        instance = Review(id=1, post_ptr_id=1, stars=4)
        assert by_plan(instance, include="stars") == by_hand(instance, include="stars")

    def test_later_changes_do_not_reach_it(self):
        instance = elsewhere("before")
        event = by_plan(instance)
        instance.name, instance.id = "after", 2
        assert (event.payload["object"], event.payload["pk"]) == ({"id": 1, "name": "before"}, "1")

    def test_text_is_written_once(self):
        event = by_plan(elsewhere("x"))
        assert event.data is event.data
        assert event.subject is event.subject

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))])
    def test_copies_are_equal(self, copied):
        event = by_plan(elsewhere("x"))
        assert (copied(event), copied(event).subject) == (event, event.subject)


class TestFindPlan:
    def test_there_is_one_for_a_model_event_and_choice_of_fields(self):
        assert isinstance(plan_for(Elsewhere), Plan)
        assert plan_for(Elsewhere) is plan_for(Elsewhere)
        assert plan_for(Elsewhere) is not plan_for(Elsewhere, exclude="name")

    def test_model_with_values_that_are_kept_elsewhere_has_none(self):
        assert plan_for(Post) is None

    def test_composite_key_has_none(self):
        assert plan_for(Seat) is None

    def test_name_that_leaves_no_room_for_a_key_has_none(self, monkeypatch):
        monkeypatch.setattr("pusherable.planning.MAX_LENGTH", MAX_LENGTH - 130)
        assert plan_for(Page, "a short channel") is None

    def test_project_with_an_encoder_of_its_own_has_none(self, settings):
        settings.PUSHERABLE_JSON_ENCODER = Encoder
        assert plan_for(Elsewhere) is None
        settings.PUSHERABLE_JSON_ENCODER = DjangoJSONEncoder
        assert plan_for(Elsewhere) is not None

    def test_setting_says_the_kind_of_channel(self, settings):
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        assert by_plan(elsewhere("x")).channels == ("private-elsewhere_1",)
        assert by_plan(elsewhere("x"), private=False).channels == ("elsewhere_1",)

    def test_unknown_field_is_refused(self):
        with pytest.raises(UnknownField):
            plan_for(Elsewhere, include="titel")

    def test_name_that_no_event_has_is_refused(self):
        with pytest.raises(InvalidEvent, match="reserved"):
            plan_for(Elsewhere, "pusher:x")

import datetime
import decimal
import json
import uuid

import pytest
from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from pusherable.exceptions import UnknownField
from pusherable.serialization import serialize
from tests.factories import DocumentFactory, PageFactory, PostFactory, TagFactory, UserFactory
from tests.testapp.models import FeaturedPost, Post, Reading, Review, Seat

pytestmark = pytest.mark.django_db


class TestSerialize:
    def test_editable_fields_and_pk(self):
        author = UserFactory()
        tags = TagFactory.create_batch(2)
        moment = datetime.datetime(2013, 8, 8, 11, 16, 24, tzinfo=datetime.UTC)
        post = PostFactory(author=author, pub_date=moment)
        post.tags.set(tags)
        assert serialize(post) == {
            "id": post.pk,
            "title": "What's up?",
            "body": "Not much.",
            "pub_date": moment,
            "author": author.pk,
            "tags": [tag.pk for tag in tags],
        }

    def test_pk_that_is_not_editable_is_there(self):
        document = DocumentFactory()
        assert serialize(document) == {"id": document.pk, "name": "Charter"}

    def test_include_adds_only_the_pk(self):
        post = PostFactory()
        assert serialize(post, include=["title"]) == {"id": post.pk, "title": "What's up?"}

    def test_include_names_a_field_that_is_not_editable(self):
        assert serialize(PostFactory(), include=["notes"])["notes"] == "for the desk only"

    def test_exclude_goes_before_include(self):
        assert serialize(PostFactory(), include=["title", "body"], exclude=["body", "pk"]) == {"title": "What's up?"}

    def test_bare_string_is_one_name(self):
        assert serialize(PostFactory(), exclude="pub_date").keys() == {"id", "title", "body", "author", "tags"}
        assert serialize(PostFactory(), include="title").keys() == {"id", "title"}

    def test_iterator_of_names_is_refused_since_it_is_empty_the_second_time(self):
        with pytest.raises(TypeError, match="can be read only once, so it would name no fields the second time"):
            serialize(PostFactory(), exclude=(name for name in ["title"]))

    def test_lazy_object_is_what_it_stands_for(self):
        user = UserFactory()
        assert serialize(SimpleLazyObject(lambda: user)) == serialize(user)

    def test_expression_is_read_from_the_database_and_left_in_place(self):
        reading = Reading.objects.create(value=1)
        reading.value = F("value") + 1
        with CaptureQueriesContext(connection) as queries:
            assert serialize(reading, include="value") == {"id": reading.pk, "value": 1.0}
        assert len(queries) == 1
        reading.save()
        assert Reading.objects.get().value == 2

    def test_name_that_is_no_field_lists_the_real_ones(self):
        with pytest.raises(UnknownField) as refusal:
            serialize(PostFactory(), exclude="pub-date")
        assert str(refusal.value) == (
            "'pub-date' is no field of testapp.Post. Mend include or exclude, or in a view "
            "pusher_include_model_fields or pusher_exclude_model_fields; "
            "the fields are: id, title, body, pub_date, author, notes, tags."
        )
        assert refusal.value.names == ("pub-date",)

    def test_several_wrong_names(self):
        with pytest.raises(UnknownField, match="'a', 'b' are no fields of testapp.Post"):
            serialize(PostFactory(), include=["a"], exclude=["b"])

    def test_password_only_where_it_is_named(self):
        user = UserFactory()
        assert "password" not in serialize(user)
        assert serialize(user, include=["password"]) == {"id": user.pk, "password": user.password}

    def test_many_to_many_costs_one_query_and_none_if_prefetched(self):
        post = PostFactory()
        post.tags.set([TagFactory()])
        with CaptureQueriesContext(connection) as queries:
            serialize(post)
        assert len(queries) == 1
        prefetched = Post.objects.prefetch_related("tags").get(pk=post.pk)
        with CaptureQueriesContext(connection) as queries:
            tags = serialize(prefetched)["tags"]
        assert len(queries) == 0
        assert tags == [post.tags.get().pk]

    def test_many_to_many_of_an_unsaved_object_is_empty(self):
        assert serialize(Post(title="x"))["tags"] == []

    def test_every_type_of_value_is_json(self):
        reading = Reading.objects.create(
            price=decimal.Decimal("1.50"),
            lasted=datetime.timedelta(minutes=90),
            day=datetime.date(2026, 1, 2),
            moment=datetime.time(3, 4),
            token=uuid.UUID(int=1),
            extra={"a": [1, None]},
            report="reports/a b.pdf",
            secret_report="reports/c.pdf",
        )
        text = json.dumps(serialize(reading, exclude=["id"]), cls=DjangoJSONEncoder)
        assert json.loads(text) == {
            "value": 1.5,
            "price": "1.50",
            "lasted": "P0DT01H30M00S",
            "day": "2026-01-02",
            "moment": "03:04:00",
            "token": "00000000-0000-0000-0000-000000000001",
            "extra": {"a": [1, None]},
            "report": "/reports/a%20b.pdf",
            "secret_report": "reports/c.pdf",
        }

    def test_file_that_is_not_there_is_empty(self):
        assert serialize(Reading(), include="report")["report"] == ""

    def test_text_pk(self):
        assert serialize(PageFactory()) == {"slug": "about-us", "title": "About us"}

    def test_composite_pk(self):
        seat = Seat.objects.create(row="A", number=7)
        assert serialize(seat) == {"row": "A", "number": 7, "taken": False}
        assert serialize(seat, exclude="pk") == {"taken": False}

    def test_proxy_has_the_fields_of_its_model(self):
        post = PostFactory()
        assert serialize(FeaturedPost.objects.get()) == serialize(post)

    def test_inherited_model_has_the_fields_of_both(self):
        review = Review.objects.create(title="Good", stars=5)
        assert serialize(review, exclude=["pub_date", "author", "tags", "body"]) == {
            "id": review.pk,
            "post_ptr": review.pk,
            "title": "Good",
            "stars": 5,
        }

    def test_deferred_fields_are_loaded_in_one_query(self):
        expected = serialize(PostFactory(), exclude="tags")
        post = Post.objects.only("pk").get()
        with CaptureQueriesContext(connection) as queries:
            assert serialize(post, exclude="tags") == expected
        assert len(queries) == 1

    def test_deferred_fields_that_are_not_wanted_are_not_loaded(self):
        post = PostFactory()
        deferred = Post.objects.defer("body").get()
        with CaptureQueriesContext(connection) as queries:
            assert serialize(deferred, include="title") == {"id": post.pk, "title": "What's up?"}
        assert len(queries) == 0

    def test_deferred_fields_of_a_row_that_is_gone_are_left_out(self):
        PostFactory()
        post = Post.objects.only("title").get()
        Post.objects.all().delete()
        assert serialize(post, exclude="tags") == {"id": post.pk, "title": "What's up?"}

    def test_users_of_any_model(self):
        user = User(username="ada")
        assert serialize(user, include="username") == {"id": None, "username": "ada"}

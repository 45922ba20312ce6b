import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from pusherable.bulk import apublish_many, publish_many
from pusherable.exceptions import UnknownField
from pusherable.suppression import suppress
from tests.factories import DocumentFactory, PostFactory, TagFactory, UserFactory
from tests.testapp.models import Elsewhere, FeaturedPost, Post, Review, Tag

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def make_posts(count):
    tags = TagFactory.create_batch(2)
    posts = [PostFactory(title=str(number)) for number in range(count)]
    for post in posts:
        post.tags.set(tags)
    return posts, [tag.pk for tag in tags]


def queries_of(objects, **options):
    with CaptureQueriesContext(connection) as queries:
        publish_many(objects, "updated", **options)
    return len(queries)


class TestPublishMany:
    def test_queryset_is_published_as_its_objects_are(self, pusherable_outbox):
        posts, tags = make_posts(3)
        assert publish_many(Post.objects.order_by("pk"), "updated", user=UserFactory(username="ada"), origin="x") == 3
        assert [event.channels for event in pusherable_outbox] == [(f"post_{post.pk}",) for post in posts]
        assert pusherable_outbox[2].payload == {
            "object": {
                "id": posts[2].pk,
                "title": "2",
                "body": "Not much.",
                "pub_date": None,
                "author": None,
                "tags": tags,
            },
            "user": "ada",
            "model": "post",
            "pk": str(posts[2].pk),
            "origin": "x",
        }

    def test_queries_depend_on_the_batches_alone(self, pusherable_outbox):
        make_posts(10)
        objects = Post.objects.order_by("pk")
        assert queries_of(objects.all()) == 2
        assert queries_of(objects.all(), batch_size=5) == 3
        assert queries_of(objects.only("title")) == 3
        assert queries_of(objects.prefetch_related("tags")) == 2
        assert queries_of(list(objects)) == 1
        assert queries_of(objects.all(), include="title") == 1
        assert len(pusherable_outbox) == 60
        assert len({event.payload["pk"] for event in pusherable_outbox}) == 10
        assert {len(event.payload["object"]["tags"]) for event in pusherable_outbox[:50]} == {2}

    def test_evaluated_queryset_is_not_read_again(self, pusherable_outbox):
        make_posts(2)
        objects = Post.objects.all()
        assert len(objects) == 2
        assert queries_of(objects) == 1

    def test_objects_stay_as_they_are(self, pusherable_outbox):
        [post], _ = make_posts(1)
        fresh = Post.objects.only("title").get()
        publish_many([fresh], "updated")
        assert fresh.get_deferred_fields() == {"body", "pub_date", "author_id", "notes"}
        post.tags.clear()
        assert list(fresh.tags.all()) == []

    def test_objects_of_several_models_keep_their_order(self, pusherable_outbox):
        post, document, tag = PostFactory(), DocumentFactory(), TagFactory()
        review = Review.objects.create(title="Good")
        review.tags.add(tag)
        featured = FeaturedPost.objects.get(pk=post.pk)
        publish_many(iter([document, review, post, tag, featured]), "updated", exclude=["pk"])
        # The proxy is the post, told once.
        assert [event.channels for event in pusherable_outbox] == [
            (f"document_{document.pk}",),
            (f"review_{review.pk}",),
            (f"tag_{tag.pk}",),
            (f"post_{post.pk}",),
        ]
        assert pusherable_outbox[1].payload["object"]["tags"] == [tag.pk]

    def test_channels_fields_and_connection_are_chosen(self, pusherable_outbox):
        PostFactory(pk=7)
        publish_many(
            Post.objects.all(), "seen", include="title", channels=lambda post: ["news", f"p{post.pk}"], socket_id="1.2"
        )
        [event] = pusherable_outbox
        assert (event.channels, event.socket_id) == (("news", "p7"), "1.2")
        assert event.payload["object"] == {"id": 7, "title": "What's up?"}

    def test_private_and_exclusion_of_a_connection(self, pusherable_outbox):
        post = PostFactory()
        publish_many([post], "seen", private=True, exclude="3.4")
        assert (pusherable_outbox[0].channels, pusherable_outbox[0].socket_id) == ((f"private-post_{post.pk}",), "3.4")

    def test_commit_is_awaited_and_a_rollback_stops_it(self, pusherable_outbox):
        make_posts(2)
        with transaction.atomic():
            publish_many(Post.objects.all(), "updated")
            publish_many(Post.objects.all(), "updated")
            assert pusherable_outbox == []
        assert len(pusherable_outbox) == 2
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_many(Post.objects.all(), "updated")
            _ = 1 / 0
        assert len(pusherable_outbox) == 2
        with transaction.atomic():
            publish_many(Post.objects.all(), "updated", immediate=True)
            assert len(pusherable_outbox) == 4

    def test_each_object_waits_for_its_own_database(self, pusherable_outbox):
        elsewhere = Elsewhere.objects.using("other").create(name="far")
        tag = TagFactory()
        with transaction.atomic(using="other"):
            publish_many([elsewhere, tag], "updated")
            assert [event.channels for event in pusherable_outbox] == [(f"tag_{tag.pk}",)]
        assert len(pusherable_outbox) == 2

    def test_suppressed_models_are_left_out(self, pusherable_outbox):
        post, tag = PostFactory(), TagFactory()
        with suppress(Tag):
            assert publish_many([tag], "updated") == 0
            assert publish_many([post, tag], "updated") == 1
        with suppress(), CaptureQueriesContext(connection) as queries:
            assert publish_many(Post.objects.all(), "updated") == 0
        assert (len(queries), len(pusherable_outbox)) == (0, 1)

    @pytest.mark.parametrize("objects", [None, 5, Post, Post.objects])
    def test_what_are_no_objects_at_all_is_an_error(self, objects):
        with pytest.raises(TypeError) as refusal:
            publish_many(objects, "updated")
        assert str(refusal.value) == (
            f"publish_many takes a queryset or a list, not {objects!r}: Post.objects.all() is a queryset."
        )

    def test_one_object_alone_is_an_error(self):
        post = PostFactory(pk=1)
        with pytest.raises(TypeError) as refusal:
            publish_many(post, "updated")
        assert str(refusal.value) == f"publish_many takes a queryset or a list, not {post!r}: write [{post!r}]."

    def test_what_is_no_object_is_an_error(self, pusherable_outbox):
        PostFactory(pk=1)
        with pytest.raises(TypeError, match=r"takes objects of models, not \(1,\): leave out values\(\)"):
            publish_many(Post.objects.values_list("pk"), "updated")
        with pytest.raises(UnknownField):
            publish_many(Post.objects.all(), "updated", include="nothing")
        with pytest.raises(ValueError, match="batch_size is 0; a batch has one object at least"):
            publish_many([], "updated", batch_size=0)
        assert pusherable_outbox == []

    def test_nothing_is_nothing(self, pusherable_outbox):
        assert publish_many(Post.objects.none(), "updated") == 0
        assert pusherable_outbox == []

    def test_deferred_values_of_rows_that_are_gone_are_left_out(self, pusherable_outbox):
        PostFactory()
        post = Post.objects.only("title").get()
        Post.objects.all().delete()
        publish_many([post, Post(pk=5, title="new")], "deleted", include=["title", "body", "tags"])
        assert [event.payload["object"] for event in pusherable_outbox] == [
            {"id": post.pk, "title": "What's up?", "tags": []},
            {"id": 5, "title": "new", "body": "", "tags": []},
        ]


class TestApublishMany:
    def test_it_reads_where_django_does(self, pusherable_outbox):
        make_posts(2)
        assert async_to_sync(apublish_many)(Post.objects.all(), "updated", include="title") == 2
        assert len(pusherable_outbox) == 2

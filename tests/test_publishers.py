import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.core import serializers
from django.db import connection, models, transaction
from django.forms import modelform_factory
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.views.generic import CreateView, DeleteView, UpdateView, View

from pusherable.mixins import PusherCreateMixin, PusherDeleteMixin, PusherMixin, PusherUpdateMixin
from pusherable.publishers import published_models, publishes, tellers_of
from pusherable.publishing import publish, request_origin, trigger
from pusherable.suppression import suppress
from tests.factories import TagFactory, UserFactory
from tests.test_commits import JoiningBackend
from tests.testapp.models import Article, Comment, Interview, Notice, ShortArticle, Stamped, Tag

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def article(pusherable_outbox):
    made = Article.objects.create(title="Old", secret="x")
    pusherable_outbox.clear()
    return made


def told(outbox):
    return [(event.name, event.payload["model"], event.payload["pk"]) for event in outbox]


class TestSaves:
    def test_new_object_is_told_on_its_own_and_its_models_channel(self, pusherable_outbox):
        article = Article.objects.create(title="New", secret="x")
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("created", (f"article_{article.pk}", "article"))
        assert event.payload == {
            "object": {"id": article.pk, "title": "New", "tags": [], "readers": []},
            "user": "",
            "model": "article",
            "pk": str(article.pk),
            "origin": "",
        }

    def test_change_is_told(self, article, pusherable_outbox):
        article.title = "New"
        article.save()
        [event] = pusherable_outbox
        assert (event.name, event.channels, event.payload["object"]["title"]) == (
            "updated",
            (f"article_{article.pk}",),
            "New",
        )

    def test_transaction_is_told_once_and_a_rollback_not_at_all(self, article, pusherable_outbox):
        with transaction.atomic():
            for title in ("1", "2"):
                article.title = title
                article.save()
        assert [event.payload["object"]["title"] for event in pusherable_outbox] == ["2"]
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            article.save()
            _ = 1 / 0
        assert len(pusherable_outbox) == 1

    def test_fields_that_are_not_published_are_no_change(self, article, pusherable_outbox):
        article.save(update_fields=["secret"])
        assert pusherable_outbox == []
        article.save(update_fields=["secret", "title"])
        assert told(pusherable_outbox) == [("updated", "article", str(article.pk))]

    def test_fixtures_are_silent(self, pusherable_outbox):
        text = '[{"model": "testapp.article", "pk": 5, "fields": {"title": "Loaded"}}]'
        for loaded in serializers.deserialize("json", text):
            loaded.save()
        assert (Article.objects.get().title, pusherable_outbox) == ("Loaded", [])

    def test_bulk_and_queries_are_not_seen(self, article, pusherable_outbox):
        Article.objects.bulk_create([Article(title="a")])
        Article.objects.update(title="b")
        assert pusherable_outbox == []

    def test_suppression_is_heeded(self, article, pusherable_outbox):
        with suppress(Article):
            article.save()
            article.delete()
        assert pusherable_outbox == []

    def test_asynchronous_save_is_told(self, pusherable_outbox):
        async def work():
            await Article.objects.acreate(title="New")

        async_to_sync(work)()
        assert [event.name for event in pusherable_outbox] == ["created"]

    def test_event_that_nobody_has_asked_for_is_not_told(self, article, pusherable_outbox):
        comment = Comment.objects.create(article=article, text="first")
        pusherable_outbox.clear()
        comment.save()
        assert pusherable_outbox == []

    def test_proxy_is_the_object_itself(self, pusherable_outbox):
        made = ShortArticle.objects.create(title="Short")
        assert told(pusherable_outbox) == [("created", "article", str(made.pk))]

    def test_child_is_told_as_its_parent(self, pusherable_outbox):
        made = Interview.objects.create(title="Ada speaks", guest="Ada", secret="x")
        Interview.objects.only("guest").get().save(update_fields=["guest"])
        [event] = pusherable_outbox
        assert event.channels == (f"article_{made.pk}", "article")
        assert event.payload["object"] == {"id": made.pk, "title": "Ada speaks", "tags": [], "readers": []}

    def test_model_made_of_an_abstract_one_publishes_what_that_has_asked_for(self, pusherable_outbox):
        notice = Notice.objects.create(text="a")
        assert pusherable_outbox == []
        notice.save()
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("updated", (f"private-notice_{notice.pk}",))
        notice.delete()
        assert len(pusherable_outbox) == 1

    def test_what_cannot_be_published_stops_no_save(self, caplog, pusherable_outbox, monkeypatch):
        monkeypatch.setattr(Article, "pk", property(lambda self: 1 / 0), raising=False)
        Article(title="New").save()
        assert caplog.messages[0].startswith("The event 'created of testapp.Article' was not delivered: division by")


class TestLargeObjects:
    def test_warning_names_the_model_and_its_decorator(self, pusherable_outbox, caplog):
        Article.objects.create(title="x" * 12_000)
        assert pusherable_outbox[0].payload["truncated"]
        [warning] = caplog.messages
        assert warning.startswith("The event 'created' of tests.testapp.models.Article about testapp.Article ")
        assert warning.endswith(" Name fewer (include or exclude of its @publishes).")


class TestDeletions:
    def test_deleted_object_keeps_its_pk_values_and_relations(self, article, pusherable_outbox):
        tag = TagFactory()
        article.tags.add(tag)
        pusherable_outbox.clear()
        pk = article.pk
        article.delete()
        [event] = pusherable_outbox
        assert (event.name, event.channels, event.payload["pk"]) == ("deleted", (f"article_{pk}",), str(pk))
        assert event.payload["object"] == {"id": pk, "title": "Old", "tags": [tag.pk], "readers": []}

    def test_cascade_is_told_too(self, article, pusherable_outbox):
        comment = Comment.objects.create(article=article, text="first")
        pk = article.pk
        Article.objects.all().delete()
        assert [(event.name, event.channels) for event in pusherable_outbox] == [
            ("created", (f"comments_{pk}",)),
            ("deleted", (f"comments_{pk}",)),
            ("deleted", (f"article_{pk}",)),
        ]
        assert pusherable_outbox[1].payload["pk"] == str(comment.pk)

    def test_child_takes_its_parent_along_which_is_told_once(self, pusherable_outbox):
        made = Interview.objects.create(title="Ada speaks", guest="Ada")
        pk = made.pk
        pusherable_outbox.clear()
        made.delete()
        assert told(pusherable_outbox) == [("deleted", "article", str(pk))]

    def test_deletion_that_fails_is_not_told(self, article, pusherable_outbox):
        def refuse(**kwargs):
            raise ZeroDivisionError

        models.signals.post_delete.connect(refuse, sender=Article)
        try:
            with pytest.raises(ZeroDivisionError):
                article.delete()
        finally:
            models.signals.post_delete.disconnect(refuse, sender=Article)
        assert (Article.objects.count(), pusherable_outbox) == (1, [])


class TestRelations:
    def test_they_are_changes_of_their_owner(self, article, pusherable_outbox):
        tag, other = TagFactory.create_batch(2)
        article.tags.add(tag)
        article.tags.add(tag)
        article.tags.set([other])
        article.tags.remove(other)
        article.tags.clear()
        assert [event.payload["object"]["tags"] for event in pusherable_outbox] == [[tag.pk], [other.pk], [], []]
        assert {event.name for event in pusherable_outbox} == {"updated"}

    def test_other_side_changes_their_owners_with_few_queries(self, pusherable_outbox):
        tag, user = TagFactory(), UserFactory()
        articles = [Article.objects.create(title=str(number)) for number in range(3)]
        pusherable_outbox.clear()
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            tag.articles.add(*articles)
        assert told(pusherable_outbox) == [("updated", "article", str(each.pk)) for each in articles]
        assert len(queries) <= 8
        pusherable_outbox.clear()
        tag.articles.clear()
        assert [event.payload["object"]["tags"] for event in pusherable_outbox] == [[], [], []]
        pusherable_outbox.clear()
        user.articles.add(articles[0])
        assert pusherable_outbox[0].payload["object"]["readers"] == [user.pk]

    def test_relations_of_a_new_object_are_part_of_its_creation(self, pusherable_outbox):
        tag = TagFactory()
        form = modelform_factory(Article, fields=["title", "tags"])({"title": "New", "tags": [tag.pk]})
        with transaction.atomic():
            form.save()
        [event] = pusherable_outbox
        assert (event.name, event.payload["object"]["tags"]) == ("created", [tag.pk])

    def test_without_a_transaction_they_follow_it(self, pusherable_outbox):
        tag = TagFactory()
        modelform_factory(Article, fields=["title", "tags"])({"title": "New", "tags": [tag.pk]}).save()
        assert [(event.name, event.payload["object"]["tags"]) for event in pusherable_outbox] == [
            ("created", []),
            ("updated", [tag.pk]),
        ]

    def test_relation_of_a_child_alone_is_no_change_of_its_parent(self, pusherable_outbox):
        with isolate_apps("tests.testapp"):

            class Series(Article):
                sources = models.ManyToManyField("testapp.Tag", related_name="series")

                class Meta:
                    app_label = "testapp"

        options = {"action": "post_add", "reverse": False, "model": Series, "pk_set": {1}, "using": "default"}
        models.signals.m2m_changed.send(Series.sources.through, instance=Series(pk=1), **options)
        assert pusherable_outbox == []

    def test_relation_that_is_not_published_is_no_change(self, pusherable_outbox):
        with isolate_apps("tests.testapp"):

            @publishes("updated", include="title")
            class Brief(models.Model):
                title = models.CharField(max_length=5)
                tags = models.ManyToManyField("testapp.Tag")

                class Meta:
                    app_label = "testapp"

            through = Brief.tags.through
        models.signals.m2m_changed.send(
            through, instance=Brief(pk=1), action="post_add", reverse=False, model=Brief, pk_set={1}, using="default"
        )
        assert pusherable_outbox == []


class Page:
    def render_to_response(self, context, **kwargs):
        return HttpResponse("page")


class Create(PusherCreateMixin, Page, CreateView):
    model = Article
    fields = ("title", "tags")
    success_url = "/done/"


class Update(PusherUpdateMixin, Page, UpdateView):
    model = Article
    fields = ("title", "tags")
    success_url = "/done/"


class Delete(PusherDeleteMixin, Page, DeleteView):
    model = Article
    success_url = "/done/"


def post(view, data=None, *, user=None, **kwargs):
    request = RequestFactory(headers={"X-Socket-ID": "1.2"}).post("/page/", data)
    request.user = user or UserFactory.build(username="ada")
    view.as_view()(request, **kwargs)
    return request


def atomically(view, *args, **kwargs):
    with transaction.atomic():
        return post(view, *args, **kwargs)


@pytest.mark.parametrize("send", [post, atomically])
class TestInsideOfAView:
    def test_view_has_the_say_about_its_object(self, send, pusherable_outbox):
        tag = TagFactory()
        requests = [send(Create, {"title": "New", "tags": [tag.pk]})]
        pk = Article.objects.get().pk
        requests.append(send(Update, {"title": "Newer"}, pk=pk))
        requests.append(send(Delete, pk=pk))
        assert [(event.name, event.payload["user"], event.socket_id) for event in pusherable_outbox] == [
            ("created", "ada", "1.2"),
            ("updated", "ada", "1.2"),
            ("deleted", "ada", "1.2"),
        ]
        assert [event.payload["origin"] for event in pusherable_outbox] == [request_origin(each) for each in requests]
        assert "secret" in pusherable_outbox[0].payload["object"]

    def test_view_that_sends_a_message_in_between_still_has_it(self, send, article, pusherable_outbox):
        class Ringing(Update):
            def form_valid(self, form):
                response = super().form_valid(form)
                trigger("newsroom", "bell", "ding")
                return response

        send(Ringing, {"title": "New"}, pk=article.pk)
        assert [event.name for event in pusherable_outbox] == ["bell", "updated"]

    def test_view_that_publishes_by_hand_has_it_too(self, send, article, pusherable_outbox):
        class Own(PusherMixin, View):
            def post(self, request, pk):
                self.object = Article.objects.get(pk=pk)
                self.object.save()
                self.publish("updated")
                return HttpResponse()

        send(Own, pk=article.pk)
        assert [(event.name, event.payload["user"]) for event in pusherable_outbox] == [("updated", "ada")]

    def test_view_that_says_nothing_leaves_it_to_the_model(self, send, article, pusherable_outbox):
        class Silent(Update):
            def should_publish(self, event):
                return False

        request = send(Silent, {"title": "New"}, pk=article.pk)
        [event] = pusherable_outbox
        assert (event.name, event.payload["user"], event.payload["origin"], event.socket_id) == (
            "updated",
            "ada",
            request_origin(request),
            "1.2",
        )
        assert "secret" not in event.payload["object"]

    def test_view_that_fails_leaves_what_was_saved_to_the_model(self, send, article, pusherable_outbox):
        class Failing(Update):
            def form_valid(self, form):
                form.save()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            send(Failing, {"title": "New"}, pk=article.pk)
        committed = send is post
        assert [event.name for event in pusherable_outbox] == ["updated"] * committed

    def test_other_objects_are_told_with_the_views_user(self, send, article, pusherable_outbox):
        class Commenting(Update):
            def form_valid(self, form):
                response = super().form_valid(form)
                Comment.objects.create(article=self.object, text="changed")
                return response

        send(Commenting, {"title": "New"}, pk=article.pk)
        assert sorted((event.name, event.payload["model"], event.payload["user"]) for event in pusherable_outbox) == [
            ("created", "comment", "ada"),
            ("updated", "article", "ada"),
        ]

    def test_channels_of_the_view_alone_leave_the_objects_own_to_the_model(self, send, article, pusherable_outbox):
        class Elsewhere(Update):
            def get_pusher_channels(self, event):
                return ["desk"]

        send(Elsewhere, {"title": "New"}, pk=article.pk)
        assert sorted(event.channels for event in pusherable_outbox) == [(f"article_{article.pk}",), ("desk",)]

    def test_anonymous_visitor_has_no_name(self, send, article, pusherable_outbox):
        send(Update, {"title": "New"}, user=AnonymousUser(), pk=article.pk)
        assert [event.payload["user"] for event in pusherable_outbox] == [""]


class TestInsideOfAViewWithAQueueInTheDatabase:
    @pytest.fixture(autouse=True)
    def queue(self, settings):
        settings.PUSHERABLE_BACKEND = "tests.test_commits.JoiningBackend"
        JoiningBackend.calls.clear()

    @pytest.mark.parametrize("send", [post, atomically])
    def test_view_has_the_say(self, send):
        with suppress():
            article = Article.objects.create(title="Old")
        send(Update, {"title": "New"}, pk=article.pk)
        [[event]] = JoiningBackend.calls
        assert (event.name, event.payload["user"], "secret" in event.payload["object"]) == ("updated", "ada", True)
        assert Tag.objects.get().label == event.data[:50]

    @pytest.mark.parametrize("send", [post, atomically])
    def test_view_that_says_nothing_leaves_it_to_the_model(self, send):
        class Silent(Update):
            def should_publish(self, event):
                return False

        with suppress():
            article = Article.objects.create(title="Old")
        send(Silent, {"title": "New"}, pk=article.pk)
        [[event]] = JoiningBackend.calls
        assert (event.name, "secret" in event.payload["object"]) == ("updated", False)


class TestInsideOfAnAsyncView:
    def test_view_has_the_say(self, article, pusherable_outbox):
        class Save(PusherUpdateMixin, View):
            async def post(self, request, pk):
                self.object = await Article.objects.aget(pk=pk)
                return await self.form_valid()

            async def form_valid(self):
                await self.object.asave()
                return HttpResponse()

        class Touch(PusherMixin, View):
            async def post(self, request, pk):
                self.object = await Article.objects.aget(pk=pk)
                await self.object.asave()
                return HttpResponse()

        for view in (Save, Touch):
            request = RequestFactory().post("/page/")
            request.user = UserFactory.build(username="ada")
            async_to_sync(view.as_view())(request, pk=article.pk)
        assert [(event.name, event.payload["user"]) for event in pusherable_outbox] == [("updated", "ada")] * 2
        assert ["secret" in event.payload["object"] for event in pusherable_outbox] == [True, False]


class TestByHand:
    def test_event_published_by_hand_in_the_same_transaction_takes_its_place(self, article, pusherable_outbox):
        with transaction.atomic():
            article.save()
            publish(article, "updated", user="ada")
        assert [event.payload["user"] for event in pusherable_outbox] == ["ada"]


class TestPublishes:
    @pytest.mark.parametrize("events", [(), ("saved",), ("created", "view")])
    def test_other_events_are_an_error(self, events):
        shown = ", ".join(map(repr, events)) or "nothing"
        with pytest.raises(TypeError, match=rf"takes some of 'created', 'updated', 'deleted', not {shown}\."):
            publishes(*events)

    def test_brackets_that_are_forgotten_are_an_error(self):
        with pytest.raises(TypeError, match="takes some of 'created', 'updated', 'deleted', not <class"):
            publishes(Article)

    def test_tellers_are_the_models_that_have_asked(self):
        assert list(tellers_of(Article)) == list(tellers_of(ShortArticle)) == list(tellers_of(Interview)) == [Article]
        assert (list(tellers_of(Notice)), list(tellers_of(Stamped))) == ([Notice], [])

    def test_all_of_them_are_known(self):
        assert {Article, Comment, Notice} <= {model for model, _ in published_models()}

    @isolate_apps("tests.testapp")
    def test_abstract_model_hands_it_down(self):
        class Other(Stamped):
            class Meta:
                app_label = "testapp"
                abstract = True

        class Heir(Other):
            class Meta:
                app_label = "testapp"

        class Child(Heir):
            class Meta:
                app_label = "testapp"

        assert list(tellers_of(Child)) == [Heir]
        assert Heir in {model for model, _ in published_models()}

    @isolate_apps("tests.testapp")
    def test_relation_by_name_is_heard_of(self, pusherable_outbox):
        @publishes("updated")
        class Club(models.Model):
            members = models.ManyToManyField("auth.User", through="Membership")

            class Meta:
                app_label = "testapp"

        class Membership(models.Model):
            club = models.ForeignKey(Club, models.CASCADE)
            user = models.ForeignKey("auth.User", models.CASCADE)

            class Meta:
                app_label = "testapp"

        assert models.signals.m2m_changed.has_listeners(Membership)

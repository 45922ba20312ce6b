import logging

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template import TemplateDoesNotExist, engines
from django.template.response import TemplateResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.utils.functional import SimpleLazyObject
from django.views.generic import CreateView, DeleteView, DetailView, UpdateView, View

from pusherable import mixins
from pusherable.exceptions import UnknownField
from pusherable.mixins import (
    PusherCreateMixin,
    PusherDeleteMixin,
    PusherDetailMixin,
    PusherMixin,
    PusherUpdateMixin,
)
from pusherable.publishing import request_origin
from pusherable.signals import publish_failed
from pusherable.suppression import suppress
from tests.factories import DocumentFactory, PageFactory, PostFactory, TagFactory, UserFactory
from tests.testapp.models import Document, FeaturedPost, Member, Page, Post, Reading, Review

pytestmark = pytest.mark.django_db(transaction=True)


class PlainTemplate:
    """Answer without a template's file."""

    def render_to_response(self, context, **kwargs):
        return HttpResponse("page")


class PostDetail(PusherDetailMixin, PlainTemplate, DetailView):
    model = Post


class TemplatePage(PusherDetailMixin, DetailView):
    model = Post

    def render_to_response(self, context, **kwargs):
        template = self.template_name or engines["django"].from_string("page")
        return TemplateResponse(self.request, template, context, **kwargs)


class PostUpdate(PusherUpdateMixin, PlainTemplate, UpdateView):
    model = Post
    fields = ("title", "tags")
    success_url = "/done/"


class PostCreate(PusherCreateMixin, PlainTemplate, CreateView):
    model = Post
    fields = ("title",)
    success_url = "/done/"


class PostDelete(PusherDeleteMixin, PlainTemplate, DeleteView):
    model = Post
    success_url = "/done/"


def request(method="get", data=None, *, user=None, **headers):
    made = getattr(RequestFactory(headers=headers), method)("/page/", data)
    if user is not None:
        made.user = user
    return made


def call(view, made, **kwargs):
    return view.as_view()(made, **kwargs)


class TestPusherDetailMixin:
    def test_opened_page_publishes_view(self, pusherable_outbox):
        post = PostFactory()
        made = request(user=UserFactory(username="ada"))
        assert call(PostDetail, made, pk=post.pk).content == b"page"
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("view", (f"post_{post.pk}",))
        assert event.payload == {
            "object": {
                "id": post.pk,
                "title": "What's up?",
                "body": "Not much.",
                "pub_date": None,
                "author": None,
                "tags": [],
            },
            "user": "ada",
            "model": "post",
            "pk": str(post.pk),
            "origin": request_origin(made),
        }

    @pytest.mark.parametrize("user", [None, AnonymousUser()])
    def test_visitor_without_a_name_is_empty(self, pusherable_outbox, user):
        call(PostDetail, request(user=user), pk=PostFactory().pk)
        assert pusherable_outbox[0].payload["user"] == ""

    def test_user_of_another_model_has_its_own_name(self, pusherable_outbox):
        call(PostDetail, request(user=Member(email="ada@example.com")), pk=PostFactory().pk)
        assert pusherable_outbox[0].payload["user"] == "ada@example.com"

    @pytest.mark.parametrize("method", ["head", "options", "post"])
    def test_other_methods_publish_nothing(self, pusherable_outbox, method):
        call(PostDetail, request(method), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_page_loaded_ahead_of_its_reader_publishes_nothing(self, pusherable_outbox):
        call(PostDetail, request(**{"Sec-Purpose": "prefetch;prerender"}), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_missing_object_publishes_nothing(self, pusherable_outbox):
        with pytest.raises(Http404):
            call(PostDetail, request(), pk=0)
        assert pusherable_outbox == []

    def test_visitor_who_is_turned_away_publishes_nothing(self, pusherable_outbox):
        class Guarded(PusherDetailMixin, LoginRequiredMixin, PlainTemplate, DetailView):
            model = Post

        assert call(Guarded, request(user=AnonymousUser()), pk=PostFactory().pk).status_code == 302
        assert pusherable_outbox == []

    def test_tab_that_asked_for_the_page_is_left_out(self, pusherable_outbox):
        call(PostDetail, request(**{"X-Socket-ID": "12.34"}), pk=PostFactory().pk)
        call(PostDetail, request(**{"X-Socket-ID": "<script>"}), pk=PostFactory().pk)
        assert [event.socket_id for event in pusherable_outbox] == ["12.34", None]

    @pytest.mark.parametrize("name", ["pub_date", ["pub_date"], ("pub_date",)])
    def test_excluded_field_is_left_out(self, pusherable_outbox, name):
        class Excluding(PostDetail):
            pusher_exclude_model_fields = name

        call(Excluding, request(), pk=PostFactory().pk)
        assert pusherable_outbox[0].payload["object"].keys() == {"id", "title", "body", "author", "tags"}

    def test_included_field_is_there_alone_with_the_pk(self, pusherable_outbox):
        class Including(PostDetail):
            pusher_include_model_fields = "title"

        call(Including, request(), pk=PostFactory().pk)
        assert pusherable_outbox[0].payload["object"].keys() == {"id", "title"}

    def test_private_view_publishes_on_private_channels(self, pusherable_outbox, settings):
        class Private(PostDetail):
            pusher_private = True

        class Public(PostDetail):
            pusher_private = False

        post = PostFactory()
        call(Private, request(), pk=post.pk)
        settings.PUSHERABLE_PRIVATE_CHANNELS = "encrypted"
        call(PostDetail, request(), pk=post.pk)
        call(Public, request(), pk=post.pk)
        assert [event.channels for event in pusherable_outbox] == [
            (f"private-post_{post.pk}",),
            (f"private-encrypted-post_{post.pk}",),
            (f"post_{post.pk}",),
        ]

    def test_name_that_is_no_field_is_raised(self):
        class Mistaken(PostDetail):
            pusher_exclude_model_fields = "pub-date"

        with pytest.raises(UnknownField, match="'pub-date' is no field of testapp.Post"):
            call(Mistaken, request(), pk=PostFactory().pk)

    def test_uuid_text_proxy_inherited_and_deferred_objects(self, pusherable_outbox):
        document, post = DocumentFactory(), PostFactory()
        PageFactory(slug="über uns")
        review = Review.objects.create(title="Good")
        for objects in (
            Document.objects.all(),
            Page.objects.all(),
            FeaturedPost.objects.filter(pk=post.pk),
            Review.objects.all(),
            Post.objects.only("title").filter(pk=post.pk),
        ):

            class Detail(PusherDetailMixin, PlainTemplate, DetailView):
                queryset = objects

            call(Detail, request(), pk=objects.get().pk)
        assert [event.channels for event in pusherable_outbox] == [
            (f"document_{document.pk}",),
            ("page_=C3=BCber=20uns",),
            (f"post_{post.pk}",),
            (f"review_{review.pk}",),
            (f"post_{post.pk}",),
        ]
        assert pusherable_outbox[-1].payload["object"]["body"] == "Not much."

    def test_hooks_decide_everything(self, pusherable_outbox):
        class Own(PostDetail):
            def get_pusher_channel(self):
                return f"team_{self.object.pk}"

            def get_pusher_object_data(self):
                return {"headline": self.object.title}

            def get_pusher_user(self):
                return "somebody"

            def should_publish(self, event):
                return event == "view" and "quiet" not in self.request.GET

        post = PostFactory()
        call(Own, request(), pk=post.pk)
        call(Own, request(data={"quiet": 1}), pk=post.pk)
        [event] = pusherable_outbox
        assert event.channels == (f"team_{post.pk}",)
        assert (event.payload["object"], event.payload["user"]) == ({"headline": "What's up?"}, "somebody")

    def test_event_of_another_name(self, pusherable_outbox):
        class Named(PostDetail):
            pusher_event_name = "seen"

        call(Named, request(), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["seen"]

    def test_request_user_is_an_object_like_others(self, pusherable_outbox):
        class Profile(PusherDetailMixin, PlainTemplate, DetailView):
            pusher_include_model_fields = "username"

            def get_object(self):
                return self.request.user

        user = UserFactory(username="ada")
        call(Profile, request(user=SimpleLazyObject(lambda: user)))
        [event] = pusherable_outbox
        assert event.channels == (f"user_{user.pk}",)
        assert event.payload["object"] == {"id": user.pk, "username": "ada"}

    def test_what_nobody_expected_breaks_no_page_and_is_logged_with_its_traceback(self, pusherable_outbox, caplog):
        class Failing(PostDetail):
            def get_pusher_object_data(self):
                raise ZeroDivisionError("a fault")

        assert call(Failing, request(), pk=PostFactory().pk).status_code == 200
        [record] = caplog.records
        assert record.getMessage() == (f"The event 'view of {Failing.__qualname__}' was not delivered: a fault")
        assert record.exc_info[0] is ZeroDivisionError
        assert pusherable_outbox == []

    def test_value_that_json_cannot_hold_breaks_no_page(self, pusherable_outbox, caplog):
        class ReadingDetail(PusherDetailMixin, PlainTemplate, DetailView):
            queryset = Reading.objects.all()

            def get_object(self):
                return Reading(pk=1, value=float("nan"))

        received = []

        def receive(sender, event, reason, **kwargs):
            received.append((sender, event, reason))

        publish_failed.connect(receive)
        try:
            assert call(ReadingDetail, request()).status_code == 200
        finally:
            publish_failed.disconnect(receive)
        assert received == [(ReadingDetail, None, "NotSerializable")]
        [(logger, level, message)] = caplog.record_tuples
        assert (logger, level) == ("pusherable", logging.ERROR)
        assert message.startswith(f"The event 'view of {ReadingDetail.__qualname__}' was not delivered: object.value")
        assert pusherable_outbox == []


class TestPusherUpdateMixin:
    def test_opened_form_publishes_update(self, pusherable_outbox):
        call(PostUpdate, request(), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["update"]

    def test_committed_change_publishes_updated_with_the_new_values(self, pusherable_outbox):
        post, tag = PostFactory(), TagFactory()
        made = request("post", {"title": "New", "tags": [tag.pk]}, user=UserFactory(username="ada"))
        assert call(PostUpdate, made, pk=post.pk).status_code == 302
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("updated", (f"post_{post.pk}",))
        assert (event.payload["object"]["title"], event.payload["object"]["tags"]) == ("New", [tag.pk])
        assert event.payload["user"] == "ada"

    def test_tab_whose_form_was_saved_is_left_out(self, pusherable_outbox):
        form = {"title": "A new headline", "pusherable_socket_id": "12.34"}
        call(PostUpdate, request("post", form), pk=PostFactory().pk)
        assert [(event.name, event.socket_id) for event in pusherable_outbox] == [("updated", "12.34")]

    def test_invalid_form_shown_again_publishes_nothing(self, pusherable_outbox):
        assert call(PostUpdate, request("post", {"title": ""}), pk=PostFactory().pk).status_code == 200
        assert pusherable_outbox == []

    def test_form_valid_without_super_publishes_too(self, pusherable_outbox):
        class Own(PostUpdate):
            def form_valid(self, form):
                form.save()
                return HttpResponse("saved")

        call(Own, request("post", {"title": "New"}), pk=PostFactory().pk)
        assert [(event.name, event.payload["object"]["title"]) for event in pusherable_outbox] == [("updated", "New")]

    def test_form_valid_that_finds_an_error_publishes_nothing(self, pusherable_outbox):
        class Full(PostUpdate):
            def form_valid(self, form):
                form.add_error(None, "There is no room.")
                return self.form_invalid(form)

        response = call(Full, request("post", {"title": "New"}), pk=PostFactory().pk)
        assert (response.status_code, "pusherable_origin" in response.cookies) == (200, False)
        assert pusherable_outbox == []

    def test_answer_tells_the_next_page_which_event_was_its_visitors_own(self, pusherable_outbox):
        post = PostFactory()
        response = call(PostUpdate, request("post", {"title": "New"}), pk=post.pk)
        cookie = response.cookies["pusherable_origin"]
        assert cookie.value == pusherable_outbox[0].payload["origin"]
        assert (cookie["max-age"], cookie["samesite"], cookie["secure"]) == (60, "Lax", "")
        assert not call(PostUpdate, request(), pk=post.pk).cookies

    def test_form_valid_that_refuses_publishes_nothing(self, pusherable_outbox):
        class Refusing(PostUpdate):
            def form_valid(self, form):
                return HttpResponse("too late", status=409)

        call(Refusing, request("post", {"title": "New"}), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_form_valid_that_fails_publishes_nothing(self, pusherable_outbox):
        class Failing(PostUpdate):
            def form_valid(self, form):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            call(Failing, request("post", {"title": "New"}), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_work_in_a_post_of_ones_own_publishes_by_hand(self, pusherable_outbox):
        class Own(PusherUpdateMixin, PlainTemplate, DetailView):
            model = Post

            def post(self, request, *args, **kwargs):
                self.object = self.get_object()
                self.publish("updated")
                return HttpResponseRedirect("/done/")

        call(Own, request("post"), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["updated"]

    def test_empty_name_publishes_nothing(self, pusherable_outbox):
        class Silent(PostUpdate):
            pusher_event_name = ""
            pusher_committed_event_name = ""

        post = PostFactory()
        call(Silent, request(), pk=post.pk)
        call(Silent, request("post", {"title": "New"}), pk=post.pk)
        assert pusherable_outbox == []


class TestPusherCreateMixin:
    def test_opened_form_publishes_nothing(self, pusherable_outbox):
        call(PostCreate, request())
        assert pusherable_outbox == []

    def test_new_object_publishes_created_on_its_own_and_its_models_channel(self, pusherable_outbox):
        call(PostCreate, request("post", {"title": "New"}))
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("created", (f"post_{Post.objects.get().pk}", "post"))
        assert event.payload["object"]["title"] == "New"

    def test_form_valid_that_keeps_no_object_publishes_too(self, pusherable_outbox):
        class Own(PostCreate):
            def form_valid(self, form):
                form.save()
                return HttpResponse("saved")

        call(Own, request("post", {"title": "New"}))
        assert [event.name for event in pusherable_outbox] == ["created"]


class TestPusherDeleteMixin:
    def test_opened_page_publishes_delete(self, pusherable_outbox):
        call(PostDelete, request(), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["delete"]

    @pytest.mark.parametrize("method", ["post", "delete"])
    def test_deleted_object_keeps_its_pk_and_values(self, pusherable_outbox, method):
        post, tag = PostFactory(), TagFactory()
        post.tags.set([tag])
        call(PostDelete, request(method), pk=post.pk)
        assert not Post.objects.exists()
        [event] = pusherable_outbox
        assert (event.name, event.channels) == ("deleted", (f"post_{post.pk}",))
        assert (event.payload["pk"], event.payload["object"]["id"]) == (str(post.pk), post.pk)
        assert event.payload["object"]["tags"] == [tag.pk]

    def test_form_valid_that_calls_delete_publishes_once(self, pusherable_outbox):
        class Own(PostDelete):
            def form_valid(self, form):
                return self.delete(self.request)

        call(Own, request("post"), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["deleted"]

    def test_delete_that_refuses_publishes_nothing(self, pusherable_outbox):
        class Refusing(PostDelete):
            def form_valid(self, form):
                return HttpResponse("protected", status=409)

        call(Refusing, request("post"), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_object_that_is_still_there_is_not_called_deleted(self, pusherable_outbox):
        class Protected(PostDelete):
            def form_valid(self, form):
                return HttpResponseRedirect("/protected/")

        call(Protected, request("post"), pk=PostFactory().pk)
        assert pusherable_outbox == []

    def test_object_deleted_by_a_query_is_gone_too(self, pusherable_outbox):
        class ByQuery(PostDelete):
            def form_valid(self, form):
                Post.objects.all().delete()
                return HttpResponseRedirect("/done/")

        call(ByQuery, request("post"), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["deleted"]

    def test_object_that_cannot_be_published_is_deleted_all_the_same(self, pusherable_outbox):
        class Own(PusherDeleteMixin, PlainTemplate, DeleteView):
            model = Page
            success_url = "/done/"

        page = PageFactory(slug="x" * 200)
        assert call(Own, request("post"), pk=page.pk).status_code == 302
        assert not Page.objects.exists()
        assert pusherable_outbox == []


class TestPusherMixin:
    def test_view_without_an_object_is_told_what_to_do_and_breaks_no_page(self, caplog):
        class Bare(PusherMixin, View):
            pusher_event_name = "view"

            def get(self, request):
                return HttpResponse()

        assert call(Bare, request()).status_code == 200
        [message] = caplog.messages
        assert message.endswith(".Bare has no self.object. Set it in your view, or override get_pusher_object().")

    def test_view_without_an_event_needs_no_object(self, pusherable_outbox):
        class Bare(PusherMixin, View):
            def get(self, request):
                return HttpResponse()

        assert call(Bare, request()).status_code == 200
        assert pusherable_outbox == []

    def test_mixin_behind_its_view_is_an_error_at_once(self):
        with pytest.raises(TypeError, match=r"Late has to name PusherDetailMixin before its view among its bases"):

            class Late(DetailView, PusherDetailMixin):
                model = Post

    def test_method_without_a_response_publishes_what_its_first_argument_made(self, pusherable_outbox):
        class Perform(PusherUpdateMixin, View):
            pusher_committing_methods = ("perform_update",)

            def post(self, request, pk):
                self.perform_update(type("Serializer", (), {"instance": Post.objects.get(pk=pk)}))
                return HttpResponse()

            def perform_update(self, serializer):
                serializer.instance.save()

        call(Perform, request("post"), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["updated"]

    def test_any_method_can_be_one_that_commits(self, pusherable_outbox):
        class Publish(PusherMixin, View):
            pusher_committed_event_name = "published"
            pusher_committing_methods = ("post", "patch")

            def post(self, request, pk):
                self.object = Post.objects.get(pk=pk)
                return HttpResponse()

        call(Publish, request("post"), pk=PostFactory().pk)
        assert [event.name for event in pusherable_outbox] == ["published"]


class TestAsyncViews:
    def test_async_page_publishes(self, pusherable_outbox):
        class Detail(PusherDetailMixin, View):
            async def get(self, request, pk):
                self.object = await Post.objects.aget(pk=pk)
                return HttpResponse("page")

        post = PostFactory()
        made = AsyncRequestFactory().get("/page/")
        made.user = UserFactory(username="ada")
        assert async_to_sync(Detail.as_view())(made, pk=post.pk).content == b"page"
        assert [(event.name, event.payload["user"]) for event in pusherable_outbox] == [("view", "ada")]

    def test_async_work_publishes_once(self, pusherable_outbox):
        class Remove(PusherDeleteMixin, View):
            async def post(self, request, pk):
                self.object = await Post.objects.aget(pk=pk)
                return await self.form_valid()

            async def form_valid(self):
                return await self.delete()

            async def delete(self):
                await self.object.adelete()
                return HttpResponse()

        post = PostFactory()
        made = AsyncRequestFactory().post("/page/")
        assert async_to_sync(Remove.as_view())(made, pk=post.pk).status_code == 200
        assert [(event.name, event.payload["pk"]) for event in pusherable_outbox] == [("deleted", str(post.pk))]


class TestRendering:
    def test_page_is_opened_once_it_is_rendered(self, pusherable_outbox):
        response = call(TemplatePage, request(), pk=PostFactory().pk)
        assert pusherable_outbox == []
        response.render()
        assert [event.name for event in pusherable_outbox] == ["view"]

    def test_page_whose_template_fails_is_not_opened(self, pusherable_outbox):
        class Failing(TemplatePage):
            template_name = "nowhere.html"

        response = call(Failing, request(), pk=PostFactory().pk)
        with pytest.raises(TemplateDoesNotExist):
            response.render()
        assert pusherable_outbox == []

    def test_page_that_turns_into_an_error_while_it_is_rendered_is_not_opened(self, pusherable_outbox):
        class Refusing(TemplatePage):
            def render_to_response(self, context, **kwargs):
                response = super().render_to_response(context, **kwargs)
                response.add_post_render_callback(lambda rendered: setattr(rendered, "status_code", 503))
                return response

        call(Refusing, request(), pk=PostFactory().pk).render()
        assert pusherable_outbox == []

    def test_async_page_waits_for_its_rendering_too(self, pusherable_outbox):
        class Page(PusherDetailMixin, View):
            async def get(self, request, pk):
                self.object = await Post.objects.aget(pk=pk)
                return TemplateResponse(request, engines["django"].from_string("page"))

        response = async_to_sync(Page.as_view())(AsyncRequestFactory().get("/page/"), pk=PostFactory().pk)
        assert pusherable_outbox == []
        response.render()
        assert [event.name for event in pusherable_outbox] == ["view"]


class TestSize:
    def test_larger_event_is_reduced_by_the_view(self, pusherable_outbox, caplog):
        class Reducing(PostDetail):
            pusher_max_size = 300
            pusher_include_model_fields = ("title", "body")

            def get_pusher_reduced_object_data(self, object_data):
                return object_data | {"body": object_data["body"][:10]}

        post = PostFactory(body="é" * 200)
        call(Reducing, request(), pk=post.pk)
        [event] = pusherable_outbox
        assert event.payload["object"] == {"id": post.pk, "title": "What's up?", "body": "é" * 10}
        assert event.payload["truncated"] is True
        digits = len(str(post.pk))
        size = 506 + 2 * digits
        assert caplog.messages == [
            f"The event 'view' of {Reducing.__module__}.{Reducing.__qualname__} about testapp.Post {post.pk} has "
            f"{size} bytes, over the limit of 300: it goes out reduced. Its largest fields: body (402 bytes), title "
            f"(12 bytes), id ({digits} bytes). Name fewer (pusher_include_model_fields or "
            "pusher_exclude_model_fields)."
        ]

    def test_what_is_too_large_when_reduced_goes_out_with_the_pk_alone(self, pusherable_outbox):
        class Stubborn(PostDetail):
            pusher_max_size = 200

            def get_pusher_reduced_object_data(self, object_data):
                return object_data

        post = PostFactory(body="x" * 200)
        call(Stubborn, request(), pk=post.pk)
        assert pusherable_outbox[0].payload["object"] == {"id": post.pk}

    def test_without_a_hook_the_pk_alone_goes_out(self, pusherable_outbox):
        class Small(PostDetail):
            pusher_max_size = 200

        post = PostFactory(body="x" * 200)
        call(Small, request(), pk=post.pk)
        assert pusherable_outbox[0].payload["object"] == {"id": post.pk}

    @pytest.mark.parametrize("size", [0, -1, 10_241])
    def test_limit_that_no_service_has_is_an_error_at_once(self, size):
        with pytest.raises(ImproperlyConfigured, match=f"Limited.pusher_max_size is {size}; it is a number of bytes"):

            class Limited(PostDetail):
                pusher_max_size = size


class TestSuppression:
    def test_views_are_silent_inside(self, pusherable_outbox):
        post = PostFactory()
        with suppress():
            call(PostDetail, request(), pk=post.pk)
        with suppress(Post):
            call(PostUpdate, request("post", {"title": "New"}), pk=post.pk)
        with suppress(Page):
            call(PostUpdate, request(), pk=post.pk)
        assert [event.name for event in pusherable_outbox] == ["update"]


class DocumentDetail(PusherDetailMixin, PlainTemplate, DetailView):
    model = Document


@pytest.fixture(params=[True, False], ids=["publishing models", "no publishing models"])
def publishing_models(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(mixins, "publishing_models", set())


@pytest.mark.usefixtures("publishing_models")
class TestDispatch:
    def test_page_is_told_of(self, pusherable_outbox):
        call(DocumentDetail, request(), pk=DocumentFactory(name="x").pk)
        assert [event.payload["object"]["name"] for event in pusherable_outbox] == ["x"]

    def test_async_page_is_told_of(self, pusherable_outbox):
        class Later(DocumentDetail):
            async def get(self, request, *args, **kwargs):
                return await sync_to_async(super().get)(request, *args, **kwargs)

        document = DocumentFactory(name="x")
        made = AsyncRequestFactory().get("/page/")
        assert async_to_sync(Later.as_view())(made, pk=document.pk).content == b"page"
        assert [event.payload["object"]["name"] for event in pusherable_outbox] == ["x"]


class TestPlannedEvent:
    """What a view says of its object counts, though there is a shorter way where it says nothing of its own."""

    @pytest.fixture
    def document(self):
        return DocumentFactory(name="x")

    @pytest.mark.parametrize(
        ("hook", "answer", "found"),
        [
            ("get_pusher_object_data", {"a": 1}, lambda event: event.payload["object"]),
            ("get_pusher_channel", "news", lambda event: event.channels[0]),
            ("get_pusher_channels", ["a", "b"], lambda event: list(event.channels)),
            ("get_pusher_user", "somebody", lambda event: event.payload["user"]),
        ],
    )
    def test_each_hook_is_asked_wherever_it_is_overridden(self, pusherable_outbox, monkeypatch, hook, answer, found):
        document = DocumentFactory(name="x")

        def say(view, *args):
            return answer

        def set_up(view, *args, **kwargs):
            super(OnInstance, view).setup(*args, **kwargs)
            setattr(view, hook, lambda *args: answer)

        overridden = type("Overridden", (DocumentDetail,), {hook: say})
        OnInstance = type("OnInstance", (DocumentDetail,), {"setup": set_up})
        patched = type("Patched", (DocumentDetail,), {})
        call(patched, request(), pk=document.pk)
        monkeypatch.setattr(patched, hook, say)
        for view in (overridden, OnInstance, patched):
            call(view, request(), pk=document.pk)
        first, *others = pusherable_outbox
        assert found(first) != answer
        assert [found(event) for event in others] == [answer] * 3

    def test_text_is_as_large_as_ever(self, pusherable_outbox, document, caplog):
        document.name = "x" * 12_000
        view = DocumentDetail()
        view.setup(request())
        view.object = document
        event = view.publish("view")
        assert event.payload["object"] == {"id": str(document.pk)}
        assert "DocumentDetail" in caplog.text

    def test_no_object_is_not_told_of(self, pusherable_outbox):
        class Nothing(DocumentDetail):
            def get_pusher_object(self):
                return None

        call(Nothing, request(), pk=DocumentFactory().pk)
        assert pusherable_outbox == []

    def test_object_of_no_model_is_reported(self, caplog):
        class Nonsense(DocumentDetail):
            def get_pusher_object(self):
                return "text"

        call(Nonsense, request(), pk=DocumentFactory().pk)
        assert "Nonsense.get_pusher_object() tells of an object of a model, not of 'text'." in caplog.text

from functools import wraps

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth import login
from django.contrib.auth.decorators import (
    login_not_required,
    login_required,
    permission_required,
    user_passes_test,
)
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin, UserPassesTestMixin
from django.contrib.auth.models import AnonymousUser, Permission
from django.contrib.messages.storage import default_storage
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import ResolverMatch, include, path, reverse, set_script_prefix
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page, never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import condition, require_safe
from django.views.decorators.vary import vary_on_cookie
from django.views.generic import CreateView, DeleteView, DetailView, TemplateView, UpdateView, View

from pusherable.exceptions import InvalidChannel
from pusherable.mixins import PusherCreateMixin, PusherDeleteMixin, PusherDetailMixin, PusherMixin, PusherUpdateMixin
from pusherable.probing import ask_member_info, ask_page, page_of, settle, shown_by
from pusherable.publishing import publish
from pusherable.refusals import Reason, Refused
from tests.factories import PostFactory, UserFactory
from tests.testapp.models import Elsewhere, Post

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class Detail(PusherDetailMixin, DetailView):
    model = Post
    pusher_private = True

    def render_to_response(self, context, **response_kwargs):
        raise AssertionError("A page was rendered.")


def own(name):
    """A view class with everything of ``Detail``, to be decorated."""
    return type(name, (Detail,), {"__module__": __name__})


def as_staff(user):
    return user.is_staff


class WithLogin(LoginRequiredMixin, Detail):
    pass


class WithLoginBehind(PusherDetailMixin, LoginRequiredMixin, DetailView):
    model = Post


class WithPermission(PermissionRequiredMixin, Detail):
    permission_required = "testapp.view_post"


class WithTest(UserPassesTestMixin, Detail):
    """As is common, the object is looked up before the test is made."""

    def test_func(self):
        return self.get_object().author == self.request.user


class WithDispatch(Detail):
    def dispatch(self, request, *args, **kwargs):
        self.object = self.get_object()
        if self.object.author != request.user:
            return HttpResponse("No.", status=403)
        return super().dispatch(request, *args, **kwargs)


class WithDispatchAfterwards(Detail):
    def dispatch(self, request, *args, **kwargs):
        response = super().dispatch(request, *args, **kwargs)
        if self.object.author != request.user:
            raise PermissionDenied
        return response


class WithSetup(Detail):
    def setup(self, request, *args, **kwargs):
        super().setup(request, *args, **kwargs)
        if not request.user.is_authenticated:
            raise PermissionDenied


class WithQueryset(Detail):
    def get_queryset(self):
        return Post.objects.filter(author_id=self.request.user.pk)


class WithGetObject(Detail):
    def get_object(self, queryset=None):
        found = super().get_object(queryset)
        if found.author != self.request.user:
            raise PermissionDenied
        return found


class WithGet(PusherDetailMixin, DetailView):
    model = Post
    pusher_private = True
    template_name = "there-is-none.html"

    def get(self, request, *args, **kwargs):
        self.object = self.get_object()
        if self.object.author != request.user:
            raise PermissionDenied
        return self.render_to_response(self.get_context_data())


class WithGetAfterwards(WithGet):
    def get(self, request, *args, **kwargs):
        response = super(WithGet, self).get(request, *args, **kwargs)
        response["X-Author"] = str(self.object.author)
        response.context_data = {}
        response.render()
        assert response.content == b""
        if self.object.author != request.user:
            return HttpResponseRedirect("/")
        return response


class WithStatus(WithGet):
    def get(self, request, *args, **kwargs):
        self.object = self.get_object()
        return self.render_to_response({}, status=200 if self.object.author == request.user else 403)


class WithResponse(PusherDetailMixin, View):
    pusher_private = True

    def get(self, request, pk):
        self.object = get_object_or_404(Post, pk=pk)
        if self.object.author != request.user:
            return HttpResponse("No.", status=404)
        return TemplateResponse(request, "there-is-none.html")


def owner_required(get):
    """A decorator of a project's own: it looks the object up before it refuses."""

    @wraps(get)
    def checked(self, request, *args, **kwargs):
        if self.get_object().author != request.user:
            raise PermissionDenied
        return get(self, request, *args, **kwargs)

    return checked


class WithDecoratedGet(WithGet):
    get = owner_required(DetailView.get)


def afterwards(view):
    """A decorator of a project's own: it looks at the visitor when the page is there."""

    @wraps(view)
    def checked(request, *args, **kwargs):
        response = view(request, *args, **kwargs)
        return response if request.user.is_staff else HttpResponseRedirect("/login/")

    return checked


def afterwards_in_place(view):
    @wraps(view)
    def checked(request, *args, **kwargs):
        response = view(request, *args, **kwargs)
        if not request.user.is_staff:
            response.status_code = 403
        return response

    return checked


class AsyncDetail(PusherDetailMixin, View):
    pusher_private = True

    async def get(self, request, pk):
        self.object = await Post.objects.aget(pk=pk)
        return HttpResponse("page")


class AsyncChecking(AsyncDetail):
    async def get(self, request, pk):
        response = await super().get(request, pk)
        if self.object.author_id != (await request.auser()).pk:
            raise PermissionDenied
        return response


class AsyncWithLogin(LoginRequiredMixin, AsyncDetail):
    pass


class AsyncWithPermission(PermissionRequiredMixin, AsyncDetail):
    permission_required = "testapp.view_post"


class AsyncDispatch(AsyncDetail):
    async def dispatch(self, request, *args, **kwargs):
        if not (await request.auser()).is_authenticated:
            return HttpResponse(status=401)
        return await super().dispatch(request, *args, **kwargs)


class Update(PusherUpdateMixin, LoginRequiredMixin, UpdateView):
    model = Post
    fields = ("title",)
    pusher_private = True


class Delete(PusherDeleteMixin, LoginRequiredMixin, DeleteView):
    model = Post
    pusher_private = True


perm = "testapp.view_post"

#: What each view asks of its visitor: "login", "staff", "permission" or "author".
GUARDED = {
    "login-mixin": (WithLogin.as_view(), "login"),
    "login-mixin-behind": (WithLoginBehind.as_view(), "login"),
    "permission-mixin": (WithPermission.as_view(), "permission"),
    "test-mixin": (WithTest.as_view(), "author"),
    "dispatch": (WithDispatch.as_view(), "author"),
    "dispatch-afterwards": (WithDispatchAfterwards.as_view(), "author"),
    "setup": (WithSetup.as_view(), "login"),
    "queryset": (WithQueryset.as_view(), "author"),
    "get-object": (WithGetObject.as_view(), "author"),
    "get": (WithGet.as_view(), "author"),
    "get-afterwards": (WithGetAfterwards.as_view(), "author"),
    "get-status": (WithStatus.as_view(), "author"),
    "get-response": (WithResponse.as_view(), "author"),
    "get-decorated": (WithDecoratedGet.as_view(), "author"),
    "login-required": (login_required(Detail.as_view()), "login"),
    "permission-required": (permission_required(perm)(Detail.as_view()), "permission"),
    "permission-required-raising": (permission_required(perm, raise_exception=True)(Detail.as_view()), "permission"),
    "user-passes-test": (user_passes_test(as_staff)(Detail.as_view()), "staff"),
    "staff-member-required": (staff_member_required(Detail.as_view(), login_url="/login/"), "staff"),
    "login-required-dispatch": (method_decorator(login_required, name="dispatch")(own("A")).as_view(), "login"),
    "permission-dispatch": (
        method_decorator(permission_required(perm), name="dispatch")(own("B")).as_view(),
        "permission",
    ),
    "login-required-get": (
        method_decorator(login_required, name="get")(type("C", (WithGet,), {"get": DetailView.get})).as_view(),
        "login",
    ),
    "below-harmless": (
        never_cache(vary_on_cookie(require_safe(csrf_protect(gzip_page(login_required(Detail.as_view())))))),
        "login",
    ),
    "below-condition": (
        condition(etag_func=lambda *args, **kwargs: "x")(login_required(Detail.as_view())),
        "login",
    ),
    "afterwards": (afterwards(Detail.as_view()), "staff"),
    "afterwards-in-place": (afterwards_in_place(Detail.as_view()), "staff"),
    "afterwards-below-cache": (cache_page(60)(afterwards(Detail.as_view())), "staff"),
    "below-cache": (cache_page(60)(login_required(Detail.as_view())), "login"),
    "cached-dispatch": (
        method_decorator([cache_page(60), login_required], name="dispatch")(own("D")).as_view(),
        "login",
    ),
    "update": (Update.as_view(), "login"),
    "delete": (Delete.as_view(), "login"),
    "async": (AsyncChecking.as_view(), "author"),
    "async-login-mixin": (AsyncWithLogin.as_view(), "login"),
    "async-permission-mixin": (AsyncWithPermission.as_view(), "permission"),
    "async-login-required": (login_required(AsyncDetail.as_view()), "login"),
    "async-permission-required": (permission_required(perm)(AsyncDetail.as_view()), "permission"),
    "async-user-passes-test": (user_passes_test(as_staff)(AsyncDetail.as_view()), "staff"),
    "async-dispatch": (AsyncDispatch.as_view(), "login"),
    "async-login-required-dispatch": (
        method_decorator(login_required, name="dispatch")(type("E", (AsyncDetail,), {})).as_view(),
        "login",
    ),
}


class Writing(Detail):
    """Writes wherever a view can, and publishes."""

    def dispatch(self, request, *args, **kwargs):
        Post.objects.create(title="by dispatch")
        messages.success(request, "Welcome.")
        request.session["visits"] = request.session.get("visits", 0) + 1
        request.session["list"].append(1)
        request.session.save()
        request.session.cycle_key()
        login(request, request.user)
        request.session.flush()
        return super().dispatch(request, *args, **kwargs)

    def get_object(self, queryset=None):
        found = super().get_object(queryset)
        found.title = "by get_object"
        found.save()
        publish(found, "view", immediate=True)
        transaction.on_commit(lambda: publish(found, "view"))
        timezone.activate("Europe/Berlin")
        translation.activate("de")
        return found


class WritingGet(Writing):
    pusher_committing_methods = ("get",)
    pusher_committed_event_name = "read"

    def get(self, request, *args, **kwargs):
        self.object = self.get_object()
        self.publish("view")
        return HttpResponse("page")


class AsyncWriting(AsyncDetail):
    async def get(self, request, pk):
        await Post.objects.acreate(title="by get")
        await request.session.asave()
        return await super().get(request, pk)


class WritingElsewhere(Detail):
    def get_object(self, queryset=None):
        Elsewhere.objects.using("other").count()
        Elsewhere.objects.using("other").create(name="x")
        return super().get_object(queryset)


class Router:
    def db_for_read(self, model, **hints):
        return "other" if model is Elsewhere else None

    db_for_write = db_for_read


class ElsewhereDetail(PusherDetailMixin, DetailView):
    queryset = Elsewhere.objects.all()

    def get_object(self, queryset=None):
        found = super().get_object(queryset)
        found.name = "y"
        found.save()
        return found


def store(view, *, is_rendered=False):
    """A page cache of somebody else's."""

    @wraps(view)
    def stored(request, *args, **kwargs):
        response = view(request, *args, **kwargs)
        if is_rendered:
            response = response.render()
        cache.set(request.path, response)
        return response

    return stored


def unwrapped(view):
    def forgetful(*args, **kwargs):
        return view(*args, **kwargs)

    return forgetful


class Outer(PusherDetailMixin, View):
    def get(self, request, pk):
        return Detail.as_view()(request, pk=pk)


class Unfit(PusherMixin, View):
    def post(self, request):
        return HttpResponse()


class Failing(Detail):
    def get_queryset(self):
        return Post.objects.filter(nothing=1)


class WithoutObject(PusherDetailMixin, TemplateView):
    template_name = "there-is-none.html"


class Create(PusherCreateMixin, CreateView):
    model = Post
    fields = ("title",)


class Made(PusherDetailMixin, View):
    def get(self, request, pk):
        self.object = Post(pk=pk)
        return HttpResponse()


class Nothing(Detail):
    def dispatch(self, request, *args, **kwargs):
        """A view that forgets to answer."""


class Other(Detail):
    def dispatch(self, request, *args, **kwargs):
        super().dispatch(request, *args, **kwargs)
        return HttpResponse("another page")


class Overwriting(Detail):
    def setup(self, request, *args, **kwargs):
        super().setup(request, *args, **kwargs)
        self.get = lambda request, pk: HttpResponse()


class Late(Detail):
    def setup(self, request, *args, **kwargs):
        self.request, self.args, self.kwargs = request, args, kwargs


class Telling(Detail):
    asked = []

    def get_object(self, queryset=None):
        Telling.asked.append(self.request)
        return super().get_object(queryset)


class Private(Detail):
    def get_pusher_member_info(self):
        Post.objects.create()
        return {"name": "somebody", "path": self.request.path}


class AsyncInfo(Detail):
    async def get_pusher_member_info(self):
        return {"name": "somebody"}


def function_view(request, pk):
    return HttpResponse()


urlpatterns = [
    *(path(f"{name}/<int:pk>/", view) for name, (view, _) in GUARDED.items()),
    path("posts/<int:pk>/", Detail.as_view()),
    path("writing/<int:pk>/", Writing.as_view()),
    path("writing-get/<int:pk>/", WritingGet.as_view()),
    path("writing-async/<int:pk>/", AsyncWriting.as_view()),
    path("writing-elsewhere/<int:pk>/", WritingElsewhere.as_view()),
    path("elsewhere/<int:pk>/", ElsewhereDetail.as_view()),
    path("storing/<int:pk>/", store(Detail.as_view())),
    path("storing-rendered/<int:pk>/", store(Detail.as_view(), is_rendered=True)),
    path("unwrapped/<int:pk>/", unwrapped(Detail.as_view())),
    path("nested/<int:pk>/", Outer.as_view()),
    path("unfit/", Unfit.as_view()),
    path("failing/<int:pk>/", Failing.as_view()),
    path("without-object/", WithoutObject.as_view()),
    path("create/", Create.as_view()),
    path("made/<int:pk>/", Made.as_view()),
    path("nothing/<int:pk>/", Nothing.as_view()),
    path("other/<int:pk>/", Other.as_view()),
    path("overwriting/<int:pk>/", Overwriting.as_view()),
    path("late/<int:pk>/", Late.as_view()),
    path("telling/<int:pk>/", Telling.as_view()),
    path("cached/<int:pk>/", cache_page(60)(Detail.as_view())),
    path("plain/<int:pk>/", DetailView.as_view(model=Post)),
    path("function/<int:pk>/", function_view),
    path("open/<int:pk>/", login_not_required(Detail.as_view())),
    path("info/<int:pk>/", Private.as_view()),
    path("async-info/<int:pk>/", AsyncInfo.as_view()),
    path("größe/<str:word>/<int:pk>/", Detail.as_view()),
    path("pusher/", include("pusherable.urls")),
    *i18n_patterns(path("translated/<int:pk>/", Detail.as_view()), prefix_default_language=False),
]


def visitor(asks, post):
    """Somebody whom a view that asks for this lets in."""
    user = UserFactory(is_staff=asks == "staff")
    if asks == "permission":
        user.user_permissions.add(Permission.objects.get(codename="view_post"))
    if asks == "author":
        post.author = user
        post.save()
    return user


def visiting(user=None, session=None, **headers):
    """The request of a visitor at the auth view."""
    request = RequestFactory(headers=headers).post("/pusher/auth/", {"socket_id": "1.2", "channel_name": "x"})
    request.user = AnonymousUser() if user is None else user

    async def auser():
        return request.user

    request.auser = auser
    request.session = session if session is not None else {}
    return request


def refusal(request, page):
    with pytest.raises(Refused) as refused:
        ask_page(request, page)
    return refused.value.reason


class TestGuards:
    @pytest.mark.parametrize("name", GUARDED)
    def test_visitor_whom_the_view_lets_in_is_shown_its_object(self, name):
        post = PostFactory()
        request = visiting(visitor(GUARDED[name][1], post))
        assert ask_page(request, f"/{name}/{post.pk}/").channel in (f"private-post_{post.pk}", f"post_{post.pk}")

    @pytest.mark.parametrize("name", GUARDED)
    def test_visitor_whom_the_view_turns_away_is_refused(self, name):
        post = PostFactory(author=UserFactory())
        refused = {Reason.REDIRECTED, Reason.FORBIDDEN, Reason.NOT_FOUND}
        assert refusal(visiting(), f"/{name}/{post.pk}/") in refused
        if GUARDED[name][1] != "login":
            assert refusal(visiting(UserFactory()), f"/{name}/{post.pk}/") in refused


def nothing_has_happened(post, outbox):
    post.refresh_from_db()
    return (post.title, Post.objects.count(), outbox) == ("What's up?", 1, [])


@pytest.mark.django_db(transaction=True)
class TestNothingComesOfIt:
    @pytest.mark.parametrize("name", ["writing", "writing-get", "writing-async"])
    @pytest.mark.parametrize("is_in_transaction", [False, True])
    def test_neither_rows_nor_sessions_nor_events(self, name, is_in_transaction, client, pusherable_outbox, settings):
        post, user = PostFactory(), UserFactory()
        client.force_login(user)
        session = client.session
        session["list"] = []
        session.save()
        request = visiting(user, session)
        request._messages = default_storage(request)
        stored = Session.objects.get()
        language = translation.get_language()
        if is_in_transaction:
            with transaction.atomic():
                shown = ask_page(request, f"/{name}/{post.pk}/")
        else:
            shown = ask_page(request, f"/{name}/{post.pk}/")
        assert shown.channel == f"private-post_{post.pk}"
        assert nothing_has_happened(post, pusherable_outbox)
        assert (session["list"], session.get("visits"), session.session_key) == ([], None, stored.session_key)
        again = Session.objects.get()
        assert (again.pk, again.session_data) == (stored.pk, stored.session_data)
        assert (request._messages._queued_messages, request._messages.added_new) == ([], False)
        assert (timezone.get_current_timezone_name(), translation.get_language()) == (settings.TIME_ZONE, language)

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_other_databases_are_not_written_to(self):
        page = f"/writing-elsewhere/{PostFactory(pk=1).pk}/"
        with pytest.raises(Refused) as refused:
            ask_page(visiting(), page)
        assert refused.value.detail == "It writes to the database 'other' before it shows its object."
        with transaction.atomic(using="other"):
            assert ask_page(visiting(), page).channel == "private-post_1"
        assert Elsewhere.objects.using("other").count() == 0

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_database_of_the_model_is_rolled_back_too(self, settings):
        settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
        elsewhere = Elsewhere.objects.create(name="x")
        assert ask_page(visiting(), f"/elsewhere/{elsewhere.pk}/").channel == f"elsewhere_{elsewhere.pk}"
        elsewhere.refresh_from_db()
        assert (elsewhere._state.db, elsewhere.name) == ("other", "x")

    def test_page_cache_neither_answers_nor_learns(self, settings):
        cache.clear()
        post = PostFactory()
        request = RequestFactory().get(f"/cached/{post.pk}/")
        assert ask_page(visiting(), f"/cached/{post.pk}/").channel == f"private-post_{post.pk}"
        assert cache._cache == {}
        cached = cache_page(60)(lambda request: HttpResponse("cached"))
        cached(request)
        stored = dict(cache._cache)
        assert len(stored) == 2
        assert ask_page(visiting(), f"/cached/{post.pk}/").channel == f"private-post_{post.pk}"
        assert refusal(visiting(), "/cached/0/") is Reason.NOT_FOUND
        assert cache._cache == stored
        cache.clear()

    def test_databases_are_asked_once_and_left_as_they_were(self, django_assert_num_queries):
        post = PostFactory()
        with django_assert_num_queries(3) as captured:
            ask_page(visiting(), f"/posts/{post.pk}/")
        assert [query["sql"].split()[0] for query in captured.captured_queries] == ["BEGIN", "SELECT", "ROLLBACK"]
        assert connections["default"].in_atomic_block is False


class TestRequest:
    def test_is_the_visitors_own_get_of_that_page(self):
        user = UserFactory()
        made = visiting(user, **{"If-None-Match": "x", "Range": "bytes=0-1", "X-Custom": "y", "Cookie": "a=b"})
        made.tenant = "of the middleware"
        assert made.POST["socket_id"] == "1.2"
        post = PostFactory()
        ask_page(made, f"/telling/{post.pk}/?a=1&b=%C3%BC#part")
        asked = Telling.asked.pop()
        assert (asked.method, asked.path, asked.path_info) == ("GET", f"/telling/{post.pk}/", f"/telling/{post.pk}/")
        assert asked.GET.dict() == {"a": "1", "b": "ü"}
        assert asked.get_full_path() == f"/telling/{post.pk}/?a=1&b=%C3%BC"
        assert asked.build_absolute_uri("/x/") == "http://testserver/x/"
        assert (asked.user, asked.tenant, asked.COOKIES) == (user, "of the middleware", {"a": "b"})
        assert (asked.POST.dict(), asked.FILES.dict(), asked.body, asked.read()) == ({}, {}, b"", b"")
        assert asked.headers.get("X-Custom") == "y"
        absent = ("If-None-Match", "Range", "Content-Type", "Content-Length")
        assert [name for name in absent if name in asked.headers] == []
        assert (asked.content_type, asked.environ is asked.META, asked.resolver_match.kwargs) == (
            "",
            True,
            {"pk": post.pk},
        )
        assert asked.get_host() == made.get_host()
        assert (made.method, made.path, made.POST["socket_id"]) == ("POST", "/pusher/auth/", "1.2")

    def test_under_asgi_too(self):
        made = AsyncRequestFactory().post("/pusher/auth/", {"socket_id": "1.2"})
        assert isinstance(made, ASGIRequest)
        made.user = AnonymousUser()
        post = PostFactory()
        ask_page(made, f"/telling/{post.pk}/?a=1")
        asked = Telling.asked.pop()
        assert (asked.method, asked.path, asked.GET.dict(), asked.POST.dict()) == (
            "GET",
            f"/telling/{post.pk}/",
            {"a": "1"},
            {},
        )
        assert (asked.scope["path"], asked.scope["method"]) == (asked.path, "GET")
        assert made.scope["method"] == "POST"

    def test_session_of_another_kind_is_copied(self):
        made = visiting(session={"list": []})
        ask_page(made, f"/telling/{PostFactory().pk}/")
        assert Telling.asked.pop().session["list"] is not made.session["list"]

    def test_session_that_nobody_has_read_is_read_by_the_view(self, client):
        client.force_login(UserFactory())
        stored = SessionStore(client.session.session_key)
        ask_page(visiting(session=stored), f"/telling/{PostFactory().pk}/")
        assert Telling.asked.pop().session["_auth_user_id"] == client.session["_auth_user_id"]
        assert "_session_cache" not in vars(stored)

    def test_prefix_of_the_script_is_taken_off(self):
        post = PostFactory()
        set_script_prefix("/site/")
        try:
            assert refusal(visiting(), f"/posts/{post.pk}/") is Reason.MALFORMED_PAGE
            ask_page(visiting(), f"/site/telling/{post.pk}/")
        finally:
            set_script_prefix("/")
        asked = Telling.asked.pop()
        assert (asked.path, asked.path_info) == (f"/site/telling/{post.pk}/", f"/telling/{post.pk}/")

    def test_own_urlconf_of_the_request_counts(self):
        made = visiting()
        made.urlconf = "tests.urls"
        assert refusal(made, "/posts/1/") is Reason.UNKNOWN_PAGE

    def test_address_may_name_its_language(self, settings):
        settings.LANGUAGE_CODE = "en"
        post = PostFactory()
        for language in ("en", "de"):
            with translation.override(language):
                for page in (f"/de/translated/{post.pk}/", f"/translated/{post.pk}/"):
                    assert ask_page(visiting(), page).channel == f"private-post_{post.pk}"
                assert refusal(visiting(), f"/xx/translated/{post.pk}/") is Reason.UNKNOWN_PAGE
                assert translation.get_language() == language

    @pytest.mark.parametrize("page", ["/größe/ä b/{}/", "/gr%C3%B6%C3%9Fe/%C3%A4%20b/{}/", "/gr%C3%B6%C3%9Fe/%FF/{}/"])
    def test_address_may_hold_any_letters(self, page):
        post = PostFactory()
        assert ask_page(visiting(), page.format(post.pk)).channel == f"private-post_{post.pk}"


class TestPages:
    @pytest.mark.parametrize(
        "page",
        [
            "", "posts/1/", "//example.com/posts/1/", "http://testserver/posts/1/", "https:/posts/1/", "javascript:x",
            "/posts/1/%00", "/posts/\0", "/" + "x" * 2048, "/posts/\ud800/", "/posts/1/?" + "&" * 1001,
        ],
    )  # fmt: skip
    def test_what_is_no_path_of_this_site_is_refused(self, page):
        assert refusal(visiting(), page) is Reason.MALFORMED_PAGE

    @pytest.mark.parametrize(
        "page", ["/", "/\\example.com/", "/posts/x/", "/posts/1", "/ /", "/posts/../posts/1/", "/%2Fposts/1/"]
    )
    def test_path_without_a_view_is_refused(self, page):
        assert refusal(visiting(), page) is Reason.UNKNOWN_PAGE

    @pytest.mark.parametrize(
        "page", ["/plain/1/", "/function/1/", "/unwrapped/1/", "/pusher/auth/", "/pusher/user-auth/"]
    )
    def test_view_that_cannot_be_asked_is_refused(self, page):
        PostFactory(pk=1)
        with pytest.raises(Refused, match=r"uses? functools\.wraps.*It is ") as refused:
            ask_page(visiting(), page)
        assert refused.value.reason is Reason.UNASKABLE_VIEW

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            ("/storing/1/", Reason.VIEW_FAILED),
            ("/storing-rendered/1/", Reason.VIEW_FAILED),
            ("/nested/1/", Reason.NESTED_VIEW),
            ("/unfit/", Reason.OTHER_RESPONSE),
            ("/create/", Reason.NO_OBJECT),
            ("/made/1/", Reason.NO_OBJECT),
            ("/nothing/1/", Reason.OTHER_RESPONSE),
            ("/other/1/", Reason.OTHER_RESPONSE),
            ("/overwriting/1/", Reason.OTHER_RESPONSE),
            ("/late/1/", Reason.UNASKABLE_VIEW),
            ("/posts/2/", Reason.NOT_FOUND),
        ],
    )
    def test_other_outcome_is_a_refusal(self, page, reason):
        PostFactory(pk=1)
        assert refusal(visiting(), page) is reason

    @pytest.mark.parametrize(
        ("page", "error"), [("/failing/1/", "FieldError"), ("/without-object/", "ImproperlyConfigured")]
    )
    def test_error_is_logged_and_refused(self, page, error, caplog):
        with pytest.raises(Refused) as refused:
            ask_page(visiting(), page)
        assert (refused.value.reason, refused.value.detail) == (Reason.VIEW_FAILED, f"It was {error}; see the log.")
        [record] = [record for record in caplog.records if record.name == "pusherable.authorization"]
        assert record.getMessage() == f"The view of {page!r} failed while it was asked who may listen."
        assert record.exc_info[0].__name__ == error


class Denying:
    """A middleware that decides by the view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def process_view(self, request, view, args, kwargs):
        return HttpResponseRedirect("/elsewhere/") if request.path.startswith("/posts/") else None


class Unused(Denying):
    def __init__(self, get_response):
        raise MiddlewareNotUsed


class AsyncDenying(Denying):
    async def process_view(self, request, view, args, kwargs):
        with pytest.raises(PermissionDenied):
            self.get_response(request)
        raise Http404


class WithoutHook:
    def __init__(self, get_response):
        raise AssertionError("It was made for nothing.")


def function_middleware(get_response):
    def middleware(request):
        return get_response(request)

    middleware.process_view = Denying(get_response).process_view
    return middleware


def plain_middleware(get_response):
    def middleware(request):
        return get_response(request)

    return middleware


class TestMiddleware:
    @pytest.mark.parametrize("name", ["Denying", "function_middleware"])
    def test_hook_that_sees_the_view_decides(self, name, settings):
        settings.MIDDLEWARE = [f"{__name__}.{name}"]
        post = PostFactory()
        assert refusal(visiting(), f"/posts/{post.pk}/") is Reason.REDIRECTED
        assert ask_page(visiting(), f"/open/{post.pk}/").channel == f"private-post_{post.pk}"

    def test_hook_may_be_async(self, settings):
        settings.MIDDLEWARE = [f"{__name__}.AsyncDenying"]
        assert refusal(visiting(), f"/posts/{PostFactory().pk}/") is Reason.NOT_FOUND

    def test_middleware_without_a_say_is_not_even_made(self, settings):
        settings.MIDDLEWARE = [f"{__name__}.{name}" for name in ("Unused", "WithoutHook", "plain_middleware")]
        ask_page(visiting(), f"/posts/{PostFactory().pk}/")

    def test_login_that_the_whole_site_asks_for_is_asked_of_the_page(self, settings):
        settings.MIDDLEWARE = ["django.contrib.auth.middleware.LoginRequiredMiddleware"]
        post = PostFactory()
        assert refusal(visiting(), f"/posts/{post.pk}/") is Reason.REDIRECTED
        for user, page in ((UserFactory(), "posts"), (None, "open")):
            assert ask_page(visiting(user), f"/{page}/{post.pk}/").channel == f"private-post_{post.pk}"


@pytest.mark.django_db(transaction=True)
class TestAskMemberInfo:
    def test_view_says_it_and_nothing_comes_of_it(self):
        post = PostFactory()
        shown = ask_page(visiting(UserFactory()), f"/info/{post.pk}/")
        assert ask_member_info(shown) == {"name": "somebody", "path": f"/info/{post.pk}/"}
        assert Post.objects.count() == 1

    def test_name_is_told_by_default_and_the_hook_may_be_async(self):
        post, user = PostFactory(), UserFactory(username="ada")
        assert ask_member_info(ask_page(visiting(user), f"/posts/{post.pk}/")) == {"name": "ada"}
        assert ask_member_info(ask_page(visiting(user), f"/async-info/{post.pk}/")) == {"name": "somebody"}


class TestSettle:
    def test_value_or_what_it_promises(self):
        async def promise():
            return 7

        assert (settle(7), settle(promise())) == (7, 7)


def shown_in(view_class, method="get", *, shown=None, changed=None, resolved=None):
    """What need not be asked of a view of this class that shows ``shown``, in the answer to a request."""
    request = getattr(RequestFactory(), method)("/posts/1/?a=b")
    request.resolver_match = resolved or ResolverMatch(view_class.as_view(), (), {})
    view = view_class()
    view.setup(request, pk=1)
    view.object = Post(pk=1) if shown is None else shown
    if view.object._state.adding:
        view.object._state.adding = shown is not None
    for name, value in (changed or {}).items():
        setattr(view, name, value)
    return shown_by(view, request)


class OfAnotherName(Detail):
    def get_pusher_channel(self):
        return "private-of-my-own"


class WithoutChannel(Detail):
    def get_pusher_channel(self):
        raise InvalidChannel("It has none.", channel="")


class TestShownBy:
    def test_a_view_that_has_its_object_by_djangos_own_get_is_not_asked(self):
        [[page, shown]] = shown_in(Detail).items()
        assert (page, shown.channel, type(shown.view)) == ("/posts/1/?a=b", "private-post_1", Detail)

    def test_its_own_name_for_the_channel_counts(self):
        [shown] = shown_in(OfAnotherName).values()
        assert shown.channel == "private-of-my-own"

    @pytest.mark.parametrize(
        "arguments",
        [
            {"view_class": WithGet},
            {"view_class": Detail, "method": "post"},
            {"view_class": Detail, "method": "head"},
            {"view_class": Detail, "resolved": ResolverMatch(WithQueryset.as_view(), (), {})},
            {"view_class": Detail, "resolved": ResolverMatch(as_staff, (), {})},
            {"view_class": Detail, "changed": {"get": None}},
            {"view_class": Detail, "changed": {"object": None}},
            {"view_class": Detail, "changed": {"request": RequestFactory().get("/")}},
            {"view_class": Detail, "shown": Post(pk=1)},
            {"view_class": WithoutChannel},
        ],
    )
    def test_any_other_view_is_asked(self, arguments):
        assert shown_in(**arguments) == {}

    @pytest.mark.parametrize("view", [None, "", DetailView(), PusherMixin()])
    def test_what_is_no_view_of_ours_says_nothing(self, view):
        assert shown_by(view, RequestFactory().get("/")) == {}


class TestPageOf:
    def test_is_this_page_if_it_shows_the_object_or_else_the_objects_own(self):
        request = RequestFactory().get("/drafts/1/?a=b")
        view = Detail()
        assert page_of(Post(pk=1), request, view) == "/posts/1/"
        view.object = Post(pk=1)
        assert page_of(Post(pk=1), request, view) == "/drafts/1/?a=b"
        assert page_of(Post(pk=1), None, view) == "/posts/1/"
        assert page_of(Post(pk=2), request, view) == "/posts/2/"

    def test_of_what_has_none_is_none(self, monkeypatch):
        assert page_of("private-post_1", None, None) == page_of(Elsewhere(pk=1), None, None) == ""
        monkeypatch.setattr(Post, "get_absolute_url", lambda self: reverse("nowhere"))
        assert page_of(Post(pk=1), None, None) == ""

"""The auth view, as browsers ask it: every kind of channel, visitor and rule."""

import json
import time
from urllib.parse import parse_qsl

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.test import AsyncClient, Client
from django.urls import include, path, reverse
from django.views.generic import DetailView, View

from pusherable import authorization
from pusherable.authorization import authorize
from pusherable.channels import ChannelKind
from pusherable.mixins import PusherDetailMixin
from pusherable.publishing import channel_of
from pusherable.server.config import App, ServerConfig
from pusherable.server.passes import read_pass
from pusherable.signing import verify
from tests.factories import DocumentFactory, PostFactory, UserFactory
from tests.testapp.models import Post

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class PostDetail(PusherDetailMixin, DetailView):
    model = Post

    def get_queryset(self):
        return Post.objects.filter(author_id=self.request.user.pk)


class AsyncDetail(PusherDetailMixin, View):
    async def get(self, request, pk):
        self.object = await Post.objects.aget(pk=pk)
        if self.object.author_id != (await request.auser()).pk:
            raise PermissionDenied
        return HttpResponse("page")


urlpatterns = [
    path("posts/<int:pk>/", PostDetail.as_view()),
    path("async/<int:pk>/", AsyncDetail.as_view()),
    path("pusher/", include("pusherable.urls")),
]


@pytest.fixture(autouse=True)
def rules(monkeypatch):
    """No rules but those that the test writes."""
    rules = []
    monkeypatch.setattr(authorization, "_entries", rules)
    return rules


@pytest.fixture
def site(settings):
    """A site in development, which tells why it refuses, with every kind of channel."""
    settings.DEBUG = True
    settings.PUSHER_ENCRYPTION_MASTER_KEY = KEY
    return settings


def ask(client, data, url="/pusher/auth/", **kwargs):
    response = client.post(url, data, **kwargs)
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"
    return response


def batch(*channels, socket_id="1.2", **more):
    """The form for channels, each a name or a pair of a name and a page."""
    data = {"socket_id": socket_id} | more
    for index, channel in enumerate(channels):
        name, page = channel if isinstance(channel, tuple) else (channel, None)
        data[f"channel_name[{index}]"] = name
        if page is not None:
            data[f"page[{index}]"] = page
    return data


VISITORS = ("nobody", "stranger", "author", "reader", "inactive")
#: Who is let in to what, and why everybody else is not.
TARGETS = {
    "post with its page": ({"author"}, "not-found"),
    "post without a page": ({"author"}, "not-found"),
    "post with another's page": (set(), "other-object"),
    "post with a page that is none": (set(), "malformed-page"),
    "document": ({"reader"}, "no-permission"),
    "model": ({"reader"}, "no-permission"),
    "open to all": (set(VISITORS), ""),
    "closed to all": (set(), "rule-refused"),
    "open to who has logged in": ({"stranger", "author", "reader"}, "rule-refused"),
    "unknown": (set(), "no-rule"),
}


def expected(kind, visitor, target):
    """Status and code, by the order in which the page on authorization has it."""
    if kind is ChannelKind.SERVER_TO_USER:
        return 403, "reserved-channel"
    if not kind.needs_authorization:
        return 403, "public-channel"
    if kind.is_presence and visitor in ("nobody", "inactive"):
        return 403, "anonymous"
    let_in, code = TARGETS[target]
    if target == "post with another's page" and visitor != "author":
        return 403, "not-found"
    return (200, None) if visitor in let_in else (403, code)


class TestAuthView:
    @pytest.mark.parametrize("visitor", VISITORS)
    @pytest.mark.parametrize("kind", ChannelKind)
    def test_every_kind_visitor_and_rule(self, kind, visitor, client, site):
        user = UserFactory()
        if visitor == "reader":
            codenames = ["view_document", "view_post"]
            user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        post, other = PostFactory.create_batch(2, author=user if visitor == "author" else UserFactory())
        if visitor != "nobody":
            client.force_login(user)
        if visitor == "inactive":
            user.is_active = False
            user.save()
        authorize("open_<int:n>")(lambda request, channel, n: True)
        authorize("closed_<int:n>")(lambda request, channel, n: False)
        authorize("known_<int:n>")(lambda request, channel, n: request.user.is_authenticated)
        own, foreign = f"{kind.prefix}post_{post.pk}", f"{kind.prefix}post_{other.pk}"
        asked = {
            "post with its page": (own, f"/posts/{post.pk}/"),
            "post without a page": (own, None),
            "post with another's page": (own, f"/posts/{other.pk}/"),
            "post with a page that is none": (foreign, "https://example.com/"),
            "document": (f"{kind.prefix}{channel_of(DocumentFactory())}", None),
            "model": (f"{kind.prefix}document", None),
            "open to all": (f"{kind.prefix}open_1", None),
            "closed to all": (f"{kind.prefix}closed_1", None),
            "open to who has logged in": (f"{kind.prefix}known_1", None),
            "unknown": (f"{kind.prefix}nothing_1", None),
        }
        assert asked.keys() == TARGETS.keys()
        answers = {}
        for target, (channel, page) in asked.items():
            data = {"socket_id": "1.2", "channel_name": channel} | ({} if page is None else {"page": page})
            alone = ask(client, data)
            told = alone.json()
            assert (target, alone.status_code, told.get("code")) == (target, *expected(kind, visitor, target))
            answers[channel, page] = {"status": alone.status_code, "data": told}
            if alone.status_code == 200:
                more = {"channel_data": kind.is_presence, "shared_secret": kind.is_encrypted}
                assert told.keys() == {"auth", *(name for name, is_there in more.items() if is_there)}
                signed = ":".join(["1.2", channel, *([told["channel_data"]] if kind.is_presence else [])])
                assert verify("test-secret", signed, told["auth"].removeprefix("test-key:"))
        # One channel has one page in a batch.
        at_once = dict(reversed(answers))
        together = ask(client, batch(*at_once.items())).json()["channels"]
        assert together == {channel: answers[channel, page] for channel, page in at_once.items()}

    @pytest.mark.django_db(transaction=True)
    def test_under_asgi_async_views_are_asked_too(self, site):
        user = UserFactory()
        mine, other = PostFactory(author=user), PostFactory(author=UserFactory())
        client = AsyncClient()
        client.force_login(user)
        for post, code in ((mine, None), (other, "forbidden")):
            data = {"socket_id": "1.2", "channel_name": f"private-post_{post.pk}", "page": f"/async/{post.pk}/"}
            response = async_to_sync(client.post)("/pusher/auth/", data)
            assert response.json().get("code") == code
        data = {"socket_id": "1.2", "channel_name": f"presence-post_{mine.pk}"}
        assert async_to_sync(client.post)("/pusher/auth/", data).status_code == 200

    def test_outside_of_development_no_reason_is_told(self, client):
        response = ask(client, {"socket_id": "1.2", "channel_name": "private-nothing_1"})
        assert (response.status_code, response.json()) == (403, {})
        response = ask(client, batch("private-nothing_1"))
        assert response.json() == {"channels": {"private-nothing_1": {"status": 403, "data": {}}}, "user": None}
        assert ask(client, {"socket_id": "1", "channel_name": "private-x"}).json() == {}

    def test_in_development_code_and_sentence_are(self, client, site):
        response = ask(client, {"socket_id": "1.2", "channel_name": "private-nothing_1"})
        assert response.json() == {
            "code": "no-rule",
            "reason": "No rule, no page and no model is about this channel: write a rule in channels.py.",
        }

    @pytest.mark.parametrize(
        ("data", "status", "code"),
        [
            ({}, 400, "malformed-request"),
            ({"socket_id": "1.2"}, 400, "malformed-request"),
            ({"channel_name": "private-x"}, 403, "malformed-socket-id"),
            (batch("private-x", socket_id="x"), 403, "malformed-socket-id"),
            ({"socket_id": "1.2", "channel_name": ""}, 403, "invalid-channel"),
            ({"socket_id": "1.2", "channel_name": ["private-x", "private-y"]}, 400, "malformed-request"),
            ({"socket_id": ["1.2", "1.3"], "channel_name": "private-x"}, 400, "malformed-request"),
            ({"socket_id": "1.2", "channel_name": "private-x", "page": ["/", "/x/"]}, 400, "malformed-request"),
            (batch("private-x") | {"channel_name": "private-x"}, 400, "malformed-request"),
            (batch("private-x") | {"channel_name[0]": ["private-x", "private-y"]}, 400, "malformed-request"),
            (batch("private-x") | {"channel_name[00]": "private-y"}, 400, "malformed-request"),
            (batch("private-x") | {"page[1]": "/"}, 400, "malformed-request"),
            (batch("private-x") | {"page[0]": ["/", "/x/"]}, 400, "malformed-request"),
            (batch("private-x") | {"socket_id": ["1.2", "1.2"]}, 400, "malformed-request"),
            (batch(("private-x", "/"), ("private-x", "/x/")), 400, "malformed-request"),
            (batch("private-x", ("private-x", "/x/")), 400, "malformed-request"),
            ({"socket_id": "1.2", "channel_name[x]": "private-x"}, 400, "malformed-request"),
            ({"socket_id": "1.2", "channel_name[１]": "private-x"}, 400, "malformed-request"),
            ({"socket_id": "1.2", "channel_name[9999999]": "private-x"}, 400, "malformed-request"),
            (batch(*(f"private-{n}" for n in range(101))), 400, "too-many-channels"),
        ],
    )
    def test_form_that_nobody_could_answer(self, data, status, code, client, site):
        response = ask(client, data)
        assert (response.status_code, response.json()["code"]) == (status, code)

    def test_batch_of_a_hundred_with_gaps_is_answered_in_order(self, client, site):
        data = {"socket_id": "1.2"} | {f"channel_name[{n * 3}]": f"private-nothing_{n}" for n in reversed(range(100))}
        channels = ask(client, data).json()["channels"]
        assert [*channels] == [f"private-nothing_{n}" for n in range(100)]
        assert {answer["data"]["code"] for answer in channels.values()} == {"no-rule"}

    def test_channel_may_stand_twice_with_one_page(self, client, site):
        channels = ask(client, batch(("private-x", "/"), ("private-x", "/"))).json()["channels"]
        assert [*channels] == ["private-x"]

    def test_fields_of_others_are_ignored(self, client, site):
        data = batch("private-x") | {"csrfmiddlewaretoken": "x", "channel_names[0]": "y", "extra": "z"}
        assert [*ask(client, data).json()["channels"]] == ["private-x"]

    @pytest.mark.parametrize("text", ["\0", "private-\0x", "private-\ud83d", "ü" * 500, "private-%00", "𝕏" * 200])
    def test_hostile_text_is_a_refusal(self, text, client, site):
        data = batch((text.encode(errors="replace").decode(), text.encode(errors="replace").decode()))
        [answer] = ask(client, data).json()["channels"].values()
        assert (answer["status"], answer["data"]["code"]) == (403, answer["data"]["code"])
        assert answer["data"]["code"] in ("invalid-channel", "public-channel")
        page = "/" + text.encode(errors="replace").decode()
        [answer] = ask(client, batch(("private-x", page))).json()["channels"].values()
        assert answer["data"]["code"] in ("malformed-page", "unknown-page")

    @pytest.mark.parametrize("name", ["auth", "user-auth"])
    def test_its_own_address_is_no_page(self, name, client, site):
        page = reverse(f"pusherable:{name}")
        [answer] = ask(client, batch(("private-x", page))).json()["channels"].values()
        assert answer["data"]["code"] == "unaskable-view"

    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
    @pytest.mark.parametrize("name", ["auth", "user-auth"])
    def test_other_methods_are_not_allowed(self, method, name, client):
        response = getattr(client, method)(reverse(f"pusherable:{name}"))
        assert (response.status_code, response["Allow"]) == (405, "POST")

    def test_token_against_forgery_is_asked_for(self):
        client = Client(enforce_csrf_checks=True)
        data = batch("private-x")
        assert client.post("/pusher/auth/", data).status_code == 403
        client.cookies["csrftoken"] = token = "x" * 32
        assert client.post("/pusher/auth/", data).status_code == 403
        assert client.post("/pusher/auth/", data, headers={"X-CSRFToken": token}).status_code == 200
        assert client.post("/pusher/auth/", data | {"csrfmiddlewaretoken": token}).status_code == 200

    def test_site_that_asks_everybody_to_log_in_does_not_send_it_elsewhere(self, client, site):
        site.MIDDLEWARE = [*site.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
        user = UserFactory()
        post = PostFactory(author=user)
        data = {"socket_id": "1.2", "channel_name": f"private-post_{post.pk}"}
        response = ask(client, data)
        assert (response.status_code, response.json()["code"]) == (403, "redirected")
        client.force_login(user)
        assert ask(client, data).status_code == 200

    def test_middleware_that_sends_pages_elsewhere_is_asked(self, client, site):
        site.MIDDLEWARE = [*site.MIDDLEWARE, f"{__name__}.Terms"]
        user = UserFactory()
        client.force_login(user)
        data = {"socket_id": "1.2", "channel_name": f"private-post_{PostFactory(author=user).pk}"}
        assert ask(client, data).json()["code"] == "redirected"

    def test_permission_taken_away_is_felt_the_next_time(self, client):
        user = UserFactory()
        client.force_login(user)
        user.user_permissions.set(Permission.objects.filter(codename="view_document"))
        data = {"socket_id": "1.2", "channel_name": channel_of(DocumentFactory(), private=True)}
        assert ask(client, data).status_code == 200
        user.user_permissions.clear()
        assert ask(client, data).status_code == 403

    def test_neither_cookie_nor_session_nor_event_comes_of_it(self, client, pusherable_outbox):
        post = PostFactory(author=UserFactory())
        client.force_login(post.author)
        response = ask(client, batch((f"presence-post_{post.pk}", f"/posts/{post.pk}/"), signin="1"))
        assert response.status_code == 200
        assert (response.cookies, pusherable_outbox) == ({}, [])

    @pytest.mark.django_db(transaction=True)
    def test_forty_private_channels_are_one_request(self, client, site, django_assert_num_queries, capsys):
        user = UserFactory()
        posts = PostFactory.create_batch(40, author=user)
        client.force_login(user)
        data = batch(*((f"private-post_{post.pk}", f"/posts/{post.pk}/") for post in posts), signin="1")
        # The session and its user; for each page its object, and the transaction that is rolled back.
        with django_assert_num_queries(2 + 40 * 3) as captured:
            answer = ask(client, data).json()
        assert [*answer["channels"]] == [f"private-post_{post.pk}" for post in posts]
        assert {channel["status"] for channel in answer["channels"].values()} == {200}
        assert answer["user"]["user_data"] == f'{{"id":"{user.pk}","user_info":{{"name":"{user.username}"}}}}'
        reading = [query for query in captured.captured_queries if query["sql"].startswith("SELECT")]
        assert len(reading) == 42

    @pytest.mark.django_db(transaction=True)
    def test_channels_of_one_page_are_one_question(self, client, site, django_assert_num_queries):
        user = UserFactory()
        post = PostFactory(author=user)
        client.force_login(user)
        others = (f"private-post_{post.pk + n}" for n in range(1, 40))
        data = batch(*((channel, f"/posts/{post.pk}/") for channel in (f"private-post_{post.pk}", *others)))
        with django_assert_num_queries(2 + 3):
            channels = ask(client, data).json()["channels"]
        assert [answer["status"] for answer in channels.values()] == [200] + [403] * 39


class Terms:
    """Sends whoever has not agreed to some page there."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        return None if request.path.startswith("/pusher/") else HttpResponseRedirect("/terms/")


class TestSigningIn:
    def test_user_is_signed_in_with_the_channels_or_without(self, client, site):
        user = UserFactory(username="ada")
        client.force_login(user)
        for data in (batch("private-x", signin="1"), batch(signin="1")):
            answer = ask(client, data).json()
            assert answer["user"]["user_data"] == f'{{"id":"{user.pk}","user_info":{{"name":"ada"}}}}'
            signed = f"1.2::user::{answer['user']['user_data']}"
            assert verify("test-secret", signed, answer["user"]["auth"].removeprefix("test-key:"))
        assert answer["channels"] == {}
        assert ask(client, batch("private-x")).json()["user"] is None

    def test_nobody_is_not(self, client):
        assert ask(client, batch(signin="1")).json() == {"channels": {}, "user": None}

    def test_endpoint_of_pusherjs(self, client, site):
        url = reverse("pusherable:user-auth")
        response = ask(client, {"socket_id": "1.2"}, url)
        assert (response.status_code, response.json()["code"]) == (403, "anonymous")
        user = UserFactory(username="ada")
        client.force_login(user)
        answer = ask(client, {"socket_id": "1.2"}, url).json()
        assert json.loads(answer["user_data"]) == {"id": str(user.pk), "user_info": {"name": "ada"}}
        assert verify("test-secret", f"1.2::user::{answer['user_data']}", answer["auth"].removeprefix("test-key:"))
        assert ask(client, {}, url).json()["code"] == "malformed-socket-id"


class TestStream:
    def ask(self, client, *channels, **more):
        data = batch(*channels, stream="1", **more)
        del data["socket_id"]
        return ask(client, data)

    def read(self, query):
        config = ServerConfig(apps=(App(id="1", key="test-key", secret="test-secret"),))
        return read_pass(parse_qsl(query), config, now=time.time())

    def test_is_signed_for_what_its_visitor_may_hear(self, client, site):
        user = UserFactory(username="ada")
        mine, other = PostFactory(author=user), PostFactory(author=UserFactory())
        client.force_login(user)
        own = (f"private-post_{mine.pk}", f"/posts/{mine.pk}/")
        channels = [own, f"private-post_{other.pk}", f"presence-post_{mine.pk}", "private-encrypted-x", "news", "#bad"]

        answer = self.ask(client, *channels, signin="1").json()

        outcome = {name: told["data"].get("code", told["status"]) for name, told in answer["channels"].items()}
        assert outcome == {
            own[0]: 200,
            f"private-post_{other.pk}": "not-found",
            f"presence-post_{mine.pk}": 200,
            "private-encrypted-x": "encrypted-stream",
            "news": 200,
            "#bad": "invalid-channel",
        }
        assert answer["user"] == str(user.pk)
        let_in = self.read(answer["query"])
        assert let_in.channels == (own[0], f"presence-post_{mine.pk}", "news", f"#server-to-user-{user.pk}")
        assert (let_in.user.id, let_in.member.user_info) == (str(user.pk), {"name": "ada"})

    def test_of_nobody_with_nothing_has_no_address(self, client):
        answer = self.ask(client, "private-x", signin="1").json()
        assert answer == {"channels": {"private-x": {"status": 403, "data": {}}}, "user": None, "query": None}

    def test_of_a_user_alone_is_for_what_is_sent_to_the_user(self, client):
        user = UserFactory()
        client.force_login(user)
        answer = self.ask(client, signin="1").json()
        assert answer["channels"] == {}
        assert self.read(answer["query"]).channels == (f"#server-to-user-{user.pk}",)

    def test_of_as_many_channels_as_the_server_allows_is_one(self, client, site):
        site.PUSHERABLE_SERVER_LIMITS = {"channels_per_stream": 150}
        authorize("n_<int:n>")(lambda request, channel, n: True)
        names = [f"private-n_{n}" for n in range(151)]
        answer = self.ask(client, *names[:150]).json()
        assert answer["query"].count("channel=") == 150
        assert self.ask(client, *names).json()["code"] == "too-many-channels"

    @pytest.mark.parametrize("data", [{}, {"channel_name": "private-x"}])
    def test_form_that_nobody_could_answer(self, data, client, site):
        response = ask(client, data | {"stream": "1"})
        assert (response.status_code, response.json()["code"]) == (400, "malformed-request")

    def test_without_a_service_is_refused(self, client, site):
        site.PUSHER_SECRET = ""
        authorize("x")(lambda request, channel: True)
        response = self.ask(client, "private-x")
        assert (response.status_code, response.json()["code"]) == (403, "no-service")

    def test_of_several_kinds_asks_each_page_once(self, client, site, django_assert_max_num_queries):
        user = UserFactory()
        client.force_login(user)
        posts = PostFactory.create_batch(2, author=user)
        channels = [
            (f"{kind}-post_{post.pk}", f"/posts/{post.pk}/") for post in posts for kind in ("private", "presence")
        ]
        with django_assert_max_num_queries(100) as queries:
            assert self.ask(client, *channels).json()["query"]
        assert sum('FROM "testapp_post"' in query["sql"] for query in queries) == 2


class TestWebhook:
    def test_what_nobody_has_signed_is_refused_without_a_token(self):
        client = Client(enforce_csrf_checks=True)
        assert client.post(reverse("pusherable:webhook"), {}, "application/json").status_code == 401
        assert client.get(reverse("pusherable:webhook")).status_code == 405

"""Addresses of event streams, read by the very code with which the server lets clients in."""

import json
import logging
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, Permission
from django.http import HttpResponse
from django.template import RequestContext, Template, engines
from django.template.response import TemplateResponse
from django.test import RequestFactory
from django.urls import path
from django.views.generic import DetailView, UpdateView, View

from pusherable import authorization, streaming
from pusherable.authorization import authorize
from pusherable.conf import SettingsError
from pusherable.exceptions import InvalidChannel
from pusherable.mixins import PROBE_ATTRIBUTE, PusherDetailMixin, PusherMixin, PusherUpdateMixin
from pusherable.refusals import Reason, Refused
from pusherable.server.config import App, Limits, ServerConfig
from pusherable.server.credentials import Member
from pusherable.server.passes import read_pass
from pusherable.streaming import StreamAuthorizer, achannel_url, channel_url, stream_address
from tests.factories import DocumentFactory, PostFactory, UserFactory
from tests.testapp.models import Document, Post

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

NOW = 1_000_000
CONFIG = ServerConfig(apps=(App(id="1", key="test-key", secret="test-secret"),))
SOURCE = "{% load pusherable_tags %}{% pusherable_channel_url target as url %}{{ url|safe }}"


class VisiblePostsMixin:
    """Shows posts to their authors, and notes who asks."""

    model = Post
    kind = ""
    asked = []

    def get_queryset(self):
        VisiblePostsMixin.asked.append(self.request.get_full_path())
        return Post.objects.filter(author_id=self.request.user.pk)

    def get_context_data(self, **kwargs):
        target = f"{self.kind}post_{self.object.pk}" if self.kind else self.object
        return super().get_context_data(target=self.request.GET.get("target", target), **kwargs)

    def render_to_response(self, context):
        return TemplateResponse(self.request, engines["django"].from_string(SOURCE), context)


class PostDetail(VisiblePostsMixin, PusherDetailMixin, DetailView):
    pass


class PostUpdate(VisiblePostsMixin, PusherUpdateMixin, UpdateView):
    fields = ("title",)


class Informing(PostDetail):
    def get_pusher_member_info(self):
        return {"name": "on this page"}


class OwnGet(PusherDetailMixin, View):
    """Renders its page within its own method, and might refuse after that."""

    rendered = 0

    def get(self, request, pk):
        self.object = Post.objects.get(pk=pk)
        OwnGet.rendered += 1
        page = Template(SOURCE).render(RequestContext(request, {"target": self.object, "view": self}))
        return HttpResponse(page, status=200 if self.object.author_id == request.user.pk else 403)


urlpatterns = [
    path("posts/<int:pk>/", PostDetail.as_view()),
    path("posts/<int:pk>/edit/", PostUpdate.as_view()),
    path("informing/<int:pk>/", Informing.as_view()),
    path("own/<int:pk>/", OwnGet.as_view()),
]


@pytest.fixture(autouse=True)
def rules(monkeypatch):
    """No rules but those that the test writes; and a clock that stands still."""
    rules = []
    monkeypatch.setattr(authorization, "_entries", rules)
    monkeypatch.setattr(streaming.time, "time", lambda: NOW + 0.7)
    VisiblePostsMixin.asked.clear()
    OwnGet.rendered = 0
    return rules


def request_of(user=None, path="/", **extra):
    request = RequestFactory(**extra).get(path)
    request.user = AnonymousUser() if user is None else user
    return request


def admitted(address, config=CONFIG, now=NOW):
    """What the server makes of an address."""
    return read_pass(parse_qsl(address.partition("?")[2]), config, now=now)


def refusal(request, *targets, **arguments):
    with pytest.raises(Refused) as refused:
        channel_url(request, *targets, **arguments)
    return refused.value.reason


class TestChannelUrl:
    def test_of_public_channels_needs_neither_visitor_nor_signature(self, django_assert_num_queries):
        request = RequestFactory().get("/")

        with django_assert_num_queries(0):
            address = channel_url(request, "news", Post(pk=1), Document, Document.objects.all())

        assert address == "//127.0.0.1:8001/stream?key=test-key&channel=news&channel=post_1&channel=document"
        assert admitted(address).channels == ("news", "post_1", "document")

    def test_of_a_private_channel_is_for_this_visitor_and_expires(self):
        user = UserFactory()
        post = PostFactory(author=user)

        address = channel_url(request_of(user), post, private=True)

        let_in = admitted(address)
        assert (let_in.channels, let_in.member, let_in.user.id, let_in.issued) == (
            (f"private-post_{post.pk}",),
            None,
            str(user.pk),
            NOW,
        )
        assert f"&expires={NOW + 3600}&" in address
        assert VisiblePostsMixin.asked == [f"/posts/{post.pk}/"]

    def test_lasts_as_long_as_the_setting_says(self, settings):
        settings.PUSHERABLE_STREAM_LIFETIME = 60
        authorize("news")(lambda request, channel: True)

        address = channel_url(request_of(), "private-news")

        assert f"&issued={NOW}&expires={NOW + 60}&" in address
        assert admitted(address).user is None

    def test_of_a_presence_channel_makes_a_member(self):
        user = UserFactory(username="ada")
        post = PostFactory(author=user)

        let_in = admitted(channel_url(request_of(user), f"presence-post_{post.pk}", "news"))

        assert let_in.channels == (f"presence-post_{post.pk}", "news")
        assert let_in.member == Member(str(user.pk), {"name": "ada"})

    def test_tells_all_presence_channels_the_same(self, settings):
        authorize("presence-<slug:room>")(lambda request, channel, room: {"name": "x"} if room == "other" else True)
        request = request_of(UserFactory(username="ada"))

        assert admitted(channel_url(request, "presence-a", "presence-b")).member.user_info == {"name": "ada"}
        assert refusal(request, "presence-a", "presence-other") is Reason.OTHER_MEMBER_INFO

    def test_of_ones_own_channel_hears_what_is_sent_to_the_user(self):
        user = UserFactory()

        assert admitted(channel_url(request_of(user), f"#server-to-user-{user.pk}")).channels == (
            f"#server-to-user-{user.pk}",
        )

    @pytest.mark.parametrize("is_known", [True, False])
    def test_of_anothers_own_channel_is_refused(self, is_known):
        user, other = UserFactory.create_batch(2)

        request = request_of(user if is_known else None)
        assert refusal(request, f"#server-to-user-{other.pk}") is Reason.OTHER_USER

    def test_for_who_may_not_listen_is_refused_and_logged(self, caplog):
        caplog.set_level(logging.INFO)
        post = PostFactory(author=UserFactory())

        assert refusal(request_of(), "news", post, private=True) is Reason.NOT_FOUND

        assert [record.getMessage().partition(" The ")[0] for record in caplog.records] == [
            f"Not signed (not-found): channel 'private-post_{post.pk}', page '/posts/{post.pk}/', user None."
        ]

    @pytest.mark.parametrize(
        ("channel", "reason"), [("presence-news", Reason.ANONYMOUS), ("private-nothing", Reason.NO_RULE)]
    )
    def test_is_decided_as_the_auth_view_decides(self, channel, reason):
        authorize("news")(lambda request, channel: True)

        assert refusal(request_of(), channel) is reason

    def test_of_what_has_no_page_takes_the_permission(self):
        user = UserFactory()
        user.user_permissions.set(Permission.objects.filter(codename="view_document"))
        document = DocumentFactory()

        assert admitted(channel_url(request_of(user), document, private=True))
        assert refusal(request_of(), document, private=True) is Reason.NO_PERMISSION

    @pytest.mark.parametrize(("of_view", "private", "prefix"), [(True, None, "private-"), (True, False, "")])
    def test_is_as_private_as_the_view_or_the_argument_says(self, of_view, private, prefix):
        authorize("post")(lambda request, channel: True)
        view = PostDetail()
        view.pusher_private = of_view

        assert admitted(channel_url(request_of(), Post, view=view, private=private)).channels == (f"{prefix}post",)

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            ((), "An event stream has at least one channel."),
            (
                ("private-encrypted-a",),
                "'private-encrypted-a' is encrypted: browsers cannot read it without pusher-js. Listen to it by a "
                "WebSocket.",
            ),
            (
                ("a", "b", "c"),
                "An event stream has up to 2 channels, and these are 3. PUSHERABLE_SERVER_LIMITS = "
                "{'channels_per_stream': …} allows more.",
            ),
            (
                ("no name",),
                "'no name' is no channel name: only letters, digits and _ - = @ , . ; are allowed, and at least one "
                "of them.",
            ),
        ],
    )
    def test_of_what_no_stream_has_says_so(self, settings, targets, message):
        settings.PUSHERABLE_SERVER_LIMITS = {"channels_per_stream": 2}

        with pytest.raises(InvalidChannel) as caught:
            channel_url(request_of(), *targets)

        assert str(caught.value) == message

    def test_with_the_hosted_service_says_who_has_streams(self, settings):
        settings.PUSHER_HOST = settings.PUSHER_PORT = ""

        with pytest.raises(SettingsError, match="^Hosted Pusher has no event streams: runpushserver has. "):
            channel_url(request_of(), "news")

    def test_of_a_user_whose_id_no_service_takes_is_refused(self):
        class Someone(AnonymousUser):
            pk = "x" * 129
            is_authenticated = True

        authorize("news")(lambda request, channel: True)
        assert refusal(request_of(Someone()), "private-news") is Reason.UNUSABLE_MEMBER_INFO

    def test_of_a_page_that_is_only_asked_is_empty(self):
        request = request_of()
        setattr(request, PROBE_ATTRIBUTE, object())

        assert channel_url(request, "private-anything") == ""

    def test_in_async_code_is_the_same(self):
        authorize("news")(lambda request, channel: True)
        request = request_of()

        assert async_to_sync(achannel_url)(request, "private-news") == channel_url(request, "private-news")


class TestStreamAddress:
    @pytest.mark.parametrize(
        ("options", "address"),
        [
            ({}, "//127.0.0.1:8001/stream"),
            ({"wsPath": "/push"}, "//127.0.0.1:8001/push/stream"),
            ({"forceTLS": True}, "https://127.0.0.1:8001/stream"),
            ({"wsHost": "push.example", "wsPort": 80, "wssPort": 443, "forceTLS": None}, "//push.example/stream"),
            (
                {"wsHost": "push.example", "wsPort": 80, "wssPort": 443, "forceTLS": True},
                "https://push.example/stream",
            ),
            ({"wsHost": "[::1]"}, "//[::1]:8001/stream"),
            ({"wsHost": None}, "//testserver:8001/stream"),
            ({"wsHost": None, "wsPort": None, "wssPort": None}, "/stream"),
        ],
    )
    def test_is_where_browsers_find_the_server(self, monkeypatch, options, address):
        browser = {"wsHost": "127.0.0.1", "wsPort": 8001, "wssPort": 8001, "forceTLS": False} | options
        monkeypatch.setattr("pusherable.conf.PusherableSettings.browser", browser)

        assert stream_address(RequestFactory().get("/")) == address

    @pytest.mark.parametrize(("host", "name"), [("127.0.0.1:9000", "127.0.0.1"), ("[::1]:9000", "[::1]")])
    def test_of_a_local_server_is_the_host_of_the_page(self, settings, host, name):
        settings.ALLOWED_HOSTS = ["*"]
        settings.PUSHER_APP_ID = settings.PUSHER_KEY = settings.PUSHER_SECRET = settings.PUSHER_HOST = ""
        settings.DEBUG = True
        request = RequestFactory().get("/", headers={"host": host})

        assert stream_address(request) == f"//{name}:8001/stream"
        assert request.build_absolute_uri(stream_address(request)) == f"http://{name}:8001/stream"


def private(post):
    return f"private-post_{post.pk}"


@pytest.fixture
def author(settings):
    settings.PUSHERABLE_PRIVATE_CHANNELS = True
    return UserFactory()


class TestWithinAPage:
    def test_a_page_of_its_own_object_is_not_asked_again(self, client, author, django_assert_num_queries):
        post = PostFactory(author=author)
        client.force_login(author)

        # The session, the user, the post, and its tags for the event of the page.
        with django_assert_num_queries(4):
            address = client.get(f"/posts/{post.pk}/?a=b").content.decode()

        assert admitted(address).channels == (private(post),)
        assert VisiblePostsMixin.asked == [f"/posts/{post.pk}/?a=b"]

    def test_a_page_does_not_vouch_for_what_it_is_not_about(self, client, author, caplog):
        mine, other = PostFactory(author=author), PostFactory(author=UserFactory())
        client.force_login(author)

        for target in (private(other), f"presence-post_{other.pk}", "private-post", "private-nothing"):
            assert client.get(f"/posts/{mine.pk}/", {"target": target}).content == b""
        assert [path for path in VisiblePostsMixin.asked if str(other.pk) in path.partition("?")[0]] == [
            f"/posts/{other.pk}/"
        ] * 2

    def test_a_page_that_another_object_calls_its_own_does_not_vouch_for_it(self, client, author, monkeypatch):
        mine, other = PostFactory(author=author), PostFactory(author=UserFactory())
        client.force_login(author)
        monkeypatch.setattr(Post, "get_absolute_url", lambda self: f"/posts/{mine.pk}/")

        for target in (other, private(other)):
            monkeypatch.setattr(
                PostDetail, "get_context_data", lambda self, target=target, **kwargs: {"target": target}
            )
            assert client.get(f"/posts/{mine.pk}/").content == b""
        assert set(VisiblePostsMixin.asked) == {f"/posts/{mine.pk}/"}

    def test_a_page_says_who_its_visitor_is_without_being_asked(self, client, author, monkeypatch):
        post = PostFactory(author=author)
        client.force_login(author)
        monkeypatch.setattr(Post, "get_absolute_url", lambda self: f"/informing/{self.pk}/")
        monkeypatch.setattr(Informing, "kind", "presence-")

        address = client.get(f"/informing/{post.pk}/").content.decode()

        assert admitted(address).member == Member(str(author.pk), {"name": "on this page"})
        assert VisiblePostsMixin.asked == [f"/informing/{post.pk}/"]

    def test_a_name_is_decided_by_the_page_of_its_object(self, client, author):
        post = PostFactory(author=author)
        client.force_login(author)

        response = client.get(f"/informing/{post.pk}/", {"target": f"presence-post_{post.pk}"})

        assert admitted(response.content.decode()).member.user_info == {"name": author.username}
        assert VisiblePostsMixin.asked[1] == f"/posts/{post.pk}/"

    def test_a_form_with_errors_asks_the_page(self, client, author):
        post = PostFactory(author=author)
        client.force_login(author)

        address = client.post(f"/posts/{post.pk}/edit/", {"title": ""}).content.decode()

        assert admitted(address).channels == (private(post),)
        assert VisiblePostsMixin.asked == [f"/posts/{post.pk}/edit/"] * 2

    def test_a_view_with_a_get_of_its_own_is_asked_once_and_never_by_itself(self, client, author):
        post = PostFactory(author=author)
        client.force_login(author)

        address = client.get(f"/own/{post.pk}/").content.decode()

        assert admitted(address).channels == (private(post),)
        assert OwnGet.rendered == 2

    def test_a_page_that_refuses_in_the_end_gives_nothing_away(self, client, author):
        post = PostFactory(author=UserFactory())
        client.force_login(author)

        response = client.get(f"/own/{post.pk}/")

        assert (response.status_code, response.content) == (403, b"")

    def test_a_view_of_another_request_vouches_for_nothing(self, author):
        post = PostFactory(author=UserFactory())
        view = PostDetail()
        view.setup(request_of(author, f"/posts/{post.pk}/"), pk=post.pk)
        view.object = post

        assert refusal(request_of(author, f"/posts/{post.pk}/"), post, view=view) is Reason.NOT_FOUND

    def test_what_is_no_view_with_a_mixin_vouches_for_nothing(self, author):
        post = PostFactory(author=UserFactory())

        assert refusal(request_of(author), post, view=PusherMixin()) is Reason.NOT_FOUND


class TestStreamAuthorizer:
    def test_of_several_channels_keeps_those_that_it_has_let_in(self):
        user = UserFactory()
        post = PostFactory(author=user)
        stream = StreamAuthorizer(request_of(user))

        stream.allow(private(post), f"/posts/{post.pk}/")
        for channel in ("private-nothing", "private-encrypted-a", "#bad", "a b", "#server-to-user-0"):
            with pytest.raises(Refused):
                stream.allow(channel)
        stream.allow("news")
        own = stream.allow_own()

        assert own == str(user.pk)
        assert stream.channels == [private(post), "news", f"#server-to-user-{user.pk}"]
        query = "&".join(f"{name}={value}" for name, value in stream.sign())
        assert query.startswith(f"channel={private(post)}&channel=news&channel=#server-to-user-{user.pk}&user_data=")

    @pytest.mark.parametrize(
        ("channel", "reason"),
        [
            ("private-encrypted-a", Reason.ENCRYPTED_STREAM),
            ("#server-to-user-1", Reason.OTHER_USER),
            ("#other", Reason.INVALID_CHANNEL),
            ("two words", Reason.INVALID_CHANNEL),
            ("private-", Reason.INVALID_CHANNEL),
        ],
    )
    def test_of_what_no_visitor_may_have_says_why(self, channel, reason):
        with pytest.raises(Refused) as refused:
            StreamAuthorizer(request_of()).allow(channel)

        assert refused.value.reason is reason

    def test_of_nobody_has_no_own_channel(self):
        with pytest.raises(Refused) as refused:
            StreamAuthorizer(request_of()).allow_own()

        assert refused.value.reason is Reason.ANONYMOUS

    def test_without_a_service_signs_nothing(self, settings):
        settings.PUSHER_SECRET = ""
        stream = StreamAuthorizer(request_of())
        stream.allow("news")

        with pytest.raises(Refused) as refused:
            stream.sign()

        assert refused.value.reason is Reason.NO_SERVICE

    def test_ids_of_any_form_reach_the_server_as_they_are(self):
        class Someone(AnonymousUser):
            pk = "é &=/\u2028"
            is_authenticated = True

        stream = StreamAuthorizer(request_of(Someone()))
        stream.allow_own()

        let_in = read_pass(stream.sign(), replace(CONFIG, limits=Limits()), now=NOW)
        assert let_in.user.id == Someone.pk
        assert json.loads(dict(stream.sign())["user_data"]) == {"id": Someone.pk, "user_info": {}}
        assert unquote(let_in.channels[0]) == f"#server-to-user-{Someone.pk}"

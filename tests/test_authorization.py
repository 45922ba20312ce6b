import json
import logging
import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404
from django.test import RequestFactory
from django.urls import path
from django.views.generic import DetailView, View
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pusherable import authorization
from pusherable.authorization import Authorizer, authorize
from pusherable.channels import ChannelKind, bare_name, kind_of
from pusherable.client import channel_shared_secret
from pusherable.mixins import PusherDetailMixin
from pusherable.publishing import channel_of
from pusherable.refusals import Reason, Refused
from pusherable.signing import verify
from tests.factories import DocumentFactory, PageFactory, PostFactory, UserFactory
from tests.rst import DOCS
from tests.testapp.models import Document, Page, Post, Reading, Seat, Tag

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

# What is there before any test, when Django has just been set up.
DISCOVERED = tuple(authorization._entries)

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class PostDetail(PusherDetailMixin, DetailView):
    """Shows posts to their authors."""

    model = Post
    asked = []

    def get_queryset(self):
        PostDetail.asked.append(self.request.path)
        return Post.objects.filter(author_id=self.request.user.pk)


class Informing(PostDetail):
    info = {}

    def get_pusher_member_info(self):
        if isinstance(self.info, Exception):
            raise self.info
        return self.info


class Dashboard(PusherDetailMixin, View):
    def get(self, request):
        raise AssertionError("It is not asked.")


urlpatterns = [
    path("posts/<int:pk>/", PostDetail.as_view()),
    path("informing/<int:pk>/", Informing.as_view()),
    path("dashboard/", Dashboard.as_view()),
]


@pytest.fixture(autouse=True)
def rules(monkeypatch):
    """No rules but those that the test writes."""
    rules = []
    monkeypatch.setattr(authorization, "_entries", rules)
    PostDetail.asked.clear()
    return rules


def authorizer(user=None, socket_id="1.2"):
    request = RequestFactory().post("/pusher/auth/")
    request.user = AnonymousUser() if user is None else user
    return Authorizer(request, socket_id)


def refusal(sign, *args):
    with pytest.raises(Refused) as refused:
        sign(*args)
    return refused.value.reason


def reader(*models, **kwargs):
    """Somebody with the permission to view these models."""
    user = UserFactory(**kwargs)
    codenames = [f"view_{model._meta.model_name}" for model in models]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def has_signature(reply, message):
    key, _, signature = reply["auth"].partition(":")
    return key == "test-key" and verify("test-secret", message, signature)


class TestAuthorize:
    @pytest.mark.parametrize(
        ("pattern", "channel", "arguments"),
        [
            ("order_<int:pk>", "private-order_7", {"pk": 7}),
            ("order_<int:pk>", "presence-order_7", {"pk": 7}),
            ("order_<int:pk>", "private-cache-order_7", {"pk": 7}),
            ("private-order_<int:pk>", "private-order_7", {"pk": 7}),
            ("presence-room-<slug:room>", "presence-room-the_one", {"room": "the_one"}),
            ("news", "private-news", {}),
        ],
    )
    def test_rule_is_given_what_its_converters_have_found(self, pattern, channel, arguments):
        asked = []

        @authorize(pattern)
        def may(request, channel, **kwargs):
            asked.append((request.path, channel, kwargs))
            return True

        reply = authorizer(UserFactory()).sign_channel(channel)
        assert "auth" in reply
        assert asked == [("/pusher/auth/", channel, arguments)]

    @pytest.mark.parametrize(
        ("pattern", "channel"),
        [
            ("order_<int:pk>", "private-order_x"),
            ("order_<int:pk>", "private-order_7,8"),
            ("order_<int:pk>", "private-my-order_7"),
            ("order_<int:pk>", "private-private-order_7"),
            ("presence-order_<int:pk>", "private-order_7"),
            ("presence-order_<int:pk>", "presence-cache-order_7"),
            ("private-order_<int:pk>", "private-cache-order_7"),
            ("news", "private-newsroom"),
            ("news", "private-News"),
        ],
    )
    def test_rule_for_other_names_is_not_asked(self, pattern, channel):
        @authorize(pattern)
        def may(request, channel, **kwargs):
            raise AssertionError("It is not asked.")

        assert refusal(authorizer(UserFactory()).sign_channel, channel) is Reason.NO_RULE

    @pytest.mark.parametrize("pattern", ["cache-news", "#server-to-user-<int:pk>"])
    def test_pattern_of_channels_without_a_signature_is_an_error(self, pattern):
        with pytest.raises(ImproperlyConfigured, match=r"is about channels that need no signature: begin it with"):
            authorize(pattern)

    def test_module_of_an_app_is_found_by_itself(self, rules):
        rules += DISCOVERED
        assert "auth" in authorizer().sign_channel("private-testapp-greeting")

    def test_function_stays_what_it_is(self):
        def may(request, channel):
            return True

        assert authorize("news")(may) is may

    def test_async_rule_is_awaited(self):
        @authorize("news")
        async def may(request, channel):
            return False

        @authorize("sport")
        async def may_too(request, channel):
            return True

        assert refusal(authorizer().sign_channel, "private-news") is Reason.RULE_REFUSED
        assert "auth" in authorizer().sign_channel("private-sport")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (False, Reason.RULE_REFUSED),
            (None, Reason.RULE_SILENT),
            (1, Reason.RULE_MALFORMED),
            ("yes", Reason.RULE_MALFORMED),
            ([], Reason.RULE_MALFORMED),
            (Http404("x"), Reason.RULE_REFUSED),
            (PermissionDenied("x"), Reason.RULE_REFUSED),
            (ZeroDivisionError("x"), Reason.RULE_FAILED),
            (Post.DoesNotExist("x"), Reason.RULE_FAILED),
        ],
    )
    def test_anything_but_true_and_a_dictionary_is_a_refusal(self, answer, reason):
        @authorize("news")
        def may(request, channel):
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert refusal(authorizer().sign_channel, "private-news") is reason

    def test_rule_that_has_lost_its_return_is_named(self, caplog):
        @authorize("news")
        def forgetful(request, channel):
            request.user.is_staff  # noqa: B018

        assert refusal(authorizer(UserFactory()).sign_channel, "private-news") is Reason.RULE_SILENT
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().endswith(
            "A rule has returned None, which lets nobody in. Has it lost its return? To say no, it returns False. "
            f"It is {forgetful.__qualname__}."
        )

    def test_all_rules_that_match_have_to_allow(self):
        @authorize("news")
        def may(request, channel):
            return True

        @authorize("presence-news")
        def may_be_there(request, channel):
            return {"name": "told by the second"}

        @authorize("<slug:name>")
        def may_anything(request, channel, name):
            return request.user.username == "ada"

        signed = authorizer(UserFactory(username="ada")).sign_channel("presence-news")
        assert json.loads(signed["channel_data"])["user_info"] == {"name": "told by the second"}
        assert refusal(authorizer(UserFactory(username="bob")).sign_channel, "presence-news") is Reason.RULE_REFUSED

    def test_rule_decides_before_any_page(self):
        post = PostFactory()

        @authorize("post_<int:pk>")
        def may(request, channel, pk):
            return True

        assert "auth" in authorizer().sign_channel(f"private-post_{post.pk}", f"/posts/{post.pk}/")
        assert PostDetail.asked == []


class TestSignChannel:
    def test_private_channel_is_signed_for_this_connection(self):
        user = UserFactory()
        post = PostFactory(author=user)
        reply = authorizer(user, "12.34").sign_channel(f"private-post_{post.pk}", f"/posts/{post.pk}/")
        assert reply.keys() == {"auth"}
        assert has_signature(reply, f"12.34:private-post_{post.pk}")

    def test_encrypted_channel_comes_with_its_key(self, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = KEY
        user = UserFactory()
        channel = f"private-encrypted-post_{PostFactory(author=user).pk}"
        reply = authorizer(user).sign_channel(channel)
        assert has_signature(reply, f"1.2:{channel}")
        assert reply == {"auth": reply["auth"], "shared_secret": channel_shared_secret(channel)}

    @pytest.mark.parametrize("key", [None, "nonsense"])
    @pytest.mark.parametrize("prefix", ["private-encrypted-", "private-encrypted-cache-"])
    def test_encrypted_channel_without_a_key_is_refused(self, settings, key, prefix):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = key
        user = UserFactory()
        channel = f"{prefix}post_{PostFactory(author=user).pk}"
        assert refusal(authorizer(user).sign_channel, channel) is Reason.NO_ENCRYPTION_KEY

    @pytest.mark.parametrize("prefix", ["presence-", "presence-cache-"])
    def test_presence_channel_is_told_of_its_member(self, prefix):
        user = UserFactory(username="ada", first_name="Ada", last_name="Lovelace")
        channel = f"{prefix}post_{PostFactory(author=user).pk}"
        reply = authorizer(user).sign_channel(channel)
        assert has_signature(reply, f"1.2:{channel}:{reply['channel_data']}")
        assert json.loads(reply["channel_data"]) == {"user_id": str(user.pk), "user_info": {"name": "Ada Lovelace"}}

    def test_without_a_service_nothing_is_signed(self, settings):
        settings.PUSHER_SECRET = ""
        user = UserFactory()
        assert (
            refusal(authorizer(user).sign_channel, f"private-post_{PostFactory(author=user).pk}") is Reason.NO_SERVICE
        )

    @pytest.mark.parametrize(
        ("channel", "reason"),
        [
            ("", Reason.INVALID_CHANNEL),
            ("post_1", Reason.PUBLIC_CHANNEL),
            ("cache-post_1", Reason.PUBLIC_CHANNEL),
            ("Private-post_1", Reason.PUBLIC_CHANNEL),
            ("privateer", Reason.PUBLIC_CHANNEL),
            ("#server-to-user-1", Reason.RESERVED_CHANNEL),
            ("#private-post_1", Reason.RESERVED_CHANNEL),
            ("private-", Reason.INVALID_CHANNEL),
            ("presence-cache-", Reason.INVALID_CHANNEL),
            ("private-post 1", Reason.INVALID_CHANNEL),
            ("private-post_1\n", Reason.INVALID_CHANNEL),
            ("private-post_1:x", Reason.INVALID_CHANNEL),
            ("private-post_\0", Reason.INVALID_CHANNEL),
            ("private-pöst_1", Reason.INVALID_CHANNEL),
            ("private-post_" + "1" * 200, Reason.INVALID_CHANNEL),
            ("private-#server-to-user-1", Reason.INVALID_CHANNEL),
        ],
    )
    def test_name_that_is_not_to_be_signed_is_refused(self, channel, reason):
        @authorize("<path:anything>")
        def may(request, channel, anything):
            return True

        assert refusal(authorizer(UserFactory()).sign_channel, channel) is reason

    @pytest.mark.parametrize(
        "socket_id",
        ["", "1", "1.", ".2", "1.2.3", "1.2\n", "1.2:private-x", "-1.2", "１.２", "1.2 ", "1" * 60 + ".1234"],
    )
    def test_malformed_connection_is_refused(self, socket_id):
        assert refusal(authorizer, None, socket_id) is Reason.MALFORMED_SOCKET_ID

    def test_visitor_without_a_user_is_nobody(self):
        request = RequestFactory().post("/pusher/auth/")
        assert refusal(Authorizer(request, "1.2").sign_channel, "presence-tag_1") is Reason.ANONYMOUS
        tag = Tag.objects.create()
        assert refusal(Authorizer(request, "1.2").sign_channel, f"private-tag_{tag.pk}") is Reason.NO_PERMISSION


class TestPages:
    def test_page_of_another_object_gains_nothing(self):
        user = UserFactory()
        mine, other = PostFactory(author=user), PostFactory(author=UserFactory())
        sign = authorizer(user).sign_channel
        assert refusal(sign, f"private-post_{other.pk}", f"/posts/{mine.pk}/") is Reason.OTHER_OBJECT
        assert refusal(sign, f"private-post_{other.pk}", f"/posts/{other.pk}/") is Reason.NOT_FOUND
        assert refusal(sign, f"private-post_{other.pk}") is Reason.NOT_FOUND
        assert refusal(sign, f"private-post_{other.pk}", "") is Reason.NOT_FOUND
        assert refusal(sign, "private-post", f"/posts/{mine.pk}/") is Reason.OTHER_OBJECT
        assert refusal(sign, "private-post_0", f"/posts/{mine.pk}/") is Reason.OTHER_OBJECT

    def test_page_that_is_given_decides_alone(self):
        user = reader(Post, Document)
        document = DocumentFactory()
        sign = authorizer(user).sign_channel
        assert "auth" in sign(channel_of(document, private=True))
        assert refusal(sign, channel_of(document, private=True), "/nowhere/") is Reason.UNKNOWN_PAGE
        assert refusal(sign, channel_of(document, private=True), "https://example.com/") is Reason.MALFORMED_PAGE

    def test_object_with_a_page_is_never_decided_by_permission(self):
        user = reader(Post)
        post = PostFactory()
        assert refusal(authorizer(user).sign_channel, f"private-post_{post.pk}") is Reason.NOT_FOUND

    def test_page_is_asked_once_for_all_its_channels(self):
        user = UserFactory()
        post = PostFactory(author=user)
        sign = authorizer(user).sign_channel
        for channel in (f"private-post_{post.pk}", f"presence-post_{post.pk}", f"private-cache-post_{post.pk}"):
            sign(channel, f"/posts/{post.pk}/")
            sign(channel)
        for channel in ("private-post_0", f"private-post_{post.pk + 1}"):
            assert refusal(sign, channel, f"/posts/{post.pk + 1}/") is Reason.NOT_FOUND
        assert PostDetail.asked == [f"/posts/{post.pk}/", f"/posts/{post.pk + 1}/"]

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("", Reason.MALFORMED_PAGE),
            ("https://testserver/posts/1/", Reason.MALFORMED_PAGE),
            ("/nowhere/", Reason.UNKNOWN_PAGE),
            (ZeroDivisionError(), Reason.UNKNOWN_PAGE),
        ],
    )
    def test_address_of_the_object_that_leads_nowhere_is_a_refusal(self, address, reason, monkeypatch):
        def get_absolute_url(self):
            if isinstance(address, Exception):
                raise address
            return address

        monkeypatch.setattr(Post, "get_absolute_url", get_absolute_url)
        user = reader(Post)
        assert refusal(authorizer(user).sign_channel, f"private-post_{PostFactory(author=user).pk}") is reason


class TestModels:
    def test_permission_opens_objects_without_a_page_and_models(self):
        document = DocumentFactory()
        channels = [channel_of(document, private=True), "private-document", "presence-document"]
        assert all("auth" in authorizer(reader(Document)).sign_channel(channel) for channel in channels)
        for user in (reader(Post), UserFactory()):
            assert {refusal(authorizer(user).sign_channel, channel) for channel in channels} == {Reason.NO_PERMISSION}

    def test_permission_may_be_for_the_object(self, settings):
        settings.AUTHENTICATION_BACKENDS = [f"{__name__}.ObjectBackend"]
        charter, secret = DocumentFactory(name="Charter"), DocumentFactory(name="Secret")
        sign = authorizer(UserFactory()).sign_channel
        assert "auth" in sign(channel_of(charter, private=True))
        assert refusal(sign, channel_of(secret, private=True)) is Reason.NO_PERMISSION
        assert refusal(sign, "private-document") is Reason.NO_PERMISSION

    def test_page_is_asked_of_models_with_one_but_their_own_channel_takes_permission(self):
        assert "auth" in authorizer(reader(Post)).sign_channel("private-post")
        assert refusal(authorizer(UserFactory()).sign_channel, "private-post") is Reason.NO_PERMISSION

    @pytest.mark.parametrize(
        "make",
        [DocumentFactory, lambda: PageFactory(slug="über_uns, a=b"), lambda: Seat.objects.create(row="A,_", number=7)],
    )
    def test_any_primary_key_finds_its_object(self, make):
        instance = make()
        channel = channel_of(instance, private=True)
        assert "auth" in authorizer(reader(type(instance))).sign_channel(channel)

    @pytest.mark.parametrize(
        "name",
        [
            "document_7", f"document_{uuid.UUID(int=1)}", "document_x", "document_=00",
            "tag_01", "tag_1.0", "tag_=311", "tag_-1", "tag_1,2", "tag_99999999999999999999999", "tag_=00", "tag_",
            "seat_A", "seat_A,7", "seat_A,x", "seat_A,7,8", "seat_,", "page_nothing", "page_=FF", "page_" + "x" * 150,
        ],
    )  # fmt: skip
    def test_what_is_not_there_is_refused(self, name):
        Tag.objects.create(pk=1)
        Tag.objects.create(pk=11)
        user = reader(Document, Tag, Seat, Page)
        assert refusal(authorizer(user).sign_channel, f"private-{name}") in (Reason.NO_OBJECT, Reason.NO_RULE)

    @pytest.mark.parametrize("name", ["nothing", "nothing_1", "featuredpost_1", "Post_1", "_1", "testapp.post_1"])
    def test_what_is_no_model_is_refused(self, name):
        PostFactory(pk=1)
        assert refusal(authorizer(UserFactory(is_superuser=True)).sign_channel, f"private-{name}") is Reason.NO_RULE

    def test_all_models_of_a_name_have_to_allow(self, monkeypatch):
        monkeypatch.setattr(authorization, "_is_called", lambda model, name: name == "tag" and model in (Tag, Reading))
        tag = Tag.objects.create()
        channel = f"private-tag_{tag.pk}"
        assert refusal(authorizer(reader(Tag)).sign_channel, channel) is Reason.NO_PERMISSION
        assert refusal(authorizer(reader(Reading)).sign_channel, channel) is Reason.NO_PERMISSION
        assert "auth" in authorizer(reader(Tag, Reading)).sign_channel(channel)


class ObjectBackend:
    """Lets everybody view the charter."""

    def has_perm(self, user, permission, obj=None):
        return permission == "testapp.view_document" and getattr(obj, "name", "") == "Charter"


def describe(user):
    return {"initials": user.username[:1]}


class TestMembers:
    def sign(self, user, info):
        Informing.info = info
        post = PostFactory(author=user)
        reply = authorizer(user).sign_channel(f"presence-post_{post.pk}", f"/informing/{post.pk}/")
        return json.loads(reply["channel_data"])["user_info"]

    def test_view_says_what_others_are_told(self):
        assert self.sign(UserFactory(), {"name": "ä", "colour": 7}) == {"name": "ä", "colour": 7}
        assert self.sign(UserFactory(), {}) == {}

    @pytest.mark.parametrize("value", [describe, f"{__name__}.describe"])
    def test_setting_says_it_for_all(self, settings, value):
        settings.PUSHERABLE_MEMBER_INFO = value
        user = UserFactory(username="ada")
        data = authorizer(user).sign_channel(f"presence-post_{PostFactory(author=user).pk}")["channel_data"]
        assert data == f'{{"user_id":"{user.pk}","user_info":{{"initials":"a"}}}}'

    @pytest.mark.parametrize(
        "info",
        [None, "ada", [], {"x": object()}, {"x": float("nan")}, {"x": "\ud800"}, {"x": "x" * 1024}, ValueError("x")],
    )
    def test_what_no_service_takes_is_a_refusal(self, info):
        assert refusal(self.sign, UserFactory(), info) is Reason.UNUSABLE_MEMBER_INFO

    def test_size_is_counted_in_bytes_with_the_id(self):
        user = UserFactory()
        overhead = len(json.dumps({"user_id": str(user.pk), "user_info": {"x": ""}}, separators=(",", ":")))
        text = "ä" * ((1024 - overhead) // 2)
        assert self.sign(user, {"x": text}) == {"x": text}
        assert refusal(self.sign, user, {"x": text + "ä"}) is Reason.UNUSABLE_MEMBER_INFO

    def test_id_has_its_limit(self):
        class Someone:
            is_authenticated = True
            pk = "x" * 129

            def get_username(self):
                return "someone"

        assert refusal(authorizer(Someone()).sign_user) is Reason.UNUSABLE_MEMBER_INFO

    def test_name_of_any_length_fits(self):
        user = UserFactory(first_name="😀" * 150, last_name="😀" * 150)
        data = json.loads(authorizer(user).sign_user()["user_data"])
        assert data == {"id": str(user.pk), "user_info": {"name": "😀" * 150}}


class TestSignUser:
    def test_user_is_signed_in_as_oneself(self):
        user = UserFactory(username="ada")
        reply = authorizer(user, "12.34").sign_user()
        assert json.loads(reply["user_data"]) == {"id": str(user.pk), "user_info": {"name": "ada"}}
        assert has_signature(reply, f"12.34::user::{reply['user_data']}")

    def test_nobody_is_not(self):
        assert refusal(authorizer().sign_user) is Reason.ANONYMOUS


class TestLog:
    @pytest.mark.parametrize(
        ("channel", "page", "level", "message"),
        [
            (
                "private-news", "/x/?token=hidden", logging.INFO,
                "Not signed (unknown-page): channel 'private-news', page '/x/', user None. "
                "No view of this site is at the page's address.",
            ),
            (
                "private-news\n" + "x" * 300, None, logging.INFO,
                "Not signed (invalid-channel): channel 'private-news\\\\n" + "x" * 185 + ", page '', user None. ",
            ),
            (
                "private-encrypted-news", None, logging.WARNING,
                "Not signed (no-encryption-key): channel 'private-encrypted-news', page '', user None. "
                "The channel is encrypted, but PUSHER_ENCRYPTION_MASTER_KEY is not set.",
            ),
        ],
    )  # fmt: skip
    def test_refusal_is_one_line(self, channel, page, level, message, caplog):
        caplog.set_level(logging.INFO, "pusherable.authorization")
        with pytest.raises(Refused):
            authorizer().sign_channel(channel, page)
        [record] = caplog.records
        assert (record.levelno, "\n" in record.getMessage()) == (level, False)
        assert record.getMessage().startswith(message.replace("\\\\", "\\"))

    def test_every_reason_has_a_code_of_its_own_and_is_explained(self):
        page = (DOCS / "authorization.rst").read_text("utf-8")
        assert len({reason.code for reason in Reason}) == len(Reason)
        assert [reason.code for reason in Reason if f"\n``{reason.code}``\n" not in page] == []


NAMES = st.one_of(
    st.from_regex(r"(ok-[a-z0-9_-]{0,6}|post_?[0-9]{0,2}|tag|user_1)[,.=#/ \n]?", fullmatch=True),
    st.text(max_size=12),
)
CHANNELS = st.builds(
    str.__add__, st.sampled_from([*(kind.prefix for kind in ChannelKind), "Private-", "#", "x"]), NAMES
)
PAGES = st.sampled_from([None, "", "/posts/1/", "/posts/2/", "/dashboard/x", "//x/", "\0"])


class TestNothingIsSignedThatNobodyAllows:
    """Allowed are names that begin with ``ok-``, by a rule, and post 1, by its page."""

    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250)
    @given(channel=CHANNELS, page=PAGES, is_known=st.booleans())
    @example(channel="private-ok-x", page=None, is_known=False)
    @example(channel="presence-ok-x", page=None, is_known=True)
    @example(channel="private-post_1", page="/posts/1/", is_known=True)
    def test_signature_takes_an_allowance(self, channel, page, is_known, rules, settings):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = KEY
        user = UserFactory._meta.model.objects.filter(username="ada").first() or UserFactory(username="ada")
        Post.objects.get_or_create(pk=1, defaults={"title": "x", "author": user})
        rules.clear()
        authorize("ok-<slug:rest>")(lambda request, channel, rest: True)
        try:
            reply = authorizer(user if is_known else None).sign_channel(channel, page)
        except Refused:
            return
        kind, name = kind_of(channel), bare_name(channel)
        assert kind.needs_authorization
        assert set(channel) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=@,.;")
        assert is_known or not kind.is_presence
        assert (name.startswith("ok-") and len(name) > 3) or (
            name == "post_1" and is_known and page in (None, "", "/posts/1/")
        )
        data = f":{reply['channel_data']}" if kind.is_presence else ""
        assert has_signature(reply, f"1.2:{channel}{data}")

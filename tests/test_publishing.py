import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest
from django.test import RequestFactory

from pusherable.backends import BaseBackend
from pusherable.channels import ChannelKind
from pusherable.events import Event
from pusherable.exceptions import EventTooLarge, InvalidChannel, InvalidEvent, NotSerializable, UnknownField
from pusherable.publishing import (
    MAX_SOCKET_ID_LENGTH,
    apublish,
    atrigger,
    channel_of,
    member_info_of,
    publish,
    request_origin,
    socket_id_of,
    trigger,
    username_of,
)
from pusherable.signals import publish_failed
from pusherable.suppression import suppress
from tests.factories import DocumentFactory, PageFactory, PostFactory, TagFactory, UserFactory
from tests.testapp.models import Elsewhere, FeaturedPost, Member, Post, Reading, Review, Seat


class ReplicaRouter:
    def db_for_read(self, model, **hints):
        return "other"

    def db_for_write(self, model, **hints):
        return "default"


class Wrapper:
    """As REST frameworks wrap a request."""

    def __init__(self, request):
        self._request = request


class ThreadNamingBackend(BaseBackend):
    threads = set()

    def deliver(self, event):
        self.threads.add(threading.get_ident())


class RaisingBackend(BaseBackend):
    def deliver(self, event):
        raise ZeroDivisionError("a fault")


class TestMisuse:
    """What we got, the rule, and how to mend it."""

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (
                None,
                "publish() tells of an object of a model, not of None. For data of another kind there is "
                "trigger(channels, event, data).",
            ),
            (
                "text",
                "publish() tells of an object of a model, not of 'text'. For data of another kind there is "
                "trigger(channels, event, data).",
            ),
            (Post, "publish() tells of one object, not of the model testapp.Post: give an instance of it."),
        ],
    )
    def test_what_is_no_object(self, value, message):
        with pytest.raises(TypeError) as refusal:
            publish(value, "view")
        assert str(refusal.value) == message

    @pytest.mark.parametrize("user", [5, object])
    def test_what_is_no_user(self, user):
        with pytest.raises(TypeError, match=r"is no user \(.*\): give a user object, such as request.user, or a name"):
            publish(Post(id=1), "view", user=user, include="title")

    @pytest.mark.parametrize("names", [5, True, object()])
    def test_what_names_no_fields(self, names):
        with pytest.raises(
            TypeError, match="is no field's name, and holds none: write 'title' or \\['title', 'body'\\]"
        ):
            publish(Post(id=1), "view", include=names)

    @pytest.mark.parametrize("channels", [None, 5, Post(id=1)])
    def test_what_is_no_channel(self, channels):
        with pytest.raises(InvalidChannel) as refusal:
            trigger(channels, "bell", {})
        assert str(refusal.value) == (
            f"Channels are a name or several names, not {channels!r}. The channel of an object is "
            "channel_of(object), of pusherable.publishing."
        )
        assert refusal.value.channel is channels

    def test_channel_that_is_no_text(self):
        with pytest.raises(InvalidChannel, match="A channel's name is text, not 5"):
            trigger([5], "bell", {})

    def test_event_that_is_no_text(self):
        with pytest.raises(InvalidEvent, match="An event's name is a text that is not empty, not None"):
            trigger("news", None, {})

    def test_what_leaves_nobody_out(self):
        with pytest.raises(TypeError, match=r"^exclude=5 is neither a request nor the id of a connection"):
            trigger("news", "bell", {}, exclude=5)


@pytest.mark.django_db
class TestPublish:
    def test_payload_and_channel(self, pusherable_outbox, django_capture_on_commit_callbacks):
        post = PostFactory()
        with django_capture_on_commit_callbacks(execute=True):
            event = publish(post, "view", user=UserFactory(username="ada"), exclude="body", origin="abc")
        assert pusherable_outbox == [event]
        assert (event.channels, event.name, event.socket_id) == ((f"post_{post.pk}",), "view", None)
        assert event.payload == {
            "object": {"id": post.pk, "title": "What's up?", "pub_date": None, "author": None, "tags": []},
            "user": "ada",
            "model": "post",
            "pk": str(post.pk),
            "origin": "abc",
        }

    def test_include_channels_and_socket_id(self):
        event = publish(PostFactory(), "view", include="title", channels=["a", "b"], socket_id="1.2")
        assert (event.channels, event.socket_id) == (("a", "b"), "1.2")
        assert event.payload["object"].keys() == {"id", "title"}

    def test_private_is_the_kind_of_the_objects_own_channel(self):
        post = PostFactory(pk=1)
        assert publish(post, "view", private=True).channels == ("private-post_1",)
        assert publish(post, "view", private=True, channels="a").channels == ("a",)

    def test_tab_that_asked_is_left_out(self):
        request = RequestFactory(headers={"X-Socket-ID": "12.34"}).get("/")
        for exclude in (request, Wrapper(request), "12.34"):
            event = publish(PostFactory(), "view", exclude=exclude)
            assert (event.socket_id, "body" in event.payload["object"]) == ("12.34", True)
        assert publish(PostFactory(), "view", exclude=HttpRequest()).socket_id is None
        assert publish(PostFactory(), "view", exclude=request, socket_id="5.6").socket_id == "5.6"

    def test_no_user_is_empty(self):
        assert publish(PostFactory(), "view").payload["user"] == ""

    def test_uuid_and_composite_pks_are_text(self):
        document = DocumentFactory()
        event = publish(document, "view")
        assert (event.channels, event.payload["pk"]) == ((f"document_{document.pk}",), str(document.pk))
        seat = publish(Seat.objects.create(row="A", number=7), "view")
        assert (seat.channels, seat.payload["pk"]) == (("seat_A,7",), "A,7")

    def test_proxy_is_the_object_it_stands_for(self):
        post = PostFactory()
        event = publish(FeaturedPost.objects.get(), "view")
        assert (event.channels, event.payload["model"]) == ((f"post_{post.pk}",), "post")

    def test_object_without_pk_has_no_channel(self):
        with pytest.raises(InvalidChannel, match=r"This testapp.Post has no primary key, so it has no channel"):
            publish(Post(), "view")

    def test_what_the_caller_got_wrong_is_raised(self, pusherable_outbox):
        post = PostFactory()
        with pytest.raises(UnknownField):
            publish(post, "view", include="nothing")
        with pytest.raises(InvalidEvent):
            publish(post, "")
        with pytest.raises(NotSerializable, match=r"^object.value holds nan"):
            publish(Reading(pk=1, value=float("nan")), "view")
        with pytest.raises(InvalidChannel):
            publish(PageFactory(slug="x" * 200), "view")
        assert pusherable_outbox == []

    def test_too_large_goes_out_with_the_pk_alone(self, caplog):
        post = PostFactory(pk=1, body="x" * 10_300)
        event = publish(post, "view", user="ada")
        assert event.payload == {
            "object": {"id": 1},
            "user": "ada",
            "model": "post",
            "pk": "1",
            "origin": "",
            "truncated": True,
        }
        assert caplog.messages == [
            "The event 'view' about testapp.Post 1 has 10439 bytes, over the limit of 10240: it goes out reduced. Its "
            "largest fields: body (10302 bytes), title (12 bytes), pub_date (4 bytes). Name fewer "
            "(include or exclude)."
        ]
        assert caplog.records[0].levelname == "WARNING"

    def test_too_large_is_warned_of_once_a_minute(self, caplog):
        for pk in (1, 2, 2):
            publish(PostFactory.build(pk=pk, body="x" * 10_300), "view", include="body")
        assert [message.partition(" has ")[0] for message in caplog.messages] == [
            "The event 'view' about testapp.Post 1",
            "The event 'view' about testapp.Post 2",
        ]

    def test_suppressed_object_is_composed_but_not_sent(self, pusherable_outbox):
        with suppress(Post):
            event = publish(PostFactory(), "view", immediate=True)
            trigger("newsroom", "bell", 1, immediate=True)
        assert event.name == "view"
        assert [event.name for event in pusherable_outbox] == ["bell"]

    def test_encoder_of_the_project_is_used(self, settings):
        class Encoder(json.JSONEncoder):
            def default(self, o):
                return "encoded"

        settings.PUSHERABLE_JSON_ENCODER = Encoder
        assert publish(DocumentFactory(), "view").payload["object"] == {"id": "encoded", "name": "Charter"}


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestAfterTheCommit:
    def test_event_waits_for_the_commit(self, pusherable_outbox):
        with transaction.atomic():
            post = PostFactory()
            publish(post, "updated")
            assert pusherable_outbox == []
        assert len(pusherable_outbox) == 1

    def test_event_is_frozen_when_it_is_published(self, pusherable_outbox):
        with transaction.atomic():
            post = PostFactory(title="before")
            publish(post, "updated")
            post.title = "after"
        assert pusherable_outbox[0].payload["object"]["title"] == "before"

    def test_rollback_sends_nothing(self, pusherable_outbox):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish(PostFactory(), "updated")
            _ = 1 / 0
        assert pusherable_outbox == []

    def test_rollback_of_a_savepoint_sends_nothing(self, pusherable_outbox):
        with transaction.atomic():
            post = PostFactory()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish(post, "lost")
                _ = 1 / 0
            publish(post, "kept")
        assert [event.name for event in pusherable_outbox] == ["kept"]

    def test_outside_of_a_transaction_it_leaves_at_once(self, pusherable_outbox):
        publish(PostFactory(), "view")
        assert len(pusherable_outbox) == 1

    def test_same_event_of_one_object_is_sent_once_with_the_last_values(self, pusherable_outbox):
        with transaction.atomic():
            post, other = PostFactory(title="1"), PostFactory()
            for title in ("2", "3"):
                publish(post, "updated", channels="news")
                post.title = title
            publish(other, "updated", channels="news")
            publish(post, "updated", channels="news")
        assert [(event.payload["pk"], event.payload["object"]["title"]) for event in pusherable_outbox] == [
            (str(other.pk), "What's up?"),
            (str(post.pk), "3"),
        ]

    def test_messages_are_coalesced_on_request_alone(self, pusherable_outbox):
        with transaction.atomic():
            for number in range(3):
                trigger("newsroom", "bell", number)
                trigger("newsroom", "progress", number, coalesce=True)
        assert [(event.name, event.payload) for event in pusherable_outbox] == [
            ("bell", 0),
            ("bell", 1),
            ("bell", 2),
            ("progress", 2),
        ]

    def test_immediate_does_not_wait(self, pusherable_outbox):
        with transaction.atomic():
            publish(PostFactory(), "view", immediate=True)
            assert len(pusherable_outbox) == 1

    def test_commit_of_the_objects_own_database_counts(self, pusherable_outbox):
        with transaction.atomic(using="other"):
            elsewhere = Elsewhere.objects.using("other").create(name="far")
            with transaction.atomic():
                publish(elsewhere, "updated")
            assert pusherable_outbox == []
        assert len(pusherable_outbox) == 1

    def test_object_read_from_a_replica_waits_for_the_database_that_is_written(self, pusherable_outbox, settings):
        settings.DATABASE_ROUTERS = [f"{__name__}.ReplicaRouter"]
        post = PostFactory.build(pk=1)
        post._state.db = "other"
        with transaction.atomic(using="default"):
            publish(post, "updated", include="title")
            assert pusherable_outbox == []
        assert len(pusherable_outbox) == 1

    def test_backend_that_raises_breaks_no_page(self, settings, caplog):
        settings.PUSHERABLE_BACKEND = f"{__name__}.RaisingBackend"
        publish(PostFactory(pk=1), "updated")
        [record] = caplog.records
        assert record.getMessage() == "The event 'updated' on post_1 was not delivered: a fault"
        assert record.exc_info[0] is ZeroDivisionError

    def test_backend_that_fails_breaks_no_commit(self, settings, caplog):
        settings.PUSHERABLE_BACKEND = "nowhere.Backend"
        reasons = []

        def receive(reason, **kwargs):
            reasons.append(reason)

        publish_failed.connect(receive)
        try:
            with transaction.atomic():
                publish(PostFactory(), "updated")
        finally:
            publish_failed.disconnect(receive)
        assert reasons == ["SettingsError"]
        assert "PUSHERABLE_BACKEND = 'nowhere.Backend' cannot be imported" in caplog.text


class TestTrigger:
    def test_any_json_leaves_without_a_database(self, pusherable_outbox):
        event = trigger("newsroom", "bell", ["ding", 1])
        assert pusherable_outbox == [event] == [Event(("newsroom",), "bell", '["ding",1]')]

    def test_text_is_json_too(self):
        assert trigger(["a", "b"], "bell", "12", socket_id="1.2") == Event(("a", "b"), "bell", '"12"', "1.2")

    def test_tab_that_asked_is_left_out(self):
        request = RequestFactory(headers={"X-Socket-ID": "12.34"}).get("/")
        excluded = [trigger("a", "bell", 1, exclude=exclude).socket_id for exclude in (request, "5.6", "x", None)]
        assert excluded == ["12.34", "5.6", None, None]

    def test_too_large_is_refused(self):
        with pytest.raises(EventTooLarge):
            trigger("a", "bell", "x" * 10_240)

    @pytest.mark.django_db(transaction=True)
    def test_commit_is_awaited(self, pusherable_outbox):
        with transaction.atomic():
            trigger("a", "bell", None)
            assert pusherable_outbox == []
        assert len(pusherable_outbox) == 1


class TestChannelOf:
    def test_object_model_and_name(self):
        assert channel_of(Post(pk=1)) == "post_1"
        assert channel_of(Review(pk=2)) == "review_2"
        assert channel_of(FeaturedPost(pk=3)) == "post_3"
        assert channel_of(Post) == "post"
        assert channel_of("newsroom") == "newsroom"

    @pytest.mark.parametrize(
        ("setting", "prefix"), [(False, ""), (True, "private-"), ("encrypted", "private-encrypted-")]
    )
    def test_setting_gives_objects_and_models_their_kind(self, settings, setting, prefix):
        settings.PUSHERABLE_PRIVATE_CHANNELS = setting
        assert channel_of(Post(pk=1)) == f"{prefix}post_1"
        assert channel_of(Post) == f"{prefix}post"
        assert channel_of("newsroom") == "newsroom"

    def test_privacy_goes_before_the_setting_and_kind_before_both(self, settings):
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        assert channel_of(Post(pk=1), private=False) == "post_1"
        assert channel_of(Post(pk=1), private="encrypted") == "private-encrypted-post_1"
        assert channel_of(Post, kind=ChannelKind.PRESENCE, private=False) == "presence-post"
        assert channel_of("newsroom", private=True) == "newsroom"

    def test_malformed_privacy_is_refused(self):
        with pytest.raises(InvalidChannel, match=r"'secret' is none of True, False and 'encrypted'"):
            channel_of(Post(pk=1), private="secret")

    @pytest.mark.parametrize("target", [None, 7, dict, [Post(pk=1)]])
    def test_anything_else_is_refused(self, target):
        with pytest.raises(InvalidChannel, match="is no model, no object and no name of a channel"):
            channel_of(target)

    def test_bad_name_is_refused(self):
        with pytest.raises(InvalidChannel, match="'' is no channel name"):
            channel_of("")


class TestUsernameOf:
    def test_users_of_all_kinds(self):
        assert username_of(None) == ""
        assert username_of("ada") == "ada"
        assert username_of(AnonymousUser()) == ""
        assert username_of(Member(email="ada@example.com")) == "ada@example.com"


class TestMemberInfoOf:
    def test_name_or_what_the_setting_says(self, settings):
        assert member_info_of(UserFactory.build(username="ada")) == {"name": "ada"}
        assert member_info_of(UserFactory.build(first_name="Ada", last_name="L" * 150)) == {"name": "Ada " + "L" * 146}
        assert member_info_of(Member(email="ada@example.com")) == {"name": "ada@example.com"}
        settings.PUSHERABLE_MEMBER_INFO = lambda user: {"id": user.username}
        assert member_info_of(UserFactory.build(username="ada")) == {"id": "ada"}


class TestRequestOrigin:
    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_processes_that_were_forked_off_have_others(self):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, request_origin(HttpRequest()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 100).decode() != request_origin(HttpRequest())
        os.close(reading)
        os.close(writing)

    def test_one_request_has_one(self):
        request, other = HttpRequest(), HttpRequest()
        assert request_origin(request) == request_origin(request)
        assert request_origin(request) != request_origin(other)
        assert len(request_origin(request)) == 12

    def test_wrapped_request_has_that_of_its_request(self):
        request = HttpRequest()
        assert request_origin(Wrapper(request)) == request_origin(request)


class TestSocketIdOf:
    def test_header_goes_before_the_field_of_a_form(self):
        form = {"pusherable_socket_id": "5.6"}
        assert socket_id_of(RequestFactory().post("/", form)) == "5.6"
        assert socket_id_of(RequestFactory(headers={"X-Socket-ID": "12.34"}).post("/", form)) == "12.34"
        assert socket_id_of(RequestFactory(headers={"X-Socket-ID": "12.34"}).get("/")) == "12.34"
        assert socket_id_of(HttpRequest()) is None

    def test_longest_that_is_taken(self):
        longest = "1." + "2" * (MAX_SOCKET_ID_LENGTH - 2)
        assert socket_id_of(RequestFactory(headers={"X-Socket-ID": longest}).get("/")) == longest
        assert socket_id_of(RequestFactory(headers={"X-Socket-ID": longest + "2"}).get("/")) is None

    @pytest.mark.parametrize("told", ["", "undefined", "1", "1.2.3", "-1.2", "1.2 ", "１.２", "1.2\n", "1.2,3.4"])
    def test_malformed_one_is_ignored(self, told):
        assert socket_id_of(RequestFactory(headers={"X-Socket-ID": told}).get("/")) is None
        assert socket_id_of(RequestFactory().post("/", {"pusherable_socket_id": told})) is None

    def test_query_does_not_count(self):
        assert socket_id_of(RequestFactory().post("/?pusherable_socket_id=1.2")) is None

    @pytest.mark.parametrize(
        "request_with_a_bad_body",
        [
            RequestFactory().post("/", b"x", content_type="multipart/form-data; boundary=\xe9"),
            RequestFactory().post("/", b"a=%ff&" * 2000, content_type="application/x-www-form-urlencoded"),
            RequestFactory().post("/", b"a=1", content_type="application/x-www-form-urlencoded; charset=utf-16"),
        ],
    )
    def test_body_that_cannot_be_read_is_left_to_the_view(self, request_with_a_bad_body):
        assert socket_id_of(request_with_a_bad_body) is None


@pytest.mark.django_db(transaction=True)
class TestFromAsyncCode:
    def test_apublish_reads_and_waits_where_django_does(self, pusherable_outbox):
        post, tag = PostFactory(), TagFactory()
        post.tags.add(tag)

        async def work():
            return await apublish(post, "view", user="ada")

        event = async_to_sync(work)()
        assert pusherable_outbox == [event]
        assert (event.payload["object"]["tags"], event.payload["user"]) == ([tag.pk], "ada")

    def test_atrigger_waits_for_the_transaction_around_it(self, pusherable_outbox):
        async def work():
            await atrigger("newsroom", "bell", "ding")
            return list(pusherable_outbox)

        with transaction.atomic():
            assert async_to_sync(work)() == []
        assert [event.data for event in pusherable_outbox] == ['"ding"']

    def test_event_loop_never_waits_for_the_backend(self, settings):
        settings.PUSHERABLE_BACKEND = f"{__name__}.ThreadNamingBackend"

        async def work():
            await atrigger("newsroom", "bell", "ding")
            return threading.get_ident()

        def run():
            return asyncio.run(work())

        with ThreadPoolExecutor() as pool:
            loop_thread = pool.submit(run).result()
        assert ThreadNamingBackend.threads
        assert loop_thread not in ThreadNamingBackend.threads

import json
from types import SimpleNamespace

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_save
from django.test import RequestFactory
from django.urls import include, path
from django.utils.functional import SimpleLazyObject
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pusherable.backends import BaseBackend
from pusherable.events import Event
from pusherable.exceptions import InvalidChannel
from pusherable.presence import Occupancy, members, occupancy
from pusherable.signing import sign
from pusherable.suppression import suppress
from pusherable.testing import disconnected
from pusherable.users import connect_signals, disconnect, notify, user_id_of
from tests.answering import refusing_port
from tests.factories import PageFactory, TagFactory, UserFactory
from tests.server.processes import running_server
from tests.testapp.models import Member, Tag

urlpatterns = [path("", include(([path("user-auth/", lambda request: None, name="user-auth")], "pusherable")))]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pusherable_outbox")]
where_users_sign_in = pytest.mark.urls(__name__)


class Editor(User):
    """The same user, seen otherwise."""

    class Meta:
        proxy = True
        app_label = "auth"


class RaisingBackend(BaseBackend):
    def deliver(self, event):
        raise ZeroDivisionError("a fault")

    def disconnect(self, user_id):
        raise ZeroDivisionError("a fault")


@pytest.fixture
def user():
    return UserFactory(pk=7)


@pytest.fixture
def user_model(settings):
    """Make another model that of the users, and watch it."""
    watched = []

    def change(model):
        settings.AUTH_USER_MODEL = model._meta.label
        connect_signals()
        watched.append(model)

    yield change
    for model in watched:
        for signal in (pre_save, post_save, post_delete):
            signal.disconnect(sender=model, dispatch_uid="pusherable")


class TestNotify:
    def test_every_tab_of_the_user_is_told(self, user, pusherable_outbox):
        event = notify(user, "mail", {"unread": 3})
        assert pusherable_outbox == [event] == [Event(("#server-to-user-7",), "mail", '{"unread":3}')]

    def test_lazy_user_of_a_request_will_do(self, user):
        assert notify(SimpleLazyObject(lambda: user), "mail", 1).channels == ("#server-to-user-7",)

    def test_commit_is_awaited(self, user, pusherable_outbox):
        with transaction.atomic():
            notify(user, "mail", 1)
            assert pusherable_outbox == []
            notify(user, "mail", 2, immediate=True)
            assert [event.payload for event in pusherable_outbox] == [2]
        assert [event.payload for event in pusherable_outbox] == [2, 1]

    def test_tab_that_asked_is_left_out(self, user):
        assert (
            notify(user, "mail", 1, exclude=RequestFactory(headers={"X-Socket-ID": "1.2"}).get("/")).socket_id == "1.2"
        )

    @pytest.mark.parametrize("nobody", [None, AnonymousUser(), User()])
    def test_nobody_is_refused(self, nobody):
        with pytest.raises(ValueError, match="has no primary key: only a user who is saved can be signed in"):
            notify(nobody, "mail", 1)

    def test_key_that_no_channel_can_hold_is_refused(self):
        with pytest.raises(InvalidChannel, match="'#server-to-user-about us' is no channel name"):
            notify(PageFactory(slug="about us"), "mail", 1)


class TestDisconnect:
    def test_backend_sends_the_user_away(self, user):
        disconnect(user)
        assert disconnected == ["7"]

    def test_commit_is_awaited(self, user):
        with transaction.atomic():
            disconnect(user)
            assert disconnected == []
        assert disconnected == ["7"]

    def test_rollback_disconnects_nobody(self, user):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            disconnect(user)
            raise ZeroDivisionError
        assert disconnected == []

    def test_immediate_does_not_wait(self, user):
        with transaction.atomic():
            disconnect(user, immediate=True)
            assert disconnected == ["7"]

    def test_suppressed_is_nothing(self, user):
        with suppress():
            disconnect(user)
        assert disconnected == []

    @pytest.mark.parametrize("nobody", [None, AnonymousUser(), User()])
    def test_nobody_is_refused(self, nobody):
        with pytest.raises(ValueError, match="has no primary key"):
            disconnect(nobody)

    def test_dead_service_is_logged_and_raises_nothing(self, user, settings, caplog):
        settings.PUSHERABLE_BACKEND = "inline"
        with refusing_port() as settings.PUSHER_PORT:
            disconnect(user)
        [record] = caplog.records
        assert record.getMessage().startswith("The user '7' could not be disconnected: http://127.0.0.1:")

    def test_backend_that_raises_is_logged_with_its_traceback(self, user, settings, caplog):
        settings.PUSHERABLE_BACKEND = f"{__name__}.RaisingBackend"
        disconnect(user)
        [record] = caplog.records
        assert record.getMessage() == "The user '7' could not be disconnected: a fault"
        assert record.exc_info[0] is ZeroDivisionError

    def test_user_who_is_in_no_database(self):
        disconnect(SimpleNamespace(pk="ada"))
        assert disconnected == ["ada"]


class TestUserIdOf:
    def test_key_as_text(self, user):
        assert user_id_of(user) == "7"


@where_users_sign_in
class TestLogout:
    def test_user_is_disconnected(self, user, client):
        client.force_login(user)
        client.logout()
        assert disconnected == ["7"]

    @pytest.mark.parametrize("nobody", [None, AnonymousUser()])
    def test_nobody_is_left_alone(self, nobody):
        user_logged_out.send(sender=User, request=None, user=nobody)
        assert disconnected == []

    def test_setting_keeps_them(self, user, client, settings):
        settings.PUSHERABLE_DISCONNECT_USERS = False
        client.force_login(user)
        client.logout()
        assert disconnected == []


@where_users_sign_in
class TestDeactivation:
    def test_user_is_disconnected_after_the_commit(self, user):
        user.is_active = False
        with transaction.atomic():
            user.save()
            assert disconnected == []
        assert disconnected == ["7"]

    def test_save_of_that_field_alone(self, user):
        user.is_active = False
        user.save(update_fields=["is_active"])
        assert disconnected == ["7"]

    def test_instance_that_was_made_by_hand(self, user):
        User(pk=user.pk, username="x", is_active=False).save(force_update=True)
        stale = User.objects.only("username").get()
        stale.is_active = False
        stale.save()
        assert disconnected == []
        User.objects.update(is_active=True)
        stale.save()
        assert disconnected == ["7"]

    def test_proxy_is_the_same_user(self, user):
        connect_signals()
        editor = Editor.objects.get()
        editor.is_active = False
        editor.save()
        assert disconnected == ["7"]

    def test_rollback_disconnects_nobody(self, user):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            user.is_active = False
            user.save()
            raise ZeroDivisionError
        assert disconnected == []

    def test_save_that_fails_disconnects_nobody_later(self, user):
        UserFactory(username="taken")
        user.is_active, user.username = False, "taken"
        with pytest.raises(Exception, match="UNIQUE"):
            user.save()
        user.save(update_fields=["last_login"])
        assert disconnected == []

    def test_other_changes_disconnect_nobody(self, user):
        user.first_name = "Ada"
        user.save()
        user.is_active = False
        User.objects.filter(pk=user.pk).update(is_active=False)
        user.save()
        user.is_active = True
        user.save()
        assert disconnected == []

    def test_new_users_and_fixtures_disconnect_nobody(self, user, django_assert_num_queries):
        with django_assert_num_queries(1):
            User.objects.create(username="new", is_active=False)
        user.is_active = False
        user.save_base(raw=True)
        assert disconnected == []

    def test_deletion_disconnects(self, user):
        user.delete()
        assert disconnected == ["7"]

    def test_deletion_with_the_setting_off(self, user, settings):
        settings.PUSHERABLE_DISCONNECT_USERS = False
        user.delete()
        assert disconnected == []


@where_users_sign_in
class TestChangeOfPassword:
    def test_user_is_disconnected(self, user):
        user.set_password("another")
        user.save()
        assert disconnected == ["7"]

    def test_save_of_that_field_alone(self, user):
        user.set_password("another")
        user.save(update_fields=["password"])
        assert disconnected == ["7"]

    def test_unusable_one_and_one_set_by_hand(self, user):
        user.set_unusable_password()
        user.save()
        user.password = make_password("another")
        user.save(update_fields=["password"])
        assert disconnected == ["7", "7"]

    def test_unknown_old_one_is_changed(self, user):
        User.objects.update(password="nonsense")
        user.password = make_password("another")
        user.save(update_fields=["password"])
        assert disconnected == ["7"]

    @pytest.fixture(autouse=True)
    def few_rounds(self, monkeypatch):
        monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 2)

    def test_hash_of_another_kind_that_a_login_renews_is_no_change(self, user, settings, client):
        settings.PASSWORD_HASHERS = [
            "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
            "django.contrib.auth.hashers.MD5PasswordHasher",
        ]
        assert client.login(username=user.username, password="secret")
        assert User.objects.get().password.startswith("pbkdf2_sha1$")
        assert disconnected == []

    def test_hash_of_too_few_rounds_that_a_login_renews_is_no_change(self, user, settings, client, monkeypatch):
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
        User.objects.update(password=make_password("secret"))
        monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 3)
        assert client.login(username=user.username, password="secret")
        assert User.objects.get().password.startswith("pbkdf2_sha256$3$")
        assert disconnected == []


@where_users_sign_in
class TestCost:
    def test_login_costs_no_query(self, user, django_assert_num_queries):
        with django_assert_num_queries(1):
            user.save(update_fields=["last_login"])

    def test_other_saves_cost_one(self, user, django_assert_num_queries):
        with django_assert_num_queries(2):
            user.save()

    @pytest.mark.urls("tests.urls")
    def test_project_without_the_urls_pays_nothing(self, user, client, django_assert_num_queries):
        user.is_active = False
        with django_assert_num_queries(1):
            user.save()
        client.force_login(user)
        client.logout()
        user.delete()
        assert disconnected == []

    @pytest.mark.urls("tests.urls")
    def test_setting_goes_before_the_urls(self, user, settings):
        settings.PUSHERABLE_DISCONNECT_USERS = True
        user.is_active = False
        user.save()
        assert disconnected == ["7"]

    @pytest.mark.urls("nowhere.urls")
    def test_broken_urls_break_no_save(self, user, caplog):
        user.is_active = False
        user.save()
        assert caplog.messages == ["Users are not disconnected: No module named 'nowhere'"]
        assert disconnected == []


@where_users_sign_in
class TestConnectSignals:
    def test_model_whose_users_are_always_active(self, user_model, django_assert_num_queries):
        user_model(Member)
        member = Member.objects.create(email="ada@example.com", password="old")
        with django_assert_num_queries(2):
            member.save()
        assert isinstance(member, AbstractBaseUser)
        member.set_password("another")
        member.save()
        assert disconnected == [str(member.pk)]

    def test_model_without_either_field_costs_nothing(self, user_model, django_assert_num_queries):
        user_model(Tag)
        tag = TagFactory()
        with django_assert_num_queries(1):
            tag.save()
        tag.delete()
        assert len(disconnected) == 1

    def test_project_without_users_has_nothing_to_watch(self, settings):
        settings.AUTH_USER_MODEL = "nowhere.User"
        connect_signals()


class SiteURLs:
    urlpatterns = [path("pusher/", include("pusherable.urls"))]


class TestWithARealServer:
    @pytest.fixture
    def server(self, settings):
        with running_server() as server:
            settings.PUSHER_PORT = server.port
            settings.PUSHERABLE_BACKEND = "inline"
            settings.ROOT_URLCONF = SiteURLs
            yield server

    @pytest.fixture
    def browser(self, server):
        with connect(f"ws://{server.address}/app/test-key?protocol=7", open_timeout=30) as connection:
            yield connection

    def test_user_who_signs_in_is_present_and_notified_and_sent_away_at_logout(self, user, client, browser):
        def receive():
            message = json.loads(browser.recv(timeout=30))
            data = message["data"]
            return message["event"], json.loads(data) if isinstance(data, str) else data

        def send(event, **data):
            browser.send(json.dumps({"event": event, "data": data}))

        client.force_login(user)
        socket_id = receive()[1]["socket_id"]
        send("pusher:signin", **client.post("/pusher/user-auth/", {"socket_id": socket_id}).json())
        assert receive()[0] == "pusher:signin_success"
        send("pusher:subscribe", channel="#server-to-user-7")
        assert receive()[0] == "pusher_internal:subscription_succeeded"
        # Who has signed in needs no further word on who it is (protocol A.31).
        room = "presence-room"
        send("pusher:subscribe", channel=room, auth=f"test-key:{sign('test-secret', f'{socket_id}:{room}')}")
        assert receive()[0] == "pusher_internal:subscription_succeeded"
        assert (members(room), occupancy(room), members("presence-hall")) == (["7"], Occupancy(True, 1), [])
        notify(user, "mail", {"unread": 3})
        assert receive() == ("mail", {"unread": 3})
        client.logout()
        with pytest.raises(ConnectionClosed) as closing:
            while True:
                browser.recv(timeout=30)
        assert closing.value.rcvd.code == 4009

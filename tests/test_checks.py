import base64

import pytest
from django.core.checks import WARNING, Error, Warning, run_checks
from django.core.exceptions import PermissionDenied
from django.urls import include, path
from django.views.generic import DetailView

from pusherable import publishers
from pusherable.mixins import PusherDetailMixin, PusherUpdateMixin
from pusherable.publishers import Publisher
from tests.testapp.models import Document, FeaturedPost, Post, Reading


def complaints():
    return run_checks(tags=["pusherable"])


class TestChecks:
    def test_good_settings_have_none(self):
        assert complaints() == []

    @pytest.mark.parametrize(
        ("name", "value", "id", "message"),
        [
            (
                "PUSHER_SECRET",
                "",
                "pusherable.E001",
                "PUSHER_SECRET is not set, though PUSHER_APP_ID and PUSHER_KEY are: an app has all three.",
            ),
            (
                "PUSHER_PUBLIC_PORT",
                "x",
                "pusherable.E002",
                "PUSHER_PUBLIC_PORT = 'x' is no port: it is a number from 1 to 65535.",
            ),
            (
                "PUSHERABLE_BACKEND",
                "builtins.dict",
                "pusherable.E003",
                "PUSHERABLE_BACKEND = 'builtins.dict' is no subclass of pusherable.backends.BaseBackend.",
            ),
            (
                "PUSHERABLE_JSON_ENCODER",
                dict,
                "pusherable.E004",
                "PUSHERABLE_JSON_ENCODER is <class 'dict'>; it is a subclass of json.JSONEncoder, or its dotted path.",
            ),
            (
                "PUSHERABLE_TRANSPORT",
                "polling",
                "pusherable.E050",
                "PUSHERABLE_TRANSPORT = 'polling' is neither 'websocket' nor 'sse'.",
            ),
            (
                "PUSHERABLE_STREAM_LIFETIME",
                100_000,
                "pusherable.E053",
                "PUSHERABLE_STREAM_LIFETIME = 100000 is no whole number from 1 to 86400.",
            ),
            (
                "PUSHERABLE_WEBHOOK_URL",
                "example.com",
                "pusherable.E005",
                "PUSHERABLE_WEBHOOK_URL is no address to send to; its form is https://host:port/path, without a user.",
            ),
            (
                "PUSHERABLE_SUBSCRIPTION_COUNTS",
                "x",
                "pusherable.E040",
                "PUSHERABLE_SUBSCRIPTION_COUNTS = 'x' is neither True nor False.",
            ),
            (
                "PUSHERABLE_SERVER_LIMITS",
                {"connections": 0},
                "pusherable.E040",
                "PUSHERABLE_SERVER_LIMITS['connections'] is 0; it is a whole number above zero.",
            ),
            (
                "PUSHERABLE_PRIVATE_CHANNELS",
                "presence",
                "pusherable.E006",
                "PUSHERABLE_PRIVATE_CHANNELS = 'presence' is none of True, False and 'encrypted'.",
            ),
            (
                "PUSHERABLE_MEMBER_INFO",
                7,
                "pusherable.E007",
                "PUSHERABLE_MEMBER_INFO is 7; it is a function of a user, or its dotted path.",
            ),
            (
                "PUSHER_ENCRYPTION_MASTER_KEY",
                "abc",
                "pusherable.E010",
                "PUSHER_ENCRYPTION_MASTER_KEY is not 32 bytes in base64. `openssl rand -base64 32` makes one.",
            ),
            (
                "PUSHER_CA_FILE",
                __file__,
                "pusherable.E011",
                f"PUSHER_CA_FILE = {__file__!r} cannot be used: there is no certificate in it. It is a file with "
                "certificates in PEM form.",
            ),
            (
                "PUSHERABLE_WORKERS",
                0,
                "pusherable.E012",
                "PUSHERABLE_WORKERS = 0 is no whole number from 1 to 64.",
            ),
            (
                "PUSHERABLE_WEBHOOK_SECRETS",
                {"old-key": ""},
                "pusherable.E020",
                "PUSHERABLE_WEBHOOK_SECRETS holds a key or a secret that is empty, or no text. Its form is "
                "{'key': 'secret'}, or {'key': ['secret', 'secret']}.",
            ),
            (
                "PUSHERABLE_WEBHOOK_MAX_AGE",
                "0",
                "pusherable.E021",
                "PUSHERABLE_WEBHOOK_MAX_AGE = '0' is no time to wait: it is a number of seconds, up to 86400.",
            ),
            (
                "PUSHERABLE_DISCONNECT_USERS",
                "never",
                "pusherable.E022",
                "PUSHERABLE_DISCONNECT_USERS = 'never' is neither True nor False.",
            ),
        ],
    )
    def test_bad_setting_has_one(self, settings, name, value, id, message):
        setattr(settings, name, value)
        assert complaints() == [Error(message, id=id)]


class PostDetail(PusherDetailMixin, DetailView):
    model = Post


class PostUpdate(PusherUpdateMixin, DetailView):
    model = Post
    pusher_exclude_model_fields = ("body",)


class OwnChannel(PostDetail):
    def get_pusher_channel(self):
        return "of-my-own"


class DocumentDetail(PusherDetailMixin, DetailView):
    model = Document


class FeaturedDetail(PusherDetailMixin, DetailView):
    model = FeaturedPost


class ReadingDetail(PusherDetailMixin, DetailView):
    queryset = Reading.objects.all()


class Site:
    """A URLconf."""

    def __init__(self, views, has_auth_view):
        self.urlpatterns = [path(f"{n}/<int:pk>/", view) for n, view in enumerate(views)]
        if has_auth_view:
            self.urlpatterns.append(path("pusher/", include("pusherable.urls")))


@pytest.fixture
def site(settings):
    """Serve these views, with the auth view unless told otherwise."""

    def serve(*views, has_auth_view=True):
        settings.ROOT_URLCONF = Site(views, has_auth_view)

    return serve


class TestViews:
    def test_all_fields_for_everybody_are_warned_of_once(self, site, settings):
        site(PostDetail.as_view(), PostDetail.as_view(), PostUpdate.as_view(), OwnChannel.as_view())
        assert complaints() == [
            Warning(
                "tests.test_checks.PostDetail at /0/<int:pk>/ publishes all fields of its model on a public channel, "
                "where anybody may listen.",
                hint="Name the fields by pusher_include_model_fields or pusher_exclude_model_fields, or make the "
                "channel private by pusher_private = True or PUSHERABLE_PRIVATE_CHANNELS = True.",
                obj=PostDetail,
                id="pusherable.W001",
            )
        ]
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        assert complaints() == []

    @pytest.mark.parametrize("privacy", [True, "encrypted"])
    def test_both_remedies_help(self, site, settings, privacy):
        settings.PUSHER_ENCRYPTION_MASTER_KEY = base64.b64encode(bytes(32)).decode()
        site(PostDetail.as_view(pusher_private=privacy), DocumentDetail.as_view(pusher_include_model_fields="name"))
        assert complaints() == []

    def test_encryption_without_a_key_is_an_error(self, site, settings):
        site(PostUpdate.as_view(pusher_private="encrypted"))
        message = (
            "Nothing can be published on encrypted channels without PUSHER_ENCRYPTION_MASTER_KEY, which is not set. "
            "They are asked for by {}."
        )
        [complaint] = complaints()
        assert (complaint.id, complaint.msg, complaint.hint) == (
            "pusherable.E010",
            message.format("tests.test_checks.PostUpdate at /0/<int:pk>/"),
            "`openssl rand -base64 32` makes a key.",
        )
        settings.PUSHERABLE_PRIVATE_CHANNELS = "encrypted"
        [complaint] = complaints()
        assert complaint.msg == message.format("PUSHERABLE_PRIVATE_CHANNELS")

    def test_malformed_privacy_is_an_error(self, site):
        site(PostDetail.as_view(pusher_private="presence"))
        assert complaints() == [
            Error(
                "tests.test_checks.PostDetail at /0/<int:pk>/: pusher_private is 'presence'; it is True, False, "
                "'encrypted' or None.",
                obj=PostDetail,
                id="pusherable.E008",
            )
        ]

    def test_namesakes_that_share_private_channels_are_warned_of(self, site, settings, monkeypatch):
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        views = [view.as_view() for view in (PostDetail, FeaturedDetail, ReadingDetail, DocumentDetail)]
        site(*views)
        assert complaints() == []
        monkeypatch.setattr(Reading._meta, "model_name", "post")
        warning = Warning(
            "testapp.Post and testapp.Reading share their private channels (post_1, post_2…): whoever may see an "
            "object of one of them hears of the other's.",
            hint="Give one of them channels of its own by get_pusher_channel().",
            id="pusherable.W003",
        )
        assert complaints() == [warning]


class LateDetail(PostDetail):
    def get_context_data(self, **kwargs):
        raise PermissionDenied


class TestLateRefusals:
    def test_private_view_that_refuses_too_late_is_warned_of(self, site):
        site(LateDetail.as_view(pusher_private=True), LateDetail.as_view(pusher_include_model_fields=()))
        assert complaints() == [
            Warning(
                "tests.test_checks.LateDetail at /0/<int:pk>/ seems to refuse visitors in get_context_data, which is "
                "not asked for its private channel: they get no page, but its events.",
                hint="Refuse in dispatch(), get_queryset(), get_object() or a get() of your own.",
                obj=LateDetail,
                id="pusherable.W004",
            )
        ]


class TestUrls:
    def test_private_channels_that_nobody_authorizes_are_warned_of(self, site, settings, tmp_path):
        templates = {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [tmp_path]}
        settings.TEMPLATES = [templates]
        site(has_auth_view=False)
        assert complaints() == []
        site(PostDetail.as_view(pusher_private=True), has_auth_view=False)
        warning = Warning(
            "Nobody can listen to private channels, since the views that authorize them have no address. They are "
            "asked for by tests.test_checks.PostDetail at /0/<int:pk>/.",
            hint='Add path("pusher/", include("pusherable.urls")) to your URLconf.',
            id="pusherable.W002",
        )
        assert complaints() == [warning]
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        for name in ("a", "b"):
            (tmp_path / name).write_text("{% pusherable_presence post %}")
        warning.msg = (
            "Nobody can listen to private channels, since the views that authorize them have no address. They are "
            "asked for by PUSHERABLE_PRIVATE_CHANNELS, tests.test_checks.PostDetail at /0/<int:pk>/, "
            f"{tmp_path}/a: {{% pusherable_presence %}} (and 1 more)."
        )
        assert complaints() == [warning]
        site(PostDetail.as_view())
        assert complaints() == []


class TestTransport:
    def test_streams_of_the_local_server_are_good(self, settings):
        settings.PUSHERABLE_TRANSPORT = "sse"
        assert complaints() == []

    def test_streams_of_the_hosted_service_are_an_error(self, settings):
        settings.PUSHERABLE_TRANSPORT = "sse"
        settings.PUSHER_HOST = settings.PUSHER_PORT = ""
        assert complaints() == [
            Error(
                "Hosted Pusher has no event streams: runpushserver has. Set PUSHER_HOST, or keep to "
                "PUSHERABLE_TRANSPORT = 'websocket'.",
                id="pusherable.E051",
            )
        ]

    @pytest.mark.parametrize("of_view", [True, False])
    def test_encrypted_channels_without_pusher_js_are_an_error(self, settings, site, of_view):
        settings.PUSHERABLE_TRANSPORT = "sse"
        settings.PUSHER_ENCRYPTION_MASTER_KEY = base64.b64encode(bytes(32)).decode()
        settings.PUSHERABLE_PRIVATE_CHANNELS = None if of_view else "encrypted"
        view = PostUpdate.as_view(pusher_private="encrypted")
        site(view)
        user = "tests.test_checks.PostUpdate at /0/<int:pk>/" if of_view else "PUSHERABLE_PRIVATE_CHANNELS"
        assert complaints() == [
            Error(
                "Pages cannot read encrypted channels by event streams (PUSHERABLE_TRANSPORT = 'sse'). They are asked "
                f"for by {user}.",
                hint="Make the channels private, or keep to PUSHERABLE_TRANSPORT = 'websocket'.",
                id="pusherable.E052",
            )
        ]

    def test_what_other_checks_complain_of_is_told_once(self, settings):
        settings.PUSHERABLE_TRANSPORT = "sse"
        settings.PUSHERABLE_PRIVATE_CHANNELS = "nonsense"
        settings.PUSHER_PUBLIC_PORT = "x"
        assert sorted(complaint.id for complaint in complaints()) == ["pusherable.E002", "pusherable.E006"]
        settings.PUSHER_PUBLIC_PORT = ""
        settings.PUSHERABLE_SERVER_LIMITS = 7
        assert sorted(complaint.id for complaint in complaints()) == ["pusherable.E006", "pusherable.E040"]


class TestPublishers:
    def test_field_that_is_none_is_an_error(self, monkeypatch):
        monkeypatch.setitem(publishers._publishers, Document, Publisher(("updated",), "title", None, None, None))
        assert complaints() == [
            Error(
                "@publishes of testapp.Document: 'title' is no field of testapp.Document. Mend "
                "include or exclude, or in a view pusher_include_model_fields or pusher_exclude_model_fields; "
                "the fields are: id, name.",
                obj=Document,
                id="pusherable.E030",
            )
        ]


class TestTasks:
    def test_tasks_that_run_in_the_page_are_warned_of(self, settings):
        settings.PUSHERABLE_BACKEND = "tasks"
        [warning] = complaints()
        assert (warning.id, warning.level) == ("pusherable.W030", WARNING)
        assert warning.msg.endswith("these run at once: every page waits for the service.")

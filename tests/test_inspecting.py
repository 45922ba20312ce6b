from pathlib import Path

import django
import pytest
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import include, path, re_path
from django.views.generic import DetailView, TemplateView

import pusherable
from pusherable.channels import ChannelKind
from pusherable.exceptions import InvalidChannel
from pusherable.inspecting import FoundView, find_private_tags, find_views, has_auth_view
from pusherable.mixins import PusherCreateMixin, PusherDetailMixin, PusherMixin
from tests.testapp.models import Post

pytestmark = pytest.mark.urls(__name__)


class Detail(PusherDetailMixin, DetailView):
    model = Post


class Queried(PusherDetailMixin, DetailView):
    queryset = Post.objects.all()


class Choosing(Detail):
    pusher_include_model_fields = ()

    def get_pusher_channel(self):
        return "a"


class Silent(PusherMixin, TemplateView):
    model = "a text"


def function_view(request):
    return HttpResponse()


urlpatterns = [
    path("posts/<int:pk>/", login_required(Detail.as_view(pusher_private=True))),
    path("function/", function_view),
    path("plain/", TemplateView.as_view(template_name="x.html")),
    path("more/", include([re_path(r"^q/$", Queried.as_view()), path("broken/", include("tests.urls"))])),
    path("silent/", Silent.as_view()),
]


class TestFindViews:
    def test_every_view_with_a_mixin_is_found_with_its_address(self):
        assert [(str(view), view.initkwargs) for view in find_views()] == [
            (f"{__name__}.Detail at /posts/<int:pk>/", {"pusher_private": True}),
            (f"{__name__}.Queried at /more/^q/$", {}),
            (f"{__name__}.Silent at /silent/", {}),
        ]

    def test_urlconf_that_cannot_be_imported_has_none(self, settings):
        settings.ROOT_URLCONF = "tests.nowhere"
        assert find_views() == []


class TestFoundView:
    def test_kind_is_that_of_its_channel(self, settings):
        assert FoundView(Detail, {}, "/").kind is ChannelKind.PUBLIC
        assert FoundView(Detail, {"pusher_private": "encrypted"}, "/").kind is ChannelKind.ENCRYPTED
        settings.PUSHERABLE_PRIVATE_CHANNELS = True
        assert FoundView(Detail, {}, "/").kind is ChannelKind.PRIVATE
        with pytest.raises(InvalidChannel):
            _ = FoundView(Detail, {"pusher_private": "x"}, "/").kind

    def test_model_is_that_of_the_class_or_its_queryset(self):
        assert FoundView(Detail, {}, "/").model is Post
        assert FoundView(Queried, {}, "/").model is Post
        assert FoundView(Silent, {}, "/").model is None

    @pytest.mark.parametrize(
        ("view_class", "initkwargs", "expected"),
        [
            (Detail, {}, True),
            (Detail, {"pusher_include_model_fields": ["title"]}, False),
            (Detail, {"pusher_exclude_model_fields": "title"}, False),
            (Detail, {"pusher_exclude_model_fields": ()}, True),
            (Detail, {"pusher_event_name": ""}, False),
            (Choosing, {}, False),
            (Silent, {}, False),
            (type("Create", (PusherCreateMixin, DetailView), {}), {}, True),
            (type("Own", (Detail,), {"get_pusher_object_data": lambda self: {}}), {}, False),
        ],
    )
    def test_every_field_is_what_nobody_has_chosen(self, view_class, initkwargs, expected):
        assert FoundView(view_class, initkwargs, "/").publishes_every_field is expected

    def test_methods_of_the_project_are_known(self):
        assert FoundView(Choosing, {}, "/").overrides("get_pusher_channels", "get_pusher_channel")
        assert not FoundView(Detail, {}, "/").overrides("get_pusher_channels", "get_pusher_channel")


class LateDetail(Detail):
    def get_context_data(self, **kwargs):
        if not self.request.user.is_staff:
            raise Http404
        return super().get_context_data(**kwargs)

    def render_to_response(self, context, **kwargs):
        return redirect("/") if context else super().render_to_response(context, **kwargs)


class HarmlessDetail(Detail):
    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"more": 7}


class OwnGet(LateDetail):
    def get(self, request, *args, **kwargs):
        return super().get(request, *args, **kwargs)


class TestLateRefusals:
    @pytest.mark.parametrize(
        ("view_class", "names"),
        [
            (LateDetail, ["get_context_data", "render_to_response"]),
            (HarmlessDetail, []),
            (Detail, []),
            (OwnGet, []),
            (Silent, []),
        ],
    )
    def test_methods_that_refuse_after_the_object_are_named(self, view_class, names):
        assert FoundView(view_class, {}, "/").late_refusals == names


class TestHasAuthView:
    @pytest.mark.parametrize(
        ("urlconf", "expected"), [(__name__, False), ("tests.test_views", True), ("tests.nowhere", True)]
    )
    def test_address_tells(self, settings, urlconf, expected):
        settings.ROOT_URLCONF = urlconf
        assert has_auth_view() is expected


class TestFindPrivateTags:
    @pytest.fixture
    def write(self, settings, tmp_path):
        settings.TEMPLATES = [
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [tmp_path], "APP_DIRS": True},
            {"BACKEND": "django.template.backends.dummy.TemplateStrings"},
        ]

        def write(text, name="page.html"):
            file = tmp_path / "blog" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
            return file

        return write

    @pytest.mark.parametrize(
        ("text", "tag"),
        [
            ("{% pusherable_presence post %}", "pusherable_presence"),
            ("<p>\n{%pusherable_presence post label='x' %}", "pusherable_presence"),
            ("{% pusherable_subscribe 'view' post private=True %}", "pusherable_subscribe"),
            ('{% pusherable_subscribe "view" post private="encrypted" %}', "pusherable_subscribe"),
        ],
    )
    def test_tag_that_needs_the_auth_view_is_found(self, write, text, tag):
        assert find_private_tags() == []
        file = write(text)
        assert find_private_tags() == [f"{file}: {{% {tag} %}}"]

    @pytest.mark.parametrize(
        "text",
        [
            "{% pusherable_subscribe 'view' post %}",
            "{% pusherable_subscribe 'view' post private=False %}{{ private=True }}",
            "{% pusherable_subscribe 'view' post private=None %}",
            "{% pusherable_presences %}",
            "\udcff".encode(errors="surrogateescape").decode("latin-1"),
        ],
    )
    def test_other_tags_are_not(self, write, text):
        write(text)
        assert find_private_tags() == []

    def test_file_that_cannot_be_read_is_passed_over(self, write):
        write("").unlink()
        (broken := write("").parent / "broken.html").symlink_to("nowhere")
        assert broken.is_symlink()
        assert find_private_tags() == []

    def test_templates_that_cannot_be_set_up_have_none(self, settings):
        settings.TEMPLATES = [{"BACKEND": "nowhere.Templates"}]
        assert find_private_tags() == []

    def test_templates_of_django_and_of_this_package_are_not_the_projects(self, settings):
        directories = {Path(directory) for directory in engines["django"].engine.template_loaders[0].get_dirs()}
        package = Path(pusherable.__file__).parent
        assert any(directory.is_relative_to(package) for directory in directories)
        assert any(directory.is_relative_to(Path(django.__file__).parent) for directory in directories)
        assert find_private_tags() == []

    def test_loaders_may_be_cached(self, write, settings, tmp_path):
        write("{% pusherable_presence post %}")
        inner = ["django.template.loaders.filesystem.Loader", "django.template.loaders.locmem.Loader"]
        settings.TEMPLATES = [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [tmp_path],
                "OPTIONS": {"loaders": [("django.template.loaders.cached.Loader", [inner[0], (inner[1], {})])]},
            },
        ]
        assert len(find_private_tags()) == 1

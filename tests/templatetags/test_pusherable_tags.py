import dataclasses
import html
import json
import re
import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.middleware.csrf import _does_token_match
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.views.generic import DetailView

from pusherable import pusherjs
from pusherable.mixins import PusherDetailMixin
from pusherable.publishing import request_origin
from pusherable.templatetags.pusherable_tags import pusherable_subscribe
from tests.factories import DocumentFactory, PostFactory, UserFactory
from tests.testapp.models import Document, FeaturedPost, Post

DOCUMENT = uuid.UUID(int=1)

CONFIG = (
    "{&quot;key&quot;: &quot;test-key&quot;, &quot;cluster&quot;: &quot;mt1&quot;, "
    "&quot;wsHost&quot;: &quot;127.0.0.1&quot;, &quot;wsPort&quot;: 8001, &quot;wssPort&quot;: 8001, "
    "&quot;forceTLS&quot;: false}"
)


@pytest.fixture
def request_with_origin() -> HttpRequest:
    request = RequestFactory().get("/")
    request._pusherable_origin = "request-id-1"
    return request


@pytest.fixture
def vendored(monkeypatch, tmp_path):
    """The package as it was built, with pusher-js in it."""
    asset = dataclasses.replace(pusherjs.PLAIN, shipped=pusherjs.digest(b"Pusher"))
    (tmp_path / asset.name).write_bytes(b"Pusher")
    monkeypatch.setattr(pusherjs, "VENDOR", tmp_path)
    monkeypatch.setattr(pusherjs, "PLAIN", asset)


@pytest.fixture
def not_vendored(monkeypatch, tmp_path):
    monkeypatch.setattr(pusherjs, "VENDOR", tmp_path)


def render(source, context=None, **variables):
    template = Template("{% load pusherable_tags %}" + source)
    return template.render(Context(variables) if context is None else context)


class TestPusherableScript:
    @pytest.mark.usefixtures("vendored")
    def test_with_a_request_loads_both_files_and_tells_the_request(self, request_with_origin):
        html = render("{% pusherable_script %}", RequestContext(request_with_origin))

        assert html == (
            '<meta name="pusherable-origin" content="request-id-1">\n'
            '<script src="/static/pusherable/vendor/pusher.min.js" defer></script>\n'
            f'<script src="/static/pusherable/pusherable.js" defer data-config="{CONFIG}"></script>\n'
        )

    @pytest.mark.usefixtures("vendored")
    def test_without_a_request_tells_no_origin(self):
        assert render("{% pusherable_script %}") == (
            '<script src="/static/pusherable/vendor/pusher.min.js" defer></script>\n'
            f'<script src="/static/pusherable/pusherable.js" defer data-config="{CONFIG}"></script>\n'
        )

    @pytest.mark.usefixtures("not_vendored")
    def test_without_the_built_file_goes_to_the_cdn_with_the_pinned_digest(self):
        assert render("{% pusherable_script %}") == (
            f'<script src="{pusherjs.PLAIN.cdn_url}" integrity="{pusherjs.PLAIN.published}" '
            'crossorigin="anonymous" defer></script>\n'
            f'<script src="/static/pusherable/pusherable.js" defer data-config="{CONFIG}"></script>\n'
        )

    @pytest.mark.usefixtures("vendored")
    def test_with_the_nonce_of_the_context_puts_it_on_both_scripts(self):
        assert render("{% pusherable_script %}", csp_nonce="abc==") == (
            '<script src="/static/pusherable/vendor/pusher.min.js" defer nonce="abc=="></script>\n'
            '<script src="/static/pusherable/pusherable.js" defer nonce="abc==" '
            f'data-config="{CONFIG}"></script>\n'
        )

    @pytest.mark.usefixtures("not_vendored")
    def test_with_a_nonce_puts_it_on_the_script_of_the_cdn_too(self):
        html = render("{% pusherable_script %}", csp_nonce="abc==")

        assert html.count('nonce="abc=="') == 2

    def test_with_the_nonce_of_the_request_uses_it(self, request_with_origin):
        request_with_origin.csp_nonce = "of-django-csp"

        html = render("{% pusherable_script %}", RequestContext(request_with_origin))

        assert html.count('nonce="of-django-csp"') == 2

    def test_with_a_nonce_that_is_false_until_it_is_read_uses_it(self):
        class UnreadNonce(SimpleLazyObject):
            def __bool__(self):
                return False

        html = render("{% pusherable_script %}", csp_nonce=UnreadNonce(lambda: "first-read-here"))

        assert html.count('nonce="first-read-here"') == 2

    def test_with_hostile_options_keeps_them_inside_the_attribute(self, monkeypatch):
        monkeypatch.setattr("pusherable.conf.PusherableSettings.browser", {"key": "</script>\"'<b>&\u2028"})

        html = render("{% pusherable_script %}")

        assert (
            'data-config="{&quot;key&quot;: &quot;&lt;/script&gt;\\&quot;&#x27;&lt;b&gt;&amp;\\u2028&quot;}"' in html
        )

    def test_never_shows_the_secret(self, settings):
        settings.PUSHER_SECRET = "nobody-may-read-this"

        assert "nobody-may-read-this" not in render("{% pusherable_script %}")

    def test_with_unusable_settings_renders_a_page_that_says_so_and_logs_why(self, settings, caplog):
        settings.PUSHER_SECRET = ""

        html = render("{% pusherable_script %}")

        assert 'data-config="null"' in html
        assert [record.getMessage() for record in caplog.records] == [
            "Pages cannot listen for events: PUSHER_SECRET is not set, though PUSHER_APP_ID and PUSHER_KEY "
            "are: an app has all three."
        ]


class TestPusherableSubscribe:
    def test_with_an_object_subscribes_to_its_channel(self, request_with_origin):
        context = RequestContext(request_with_origin, {"object": Post(pk=1)})

        assert render("{% pusherable_subscribe 'update' object %}", context) == (
            '<pusherable-subscribe event="update" channel="post_1" origin="request-id-1" label="Post" hidden>'
            "</pusherable-subscribe>\n"
        )

    def test_without_a_request_tells_no_origin(self):
        assert render("{% pusherable_subscribe 'update' object %}", object=Post(pk=1)) == (
            '<pusherable-subscribe event="update" channel="post_1" label="Post" hidden></pusherable-subscribe>\n'
        )

    def test_with_a_request_as_a_plain_variable_finds_its_origin(self, request_with_origin):
        html = render("{% pusherable_subscribe 'x' 'room' %}", request=request_with_origin)

        assert html == (
            '<pusherable-subscribe event="x" channel="room" origin="request-id-1" hidden></pusherable-subscribe>\n'
        )

    def test_with_a_model_subscribes_to_the_channel_of_all_of_it(self):
        assert pusherable_subscribe(Context(), "created", Post) == {
            "event": "created",
            "channel": "post",
            "label": "Post",
            "origin": "",
            "page": "",
            "token": "",
        }

    def test_with_a_channel_name_takes_it_as_it_is(self):
        assert render("{% pusherable_subscribe 'message' 'news-desk' %}") == (
            '<pusherable-subscribe event="message" channel="news-desk" hidden></pusherable-subscribe>\n'
        )

    def test_with_a_label_puts_it_in_place_of_the_models_name(self):
        post = Post(pk=1, title="\"><script>alert('1')</script>\u2028")

        assert render("{% pusherable_subscribe 'view' post label=post.title %}", post=post) == (
            '<pusherable-subscribe event="view" channel="post_1" '
            'label="&quot;&gt;&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;\u2028" hidden>'
            "</pusherable-subscribe>\n"
        )

    def test_with_a_hostile_event_name_escapes_it(self):
        assert render("{% pusherable_subscribe event 'room' %}", event="\"'><b>&\u2028") == (
            '<pusherable-subscribe event="&quot;&#x27;&gt;&lt;b&gt;&amp;\u2028" channel="room" hidden>'
            "</pusherable-subscribe>\n"
        )

    def test_with_a_proxy_shares_the_channel_of_its_model(self):
        html = render("{% pusherable_subscribe 'view' object %}", object=FeaturedPost(pk=7))

        assert html == (
            '<pusherable-subscribe event="view" channel="post_7" label="Featured post" hidden>'
            "</pusherable-subscribe>\n"
        )

    @pytest.mark.django_db
    def test_with_a_lazy_user_subscribes_to_the_user(self):
        user = UserFactory()

        html = render("{% pusherable_subscribe 'update' user %}", user=SimpleLazyObject(lambda: user))

        assert f'channel="user_{user.pk}"' in html

    @pytest.mark.django_db
    def test_in_an_included_template_and_in_a_loop_tells_one_origin(self, request_with_origin):
        documents = DocumentFactory.create_batch(2)
        row = Template("{% load pusherable_tags %}{% pusherable_subscribe 'view' document %}")
        context = RequestContext(request_with_origin, {"documents": documents, "row": row})

        html = render("{% for document in documents %}{% include row %}{% endfor %}", context)

        assert html == "".join(
            f'<pusherable-subscribe event="view" channel="document_{document.pk}" origin="request-id-1" '
            'label="Document" hidden></pusherable-subscribe>\n'
            for document in documents
        )

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                "{% pusherable_subscribe 'update' misspelt %}",
                "{% pusherable_subscribe %}: '' is no channel name: only letters, digits and _ - = @ , . ; are "
                "allowed, and at least one of them. Is the variable's name right? Where there may be no object, "
                "put the tag inside {% if object.pk %}.",
            ),
            (
                "{% pusherable_subscribe 'update' None %}",
                "{% pusherable_subscribe %}: None is no model, no object and no name of a channel. Is the "
                "variable's name right? Where there may be no object, put the tag inside {% if object.pk %}.",
            ),
            (
                "{% pusherable_subscribe 'update' unsaved %}",
                "{% pusherable_subscribe %}: This testapp.Post has no primary key, so it has no channel: save it "
                "first. For all objects of its model, write 'post'.",
            ),
            (
                # Templates call what they can, and a class they can.
                "{% pusherable_subscribe 'created' model %}",
                "{% pusherable_subscribe %}: This testapp.Post has no primary key, so it has no channel: save it "
                "first. For all objects of its model, write 'post'.",
            ),
            (
                "{% pusherable_subscribe 'update' 'two words' %}",
                "{% pusherable_subscribe %}: 'two words' is no channel name: only letters, digits and "
                "_ - = @ , . ; are allowed, and at least one of them.",
            ),
            (
                "{% pusherable_subscribe '' 'room' %}",
                "{% pusherable_subscribe %}: An event's name is a text that is not empty, not ''.",
            ),
            (
                "{% pusherable_subscribe nobody 'room' %}",
                "{% pusherable_subscribe %}: An event's name is a text that is not empty, not <AnonymousUser>. "
                "The event comes first, then the object.",
            ),
        ],
    )
    def test_with_what_cannot_be_subscribed_to_says_what_to_mend(self, source, message):
        class Nobody(AnonymousUser):
            def __repr__(self):
                return "<AnonymousUser>"

        with pytest.raises(TemplateSyntaxError) as caught:
            render(source, unsaved=Post(), model=Post, nobody=Nobody())

        assert str(caught.value) == message

    def test_in_a_page_with_scripts_shares_their_origin(self, request_with_origin):
        del request_with_origin._pusherable_origin
        context = RequestContext(request_with_origin)

        html = render("{% pusherable_script %}{% pusherable_subscribe 'x' 'room' %}", context)

        assert html.count(request_origin(request_with_origin)) == 2


class TestPusherableNotifications:
    def test_renders_an_empty_live_region_with_its_sentences(self):
        assert render("{% pusherable_notifications %}") == (
            '<link rel="stylesheet" href="/static/pusherable/pusherable.css">\n'
            '<pusherable-notifications id="pusherable-notifications" role="region" aria-label="Notifications" '
            "data-turbo-permanent\n"
            '  data-seconds="8"\n'
            '  data-limit="4"\n'
            '  data-text-view="{user} is looking at this."\n'
            '  data-text-update="{user} is editing this."\n'
            '  data-text-delete="{user} is about to delete this."\n'
            '  data-text-created="{user} added this."\n'
            '  data-text-updated="{user} saved changes."\n'
            '  data-text-deleted="{user} deleted this."\n'
            '  data-generic="{user}: {event}"\n'
            '  data-someone="Someone">\n'
            '  <ul role="list" aria-live="polite" aria-relevant="additions"></ul>\n'
            '  <template><li class="pusherable-toast"><p><strong data-part="label"></strong> '
            '<span data-part="text"></span></p><button type="button" aria-label="Dismiss"></button></li>'
            "</template>\n"
            "</pusherable-notifications>\n"
        )

    def test_with_own_sentences_puts_them_first_so_that_they_win(self):
        html = render("{% pusherable_notifications seconds=0 limit=2 update=text %}", text='{user} "edits"')

        assert (
            '  data-seconds="0"\n  data-limit="2"\n  data-text-update="{user} &quot;edits&quot;"\n'
            '  data-text-view="{user} is looking at this."\n' in html
        )

    def test_with_a_nonce_puts_it_on_the_style_sheet(self):
        html = render("{% pusherable_notifications %}", csp_nonce="abc==")

        assert html.startswith('<link rel="stylesheet" href="/static/pusherable/pusherable.css" nonce="abc==">\n')


class TestWithoutAutoescape:
    def test_hostile_values_stay_text(self):
        html = render(
            "{% autoescape off %}{% pusherable_script %}{% pusherable_subscribe event 'post' label=label %}"
            "{% pusherable_notifications view=label %}{% endautoescape %}",
            event='"><b>',
            label='"><img src=x onerror=alert(1)>',
        )

        assert "<b>" not in html
        assert "<img" not in html
        assert 'data-config="{&quot;key&quot;' in html


@pytest.mark.django_db
class TestWithoutWriting:
    def test_a_page_needs_no_query(self, django_assert_num_queries):
        post = PostFactory()

        with django_assert_num_queries(0):
            render("{% pusherable_script %}{% pusherable_subscribe 'view' post %}", post=post)


AUTH = {"url": "/pusher/auth/", "signIn": True, "csrf": {"header": "X-Csrftoken", "cookie": "csrftoken"}}


@pytest.fixture
def with_urls(settings):
    settings.ROOT_URLCONF = "tests.templatetags.urls"


@pytest.fixture
def private(settings, with_urls):
    settings.PUSHERABLE_PRIVATE_CHANNELS = True


def subscribe(target, request=None, view=None, **arguments):
    context = Context({"view": view}) if request is None else RequestContext(request, {"view": view})
    return pusherable_subscribe(context, "update", target, **arguments)


class ShownView(PusherDetailMixin, DetailView):
    """A view that shows ``shown``, if anything."""

    def __init__(self, shown=None, private=None):
        super().__init__()
        self.pusher_private = private
        if shown is not None:
            self.object = shown


class TestPusherableScriptOfPrivatePages:
    @pytest.mark.usefixtures("with_urls")
    def test_with_the_urls_tells_where_to_be_let_in(self):
        config = re.search(r'data-config="([^"]+)"', render("{% pusherable_script %}"))[1]

        assert json.loads(html.unescape(config))["auth"] == AUTH

    @pytest.mark.parametrize("setting", ["CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY"])
    @pytest.mark.usefixtures("with_urls")
    def test_where_scripts_cannot_read_the_cookie_names_none(self, settings, setting):
        setattr(settings, setting, True)

        config = re.search(r'data-config="([^"]+)"', render("{% pusherable_script %}"))[1]

        assert json.loads(html.unescape(config))["auth"]["csrf"] == {"header": "X-Csrftoken", "cookie": ""}

    @pytest.mark.parametrize(
        ("setting", "argument", "name"),
        [
            (None, "", "pusher.min.js"),
            (True, "", "pusher.min.js"),
            ("encrypted", "", "pusher-with-encryption.min.js"),
            (None, "encrypted=True", "pusher-with-encryption.min.js"),
            ("encrypted", "encrypted=False", "pusher.min.js"),
            ("nonsense", "", "pusher.min.js"),
        ],
    )
    def test_takes_the_build_that_the_channels_need(self, settings, setting, argument, name):
        settings.PUSHERABLE_PRIVATE_CHANNELS = setting

        assert f"/{name}" in render(f"{{% pusherable_script {argument} %}}")


class TestPrivateSubscription:
    @pytest.mark.parametrize(
        ("setting", "of_view", "argument", "channel"),
        [
            (False, None, None, "post_1"),
            (True, None, None, "private-post_1"),
            ("encrypted", None, None, "private-encrypted-post_1"),
            (True, False, None, "post_1"),
            (False, True, None, "private-post_1"),
            (True, "encrypted", None, "private-encrypted-post_1"),
            (True, True, False, "post_1"),
            (False, False, "encrypted", "private-encrypted-post_1"),
        ],
    )
    @pytest.mark.usefixtures("with_urls")
    def test_is_what_the_argument_or_else_the_view_or_else_the_setting_says(
        self, settings, setting, of_view, argument, channel
    ):
        settings.PUSHERABLE_PRIVATE_CHANNELS = setting

        assert subscribe(Post(pk=1), view=ShownView(private=of_view), private=argument)["channel"] == channel

    @pytest.mark.usefixtures("private")
    def test_renders_its_page(self, request_with_origin):
        context = RequestContext(request_with_origin, {"object": Post(pk=1)})

        assert render("{% pusherable_subscribe 'update' object %}", context) == (
            '<pusherable-subscribe event="update" channel="private-post_1" page="/posts/1/" origin="request-id-1" '
            'label="Post" hidden></pusherable-subscribe>\n'
        )

    @pytest.mark.usefixtures("private")
    def test_of_a_queryset_is_that_of_its_model(self):
        assert subscribe(Post.objects.none()) == {
            "event": "update",
            "channel": "private-post",
            "label": "Post",
            "origin": "",
            "page": "",
            "token": "",
        }

    @pytest.mark.usefixtures("private")
    def test_of_the_object_that_the_page_shows_comes_from_this_page(self):
        request = RequestFactory().get("/drafts/1/?as=reader")

        assert subscribe(Post(pk=1), request, ShownView(Post(pk=1)))["page"] == "/drafts/1/?as=reader"

    @pytest.mark.parametrize(
        ("target", "page"),
        [(Post(pk=2), "/posts/2/"), (Document(pk=DOCUMENT), ""), ("private-post_1", ""), (Post, "")],
    )
    @pytest.mark.usefixtures("private")
    def test_of_anything_else_comes_from_the_objects_own_page(self, target, page):
        request = RequestFactory().get("/posts/1/")

        assert subscribe(target, request, ShownView(Post(pk=1)))["page"] == page

    @pytest.mark.usefixtures("private")
    def test_in_a_view_of_another_kind_comes_from_the_objects_own_page(self):
        request = RequestFactory().get("/drafts/1/")

        assert subscribe(Post(pk=1), request, DetailView())["page"] == "/posts/1/"

    @pytest.mark.usefixtures("private")
    def test_whose_own_page_is_nowhere_comes_from_none(self, monkeypatch):
        monkeypatch.setattr(Post, "get_absolute_url", lambda self: reverse("nowhere"))

        assert subscribe(Post(pk=1))["page"] == ""

    @pytest.mark.usefixtures("private")
    def test_has_the_cookie_of_the_token_set(self):
        request = RequestFactory().get("/")

        assert subscribe(Post(pk=1), request)["token"] == ""
        assert request.META["CSRF_COOKIE_NEEDS_UPDATE"]

    @pytest.mark.usefixtures("with_urls")
    def test_that_is_public_has_none_set(self):
        request = RequestFactory().get("/")

        subscribe(Post(pk=1), request)

        assert "CSRF_COOKIE" not in request.META

    @pytest.mark.usefixtures("private")
    def test_whose_cookie_is_hidden_from_scripts_tells_the_token_once_in_a_page(self, settings):
        settings.CSRF_COOKIE_HTTPONLY = True
        request = RequestFactory().get("/")
        source = "{% pusherable_subscribe 'view' post %}{% pusherable_subscribe 'update' post %}"

        lines = render(source, RequestContext(request, {"post": Post(pk=1)})).splitlines()

        token = re.fullmatch('<meta name="pusherable-csrf" content="([A-Za-z0-9]{64})">', lines[0])[1]
        assert _does_token_match(token, request.META["CSRF_COOKIE"])
        assert [line[:21] for line in lines[1:]] == ["<pusherable-subscribe"] * 2

    def test_without_an_address_says_what_to_add_under_debug(self, settings):
        settings.DEBUG = settings.PUSHERABLE_PRIVATE_CHANNELS = True

        with pytest.raises(TemplateSyntaxError) as caught:
            subscribe(Post(pk=1))

        assert str(caught.value) == (
            "Nobody can be let into 'private-post_1': the project has no address that authorizes channels. "
            'Add path("pusher/", include("pusherable.urls")) to urls.py.'
        )

    def test_without_an_address_logs_it_once_on_a_live_site(self, settings, caplog):
        settings.PUSHERABLE_PRIVATE_CHANNELS = True

        assert subscribe(Post(pk=1))["channel"] == subscribe(Post(pk=1))["channel"] == "private-post_1"
        assert [record.getMessage() for record in caplog.records] == [
            "Nobody can be let into 'private-post_1': the project has no address that authorizes channels. "
            'Add path("pusher/", include("pusherable.urls")) to urls.py.'
        ]

    @pytest.mark.usefixtures("with_urls")
    def test_of_a_kind_that_there_is_not_says_so(self):
        with pytest.raises(TemplateSyntaxError, match="{% pusherable_subscribe %}: A channel is private, or not"):
            subscribe(Post(pk=1), private="secret")


class TestPusherablePresence:
    @pytest.fixture
    def member(self):
        request = RequestFactory().get("/posts/1/")
        request.user = User(username="ada")
        return request

    @pytest.mark.usefixtures("with_urls")
    def test_renders_an_empty_named_list_with_its_sentences(self, member):
        context = RequestContext(member, {"post": Post(pk=1)})

        assert render("{% pusherable_presence post %}", context) == (
            '<link rel="stylesheet" href="/static/pusherable/pusherable.css">\n'
            '<pusherable-presence channel="presence-post_1" page="/posts/1/" role="group" aria-label="Here now"\n'
            '  data-limit="10"\n'
            '  data-quiet="2"\n'
            '  data-count-one="{count} person here"\n'
            '  data-count-other="{count} people here"\n'
            '  data-more-one="and {count} more"\n'
            '  data-more-other="and {count} more"\n'
            '  data-fewer="Show fewer"\n'
            '  data-joined-one="{names} has come."\n'
            '  data-joined-other="{names} have come."\n'
            '  data-left-one="{names} has left."\n'
            '  data-left-other="{names} have left."\n'
            '  data-many-other="{count} people"\n'
            '  data-someone="Someone">\n'
            '  <p data-part="count"></p>\n'
            '  <ul role="list" data-part="members"></ul>\n'
            '  <button type="button" data-part="more" aria-expanded="false" hidden></button>\n'
            '  <p data-part="announcement" role="status"></p>\n'
            '  <template><li><span data-part="initial" aria-hidden="true"></span><span data-part="name"></span> '
            '<span data-part="you" hidden>(you)</span></li></template>\n'
            "</pusherable-presence>\n"
        )

    @pytest.mark.usefixtures("with_urls")
    def test_takes_a_label_a_limit_a_nonce_and_a_channel_by_its_name(self):
        source = '{% pusherable_presence "presence-room" label=label limit=0 %}'
        html = render(source, csp_nonce="abc==", label="<Staff>")

        assert 'nonce="abc==">\n<pusherable-presence channel="presence-room" role="group" aria-label="&lt;' in html
        assert 'data-limit="0"' in html

    @pytest.mark.usefixtures("with_urls")
    def test_to_a_visitor_who_can_be_no_member_shows_nothing(self, member):
        member.user = AnonymousUser()

        assert render("{% pusherable_presence post %}", RequestContext(member, {"post": Post(pk=1)})).strip() == ""

    @pytest.mark.usefixtures("with_urls")
    def test_is_the_same_whatever_the_other_channels_are(self, settings, member):
        settings.PUSHERABLE_PRIVATE_CHANNELS = "encrypted"

        html = render("{% pusherable_presence post %}", RequestContext(member, {"post": Post(pk=1)}))

        assert 'channel="presence-post_1"' in html

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                "{% pusherable_presence 'room' %}",
                "{% pusherable_presence %}: 'room' is no presence channel: its name begins with presence-.",
            ),
            (
                "{% pusherable_presence misspelt %}",
                "{% pusherable_presence %}: '' is no channel name: only letters, digits and _ - = @ , . ; are "
                "allowed, and at least one of them. Is the variable's name right? Where there may be no object, "
                "put the tag inside {% if object.pk %}.",
            ),
        ],
    )
    def test_with_what_has_no_members_says_what_to_mend(self, source, message):
        with pytest.raises(TemplateSyntaxError) as caught:
            render(source)

        assert str(caught.value) == message


@pytest.fixture
def streaming(settings, with_urls):
    settings.PUSHERABLE_TRANSPORT = "sse"


@pytest.mark.usefixtures("streaming")
class TestWithEventStreams:
    def test_no_pusher_js_is_loaded_at_all(self, request_with_origin):
        context = RequestContext(request_with_origin, {"csp_nonce": "abc=="})

        page = render("{% pusherable_script %}", context)

        assert re.sub('data-config="[^"]+"', "…", page) == (
            '<meta name="pusherable-origin" content="request-id-1">\n'
            '<script src="/static/pusherable/streams.js" defer nonce="abc=="></script>\n'
            '<script src="/static/pusherable/pusherable.js" defer nonce="abc==" …></script>\n'
        )
        config = json.loads(html.unescape(re.search(r'data-config="([^"]+)"', page)[1]))
        assert config == {
            "key": "test-key",
            "cluster": "mt1",
            "wsHost": "127.0.0.1",
            "wsPort": 8001,
            "wssPort": 8001,
            "forceTLS": False,
            "transport": "sse",
            "channelLimit": 100,
            "auth": AUTH,
        }

    def test_of_the_hosted_service_the_page_says_that_it_hears_nothing_and_the_log_why(self, settings, caplog):
        settings.PUSHER_HOST = settings.PUSHER_PORT = ""

        assert 'data-config="null"' in render("{% pusherable_script %}")
        assert [record.getMessage().partition(". ")[0] for record in caplog.records] == [
            "Pages cannot listen for events: Hosted Pusher has no event streams: runpushserver has"
        ]

    def test_subscriptions_are_the_same(self, settings):
        settings.PUSHERABLE_PRIVATE_CHANNELS = True

        assert render("{% pusherable_subscribe 'update' object %}", object=Post(pk=1)) == (
            '<pusherable-subscribe event="update" channel="private-post_1" page="/posts/1/" label="Post" hidden>'
            "</pusherable-subscribe>\n"
        )

    def test_an_encrypted_channel_says_what_it_takes(self, settings, caplog):
        message = (
            "Nobody hears of 'private-encrypted-post_1': browsers cannot read an encrypted channel without pusher-js, "
            "and with PUSHERABLE_TRANSPORT = 'sse' there is none."
        )
        assert subscribe(Post(pk=1), private="encrypted")["channel"] == "private-encrypted-post_1"
        assert [record.getMessage() for record in caplog.records] == [message]
        settings.DEBUG = True
        with pytest.raises(TemplateSyntaxError) as caught:
            subscribe(Post(pk=1), private="encrypted")
        assert str(caught.value) == message


class TestWithATransportThatIsNone:
    def test_the_page_says_that_it_hears_nothing_and_the_log_why(self, settings, caplog):
        settings.PUSHERABLE_TRANSPORT = "polling"

        assert 'data-config="null"' in render("{% pusherable_script %}")
        assert [record.getMessage() for record in caplog.records] == [
            "Pages cannot listen for events: PUSHERABLE_TRANSPORT = 'polling' is neither 'websocket' nor 'sse'."
        ]


class TestPusherableChannelUrl:
    def test_is_an_address_for_the_page(self, request_with_origin):
        context = RequestContext(request_with_origin, {"post": Post(pk=1)})

        assert render("<a href=\"{% pusherable_channel_url 'news' post %}\">", context) == (
            '<a href="//127.0.0.1:8001/stream?key=test-key&amp;channel=news&amp;channel=post_1">'
        )

    def test_as_a_variable_is_escaped_where_it_is_shown(self, request_with_origin):
        source = "{% pusherable_channel_url 'news' as url %}{{ url }} {{ url|safe }}"

        assert render(source, RequestContext(request_with_origin)) == (
            "//127.0.0.1:8001/stream?key=test-key&amp;channel=news //127.0.0.1:8001/stream?key=test-key&channel=news"
        )

    def test_for_a_visitor_who_may_not_listen_is_empty_and_logged(self, request_with_origin, caplog):
        caplog.set_level("INFO")
        source = "{% pusherable_channel_url 'news' 'presence-room' as url %}{% if url %}yes{% else %}no{% endif %}"

        assert render(source, RequestContext(request_with_origin)) == "no"
        assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
            "Not signed (anonymous): channel 'presence-room'"
        ]

    @pytest.mark.django_db
    def test_is_as_private_as_the_argument_or_the_view_says(self, request_with_origin):
        request_with_origin.user = AnonymousUser()
        variables = {"post": PostFactory(), "view": ShownView(private=True)}

        assert render("{% pusherable_channel_url post %}", RequestContext(request_with_origin, variables)) == ""
        assert render(
            "{% pusherable_channel_url post private=False %}", RequestContext(request_with_origin, variables)
        )

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("{% pusherable_channel_url %}", "An event stream has at least one channel."),
            (
                "{% pusherable_channel_url misspelt %}",
                "'' is no channel name: only letters, digits and _ - = @ , . ; are allowed, and at least one of them. "
                "Is the variable's name right? Where there may be no object, put the tag inside {% if object.pk %}.",
            ),
            (
                "{% pusherable_channel_url 'private-encrypted-a' %}",
                "'private-encrypted-a' is encrypted: browsers cannot read it without pusher-js. Listen to it by a "
                "WebSocket.",
            ),
        ],
    )
    def test_of_what_no_stream_has_says_what_to_mend(self, request_with_origin, source, message):
        with pytest.raises(TemplateSyntaxError) as caught:
            render(source, RequestContext(request_with_origin))

        assert str(caught.value) == f"{{% pusherable_channel_url %}}: {message}"

    def test_without_a_request_says_what_to_add(self):
        with pytest.raises(TemplateSyntaxError) as caught:
            render("{% pusherable_channel_url 'news' %}")

        assert str(caught.value) == (
            "{% pusherable_channel_url %} is for a visitor, and there is no request: add "
            "'django.template.context_processors.request' to TEMPLATES."
        )

    @pytest.mark.parametrize("name", ["PUSHER_HOST", "PUSHER_SECRET"])
    def test_where_there_are_no_streams_is_empty_and_logged_or_an_error_under_debug(
        self, settings, request_with_origin, caplog, name
    ):
        setattr(settings, name, "")
        settings.PUSHER_PORT = ""
        context = RequestContext(request_with_origin)

        assert render("{% pusherable_channel_url 'news' %}", context) == ""
        [message] = [record.getMessage() for record in caplog.records]
        settings.DEBUG = True
        with pytest.raises(TemplateSyntaxError) as caught:
            render("{% pusherable_channel_url 'news' %}", context)
        assert str(caught.value) == message

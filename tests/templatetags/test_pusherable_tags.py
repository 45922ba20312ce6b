import dataclasses

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from pusherable import pusherjs
from pusherable.publishing import request_origin
from pusherable.templatetags.pusherable_tags import pusherable_subscribe
from tests.factories import DocumentFactory, PostFactory, UserFactory
from tests.testapp.models import FeaturedPost, Post

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

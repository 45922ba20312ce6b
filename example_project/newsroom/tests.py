"""What the newsroom promises its readers, without a browser."""

import json
import re

from django.contrib.auth import get_user_model
from django.test import TestCase, override_settings
from django.urls import reverse

from newsroom.edition import DEMO_USERS, DRAFTS, POSTS, print_first_edition
from newsroom.middleware import POLICY, get_policy
from newsroom.models import Post, Tag
from pusherable.pusherjs import PLAIN
from pusherable.testing import PusherableTestMixin, published

INLINE_CODE = re.compile(r"""<style|<[^>]*\s(?:style|on\w+)=|<script(?![^>]*\s(?:src|type="application/json"))""")


@override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
class NewsroomTestCase(PusherableTestMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        print_first_edition()
        cls.ada, cls.grace = (get_user_model().objects.get(username=user.username) for user in DEMO_USERS)
        cls.post = Post.objects.get(title=POSTS[0][4])

    def log_in(self, user):
        self.client.force_login(user)

    def get(self, name, *args):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.get(reverse(name, args=args))

    def send(self, name, *args, data=None, **headers):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post(reverse(name, args=args), data, headers=headers)

    def form_data(self, **changes):
        return {"title": "A new bridge", "body": "One.\r\n\r\nTwo.", "colour": "moss", "tags": [], **changes}


class TestFirstEdition(NewsroomTestCase):
    def test_printed_again_keeps_what_people_have_changed(self):
        Post.objects.exclude(pk=self.post.pk).delete()
        Post.objects.update(title="Changed")
        self.ada.set_password("changed")
        self.ada.save()
        print_first_edition()
        assert [post.title for post in Post.objects.all()] == ["Changed"]
        assert get_user_model().objects.get(username="ada").check_password("changed")

    def test_every_demo_user_can_log_in_by_the_password_shown(self):
        for user in DEMO_USERS:
            data = {"username": user.username, "password": user.password}
            assert self.send("login", data=data).url == "/"

    def test_every_post_is_shorter_than_its_form_allows(self):
        assert max(len(body) for *_, body in POSTS) <= Post._meta.get_field("body").max_length


class TestEveryPage(NewsroomTestCase):
    def pages(self):
        return [
            *(reverse(name) for name in ("home", "post-list", "post-create", "bell", "login")),
            *(reverse(name, args=[self.post.pk]) for name in ("post-detail", "post-update", "post-delete")),
        ]

    def test_answers_under_the_strict_policy(self):
        self.log_in(self.ada)
        for url in self.pages():
            with self.subTest(url):
                response = self.client.get(url)
                assert (response.status_code, response["Content-Security-Policy"]) == (200, get_policy())

    def test_holds_no_inline_code(self):
        self.log_in(self.ada)
        for url in self.pages():
            with self.subTest(url):
                content = self.client.get(url).content.decode()
                assert INLINE_CODE.findall(content) == []

    def test_is_subscribed_to_the_bell(self):
        for url in self.pages()[:2]:
            self.assertContains(self.client.get(url), 'event="bell" channel="private-newsroom"')

    def test_of_a_post_that_is_gone_says_so(self):
        self.log_in(self.ada)
        for name in ("post-detail", "post-update", "post-delete"):
            self.assertContains(self.get(name, 999), "This post is not here", status_code=404)
        self.assertNotPublished()


class TestPolicy(TestCase):
    def test_with_pusher_js_in_the_box_names_no_other_site(self):
        expected = POLICY if PLAIN.is_intact() else f"{POLICY}; script-src 'self' {PLAIN.cdn_url}"
        assert get_policy() == expected


class TestHome(NewsroomTestCase):
    def test_by_number_links_to_its_twin_by_name(self):
        response = self.client.get("/", headers={"host": "127.0.0.1:8123"})
        assert response.context["twin_url"] == "http://localhost:8123/"

    def test_by_name_links_to_its_twin_by_number(self):
        response = self.client.get("/", headers={"host": "localhost"})
        assert response.context["twin_url"] == "http://127.0.0.1/"

    def test_elsewhere_has_no_twin(self):
        response = self.client.get("/", headers={"host": "[::1]:8000"})
        assert response.context["twin_url"] is None

    def test_subscribes_each_story(self):
        content = self.client.get("/").content.decode()
        for event in ("update", "updated", "deleted"):
            assert f'event="{event}" channel="private-post_{self.post.pk}" page="/posts/{self.post.pk}/"' in content
        assert 'event="created" channel="private-post"' in content

    def test_without_posts_invites_to_write_one(self):
        Post.objects.all().delete()
        self.assertContains(self.client.get("/"), "Write the first one.")


class TestReading(NewsroomTestCase):
    def test_by_a_stranger_is_published_without_a_name(self):
        self.get("post-detail", self.post.pk)
        self.assertPublished(self.post, "view", user="", object={"title": self.post.title})

    def test_by_a_user_is_published_with_the_name(self):
        self.log_in(self.grace)
        self.get("post-detail", self.post.pk)
        self.assertPublished(self.post, "view", user="grace")

    def test_shows_hostile_text_as_text(self):
        Post.objects.update(title="</script><b>", body='"><img src=x onerror=alert(1)>')
        content = self.get("post-detail", self.post.pk).content.decode()
        assert "<b>" not in content
        assert "<img" not in content


class TestWriting(NewsroomTestCase):
    def test_by_a_stranger_leads_to_the_login(self):
        for name, args in (
            ("post-create", []),
            ("post-update", [self.post.pk]),
            ("post-delete", [self.post.pk]),
        ):
            for response in (self.get(name, *args), self.send(name, *args)):
                assert response.status_code == 302
                assert response.url.startswith("/login/?next=")
        self.assertNotPublished()

    def test_publishes_the_new_post_for_itself_and_for_lists(self):
        self.log_in(self.ada)
        tag = Tag.objects.get(name="City")
        self.send("post-create", data=self.form_data(tags=[tag.pk]))
        post = Post.objects.latest("pk")
        assert (post.title, post.author, post.paragraphs) == ("A new bridge", self.ada, ["One.", "Two."])
        expected = {
            "id": post.pk,
            "title": "A new bridge",
            "body": "One.\r\n\r\nTwo.",
            "colour": "moss",
            "tags": [tag.pk],
            "is_draft": False,
        }
        sent = self.assertPublished(Post, "created", user="ada", object=expected)
        assert sorted(sent.channels) == ["private-post", f"private-post_{post.pk}"]

    def test_fits_into_an_event_even_at_its_longest(self):
        self.log_in(self.ada)
        self.send("post-create", data=self.form_data(title="😀" * 120, body="😀" * 2000))
        self.assertPublished(Post, "created", object={"body": "😀" * 2000})


class TestEditing(NewsroomTestCase):
    def setUp(self):
        super().setUp()
        self.log_in(self.ada)

    def test_opened_is_told(self):
        self.get("post-update", self.post.pk)
        self.assertPublished(self.post, "update", user="ada")

    def test_saved_is_told_with_the_new_values(self):
        self.send("post-update", self.post.pk, data=self.form_data(version=1))
        self.assertPublished(self.post, "updated", user="ada", object={"title": "A new bridge"})
        self.post.refresh_from_db()
        assert (self.post.version, self.post.author) == (2, self.grace)

    def test_of_what_others_saved_meanwhile_is_refused_and_shows_both(self):
        Post.objects.filter(pk=self.post.pk).update(title="By Grace", version=2)
        response = self.send("post-update", self.post.pk, data=self.form_data(version=1))
        self.assertContains(response, "Someone has saved a newer version while you were writing.")
        self.assertContains(response, "By Grace")
        self.assertContains(response, 'value="A new bridge"')
        self.assertContains(response, 'name="overwrite" value="2"')
        self.post.refresh_from_db()
        assert (self.post.title, self.post.version) == ("By Grace", 2)
        assert published() == []

    def test_of_what_others_saved_meanwhile_is_saved_on_demand(self):
        Post.objects.filter(pk=self.post.pk).update(title="By Grace", version=2)
        self.send("post-update", self.post.pk, data=self.form_data(version=1, overwrite=2))
        self.post.refresh_from_db()
        assert (self.post.title, self.post.version) == ("A new bridge", 3)

    def test_agreed_to_overwrite_one_version_overwrites_no_other(self):
        Post.objects.filter(pk=self.post.pk).update(title="By Grace again", version=3)
        response = self.send("post-update", self.post.pk, data=self.form_data(version=1, overwrite=2))
        self.assertContains(response, "By Grace again")
        self.assertNotPublished()

    def test_without_a_version_is_refused(self):
        response = self.send("post-update", self.post.pk, data=self.form_data())
        assert response.status_code == 200
        self.assertNotPublished()

    def test_of_a_post_by_somebody_else_is_told_to_its_author_wherever_that_is(self):
        self.send("post-update", self.post.pk, data=self.form_data(version=1))
        self.assertPublished(
            f"#server-to-user-{self.grace.pk}",
            "edited",
            message="Ada has worked on your post “A new bridge”.",
        )

    def test_of_ones_own_post_is_told_to_nobody_in_particular(self):
        self.log_in(self.grace)
        self.send("post-update", self.post.pk, data=self.form_data(version=1))
        self.assertNotPublished(event="edited")


class TestDrafting(NewsroomTestCase):
    def setUp(self):
        super().setUp()
        self.draft = Post.objects.get(title=DRAFTS[0][4])

    def may_see(self, user):
        if user:
            self.log_in(user)
        else:
            self.client.logout()
        answers = [self.get(name, self.draft.pk).status_code for name in ("post-detail", "post-update", "post-delete")]
        lists = [self.draft.title in self.get(name).content.decode() for name in ("home", "post-list")]
        return answers, lists

    def test_shows_it_to_its_author_and_the_staff_alone(self):
        assert self.may_see(self.ada) == ([200, 200, 200], [True, True])
        assert self.may_see(self.grace) == ([404, 404, 404], [False, False])
        assert self.may_see(None) == ([404, 302, 302], [False, False])
        get_user_model().objects.filter(pk=self.grace.pk).update(is_staff=True)
        assert self.may_see(self.grace) == ([200, 200, 200], [True, True])

    def test_is_told_to_no_list(self):
        self.log_in(self.ada)
        response = self.send("post-create", data=self.form_data(is_draft="on"))
        assert Post.objects.latest("pk").is_draft
        self.assertNotPublished()
        self.assertContains(self.client.get(response.url), "Kept as a draft.")

    def test_continued_is_told_to_those_who_may_see_it(self):
        self.log_in(self.ada)
        self.send("post-update", self.draft.pk, data=self.form_data(version=1, is_draft="on"))
        assert [event.channels for event in self.outbox] == [(f"private-post_{self.draft.pk}",)]

    def test_ended_is_told_to_every_list_as_a_new_post(self):
        self.log_in(self.ada)
        self.send("post-update", self.draft.pk, data=self.form_data(version=1))
        self.assertPublished(Post, "created", user="ada", object={"title": "A new bridge"})
        self.assertPublished(self.draft, "updated")
        assert Post.objects.latest("published") == self.draft

    def test_is_no_way_back_for_what_is_printed(self):
        self.log_in(self.ada)
        self.send("post-update", self.post.pk, data=self.form_data(version=1, is_draft="on"))
        self.post.refresh_from_db()
        assert (self.post.title, self.post.is_draft) == ("A new bridge", False)


class TestListening(NewsroomTestCase):
    def ask(self, *names, **pages):
        data = {"socket_id": "1.2"} | {f"channel_name[{index}]": name for index, name in enumerate(names)}
        channels = self.client.post(reverse("pusherable:auth"), data | pages).json()["channels"]
        return [channels[name]["status"] for name in names]

    def test_is_for_those_who_may_see_the_post(self):
        draft = Post.objects.get(title=DRAFTS[0][4])
        names = (f"private-post_{self.post.pk}", f"private-post_{draft.pk}", "private-post", "private-newsroom")
        assert self.ask(*names) == [200, 403, 200, 200]
        self.log_in(self.grace)
        assert self.ask(*names) == [200, 403, 200, 200]
        self.log_in(self.ada)
        assert self.ask(*names) == [200, 200, 200, 200]

    def test_to_who_is_there_is_for_those_who_have_a_name(self):
        name = f"presence-post_{self.post.pk}"
        assert self.ask(name) == [403]
        self.log_in(self.grace)
        data = {"socket_id": "1.2", "channel_name": name}
        member = json.loads(self.client.post(reverse("pusherable:auth"), data).json()["channel_data"])
        assert member == {"user_id": str(self.grace.pk), "user_info": {"name": "Grace"}}


class TestDeleting(NewsroomTestCase):
    def setUp(self):
        super().setUp()
        self.log_in(self.ada)

    def test_opened_is_told(self):
        self.get("post-delete", self.post.pk)
        self.assertPublished(self.post, "delete", user="ada")

    def test_done_is_told(self):
        self.send("post-delete", self.post.pk)
        self.assertPublished(self.post, "deleted", user="ada", pk=str(self.post.pk))
        assert not Post.objects.filter(pk=self.post.pk).exists()


class TestBell(NewsroomTestCase):
    def ring(self, **data):
        return self.send("bell", data=data, accept="application/json")

    def test_rung_by_a_user_carries_name_and_call(self):
        self.log_in(self.grace)
        response = self.ring(call="  Tea!  ")
        assert (response.status_code, response.json()) == (202, {"call": "Tea!"})
        sent = [(event.channels, event.name, event.payload) for event in self.outbox]
        assert sent == [(("private-newsroom",), "bell", {"message": "Grace rings the bell: Tea!"})]

    def test_rung_by_a_stranger_without_a_word_is_heard(self):
        self.ring()
        assert [event.payload for event in self.outbox] == [{"message": "Someone rings the bell."}]

    def test_rung_at_length_is_cut_short(self):
        assert len(self.ring(call="x" * 500).json()["call"]) == 80

    def test_rung_without_javascript_shows_the_page_again(self):
        assert self.send("bell", data={"call": "Tea!"}, accept="text/html").url == reverse("bell")

    def test_rung_from_another_site_is_refused(self):
        client = self.client_class(enforce_csrf_checks=True)
        assert client.post(reverse("bell"), {"call": "Tea!"}).status_code == 403
        self.assertNotPublished()

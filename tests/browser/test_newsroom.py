"""The example project with two people in it: the real server, and two browsers that share nothing."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028“'&"


@pytest.fixture
def come_in(chromium, newsroom, complaints):
    """A browser of one's own, logged in where a name is given."""
    contexts = []

    def come_in(name=None, **options):
        context = chromium.new_context(base_url=newsroom.url, **options)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = complaints.watch(context.new_page())
        if name:
            page.goto("/login/")
            page.get_by_role("button", name=f"Come in as {name}").click()
            page.get_by_text(f"You are {name}").wait_for()
        return page

    yield come_in
    for context in contexts:
        context.close()


@pytest.fixture
def ada(come_in):
    return come_in("Ada")


@pytest.fixture
def grace(come_in):
    return come_in("Grace")


def open_live(page, path):
    """Open a page, and wait until nothing can be missed on it any more."""
    page.goto(path)
    page.wait_for_function(
        "() => [...document.querySelectorAll('pusherable-subscribe')].every((one) => one.hasAttribute('subscribed'))"
    )
    expect(page.get_by_text("Live: this page hears of changes at once.")).to_be_visible()


def write_post(page, title):
    """Publish a post and return its path."""
    page.goto("/posts/new/")
    page.get_by_label("Title").fill(title)
    page.get_by_label("Body").fill("First.\n\nSecond.")
    page.get_by_label("Science").check()
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("Published.").wait_for()
    return page.evaluate("location.pathname")


def happenings(page):
    return page.locator("[data-part=happenings] li span")


class TestOpenPost:
    def test_shows_what_another_does_with_it_and_nothing_of_its_own_reader(self, ada, grace):
        path = write_post(grace, "A bridge")
        open_live(ada, path)

        grace.goto(path)
        expect(happenings(ada)).to_have_text(["Grace is reading this too."])
        grace.get_by_role("link", name="Edit").click()
        expect(happenings(ada).first).to_have_text("Grace has begun to edit.")

        grace.get_by_label("Title").fill(HOSTILE)
        grace.get_by_label("Body").fill("One <b>bold</b> word.\n\nTwo.\n\nThree.")
        grace.get_by_label("Sport").check()
        grace.get_by_role("button", name="Save").click()
        expect(ada.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        expect(ada).to_have_title(f"{HOSTILE} · The Open Page".replace("\u2028", " "))
        expect(ada.locator(".prose p")).to_have_text(["One <b>bold</b> word.", "Two.", "Three."])
        expect(ada.locator(".kicker")).to_have_text("Science · Sport")
        expect(ada.locator("h1.changed, .prose.changed, .kicker.changed")).to_have_count(3)

        grace.get_by_role("link", name="Delete").click()
        expect(happenings(ada).first).to_have_text("Grace is about to delete this.")
        grace.get_by_role("button", name="Delete it").click()
        expect(ada.get_by_role("alert")).to_have_text(
            "Grace has deleted this post. What you see is the last that is left of it."
        )
        expect(ada.get_by_role("link", name="Edit")).to_have_count(0)
        expect(happenings(ada)).to_have_text(
            [
                "Grace has deleted this post.",
                "Grace is about to delete this.",
                "Grace is reading this too.",
                "Grace has saved a new version: here it is.",
                "Grace has begun to edit.",
            ]
        )

    def test_scrolled_away_from_its_happenings_shows_a_notification(self, come_in, grace):
        path = write_post(grace, "A tower")
        reader = come_in(viewport={"width": 390, "height": 200})
        open_live(reader, path)
        reader.get_by_text("A demo of django-pusherable.").scroll_into_view_if_needed()

        grace.goto(path)
        expect(reader.get_by_role("region", name="Notifications")).to_contain_text("grace is looking at this.")

    def test_tells_its_reader_of_the_reader_in_another_window(self, ada, grace):
        path = write_post(grace, "A well")
        open_live(ada, path)
        ada.context.new_page().goto(path)
        expect(happenings(ada)).to_have_text(["In another window, you have opened this too."])


@pytest.mark.parametrize("path", ["/", "/posts/"])
class TestOpenList:
    def test_keeps_itself_up_to_date(self, come_in, grace, path):
        reader = come_in()
        open_live(reader, path)
        stories = reader.locator(".story")
        before = stories.count()

        post = write_post(grace, HOSTILE)
        story = stories.first
        expect(story.get_by_role("link")).to_have_text(HOSTILE)
        expect(story.get_by_role("link")).to_have_attribute("href", post)
        expect(story.locator(".byline")).to_have_text("By Grace, just now")
        expect(story.locator(".kicker")).to_have_text("Science")
        expect(stories).to_have_count(before + 1)

        expect(story.locator("pusherable-subscribe[subscribed]")).to_have_count(3)
        grace.get_by_role("link", name="Edit").click()
        expect(story.locator(".mark")).to_have_text("Grace is editing this")
        grace.get_by_label("Title").fill("Another title")
        grace.get_by_role("button", name="Save").click()
        expect(story.get_by_role("link")).to_have_text("Another title")
        expect(story.locator(".mark")).to_be_hidden()

        grace.get_by_role("link", name="Delete").click()
        grace.get_by_role("button", name="Delete it").click()
        expect(reader.get_by_text("Another title", exact=True)).to_have_count(0)
        expect(stories).to_have_count(before)

    def test_loses_a_story_that_has_the_focus_and_keeps_the_place(self, come_in, grace, path):
        reader = come_in()
        post = write_post(grace, "Short-lived")
        open_live(reader, path)
        reader.get_by_role("link", name="Short-lived").focus()

        grace.goto(f"{post}delete/")
        grace.get_by_role("button", name="Delete it").click()
        expect(reader.get_by_role("link", name="Short-lived")).to_have_count(0)
        expect(reader.locator(":focus")).to_have_text(re.compile("Latest|All posts"))


class TestOpenForm:
    def test_warns_and_overwrites_nothing_in_silence(self, ada, grace):
        path = write_post(grace, "A gate")
        open_live(ada, f"{path}edit/")
        ada.get_by_label("Title").fill("Ada's gate")

        grace.goto(f"{path}edit/")
        warnings = ada.locator("[data-part=warnings] li span")
        expect(warnings).to_have_text(["Grace has opened the same form."])
        grace.get_by_label("Title").fill("Grace's gate")
        grace.get_by_role("button", name="Save").click()
        expect(ada.get_by_text("Grace has saved a newer version of this post.")).to_be_visible()
        expect(ada.get_by_role("link", name="Load the newer version")).to_be_visible()
        expect(ada.get_by_label("Title")).to_have_value("Ada's gate")

        ada.get_by_role("button", name="Save").click()
        expect(ada.get_by_text("Yours is not saved yet.")).to_be_visible()
        expect(ada.get_by_role("heading", name="Grace's gate")).to_be_visible()
        expect(grace.get_by_role("heading", level=1)).to_have_text("Grace's gate")
        ada.get_by_role("button", name="Save mine over it").click()
        expect(grace.get_by_role("heading", level=1)).to_have_text("Ada's gate")

    def test_of_a_post_that_is_deleted_can_save_nothing(self, ada, grace):
        path = write_post(grace, "A door")
        open_live(ada, f"{path}edit/")
        grace.goto(f"{path}delete/")
        grace.get_by_role("button", name="Delete it").click()
        expect(ada.get_by_text("Grace has deleted this post: nothing can be saved.")).to_be_visible()
        expect(ada.get_by_role("button", name="Save")).to_be_disabled()


class TestBell:
    def test_rung_by_keyboard_pops_up_on_every_page_without_loading_one(self, come_in, grace):
        reader = come_in()
        open_live(reader, "/posts/")
        open_live(grace, "/bell/")
        grace.evaluate("window.isSamePage = true")

        grace.get_by_label("What do you want to call").fill("Tea & <b>cake</b>!")
        grace.keyboard.press("Tab")
        grace.keyboard.press("Space")
        for page in (reader, grace):
            toasts = page.get_by_role("region", name="Notifications")
            expect(toasts.get_by_role("listitem")).to_have_text(re.compile("Grace rings the bell: Tea & <b>cake</b>!"))
        expect(grace.get_by_text("The bell is ringing on every open page.")).to_be_visible()
        expect(grace.get_by_role("button", name="Ring the bell")).to_be_focused()
        assert grace.evaluate("window.isSamePage")

    def test_that_the_server_refuses_says_so_and_can_be_rung_again(self, come_in, complaints):
        page = come_in()
        open_live(page, "/bell/")
        page.route("**/bell/", lambda route: route.fulfill(status=503))
        page.get_by_role("button", name="Ring the bell").click()
        expect(page.get_by_text("The bell did not ring: the server answered 503.")).to_be_visible()
        page.unroute("**/bell/")
        page.get_by_role("button", name="Ring the bell").click()
        expect(page.get_by_text("The bell is ringing on every open page.")).to_be_visible()
        assert len(complaints.take()) == 1

    def test_without_a_server_says_so(self, come_in, complaints):
        page = come_in()
        open_live(page, "/bell/")
        page.route("**/bell/", lambda route: route.abort())
        page.get_by_role("button", name="Ring the bell").click()
        expect(page.get_by_text("The bell did not ring:")).to_be_visible()
        assert len(complaints.take()) == 1


class TestLayout:
    def test_on_a_small_phone_needs_no_scrolling_sideways(self, come_in):
        page = come_in("Ada", viewport={"width": 320, "height": 640})
        paths = ("/", "/posts/", "/posts/1/", "/posts/new/", "/posts/1/edit/", "/posts/1/delete/", "/bell/", "/login/")
        for path in paths:
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path

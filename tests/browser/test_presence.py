"""What ``<pusherable-presence>`` shows of a channel's members. ``test_private_newsroom.py`` meets the real ones."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_authorizing import refuse
from tests.browser.waiting import heard

CHANNEL = "presence-post_1"
PRESENCE = "{% pusherable_presence 'presence-post_1' %}"
FOLDED = "{% pusherable_presence 'presence-post_1' limit=3 %}"
HOSTILE = "<img src=x onerror=alert(1)>"


def name(text):
    return {"name": text}


@pytest.fixture
def quiet(page):
    """Time that passes only when the test says so: announcements wait for a moment of quiet."""
    page.clock.install()
    return page.clock


def names(page):
    return page.locator("pusherable-presence li:visible [data-part=name]")


def count(page):
    return page.locator("pusherable-presence [data-part=count]")


def announced(page):
    return page.get_by_role("status")


class TestList:
    def test_shows_the_visitor_first_and_the_others_by_name(self, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "22": name("Ada"), "3": name("Émile"), "4": name("Ada")}
        page = open_page(PRESENCE).page

        expect(names(page)).to_have_text(["Zoe", "Ada", "Ada", "Émile"])
        expect(page.locator("li [data-part=you]:visible")).to_have_text(["(you)"])
        expect(page.locator("li [data-part=initial]")).to_have_text(["Z", "A", "A", "É"])
        expect(count(page)).to_have_text("4 people here")
        expect(page.get_by_role("group", name="Here now").get_by_role("listitem")).to_have_count(4)
        assert page.locator("li").evaluate_all("items => items.map((item) => item.dataset.member)") == [
            "1",
            "22",
            "4",
            "3",
        ]

    def test_follows_who_comes_and_goes_and_leaves_the_others_where_they_are(self, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_text(["Zoe", "Bob"])
        bob = page.locator("li[data-member='2']").element_handle()

        push_server.join(CHANNEL, "3", "Ada")
        expect(names(page)).to_have_text(["Zoe", "Ada", "Bob"])
        push_server.leave(CHANNEL, "1")
        push_server.leave(CHANNEL, "3")
        expect(names(page)).to_have_text(["Bob"])
        expect(count(page)).to_have_text("1 person here")
        assert bob.evaluate("(item) => item.isConnected")

    def test_of_somebody_without_a_name_says_someone(self, open_page, push_server):
        push_server.members = dict(enumerate([None, {}, {"name": ""}, {"name": 7}, "text", [1]]))

        expect(names(open_page(PRESENCE).page)).to_have_text(["Someone"] * 6)

    def test_shows_hostile_names_as_text(self, open_page, push_server):
        push_server.members = {"1": name(HOSTILE), "__proto__": name("b"), "constructor": name("a")}
        page = open_page(PRESENCE).page

        expect(names(page).first).to_have_text(HOSTILE)
        assert page.locator("pusherable-presence img").count() == 0

    def test_of_many_is_folded_and_unfolds_by_keyboard(self, open_page, push_server):
        push_server.members = {str(number): name(f"Member {number}") for number in range(1, 6)}
        page = open_page(FOLDED).page
        more = page.get_by_role("button")
        expect(more).to_have_text("and 2 more")
        expect(names(page)).to_have_count(3)
        expect(more).to_have_attribute("aria-expanded", "false")

        more.focus()
        page.keyboard.press("Enter")
        expect(names(page)).to_have_count(5)
        expect(more).to_have_text("Show fewer")
        expect(more).to_have_attribute("aria-expanded", "true")

        page.keyboard.press("Enter")
        push_server.leave(CHANNEL, "5")
        # One alone is not folded away.
        expect(names(page)).to_have_count(4)
        expect(more).to_be_hidden()

    def test_fills_in_what_a_template_of_ones_own_asks_for(self, open_page, push_server):
        push_server.members = {"1": {"name": "Ada", "desk": "Science", "age": 36, "boss": {"name": "x"}}}
        page = open_page(PRESENCE).page
        page.evaluate(
            """() => {
                const item = document.querySelector("template").content.firstElementChild;
                for (const part of ["desk", "age", "boss", "toString"]) {
                    const element = document.createElement("i");
                    element.dataset.part = part;
                    element.textContent = "-";
                    item.append(element);
                }
            }"""
        )
        page.evaluate("document.body.append(document.querySelector('pusherable-presence'))")

        expect(page.locator("li i")).to_have_text(["Science", "36", "-", "-"])

    def test_on_a_small_phone_needs_no_scrolling_sideways(self, open_page, push_server, page):
        page.set_viewport_size({"width": 320, "height": 640})
        push_server.members = {"1": name("A" * 200), "2": name("Bob"), "3": name("Cleopatra Longname-Smith")}
        open_page(PRESENCE)

        expect(names(page)).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


class TestAnnouncement:
    def test_gathers_who_came_and_who_left(self, quiet, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_count(2)
        quiet.run_for(5000)
        expect(announced(page)).to_have_text("")

        push_server.join(CHANNEL, "3", "Ada")
        push_server.join(CHANNEL, "4", "Cy")
        push_server.leave(CHANNEL, "2")
        expect(names(page)).to_have_text(["Zoe", "Ada", "Cy"])
        quiet.run_for(2000)

        expect(announced(page)).to_have_text("Ada, Cy have come. Bob has left.")

    def test_of_a_crowd_is_a_number(self, quiet, open_page, push_server):
        push_server.members = {"1": name("Zoe")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_count(1)
        for number in range(2, 7):
            push_server.join(CHANNEL, str(number), "Ada")
        expect(names(page)).to_have_count(6)
        quiet.run_for(2000)

        expect(announced(page)).to_have_text("5 people have come.")

    def test_of_who_only_reloads_a_page_is_none(self, quiet, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_count(2)

        push_server.leave(CHANNEL, "2")
        expect(names(page)).to_have_count(1)
        push_server.join(CHANNEL, "2", "Bob")
        expect(names(page)).to_have_count(2)
        quiet.run_for(5000)

        expect(announced(page)).to_have_text("")

    def test_after_an_interruption_is_none(self, quiet, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_count(2)

        push_server.drop_connections()
        expect(page.locator("pusherable-presence[subscribed]")).to_have_count(0)
        push_server.members = {"1": name("Zoe"), "3": name("Ada")}
        quiet.run_for(1000)
        expect(names(page)).to_have_text(["Zoe", "Ada"])
        quiet.run_for(5000)

        expect(announced(page)).to_have_text("")


class TestElement:
    def test_that_is_refused_is_hidden(self, open_page, site, complaints):
        site.reply = refuse
        page = open_page(PRESENCE).page

        refused = page.locator("pusherable-presence[refused=not-yours]")
        refused.wait_for(state="attached")
        expect(refused).to_be_hidden()
        assert len(complaints.take()) == 1

    def test_that_is_added_moved_and_removed_follows(self, open_page, push_server, site):
        push_server.members = {"1": name("Zoe")}
        page = open_page(f'<main></main><aside id="target">{PRESENCE}</aside>').page
        expect(names(page)).to_have_text(["Zoe"])

        page.evaluate("document.querySelector('main').append(document.querySelector('pusherable-presence'))")
        expect(names(page)).to_have_text(["Zoe"])
        # A cache of pages keeps what was shown.
        page.evaluate("document.body = document.body.cloneNode(true)")
        expect(names(page)).to_have_text(["Zoe"])
        page.evaluate("document.querySelector('pusherable-presence').remove()")
        push_server.wait_for(lambda server: server.frames[-1] == ("unsubscribe", CHANNEL))

        assert len(site.posted) == 1

    def test_of_another_channel_follows(self, open_page, push_server):
        push_server.members = {"1": name("Zoe")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_text(["Zoe"])

        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page.evaluate("document.querySelector('pusherable-presence').setAttribute('channel', 'presence-post_2')")
        expect(names(page)).to_have_text(["Zoe", "Bob"])


class TestScript:
    def test_hears_of_members_now_and_later(self, open_page, push_server):
        push_server.members = {"1": name("Zoe"), "2": name("Bob")}
        page = open_page(PRESENCE).page
        expect(names(page)).to_have_count(2)

        page.evaluate("() => { window.off = pusherable.presence('presence-post_1', (all) => heard.push(all)); }")
        push_server.leave(CHANNEL, "2")

        zoe = {"id": "1", "info": {"name": "Zoe"}, "isMe": True}
        assert heard(page, 2) == [[zoe, {"id": "2", "info": {"name": "Bob"}, "isMe": False}], [zoe]]
        page.evaluate("off()")
        push_server.join(CHANNEL, "3", "Ada")
        expect(names(page)).to_have_count(2)
        assert len(page.evaluate("heard")) == 2

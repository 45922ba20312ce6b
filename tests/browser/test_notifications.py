"""The list of messages that ``{% pusherable_notifications %}`` shows: what it says, for how long, and to whom."""

import pytest
from playwright.sync_api import expect

from tests.browser.waiting import wait_for_subscriptions
from tests.testapp.models import Post

EVENTS = ["view", "update", "delete", "created", "updated", "deleted", "approved", "notice"]
BODY = (
    "{% for event in events %}{% pusherable_subscribe event target label=label %}{% endfor %}"
    "<button id=before>Before</button>"
)


def payload(user="anna", **more):
    return {"object": {}, "user": user, "model": "post", "pk": "1", "origin": "of-somebody-else", **more}


@pytest.fixture
def show(open_page, push_server):
    """A page with the list open, and a way to let it hear of an event."""

    def open_list(tag="{% pusherable_notifications %}", *, label="", target=None, before=""):
        page = open_page(before + BODY + tag, events=EVENTS, target=target or Post(pk=1), label=label).page
        wait_for_subscriptions(page)
        return page

    return open_list


@pytest.fixture
def publish(push_server):
    return lambda event, data: push_server.publish("post_1", event, data)


def toasts(page):
    return page.locator("pusherable-notifications li")


class TestMessage:
    @pytest.mark.parametrize(
        ("event", "data", "text"),
        [
            ("view", payload(), "anna is looking at this."),
            ("update", payload(), "anna is editing this."),
            ("delete", payload(), "anna is about to delete this."),
            ("created", payload(), "anna added this."),
            ("updated", payload(), "anna saved changes."),
            ("deleted", payload(), "anna deleted this."),
            ("update", payload(user=""), "Someone is editing this."),
            ("approved", payload(), "anna: approved"),
            ("approved", payload(user=""), "Someone: approved"),
            ("notice", {"message": "Lunch is ready."}, "Lunch is ready."),
            ("notice", "Lunch is ready.", "Lunch is ready."),
            ("notice", {"message": {"not": "a text"}}, "notice"),
            ("notice", None, "notice"),
            ("view", payload(user="{event} $& $1 {user}"), "{event} $& $1 {user} is looking at this."),
        ],
    )
    def test_is_a_sentence_about_the_event(self, show, publish, event, data, text):
        page = show()

        publish(event, data)

        expect(toasts(page).locator("[data-part=text]")).to_have_text(text)
        expect(toasts(page).locator("[data-part=label]")).to_have_text("Post")
        assert toasts(page).get_attribute("data-event") == event

    def test_about_something_labelled_names_it(self, show, publish):
        page = show(label="Bridge reopens")

        publish("update", payload())

        expect(toasts(page)).to_have_text("Bridge reopens anna is editing this.")

    def test_about_a_channel_has_no_label(self, show, publish):
        page = show(target="post_1")

        publish("update", payload())

        expect(toasts(page).locator("[data-part=text]")).to_be_visible()
        expect(toasts(page).locator("[data-part=label]")).to_be_hidden()

    def test_with_a_sentence_of_the_pages_own_uses_it(self, show, publish):
        page = show("{% pusherable_notifications approved='Approved by {user}!' update='{user} edits' %}")

        publish("approved", payload())
        publish("update", payload(user=""))

        expect(toasts(page).locator("[data-part=text]")).to_have_text(["Approved by anna!", "Someone edits"])

    def test_with_hostile_words_stays_text(self, show, publish):
        hostile = "</script><img src=x onerror=\"heard.push('hit')\">\u2028'"
        page = show(label=hostile)

        publish("update", payload(user=hostile))
        publish("notice", hostile)

        expect(toasts(page).locator("[data-part=text]")).to_have_text([f"{hostile} is editing this.", hostile])
        expect(toasts(page).locator("[data-part=label]")).to_have_text([hostile, hostile])
        assert toasts(page).locator("img").count() == 0
        assert page.evaluate("heard") == []

    def test_that_a_listener_prevents_is_not_shown(self, show, publish):
        page = show()
        page.evaluate("() => document.addEventListener('pusherable:view', (event) => event.preventDefault())")

        publish("view", payload())
        publish("update", payload())

        expect(toasts(page)).to_have_text(["Post anna is editing this."])

    def test_can_be_shown_by_a_script(self, show):
        page = show()

        page.evaluate(
            "() => document.querySelector('pusherable-notifications').show({event: 'x', data: 'Saved.'}, 'Draft')"
        )

        expect(toasts(page)).to_have_text(["Draft Saved."])


class TestTime:
    def test_over_takes_the_message_away(self, show, publish, page):
        page.clock.install()
        show()

        publish("view", payload())
        expect(toasts(page)).to_have_count(1)
        page.clock.run_for(6_000)
        expect(toasts(page)).to_have_count(1)
        page.clock.run_for(2_000)

        expect(toasts(page)).to_have_count(0)

    def test_of_zero_leaves_the_message_until_it_is_dismissed(self, show, publish, page):
        page.clock.install()
        show("{% pusherable_notifications seconds=0 %}")

        publish("view", payload())
        expect(toasts(page)).to_have_count(1)
        page.clock.run_for(60_000)
        expect(toasts(page)).to_have_count(1)
        toasts(page).get_by_role("button", name="Dismiss").click()

        expect(toasts(page)).to_have_count(0)

    @pytest.mark.parametrize("hold", ["hover", "focus", "tab"])
    def test_stands_still_while_somebody_reads_or_looks_elsewhere(self, show, publish, page, hold):
        page.clock.install()
        show()

        publish("view", payload())
        expect(toasts(page)).to_have_count(1)
        if hold == "hover":
            toasts(page).hover()
        elif hold == "focus":
            toasts(page).get_by_role("button").focus()
        else:
            page.evaluate("() => Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.clock.run_for(30_000)
        expect(toasts(page)).to_have_count(1)

        if hold == "hover":
            page.mouse.move(0, 0)
        elif hold == "focus":
            page.locator("#before").focus()
        else:
            page.evaluate("() => Object.defineProperty(document, 'hidden', {value: false})")
        page.clock.run_for(10_000)
        expect(toasts(page)).to_have_count(0)

    def test_runs_on_for_the_others_when_one_is_clicked_away(self, show, publish, page):
        page.clock.install()
        show()

        publish("view", payload())
        publish("update", payload())
        expect(toasts(page)).to_have_count(2)
        toasts(page).first.get_by_role("button").click()
        expect(toasts(page)).to_have_count(1)
        page.mouse.move(0, 0)
        page.clock.run_for(10_000)

        expect(toasts(page)).to_have_count(0)

    def test_starts_again_for_a_message_that_comes_again(self, show, publish, page):
        page.clock.install()
        show()

        publish("view", payload())
        expect(toasts(page)).to_have_count(1)
        page.clock.run_for(6_000)
        publish("view", payload())
        publish("update", payload())
        expect(toasts(page)).to_have_count(2)
        page.clock.run_for(6_000)
        expect(toasts(page)).to_have_count(2)


class TestList:
    def test_is_a_named_live_region_before_any_message_is(self, show):
        page = show()

        assert page.locator("pusherable-notifications").aria_snapshot() == ('- region "Notifications":\n  - list')
        live = page.locator("pusherable-notifications [aria-live]")
        assert live.evaluate("(list) => [list.getAttribute('aria-live'), list.childElementCount]") == ["polite", 0]

    def test_with_a_message_reads_well(self, show, publish):
        page = show()

        publish("update", payload())
        expect(toasts(page)).to_have_count(1)

        assert page.locator("pusherable-notifications").aria_snapshot() == (
            '- region "Notifications":\n'
            "  - list:\n"
            "    - listitem:\n"
            "      - paragraph:\n"
            "        - strong: Post\n"
            "        - text: anna is editing this.\n"
            '      - button "Dismiss"'
        )

    def test_holds_no_more_than_its_limit_and_drops_the_oldest(self, show, publish):
        page = show("{% pusherable_notifications limit=2 %}")

        for event in ("view", "update", "delete"):
            publish(event, payload())

        expect(toasts(page).locator("[data-part=text]")).to_have_text(
            ["anna is editing this.", "anna is about to delete this."]
        )

    def test_never_drops_the_message_that_has_the_focus(self, show, publish):
        page = show("{% pusherable_notifications limit=2 %}")
        publish("view", payload())
        toasts(page).get_by_role("button").focus()

        publish("update", payload())
        publish("delete", payload())

        expect(toasts(page).locator("[data-part=text]")).to_have_text(
            ["anna is looking at this.", "anna is about to delete this."]
        )

    def test_is_worked_by_keyboard_and_gives_the_focus_back(self, show, publish):
        page = show()
        for event in ("view", "update", "delete"):
            publish(event, payload())
        expect(toasts(page)).to_have_count(3)
        buttons = toasts(page).get_by_role("button")
        page.locator("#before").focus()

        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(buttons.nth(1)).to_be_focused()
        page.keyboard.press("Escape")
        expect(toasts(page).locator("[data-part=text]")).to_have_text(
            ["anna is looking at this.", "anna is about to delete this."]
        )
        expect(buttons.nth(1)).to_be_focused()
        page.keyboard.press("Enter")
        expect(buttons.nth(0)).to_be_focused()
        page.keyboard.press("Space")

        expect(toasts(page)).to_have_count(0)
        expect(page.locator("#before")).to_be_focused()

    def test_lets_every_other_key_and_click_be(self, show, publish):
        page = show()
        publish("view", payload())

        toasts(page).get_by_role("button").focus()
        page.keyboard.press("a")
        toasts(page).locator("p").click()

        expect(toasts(page)).to_have_count(1)

    def test_copied_with_its_page_brings_no_old_messages_along(self, show, publish):
        page = show()
        publish("view", payload())
        expect(toasts(page)).to_have_count(1)

        page.evaluate("() => { document.body = document.body.cloneNode(true); }")
        expect(toasts(page)).to_have_count(0)
        wait_for_subscriptions(page)
        publish("update", payload())

        expect(toasts(page)).to_have_text(["Post anna is editing this."])

    def test_moved_with_its_messages_keeps_them(self, show, publish):
        page = show(before="<main></main>")
        publish("view", payload())
        expect(toasts(page)).to_have_count(1)

        page.evaluate("document.querySelector('main').append(document.querySelector('pusherable-notifications'))")

        expect(toasts(page)).to_have_text(["Post anna is looking at this."])

    def test_with_a_button_of_a_template_of_ones_own_survives_it(self, show):
        page = show()
        page.evaluate(
            "() => document.querySelector('pusherable-notifications').insertAdjacentHTML("
            "'beforeend', '<button id=own>Settings</button>')"
        )

        page.locator("#own").dispatch_event("click")
        page.locator("#own").press("Escape")

        expect(page.locator("#own")).to_have_count(1)

    def test_lets_clicks_through_beside_its_messages(self, show):
        page = show()

        assert page.evaluate("getComputedStyle(document.querySelector('pusherable-notifications')).pointerEvents") == (
            "none"
        )


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_has_contrast_in_the_pages_own_color_scheme(self, show, publish, page, scheme):
        page.emulate_media(color_scheme=scheme)
        show()
        page.evaluate("() => { document.documentElement.style.colorScheme = 'light dark'; }")
        publish("update", payload())
        expect(toasts(page)).to_have_count(1)

        for part in ("[data-part=text]", "[data-part=label]", "button"):
            assert contrast(page, part) >= 4.5

    def test_stays_light_in_a_page_that_knows_no_dark(self, show, publish, page):
        page.emulate_media(color_scheme="dark")
        show()
        publish("update", payload())

        assert toasts(page).evaluate("(toast) => getComputedStyle(toast).backgroundColor") == "rgb(255, 255, 255)"

    def test_moves_only_for_those_who_like_it(self, show, publish, page):
        page.emulate_media(reduced_motion="reduce")
        show()
        publish("update", payload())
        animation = "(toast) => getComputedStyle(toast).animationName"

        assert toasts(page).evaluate(animation) == "none"
        page.emulate_media(reduced_motion="no-preference")
        assert toasts(page).evaluate(animation) == "pusherable-toast"

    def test_fits_a_phone(self, show, publish, page):
        page.emulate_media(reduced_motion="reduce")
        page.set_viewport_size({"width": 390, "height": 844})
        show(label="A headline that goes on and on " * 3)
        publish("notice", "long-word-" * 60)
        expect(toasts(page)).to_have_count(1)

        box, button = toasts(page).bounding_box(), toasts(page).get_by_role("button").bounding_box()
        assert (box["x"], box["x"] + box["width"]) == (16, 374)
        assert box["y"] + box["height"] == 828
        assert (button["width"], button["height"]) == (44, 44)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


CONTRAST = """(element) => {
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = (color) => {
        const [red, green, blue] = color.match(/[\\d.]+/g).map(Number).map(channel);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const both = [
        luminance(getComputedStyle(element).color),
        luminance(getComputedStyle(element.closest("li")).backgroundColor),
    ];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""


def contrast(page, part):
    return toasts(page).locator(part).evaluate(CONTRAST)

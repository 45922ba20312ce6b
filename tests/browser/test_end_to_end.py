"""The example project as two people use it: real browser, real pusher-js, real client, real server process."""

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.waiting import PATIENCE, heard, wait_for_state, wait_for_subscriptions
from tests.example.running import RunningNewsroom

#: Milliseconds in which the other page has to show what happened.
SOON = 1000
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
EVENTS = ["view", "update", "updated", "delete", "deleted", "created", "bell"]

RECORD = f"""
window.heard = [];
window.heardAt = [];
for (const name of {EVENTS}) {{
    addEventListener(`pusherable:${{name}}`, ({{ detail }}) => {{
        heard.push([detail.event, detail.data.user]);
        heardAt.push(Date.now());
    }}, true);
}}
"""


@pytest.fixture(scope="module")
def sessions(chromium, newsroom):
    """The cookies of each person, who has come in by the form."""

    def log_in(username: str, password: str):
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{newsroom.url}login/")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in", exact=True).click()
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        state = context.storage_state()
        context.close()
        return state

    return {"ada": log_in("ada", "lovelace"), "grace": log_in("grace", "hopper"), "": None}


class Visitor:
    """One person with a browser of their own, whose pages note every event that they hear."""

    def __init__(self, page: Page, newsroom: RunningNewsroom) -> None:
        self.page = page
        self.newsroom = newsroom

    def open(self, path: str) -> Page:
        response = self.page.goto(self.newsroom.url.rstrip("/") + path)
        assert response is not None
        assert response.headers["content-security-policy"] == POLICY
        return self.listen()

    def listen(self) -> Page:
        wait_for_state(self.page)
        wait_for_subscriptions(self.page)
        return self.page

    @property
    def messages(self) -> Locator:
        return self.page.locator("pusherable-notifications li [data-part=text]")

    @property
    def happenings(self) -> Locator:
        return self.page.locator("[data-part=happenings] li span")


@pytest.fixture
def visitor(chromium, newsroom, sessions, complaints):
    contexts = []

    def make(username="", *, at=newsroom):
        context = chromium.new_context(storage_state=sessions[username])
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(RECORD)
        return Visitor(complaints.watch(context.new_page()), at)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def ada(visitor):
    return visitor("ada")


@pytest.fixture
def grace(visitor):
    return visitor("grace")


class TestPost:
    def test_open_on_one_page_hears_of_every_step_of_another_person(self, ada, grace):
        watching = ada.open("/posts/1/")
        begun = []

        begun.append(time.time())
        grace.open("/posts/1/")
        expect(ada.happenings).to_have_text(["Grace is reading this too."], timeout=SOON)

        begun.append(time.time())
        grace.page.get_by_role("link", name="Edit").click()
        expect(ada.happenings.first).to_have_text("Grace has begun to edit.", timeout=SOON)

        grace.page.get_by_label("Title").fill("Night ferry sold out")
        grace.page.get_by_label("Body").fill("One paragraph.\n\nAnother one.")
        begun.append(time.time())
        grace.page.get_by_role("button", name="Save").click()
        expect(watching.locator("h1")).to_have_text("Night ferry sold out", timeout=SOON)
        expect(watching.locator("[data-part=body] p")).to_have_text(["One paragraph.", "Another one."], timeout=SOON)

        # The page that she is led to after saving is one more access.
        events = heard(watching, 4)
        assert events == [["view", "grace"], ["update", "grace"], ["updated", "grace"], ["view", "grace"]]
        for (event, _), began, at in zip(events, begun, watching.evaluate("heardAt"), strict=False):
            print(f"{event}: on the other page {at - began * 1000:.0f} ms after the click")

    def test_opened_by_its_reader_says_nothing_of_that(self, ada, grace):
        page = grace.open("/posts/2/")

        ada.open("/posts/2/")

        # What she did herself came first, on the same channel.
        assert heard(page, 1) == [["view", "ada"]]
        expect(grace.happenings).to_have_text(["Ada is reading this too."])

    def test_form_opened_by_its_writer_says_nothing_of_that(self, ada, grace):
        page = grace.open("/posts/2/edit/")

        ada.open("/posts/2/edit/")

        assert heard(page, 1) == [["update", "ada"]]

    def test_saved_by_its_writer_says_nothing_of_that(self, ada, grace):
        page = grace.open("/posts/2/edit/")
        page.get_by_label("Title").fill("Mill organ is tuned")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("h1")).to_have_text("Mill organ is tuned")
        grace.listen()

        ada.open("/posts/2/")

        assert heard(page, 1) == [["view", "ada"]]

    def test_opened_by_nobody_in_particular_is_opened_by_someone(self, ada, visitor):
        ada.open("/posts/3/")

        visitor().open("/posts/3/")

        expect(ada.happenings).to_have_text(["Someone is reading this too."], timeout=SOON)

    def test_with_a_hostile_title_stays_text_everywhere(self, ada, grace):
        title = "</script><img src=x onerror=\"document.title='hit'\">'\u2028&amp;"
        watching = ada.open("/posts/3/")
        page = grace.open("/posts/3/edit/")
        page.get_by_label("Title").fill(title)

        page.get_by_role("button", name="Save").click()

        expect(watching.locator("h1")).to_have_text(title, timeout=SOON)
        expect(watching).to_have_title(f"{title} · The Open Page")
        assert watching.locator("main img").count() == 0
        grace.open("/posts/3/edit/")
        ada.open("/posts/3/edit/")
        assert grace.page.locator("[label]").first.get_attribute("label") == title

    def test_deleted_while_another_person_reads_it_is_told(self, ada, grace):
        watching = ada.open("/posts/4/")

        page = grace.open("/posts/4/delete/")
        expect(ada.happenings).to_have_text(["Grace is about to delete this."], timeout=SOON)
        page.get_by_role("button", name="Delete it").click()

        expect(watching.locator("[data-part=gone]")).to_contain_text("Grace has deleted this post", timeout=SOON)
        assert heard(watching, 2) == [["delete", "grace"], ["deleted", "grace"]]


class TestList:
    def test_open_shows_a_new_post_and_hears_of_it_from_then_on(self, ada, grace):
        watching = ada.open("/posts/")
        page = grace.open("/posts/new/")
        page.get_by_label("Title").fill("Tram depot opens its doors")
        page.get_by_label("Body").fill("On Sunday.")

        page.get_by_role("button", name="Publish").click()
        story = watching.locator("[data-role=story]").first
        expect(story.locator("h3")).to_have_text("Tram depot opens its doors", timeout=SOON)
        ada.listen()
        page.get_by_role("link", name="Edit").click()

        expect(story.locator("[data-part=mark]")).to_have_text("Grace is editing this", timeout=SOON)

    def test_that_gains_and_loses_a_subscription_hears_just_as_long(self, ada, grace):
        watching = ada.open("/")
        watching.evaluate(
            "document.querySelector('main').insertAdjacentHTML('beforeend',"
            " '<i id=added><pusherable-subscribe event=view channel=private-post_5></pusherable-subscribe></i>')"
        )
        ada.listen()

        grace.open("/posts/5/")
        assert heard(watching, 1) == [["view", "grace"]]
        watching.evaluate("document.querySelector('#added').remove()")
        grace.open("/posts/5/")
        grace.open("/posts/5/edit/")

        assert heard(watching, 2) == [["view", "grace"], ["update", "grace"]]


class TestBell:
    def test_rung_pops_up_on_every_open_page(self, ada, grace, visitor):
        reader = visitor()
        reader.open("/posts/6/")
        ada.open("/")
        page = grace.open("/bell/")
        page.get_by_label("What do you want to call").fill("<b>Tea</b> is ready!")

        page.get_by_role("button", name="Ring the bell").click()

        for somebody in (ada, grace, reader):
            expect(somebody.messages).to_have_text(["Grace rings the bell: <b>Tea</b> is ready!"], timeout=SOON)

    def test_message_is_dismissed_by_keyboard(self, ada, grace):
        ada.open("/")
        page = grace.open("/bell/")
        page.get_by_role("button", name="Ring the bell").click()
        expect(ada.messages).to_have_count(1)

        ada.page.locator("pusherable-notifications button").focus()
        ada.page.keyboard.press("Escape")

        expect(ada.messages).to_have_count(0)


class TestRestart:
    def test_of_the_server_brings_the_page_back_to_listening(self, visitor, complaints, tmp_path):
        complaints.allow("ERR_CONNECTION_REFUSED")
        database = tmp_path / "db.sqlite3"
        with RunningNewsroom(database) as newsroom:
            port = newsroom.port
            reader = visitor(at=newsroom)
            reader.page.clock.install()
            watching = reader.open("/posts/1/")
        wait_for_state(watching, "connecting")
        assert watching.locator("pusherable-subscribe[subscribed]").count() == 0
        expect(watching.locator(".light-text:visible")).to_have_text("Connecting…")

        with RunningNewsroom(database, "--port", str(port)) as newsroom:
            # One attempt was refused; the next is due fifteen seconds after it (A.56).
            watching.clock.run_for(16_000)
            reader.listen()
            visitor(at=newsroom).open("/posts/1/")
            expect(reader.happenings).to_have_text(["Someone is reading this too."], timeout=SOON)

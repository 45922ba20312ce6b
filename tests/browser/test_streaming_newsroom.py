"""The newsroom by event streams: what its pages do by WebSocket they do without pusher-js, at the real server."""

from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.browser import test_newsroom as by_socket
from tests.browser import test_private_newsroom as private_by_socket
from tests.browser.test_private_newsroom import log_in, open_live, rewrite, ring
from tests.browser.waiting import PATIENCE, wait_for_state
from tests.example.running import RunningNewsroom

come_in, ada, grace = by_socket.come_in, by_socket.ada, by_socket.grace
browse, sessions = private_by_socket.browse, private_by_socket.sessions
change, draft = private_by_socket.change, private_by_socket.draft

STATUS = """async (url) => {
    const abort = new AbortController();
    const response = await fetch(url, { signal: abort.signal });
    abort.abort();
    return response.status;
}"""

# As after an interruption.
COME_BACK = """() => {
    for (const name of ["pagehide", "pageshow"]) dispatchEvent(new PageTransitionEvent(name, { persisted: true }));
}"""


@pytest.fixture(scope="module")
def newsroom_database(tmp_path_factory):
    return tmp_path_factory.mktemp("streaming") / "db.sqlite3"


@pytest.fixture(scope="module")
def newsroom(newsroom_database):
    with RunningNewsroom(newsroom_database, "--sse") as newsroom:
        yield newsroom


class TestOpenPost(by_socket.TestOpenPost):
    pass


class TestOpenList(by_socket.TestOpenList):
    pass


class TestOpenForm(by_socket.TestOpenForm):
    pass


class TestBell(by_socket.TestBell):
    pass


class TestListOfForty(private_by_socket.TestListOfForty):
    pass


class TestPresence(private_by_socket.TestPresence):
    pass


class TestPage:
    def test_has_one_stream_and_no_pusher_js(self, browse):
        page = browse("Ada")()
        asked = []
        page.on("request", lambda request: asked.append(request.url))

        open_live(page, "/posts/1/")

        assert [url for url in asked if "pusher.min" in url or "pusher-with" in url] == []
        assert len([url for url in asked if "/stream?" in url]) == 1
        assert page.evaluate("typeof Pusher") == "undefined"


class TestDraft:
    def test_is_told_to_nobody_who_may_not_see_it_by_whatever_address(self, browse, complaints, draft):
        complaints.allow("Failed to load resource")
        _, channel = draft
        cheat = browse("Grace")()
        asked = []
        cheat.on("request", lambda request: asked.append(request.url) if "/stream?" in request.url else None)
        open_live(cheat, "/posts/1/")
        [own] = asked

        assert cheat.evaluate(STATUS, own) == 200
        assert cheat.evaluate(STATUS, f"{own}&channel=public") == 200
        for more in (f"channel={channel}", "channel=%23server-to-user-1", "channel_data={}", "expires=99999999999"):
            assert cheat.evaluate(STATUS, f"{own}&{more}") == 401
        assert cheat.evaluate(STATUS, own.replace("private-post_1", channel)) == 401
        assert cheat.evaluate(STATUS, f"/stream?channel={channel}") == 401

    def test_permission_that_is_taken_away_is_felt_at_the_next_stream(self, browse, complaints, draft, change):
        path, channel = draft
        change("update auth_user set is_staff = 1 where username = 'grace'")
        page = open_live(browse("Grace")(), path)

        change("update auth_user set is_staff = 0 where username = 'grace'")
        page.evaluate(COME_BACK)

        expect(page.locator(f"pusherable-subscribe[channel={channel}][refused]")).to_have_count(5)
        expect(page.locator("pusherable-subscribe[subscribed]")).to_have_count(1)
        assert [line.partition(" (")[0] for line in complaints.take()] == [
            f"pusherable: this page may not listen to {channel}"
        ]

    def test_is_told_no_more_to_who_logs_out_in_another_tab(self, chromium, newsroom, browse, complaints, draft):
        path, channel = draft
        writer = browse("Ada")()
        with closing(chromium.new_context(base_url=newsroom.url)) as context:
            context.set_default_timeout(PATIENCE * 1000)
            reader, other = (complaints.watch(context.new_page()) for _ in range(2))
            log_in(other, "Ada")
            open_live(reader, path)
            before = reader.evaluate("pusherable.socketId")

            other.get_by_role("button", name="Log out").click()

            expect(reader.locator(f"pusherable-subscribe[channel={channel}][refused]")).to_have_count(5)
            wait_for_state(reader)
            assert reader.evaluate("pusherable.socketId") != before
            rewrite(writer, path, "After the logout")
            ring(writer)
            expect(reader.get_by_role("region", name="Notifications")).to_contain_text("rings the bell")
            expect(reader.locator("h1")).not_to_have_text("After the logout")
        refused = {line.partition(" (")[0] for line in complaints.take()}
        assert f"pusherable: this page may not listen to {channel}" in refused


class TestAuthor:
    def test_hears_of_work_on_the_post_wherever_that_is(self, browse, change):
        [[path]] = change(
            "select '/posts/' || newsroom_post.id || '/' from newsroom_post "
            "join auth_user on auth_user.id = author_id where username = 'ada' and not is_draft "
            "order by published desc"
        )[:1]
        author = open_live(browse("Ada")(), "/bell/")

        rewrite(browse("Grace")(), path, "Mill organ is out of tune")

        expect(author.get_by_role("region", name="Notifications")).to_contain_text(
            "Grace has worked on your post “Mill organ is out of tune”."
        )

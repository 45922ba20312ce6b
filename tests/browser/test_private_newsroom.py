"""Who hears what in the running newsroom: real browser, real pusher-js, real server, and visitors who cheat."""

import base64
import shutil
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import Error, expect

from tests.browser.waiting import PATIENCE, wait_for_state, wait_for_subscriptions
from tests.example.running import PROJECT, RunningNewsroom

# What a visitor can write into the console of any page: a client of one's own, which notes whatever arrives.
CLIENT = """async ({ subscriptions, frames = [] }) => {
    const config = JSON.parse(document.querySelector("script[data-config]").dataset.config);
    const token = document.cookie.match(/newsroom_csrf=(\\w+)/)?.[1];
    const headers = { "X-CSRFToken": token, "Content-Type": "application/x-www-form-urlencoded" };
    const port = Number(location.port);
    window.arrived = [];
    window.client = new Pusher(config.key, {
        ...config, wsHost: location.hostname, wsPort: port, wssPort: port, forceTLS: false,
        enabledTransports: ["ws"],
        channelAuthorization: {
            customHandler: async ({ socketId, channelName }, done) => {
                const { page } = subscriptions.find(({ channel }) => channel === channelName);
                const body = new URLSearchParams({ socket_id: socketId, channel_name: channelName });
                if (page !== undefined) body.set("page", page);
                const response = await fetch("/pusher/auth/", { method: "POST", headers, body });
                if (!response.ok) return done(new Error(String(response.status)), null);
                done(null, await response.json());
            },
        },
    });
    client.connection.bind("message", (message) => arrived.push(message));
    const answers = subscriptions.map(({ channel }) => new Promise((answer) => {
        const bound = client.subscribe(channel);
        bound.bind("pusher:subscription_succeeded", () => answer("in"));
        bound.bind("pusher:subscription_error", ({ error, status }) => answer(String(status ?? error)));
    }));
    const outcome = await Promise.all(answers);
    for (const data of frames) {
        const answer = new Promise((done) => client.connection.bind("message", (message) => {
            if (message.event === "pusher:error") done();
        }));
        client.send_event("pusher:subscribe", data);
        await answer;
    }
    return outcome;
}"""

SIGNED = """async ({ channel, socketId }) => {
    const token = document.cookie.match(/newsroom_csrf=(\\w+)/)?.[1];
    const body = new URLSearchParams({ socket_id: socketId, channel_name: channel });
    const headers = { "X-CSRFToken": token };
    return (await fetch("/pusher/auth/", { method: "POST", headers, body })).json();
}"""


@pytest.fixture(scope="module")
def change(newsroom, newsroom_database):
    """Change what is in the newsroom's database, from outside."""

    def change(statement, *values):
        with closing(sqlite3.connect(newsroom_database, timeout=PATIENCE)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    return change


@pytest.fixture(scope="module")
def draft(newsroom, change):
    """The path and the channel of Ada's draft."""
    [[pk]] = change(
        "select newsroom_post.id from newsroom_post join auth_user on auth_user.id = author_id "
        "where is_draft and username = 'ada'"
    )
    return f"/posts/{pk}/", f"private-post_{pk}"


def log_in(page, name):
    page.goto("/login/")
    page.get_by_role("button", name=f"Come in as {name}").click()
    page.get_by_text(f"You are {name}").wait_for()


@pytest.fixture(scope="module")
def sessions(chromium, newsroom):
    """The cookies of each person; who is to log out takes others."""

    def cookies_of(name):
        with closing(chromium.new_context(base_url=newsroom.url)) as context:
            log_in(context.new_page(), name)
            return context.storage_state()

    return {"Ada": cookies_of("Ada"), "Grace": cookies_of("Grace"), "": None}


@pytest.fixture
def browse(chromium, newsroom, sessions, complaints):
    """A browser of one's own, as a function that opens tabs in it."""
    contexts = []

    def browse(name=""):
        context = chromium.new_context(base_url=newsroom.url, storage_state=sessions[name])
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        return lambda: complaints.watch(context.new_page())

    yield browse
    for context in contexts:
        context.close()


def open_live(page, path):
    page.goto(path)
    wait_for_state(page)
    wait_for_subscriptions(page)
    return page


def rewrite(page, path, title):
    """Save the post under another title."""
    page.goto(f"{path}edit/")
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("h1")).to_have_text(title)


def ring(page):
    """Let everybody hear the bell: what was to come before it has come."""
    page.goto("/bell/")
    page.get_by_role("button", name="Ring the bell").click()
    expect(page.get_by_text("The bell is ringing on every open page.")).to_be_visible()


def wait_for_bell(page):
    page.wait_for_function("() => arrived.some(({ event }) => event === 'bell')")
    return page.evaluate("arrived.filter(({ event }) => !event.startsWith('pusher') && event !== 'bell')")


class TestDraft:
    @pytest.mark.parametrize("name", ["", "Grace"])
    def test_is_neither_shown_nor_told_to_who_may_not_see_it_whatever_they_forge(
        self, browse, complaints, draft, name
    ):
        complaints.allow("Failed to load resource")
        path, channel = draft
        pk = channel.rpartition("_")[2]
        cheat, ada = browse(name)(), browse("Ada")()
        open_live(ada, path)
        theirs = ada.evaluate(SIGNED, {"channel": channel, "socketId": ada.evaluate("pusherable.socketId")})
        assert cheat.goto(path).status == 404
        open_live(cheat, "/posts/1/")
        forged = [
            {"channel": channel, "page": page}
            for page in (
                path,
                f"{path}edit/",
                f"{path}delete/",
                "/posts/1/",
                f"/posts/1/?next={path}",
                f"/posts/1/../{pk}/",
                f"//127.0.0.1{path}",
                f"http://elsewhere.example{path}",
                "/",
                "/nowhere/",
                "",
            )
        ]
        names = [f"private-post_0{pk}", f"private-cache-post_{pk}", f"presence-post_{pk}", f"private-Post_{pk}"]
        signed = cheat.evaluate(SIGNED, {"channel": "private-post_1", "socketId": "1.1"})
        assert sorted(signed) == ["auth"]

        for attempt in forged:
            assert cheat.evaluate(CLIENT, {"subscriptions": [attempt]}) == ["403"], attempt
            cheat.evaluate("client.disconnect()")
        subscriptions = [
            {"channel": "private-newsroom"},
            {"channel": "private-post_1"},
            *({"channel": name, "page": path} for name in names),
        ]
        # The signature of another channel is a matter of the service, which says so to the connection (A.26).
        outcome = cheat.evaluate(
            CLIENT,
            {
                "subscriptions": subscriptions,
                "frames": [
                    {"channel": channel, "auth": signed["auth"]},
                    {"channel": channel, "auth": theirs["auth"]},
                    {"channel": channel},
                    {"channel": "#server-to-user-1", "auth": theirs["auth"]},
                ],
            },
        )
        assert outcome == ["in", "in"] + ["403"] * len(names)

        rewrite(ada, path, f"Nobody but Ada ({name})")
        ring(ada)

        happened = wait_for_bell(cheat)
        assert [message for message in happened if message["channel"] != "private-post_1"] == []

    def test_is_shown_and_told_to_who_may_see_it(self, browse, draft):
        path, _ = draft
        ada = browse("Ada")
        reader, writer = open_live(ada(), path), ada()

        rewrite(writer, path, "Somebody waters the clock")

        expect(reader.locator("h1")).to_have_text("Somebody waters the clock")

    def test_that_is_printed_appears_on_the_lists_of_all(self, browse):
        ada = browse("Ada")
        reader, own, writer = open_live(browse()(), "/posts/"), ada(), ada()
        writer.goto("/posts/new/")
        writer.get_by_label("Title").fill("Kept back for a while")
        writer.get_by_label("Body").fill("One.")
        writer.get_by_label("Keep it a draft").check()
        writer.get_by_role("button", name="Publish").click()
        expect(writer.get_by_text("Kept as a draft.")).to_be_visible()
        expect(writer.get_by_text("Draft: nobody but you")).to_be_visible()
        story = open_live(own, "/posts/").locator(".story").first
        expect(story.get_by_text("Draft: yours alone")).to_be_visible()
        writer.get_by_role("link", name="Edit").click()
        writer.get_by_label("Keep it a draft").uncheck()
        writer.get_by_role("button", name="Save").click()

        expect(reader.locator(".story h3").first).to_have_text("Kept back for a while")
        wait_for_subscriptions(reader)
        expect(story.get_by_text("Draft")).to_have_count(0)

    def test_permission_that_is_taken_away_is_felt_at_the_next_subscription(self, browse, complaints, draft, change):
        path, channel = draft
        change("update auth_user set is_staff = 1 where username = 'grace'")
        grace = open_live(browse("Grace")(), path)

        change("update auth_user set is_staff = 0 where username = 'grace'")
        grace.evaluate("() => { pusherable.pusher.disconnect(); pusherable.pusher.connect(); }")

        expect(grace.locator(f"pusherable-subscribe[channel={channel}][refused]")).to_have_count(5)
        expect(grace.locator("pusherable-subscribe[subscribed]")).to_have_count(1)
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


class TestListOfForty:
    def test_is_let_in_by_one_request(self, browse, change):
        change(
            "insert into newsroom_post (title, body, colour, published, version, author_id, is_draft) "
            "with recursive number(n) as (select 1 union all select n + 1 from number where n < 40) "
            "select 'Number ' || n, '', 'ink', '2020-01-01', 1, 1, 0 from number"
        )
        page = browse("Grace")()
        asked = []
        page.on("request", lambda request: asked.append(request.url) if "/pusher/" in request.url else None)

        open_live(page, "/posts/")

        assert page.locator("[data-role=story]").count() > 40
        assert len(asked) == 1
        change("delete from newsroom_post where title like 'Number %'")


class TestPresence:
    def test_of_two_browsers_and_two_tabs_counts_people(self, browse):
        ada, grace = browse("Ada"), browse("Grace")
        watching = open_live(ada(), "/posts/1/")
        names = watching.locator("pusherable-presence li [data-part=name]")
        expect(names).to_have_text(["Ada"])

        first = open_live(grace(), "/posts/1/")
        expect(names).to_have_text(["Ada", "Grace"])
        second = open_live(grace(), "/posts/1/edit/")
        own = first.locator("pusherable-presence li [data-part=name]")
        expect(own).to_have_text(["Grace", "Ada"])

        first.close()
        # The other tab is heard of again, and she is still there.
        second.reload()
        wait_for_subscriptions(second)
        expect(names).to_have_text(["Ada", "Grace"])
        expect(watching.get_by_text("2 people here")).to_be_visible()
        second.goto("/bell/")
        expect(names).to_have_text(["Ada"])

        open_live(second, "/posts/1/")
        expect(names).to_have_text(["Ada", "Grace"])
        with second.expect_event("crash"), pytest.raises(Error, match="chrome://crash"):
            second.goto("chrome://crash")
        expect(names).to_have_text(["Ada"], timeout=PATIENCE * 1000)

    def test_is_not_shown_to_who_has_no_name(self, browse):
        page = open_live(browse()(), "/posts/1/")

        assert page.locator("pusherable-presence").count() == 0
        expect(page.get_by_text("Log in to see who else is here.")).to_be_visible()


class TestAuthor:
    def test_hears_of_work_on_the_post_wherever_that_is(self, browse, change):
        [[path]] = change(
            "select '/posts/' || newsroom_post.id || '/' from newsroom_post "
            "join auth_user on auth_user.id = author_id where username = 'ada' and not is_draft "
            "order by published desc"
        )[:1]
        author = open_live(browse("Ada")(), "/bell/")
        # Signed in is who has been told so; there is nothing in the page to see it by.
        author.wait_for_function("() => pusherable.pusher.user.serverToUserChannel?.subscribed")

        rewrite(browse("Grace")(), path, "Mill organ is out of tune")

        expect(author.get_by_role("region", name="Notifications")).to_contain_text(
            "Grace has worked on your post “Mill organ is out of tune”."
        )


class TestEncryptedNewsroom:
    def test_is_read_by_its_readers_alone(self, chromium, complaints, tmp_path):
        project = tmp_path / "project"
        shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
        key = base64.b64encode(bytes(range(32))).decode()
        with (project / "newsroom_site/settings.py").open("a") as settings:
            settings.write(f'PUSHERABLE_PRIVATE_CHANNELS = "encrypted"\nPUSHER_ENCRYPTION_MASTER_KEY = "{key}"\n')
        with (
            RunningNewsroom(tmp_path / "db.sqlite3", project=project) as newsroom,
            closing(chromium.new_context(base_url=newsroom.url)) as readers,
            closing(chromium.new_context(base_url=newsroom.url)) as writers,
        ):
            reader, writer = complaints.watch(readers.new_page()), complaints.watch(writers.new_page())
            frames = []

            def note(frame):
                frames.append(frame)

            reader.on("websocket", lambda socket: socket.on("framereceived", note))
            open_live(reader, "/posts/1/")
            log_in(writer, "Grace")

            rewrite(writer, "/posts/1/", "Only for readers")

            expect(reader.locator("h1")).to_have_text("Only for readers")
            updated = [frame for frame in frames if '"updated"' in frame]
            assert len(updated) == 1
            assert "ciphertext" in updated[0]
            assert "Only for readers" not in "".join(frames)

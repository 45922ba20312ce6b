"""How ``pusherable.js`` gets a page into private channels, and its visitor signed in."""

import re
import time

from playwright.sync_api import expect

from tests.browser.conftest import USER, let_in, sign
from tests.browser.waiting import PATIENCE, heard, wait_for_state, wait_for_subscriptions

ELEMENT = "pusherable-subscribe"
PRIVATE = "{% pusherable_subscribe 'view' 'private-post_1' %}"
FORTY = "{% for name in names %}{% pusherable_subscribe 'view' name %}{% endfor %}"
NAMES = [f"private-post_{number}" for number in range(40)]
RECORD = """
    for (const name of ["refused", "greeting"]) {
        document.addEventListener(`pusherable:${name}`, ({ target, detail }) => {
            heard.push([target.localName ?? "document", detail]);
        });
    }
"""


def refuse(posted):
    """An answer in which nobody may listen to anything, nor is anybody."""
    _, body = let_in(posted)
    data = {"code": "not-yours", "reason": "It is not yours."}
    return 200, {"channels": {name: {"status": 403, "data": data} for name in body["channels"]}, "user": None}


def subscribed(push_server):
    return [channel for command, channel in push_server.frames if command == "subscribe" and channel[0] != "#"]


class TestBatch:
    def test_of_forty_channels_is_one_request_at_load_and_one_at_each_return(self, open_page, push_server, site):
        page = open_page(FORTY, names=NAMES).page
        wait_for_subscriptions(page)
        expected = {f"channel_name[{number}]": name for number, name in enumerate(NAMES)} | {"signin": "1"}
        assert [posted.form for posted in site.posted] == [{"socket_id": "1.1", **expected}]

        push_server.drop_connections()
        push_server.wait_for(lambda server: len(subscribed(server)) == 80)
        wait_for_subscriptions(page)

        assert [posted.form for posted in site.posted[1:]] == [{"socket_id": "1.2", **expected}]

    def test_of_many_is_split_where_the_server_would_refuse_it(self, open_page, site):
        page = open_page(FORTY, names=[f"private-post_{number}" for number in range(250)]).page
        wait_for_subscriptions(page)

        counts = [sum(key.startswith("channel_name") for key in posted.form) for posted in site.posted]
        # Signing in takes a place, too.
        assert sorted(counts) == [51, 99, 100]

    def test_tells_where_each_subscription_comes_from(self, open_page, site):
        element = '<pusherable-subscribe event="view" channel="{}" page="{}"></pusherable-subscribe>'
        page = open_page(
            element.format("private-post_1", "/posts/1/?a=b&c=%20")
            + element.format("private-post_2", "")
            + '<pusherable-subscribe event="view" channel="public"></pusherable-subscribe>'
        ).page
        wait_for_subscriptions(page)

        assert [posted.form for posted in site.posted] == [
            {
                "socket_id": "1.1",
                "channel_name[0]": "private-post_1",
                "page[0]": "/posts/1/?a=b&c=%20",
                "channel_name[1]": "private-post_2",
                "signin": "1",
            }
        ]

    def test_is_asked_for_again_by_what_is_added_later_and_signs_in_once(self, open_page, site):
        page = open_page(PRIVATE + '<div id="target"></div>').page
        wait_for_subscriptions(page)
        page.evaluate(
            "target.innerHTML = [2, 3].map((pk) =>"
            " `<pusherable-subscribe event=view channel=private-post_${pk}></pusherable-subscribe>`).join('')"
        )
        expect(page.locator("[subscribed]")).to_have_count(3)

        assert [posted.form for posted in site.posted[1:]] == [
            {"socket_id": "1.1", "channel_name[0]": "private-post_2", "channel_name[1]": "private-post_3"}
        ]

    def test_of_a_page_without_private_channels_is_none(self, open_page, site):
        page = open_page("{% pusherable_subscribe 'view' 'post_1' %}").page
        wait_for_subscriptions(page)

        assert site.posted == []

    def test_gives_a_script_what_it_takes(self, open_page, site):
        page = open_page("").page

        page.evaluate(
            "pusherable.on('private-post_1', 'pusher:subscription_succeeded', () => heard.push(1), {page: '/p/'})"
            " && null"
        )

        assert heard(page, 1) == [1]
        assert site.posted[0].form["page[0]"] == "/p/"


class TestToken:
    def test_comes_from_the_cookie_at_the_time_of_the_request(self, open_page, push_server, site, context):
        context.add_cookies([{"name": "csrftoken", "value": "first", "url": site.url}])
        page = open_page(PRIVATE).page
        wait_for_subscriptions(page)
        context.add_cookies([{"name": "csrftoken", "value": "second", "url": site.url}])

        push_server.drop_connections()
        push_server.wait_for(lambda server: len(subscribed(server)) == 2)

        assert [posted.headers["x-csrftoken"] for posted in site.posted] == ["first", "second"]

    def test_that_scripts_cannot_read_comes_from_the_page(self, open_page, site, settings):
        settings.CSRF_COOKIE_HTTPONLY = True
        opened = open_page(PRIVATE)
        token = opened.page.get_attribute("meta[name=pusherable-csrf]", "content")
        opened.page.evaluate("document.querySelector('meta[name=pusherable-csrf]').remove()")
        wait_for_subscriptions(opened.page)

        assert re.fullmatch("[A-Za-z0-9]{64}", token)
        assert [posted.headers["x-csrftoken"] for posted in site.posted] == [token]

    def test_that_the_server_does_not_take_says_what_to_do_once(self, open_page, site, complaints):
        site.reply = lambda posted: (403, "<h1>Forbidden</h1> CSRF")
        page = open_page(FORTY, names=NAMES).page

        expect(page.locator(f"{ELEMENT}[refused=csrf]")).to_have_count(40)
        names = ", ".join(NAMES[:5])
        assert complaints.take()[1:] == [
            f"pusherable: this page may not listen to {names} and 35 more. /pusher/auth/: 403: the CSRF token is "
            "missing or old. Reload the page."
        ]
        assert len(site.posted) == 1


class TestSignIn:
    def test_happens_with_the_same_request_and_brings_what_is_sent_to_the_user(self, open_page, push_server, site):
        page = open_page(PRIVATE + "{% pusherable_notifications %}", script=RECORD).page
        page.evaluate("void pusherable.onUser('greeting', (data, detail) => heard.push(['on', data, detail]))")
        push_server.wait_for(lambda server: ("subscribe", "#server-to-user-1") in server.frames)

        push_server.publish("#server-to-user-1", "greeting", {"message": "Hello"})

        data = {"message": "Hello"}
        detail = {"event": "greeting", "data": data, "channel": "#server-to-user-1"}
        assert heard(page, 2) == [["document", detail], ["on", data, {"event": "greeting"}]]
        expect(page.locator("pusherable-notifications li [data-part=text]")).to_have_text(["Hello"])
        assert len(site.posted) == 1

    def test_of_nobody_leaves_the_page_in_its_channels_and_says_nothing(self, open_page, push_server, site):
        site.reply = lambda posted: (200, let_in(posted)[1] | {"user": None})
        page = open_page(PRIVATE).page

        wait_for_subscriptions(page)

        assert "signin" not in [command for command, _ in push_server.frames]

    def test_by_a_script_alone_asks_for_nothing_else(self, open_page, push_server, site):
        page = open_page("").page
        page.evaluate("void pusherable.onUser('greeting', () => {})")
        push_server.wait_for(lambda server: ("subscribe", "#server-to-user-1") in server.frames)

        assert [posted.form for posted in site.posted] == [{"socket_id": "1.1", "signin": "1"}]

    def test_that_ends_is_heard_no_more(self, open_page, push_server):
        page = open_page("").page
        page.evaluate("pusherable.onUser('greeting', () => heard.push('first'))()")
        page.evaluate("void pusherable.onUser('greeting', () => heard.push('second'))")
        push_server.wait_for(lambda server: ("subscribe", "#server-to-user-1") in server.frames)

        push_server.publish("#server-to-user-1", "greeting", 1)

        assert heard(page, 1) == ["second"]


class TestRefusal:
    def test_is_shown_told_and_said_once_and_harms_no_other_channel(self, open_page, site, complaints):
        def reply(posted):
            body = let_in(posted)[1]
            return 200, body | {"channels": body["channels"] | refuse_one(posted, "private-post_1")}

        site.reply = reply
        page = open_page(PRIVATE + PRIVATE + "{% pusherable_subscribe 'view' 'private-post_2' %}", script=RECORD).page

        detail = {"channel": "private-post_1", "code": "not-yours", "reason": "It is not yours."}
        assert heard(page, 2) == [[ELEMENT, detail], [ELEMENT, detail]]
        expect(page.locator(f"{ELEMENT}[refused=not-yours]")).to_have_count(2)
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(1)
        assert complaints.take() == ["pusherable: this page may not listen to private-post_1 (It is not yours.)."]

    def test_without_a_reason_is_one_all_the_same(self, open_page, site, complaints):
        site.reply = lambda posted: (200, {"channels": {"private-post_1": {"status": 403, "data": {}}}, "user": None})
        page = open_page(PRIVATE).page

        expect(page.locator(ELEMENT)).to_have_attribute("refused", "")
        assert complaints.take() == ["pusherable: this page may not listen to private-post_1."]

    def test_is_asked_about_again_after_a_return(self, open_page, push_server, site, complaints):
        site.reply = refuse
        page = open_page(PRIVATE).page
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)
        site.reply = let_in

        push_server.drop_connections()
        expect(page.locator(f"{ELEMENT}[subscribed]:not([refused])")).to_have_count(1)

        assert len(complaints.take()) == 1

    def test_is_asked_about_again_for_an_element_with_another_page(self, open_page, site, complaints):
        site.reply = lambda posted: let_in(posted) if "page[0]" in posted.form else refuse(posted)
        page = open_page(PRIVATE).page
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)

        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('page', '/posts/1/')")
        expect(page.locator(f"{ELEMENT}[subscribed]:not([refused])")).to_have_count(1)
        assert len(complaints.take()) == 1

    def test_is_asked_about_again_for_an_element_that_is_added(self, open_page, site, complaints):
        site.reply = refuse
        page = open_page(PRIVATE + '<div id="target"></div>').page
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)
        site.reply = let_in

        page.evaluate("target.append(document.querySelector('pusherable-subscribe').cloneNode())")
        expect(page.locator(f"{ELEMENT}[subscribed]:not([refused])")).to_have_count(2)
        assert (len(site.posted), len(complaints.take())) == (2, 1)

    def test_by_the_service_is_shown_too(self, open_page, push_server):
        push_server.refused.add("private-post_1")
        page = open_page(PRIVATE, script=RECORD).page

        assert heard(page, 1) == [[ELEMENT, {"channel": "private-post_1", "code": "", "reason": "No."}]]
        page.evaluate("document.body.append(document.querySelector('pusherable-subscribe').cloneNode())")
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(2)

    def test_of_the_whole_request_is_final_and_says_why(self, open_page, site, complaints):
        answers = [
            ((302, "", {"Location": "/login/"}), "redirected", "The answer is a redirect."),
            ((200, "<h1>Log in</h1>"), "", "The answer is 200."),
            ((404, "nothing here"), "", "The answer is 404."),
            ((400, {"code": "too-many", "reason": "100 are the limit."}), "too-many", "100 are the limit."),
            ((403, {"code": "quiet"}), "quiet", "The answer is 403."),
        ]
        complaints.allow("Failed to load resource")
        page = open_page("").page
        for number, (answer, code, reason) in enumerate(answers):
            site.reply = lambda posted, answer=answer: answer
            page.evaluate(
                "(channel) => { document.body.append(Object.assign(document.createElement('div'), {"
                " innerHTML: `<pusherable-subscribe event=view channel=${channel}></pusherable-subscribe>` })); }",
                f"private-post_{number}",
            )
            expect(page.locator(f"[channel=private-post_{number}]")).to_have_attribute("refused", code)
            assert complaints.take() == [
                f"pusherable: this page may not listen to private-post_{number}. /pusher/auth/: {reason}"
            ]
        assert len(site.posted) == len(answers)


class TestTrouble:
    def test_of_the_server_is_waited_out(self, open_page, push_server, site, complaints, page):
        complaints.allow("Failed to load resource")
        answers = [(503, "busy"), (500, "<h1>"), (429, "", {"Retry-After": "30"})]
        site.reply = lambda posted: answers[len(site.posted)] if len(site.posted) < 3 else let_in(posted)
        page.clock.install()
        page.add_init_script("Math.random = () => 0")
        answered = []
        page.on("response", lambda response: answered.append(response) if "/auth/" in response.url else None)
        open_page(FORTY, names=NAMES)
        for asked, pause in ((1, 1000), (2, 2000), (3, 15_000)):
            wait_until(page, lambda asked=asked: len(answered) >= asked)
            page.clock.run_for(pause)
        assert len(site.posted) == 3
        page.clock.run_for(15_000)
        wait_for_subscriptions(page)

        assert page.locator("[refused]").count() == 0
        assert len(site.posted) == 4

    def test_is_not_waited_out_by_a_connection_that_is_gone(self, open_page, push_server, site, complaints, page):
        complaints.allow("Failed to load resource")
        site.reply = lambda posted: (503, "") if posted.form["socket_id"] == "1.1" else let_in(posted)
        page.clock.install()
        open_page(PRIVATE)
        page.wait_for_function("() => pusherable.state === 'connected'")
        page.clock.run_for(1)
        push_server.drop_connections()
        wait_for_state(page, "connecting")
        page.clock.run_for(1000)
        wait_for_state(page)
        page.clock.run_for(2000)
        wait_for_subscriptions(page)

        assert subscribed(push_server) == ["private-post_1"]

    def test_is_not_waited_out_by_what_has_left_the_page(self, open_page, push_server, site, complaints, page):
        complaints.allow("Failed to load resource")
        site.reply = lambda posted: (503, "") if len(site.posted) < 1 else let_in(posted)
        page.clock.install()
        open_page(f'<div id="target">{PRIVATE}</div>' + "{% pusherable_subscribe 'view' 'private-post_2' %}")
        wait_for_state(page)
        page.clock.run_for(1)
        page.evaluate("target.replaceChildren()")
        page.clock.run_for(10_000)
        wait_for_subscriptions(page)

        assert subscribed(push_server) == ["private-post_2"]
        assert page.evaluate("pusherable.pusher.channel('private-post_1')") is None


class TestEndOfAUser:
    def test_is_followed_by_a_return_as_whoever_the_visitor_is_now(self, open_page, push_server, site, complaints):
        page = open_page(PRIVATE + "{% pusherable_subscribe 'view' 'post_1' %}").page
        wait_for_subscriptions(page)
        site.reply = refuse

        push_server.drop_connections(4009)
        wait_for_state(page, "connecting")
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(1)

        assert push_server.opened == 2
        assert subscribed(push_server)[2:] == ["post_1"]
        assert len(complaints.take()) == 1

    def test_again_and_again_is_followed_by_ever_later_returns(self, open_page, push_server, page):
        page.clock.install()
        page.add_init_script("Math.random = () => 0")
        open_page(PRIVATE)
        for opened, pause in ((1, 1000), (2, 5000), (3, 25_000)):
            wait_for_state(page)
            wait_for_subscriptions(page)
            push_server.drop_connections(4009)
            wait_for_state(page, "connecting")
            page.clock.run_for(pause / 2)
            assert push_server.opened == opened
            page.clock.run_for(pause / 2)

        push_server.wait_for(lambda server: server.opened == 4)

    def test_that_was_let_in_for_a_minute_is_forgotten(self, open_page, push_server, page):
        page.clock.install()
        open_page(PRIVATE)
        for opened in (1, 2):
            wait_for_state(page)
            wait_for_subscriptions(page)
            page.clock.run_for(61_000)
            push_server.drop_connections(4009)
            wait_for_state(page, "connecting")
            page.clock.run_for(1300)
            push_server.wait_for(lambda server, opened=opened: server.opened == opened + 1)

    def test_that_is_refused_at_the_door_is_the_end(self, open_page, push_server):
        page = open_page(PRIVATE).page
        wait_for_subscriptions(page)
        push_server.closing_code = 4009

        push_server.drop_connections(4009)
        wait_for_state(page, "disconnected")

        # pusher-js itself knocks twice where it was let in before.
        assert push_server.opened in (2, 3)

    def test_is_not_what_another_code_means(self, open_page, push_server):
        page = open_page(PRIVATE).page
        wait_for_subscriptions(page)

        push_server.drop_connections(4001)

        wait_for_state(page, "disconnected")

    def test_is_not_what_a_mere_message_about_it_means(self, open_page, push_server):
        page = open_page(PRIVATE).page
        wait_for_subscriptions(page)
        push_server.send({"event": "pusher:error", "data": {"code": 4009, "message": "No."}})
        push_server.publish("private-post_1", "view", 1)

        page.evaluate("pusherable.pusher.disconnect()")

        wait_for_state(page, "disconnected")


class TestEncryptedChannel:
    def test_without_its_build_says_what_to_write(self, open_page, complaints):
        page = open_page("{% pusherable_subscribe 'view' 'private-encrypted-post_1' %}" + PRIVATE).page

        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(1)
        assert complaints.take() == [
            "pusherable: private-encrypted-post_1 takes the build of {% pusherable_script encrypted=True %}."
        ]

    def test_with_its_build_is_authorized_with_its_key(self, open_page, push_server, site):
        name = "private-encrypted-post_1"
        data = sign(name) | {"shared_secret": "A" * 43 + "="}
        site.reply = lambda posted: (200, {"channels": {name: {"status": 200, "data": data}}, "user": USER})
        page = open_page(f"{{% pusherable_subscribe 'view' '{name}' %}}", options="encrypted=True").page

        wait_for_subscriptions(page)


def wait_until(page, condition):
    """Wait for what the site has noted, while the page's own time stands still."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        page.evaluate("1")


def refuse_one(posted, name):
    return {name: refuse(posted)[1]["channels"][name]}

"""What ``pusherable.js`` does with elements, events and connections."""

import pytest
from playwright.sync_api import expect

from tests.browser.waiting import heard, wait_for_state, wait_for_subscriptions

RECORD = """
    window.pusherable_notify = (event, data) => heard.push(["notify", event, data]);
    for (const name of ["view", "update"]) {
        document.addEventListener(`pusherable:${name}`, ({ target, detail }) => {
            heard.push([target.id || target.localName, detail.event, detail.data, detail.channel]);
        });
    }
"""
VIEW = "{% pusherable_subscribe 'view' 'post_1' %}"
ELEMENT = "pusherable-subscribe"


class TestSubscription:
    def test_in_a_page_is_confirmed_by_the_server_and_says_so(self, open_page, push_server):
        page = open_page(VIEW).page

        expect(page.locator(ELEMENT)).to_have_attribute("subscribed", "")
        assert page.evaluate("document.documentElement.dataset.pusherable") == "connected"
        assert page.evaluate("pusherable.state") == "connected"
        assert push_server.frames == [("subscribe", "post_1")]

    def test_before_the_server_has_confirmed_does_not_say_so(self, open_page, push_server):
        push_server.silent.add("post_1")
        page = open_page(VIEW).page
        push_server.wait_for(lambda server: server.frames == [("subscribe", "post_1")])

        assert page.locator(ELEMENT).get_attribute("subscribed") is None

        push_server.confirm("post_1")
        expect(page.locator(ELEMENT)).to_have_attribute("subscribed", "")

    def test_that_is_refused_leaves_the_others_alone(self, open_page, push_server):
        push_server.refused.add("post_1")
        page = open_page(VIEW + "{% pusherable_subscribe 'view' 'post_2' %}").page

        expect(page.locator("[channel=post_2]")).to_have_attribute("subscribed", "")
        assert page.locator("[channel=post_1]").get_attribute("subscribed") is None

    def test_for_a_channel_that_cannot_be_is_reported_and_leaves_the_others_alone(
        self, open_page, push_server, complaints
    ):
        page = open_page('<pusherable-subscribe event="view" channel="#no"></pusherable-subscribe>' + VIEW).page

        expect(page.locator("[channel=post_1]")).to_have_attribute("subscribed", "")
        assert push_server.frames == [("subscribe", "post_1")]
        assert complaints.take() == ['Cannot create a channel with name "#no".']

    def test_in_two_hundred_elements_shares_one_connection(self, open_page, push_server):
        page = open_page(
            "{% for number in numbers %}{% pusherable_subscribe 'view' number %}{% endfor %}",
            numbers=[f"post_{number}" for number in range(200)],
        ).page
        wait_for_subscriptions(page)

        assert push_server.opened == 1
        assert len(push_server.frames) == 200

    def test_of_two_elements_to_one_channel_is_one(self, open_page, push_server):
        page = open_page(VIEW + VIEW + "{% pusherable_subscribe 'update' 'post_1' %}").page
        wait_for_subscriptions(page)

        assert push_server.frames == [("subscribe", "post_1")]


class TestGap:
    def test_is_told_once_for_all_channels(self, open_page, push_server):
        script = """
            window.pusherable_notify = (event) => heard.push(event);
            window.pusherable_resync = (channels) => heard.push(["resync", ...channels]);
            document.addEventListener("pusherable:resync", ({ detail }) => heard.push(["DOM", ...detail.channels]));
        """
        page = open_page(VIEW + "{% pusherable_subscribe 'view' 'post_2' %}", script=script).page
        wait_for_subscriptions(page)

        for channel in ("post_1", "post_2"):
            push_server.publish(channel, "pusher:resync", {"channels": [channel]})

        assert heard(page, 2) == [["resync", "post_1", "post_2"], ["DOM", "post_1", "post_2"]]

        push_server.publish("post_1", "pusher:resync", {"channels": ["post_1"]})
        assert heard(page, 4)[2:] == [["resync", "post_1"], ["DOM", "post_1"]]


class TestEvent:
    def test_reaches_the_function_of_the_page_and_bubbles_from_the_element(self, open_page, push_server):
        page = open_page(f"<main>{VIEW}</main>", script=RECORD).page
        wait_for_subscriptions(page)

        data = {"object": {"title": "</script>\u2028\"'"}, "user": "anna", "origin": "another"}
        push_server.publish("post_1", "view", data)

        assert heard(page, 2) == [
            ["notify", "view", data],
            ["pusherable-subscribe", "view", data, "post_1"],
        ]

    def test_reaches_a_function_declared_after_the_subscription(self, open_page, push_server):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)
        page.evaluate("() => { window.pusherable_notify = (event, data) => heard.push([event, data]); }")

        push_server.publish("post_1", "view", 1)

        assert heard(page, 1) == [["view", 1]]

    @pytest.mark.parametrize("data", [None, False, 0, "text", "", [1, {"a": None}], {}])
    def test_may_hold_any_json(self, open_page, push_server, data):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", data)

        assert heard(page, 2) == [["notify", "view", data], ["pusherable-subscribe", "view", data, "post_1"]]

    def test_that_the_page_itself_caused_is_ignored(self, open_page, push_server):
        opened = open_page(VIEW + '<pusherable-subscribe id="swapped"></pusherable-subscribe>', script=RECORD)
        page = opened.page
        page.evaluate("swapped.outerHTML = '<pusherable-subscribe event=update channel=post_1 origin=of-a-fragment>'")
        page.evaluate("void pusherable.on('post_1', 'view', (data) => heard.push(['on', data.origin]))")
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", {"origin": opened.origin})
        push_server.publish("post_1", "update", {"origin": "of-a-fragment"})
        push_server.publish("post_1", "view", {"origin": "of-somebody-else"})

        assert heard(page, 3) == [
            ["notify", "view", {"origin": "of-somebody-else"}],
            ["pusherable-subscribe", "view", {"origin": "of-somebody-else"}, "post_1"],
            ["on", "of-somebody-else"],
        ]

    def test_of_a_fragment_that_is_gone_is_still_known_as_own(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('origin', 'second')")
        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('origin', 'third')")
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", {"origin": "second"})
        push_server.publish("post_1", "view", {"origin": "fourth"})

        assert heard(page, 2)[0] == ["notify", "view", {"origin": "fourth"}]

    def test_of_an_earlier_page_of_this_tab_is_still_known_as_own(self, open_page, push_server):
        first = open_page("")
        page = open_page(VIEW, path="/next/", script=RECORD).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", {"origin": first.origin})
        push_server.publish("post_1", "view", {"origin": "of-somebody-else"})

        assert heard(page, 2)[0] == ["notify", "view", {"origin": "of-somebody-else"}]

    def test_of_the_form_that_led_here_is_known_by_its_cookie(self, open_page, push_server, site, context):
        context.add_cookies([{"name": "pusherable_origin", "value": "of-the-form_1", "url": site.url}])
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", "updated", {"origin": "of-the-form_1"})
        push_server.publish("post_1", "view", {"origin": "of-the-form_1"})
        push_server.publish("post_1", "view", {"origin": "of-somebody-else"})

        assert heard(page, 2)[0] == ["notify", "view", {"origin": "of-somebody-else"}]

    def test_of_a_form_that_was_sent_in_another_tab_meanwhile_is_heard(self, open_page, push_server, site, context):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)
        context.add_cookies([{"name": "pusherable_origin", "value": "of-another-tab", "url": site.url}])

        push_server.publish("post_1", "view", {"origin": "of-another-tab"})

        assert heard(page, 1)[0] == ["notify", "view", {"origin": "of-another-tab"}]

    @pytest.mark.parametrize("kept", ["null", "7", "{", '"x"'])
    def test_with_a_spoilt_memory_of_the_tab_is_heard_all_the_same(self, open_page, push_server, page, kept):
        page.add_init_script(f"sessionStorage.setItem('pusherable.origins', {kept!r})")
        open_page(VIEW, script=RECORD)
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", {"origin": "of-somebody-else"})

        assert heard(page, 2)[0] == ["notify", "view", {"origin": "of-somebody-else"}]

    def test_of_a_very_old_fragment_is_forgotten(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        page.evaluate(
            "for (let n = 0; n <= 1000; n++) "
            "document.querySelector('pusherable-subscribe').setAttribute('origin', `request-${n}`)"
        )
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", {"origin": "request-1000"})
        push_server.publish("post_1", "view", {"origin": "request-0"})

        assert heard(page, 2)[0] == ["notify", "view", {"origin": "request-0"}]

    def test_for_two_equal_elements_calls_the_function_once_and_both_elements(self, open_page, push_server):
        element = '<pusherable-subscribe id="{}" event="view" channel="post_1"></pusherable-subscribe>'
        page = open_page(element.format("one") + element.format("two"), script=RECORD).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", 1)

        assert heard(page, 3) == [
            ["notify", "view", 1],
            ["one", "view", 1, "post_1"],
            ["two", "view", 1, "post_1"],
        ]

    def test_reaches_only_those_that_asked_for_it(self, open_page, push_server):
        page = open_page(
            VIEW + "{% pusherable_subscribe 'update' 'post_1' %}{% pusherable_subscribe 'update' 'post_2' %}",
            script=RECORD,
        ).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", "delete", 1)
        push_server.publish("post_2", "view", 2)
        push_server.publish("post_1", "update", 3)

        assert heard(page, 2) == [
            ["notify", "update", 3],
            ["pusherable-subscribe", "update", 3, "post_1"],
        ]

    def test_may_have_any_name(self, open_page, push_server):
        name = "\"'><b>&amp; é\u2028"
        page = open_page("{% pusherable_subscribe name 'post_1' %}", script=RECORD, name=name).page
        wait_for_subscriptions(page)

        push_server.publish("post_1", name, 1)

        assert heard(page, 1) == [["notify", name, 1]]

    def test_whose_function_fails_still_reaches_everybody_else(self, open_page, push_server, complaints):
        page = open_page(
            VIEW, script=RECORD + "window.pusherable_notify = () => { throw new Error('of the page'); };"
        ).page
        page.evaluate("void pusherable.on('post_1', 'view', () => { throw new Error('of a callback'); })")
        page.evaluate("void pusherable.on('post_1', 'view', (data) => heard.push(['on', data]))")
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", 1)

        assert heard(page, 2) == [["pusherable-subscribe", "view", 1, "post_1"], ["on", 1]]
        assert complaints.take() == ["of the page", "of a callback"]

    def test_in_a_page_whose_function_is_none_reaches_the_element(self, open_page, push_server):
        page = open_page(VIEW + '<i id="pusherable_notify"></i>', script=RECORD).page
        page.evaluate("delete window.pusherable_notify")
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", 1)

        assert heard(page, 1) == [["pusherable-subscribe", "view", 1, "post_1"]]

    def test_that_removes_another_listener_does_not_reach_it(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        page.evaluate(
            """() => {
                pusherable.on("post_1", "view", () => { heard.push("first"); off(); });
                const off = pusherable.on("post_1", "view", () => heard.push("second"));
                pusherable.on("post_1", "view", () => heard.push("third"));
            }"""
        )
        wait_for_subscriptions(page)

        push_server.publish("post_1", "view", 1)

        assert heard(page, 4)[2:] == ["first", "third"]


class TestElementThatChanges:
    def test_added_later_subscribes(self, open_page, push_server):
        page = open_page('<div id="target"></div>', script=RECORD).page
        assert page.evaluate("pusherable.state") == "initialized"

        page.evaluate("target.innerHTML = '<pusherable-subscribe event=view channel=post_1></pusherable-subscribe>'")
        wait_for_subscriptions(page)
        push_server.publish("post_1", "view", 1)

        assert heard(page, 2)[0] == ["notify", "view", 1]

    def test_removed_unsubscribes_and_hears_no_more(self, open_page, push_server):
        page = open_page(f'<div id="target">{VIEW}</div>', script=RECORD).page
        wait_for_subscriptions(page)

        page.evaluate("target.replaceChildren()")
        push_server.wait_for(lambda server: server.frames[-1] == ("unsubscribe", "post_1"))

        assert push_server.frames == [("subscribe", "post_1"), ("unsubscribe", "post_1")]

    def test_removed_beside_another_of_its_channel_keeps_the_channel(self, open_page, push_server):
        page = open_page(f'<div id="target">{VIEW}</div>' + VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        page.evaluate("target.replaceChildren()")
        push_server.publish("post_1", "view", 1)

        assert heard(page, 2) == [["notify", "view", 1], ["pusherable-subscribe", "view", 1, "post_1"]]
        assert push_server.frames == [("subscribe", "post_1")]

    def test_removed_before_the_server_confirmed_unsubscribes_after_that(self, open_page, push_server):
        push_server.silent.add("post_1")
        page = open_page(f'<div id="target">{VIEW}</div>').page
        push_server.wait_for(lambda server: server.frames == [("subscribe", "post_1")])

        page.evaluate("target.replaceChildren(); new Promise((done) => setTimeout(done))")
        push_server.confirm("post_1")

        push_server.wait_for(lambda server: server.frames[-1] == ("unsubscribe", "post_1"))

    def test_removed_while_pending_is_not_brought_back_by_a_reconnection(self, open_page, push_server):
        push_server.silent.add("post_1")
        page = open_page(f'<div id="target">{VIEW}</div>').page
        push_server.wait_for(lambda server: server.frames == [("subscribe", "post_1")])

        page.evaluate("target.replaceChildren(); new Promise((done) => setTimeout(done))")
        push_server.silent.clear()
        push_server.drop_connections()

        push_server.wait_for(lambda server: server.frames[-1] == ("unsubscribe", "post_1"))

    def test_moved_or_replaced_by_its_like_keeps_its_subscription(self, open_page, push_server):
        page = open_page(f'<main>{VIEW}</main><aside id="target"></aside>', script=RECORD).page
        wait_for_subscriptions(page)

        page.evaluate("target.append(document.querySelector('pusherable-subscribe'))")
        page.evaluate("target.innerHTML += ''")
        page.evaluate("document.body = document.body.cloneNode(true)")
        wait_for_subscriptions(page)
        push_server.publish("post_1", "view", 1)

        assert heard(page, 2) == [["notify", "view", 1], ["pusherable-subscribe", "view", 1, "post_1"]]
        assert push_server.frames == [("subscribe", "post_1")]

    def test_copied_from_a_page_that_was_connected_does_not_say_more_than_it_knows(self, open_page, push_server):
        push_server.silent.add("post_1")
        page = open_page(
            '<template id="copy"><pusherable-subscribe event="view" channel="post_1" subscribed>'
            "</pusherable-subscribe></template>"
        ).page

        page.evaluate("document.body.append(copy.content.cloneNode(true))")
        push_server.wait_for(lambda server: server.frames == [("subscribe", "post_1")])

        assert page.locator(ELEMENT).get_attribute("subscribed") is None

    def test_given_another_channel_or_event_follows(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('channel', 'post_2')")
        push_server.wait_for(lambda server: server.frames[-1] == ("unsubscribe", "post_1"))
        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('event', 'update')")
        wait_for_subscriptions(page)
        push_server.publish("post_2", "view", 1)
        push_server.publish("post_2", "update", 2)

        assert heard(page, 2) == [["notify", "update", 2], ["pusherable-subscribe", "update", 2, "post_2"]]
        assert sorted(push_server.frames) == [
            ("subscribe", "post_1"),
            ("subscribe", "post_2"),
            ("unsubscribe", "post_1"),
        ]

    def test_without_a_channel_waits_for_one(self, open_page, push_server):
        page = open_page('<pusherable-subscribe event="view"></pusherable-subscribe>', script=RECORD).page
        assert page.evaluate("pusherable.state") == "initialized"

        page.evaluate("document.querySelector('pusherable-subscribe').setAttribute('channel', 'post_1')")
        wait_for_subscriptions(page)

        assert push_server.frames == [("subscribe", "post_1")]

    def test_changed_outside_of_the_page_does_nothing(self, open_page, push_server):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)

        page.evaluate(
            """() => {
                const element = document.createElement("pusherable-subscribe");
                element.setAttribute("event", "view");
                element.setAttribute("channel", "post_2");
                pusherable.on("post_3", "view", () => {});
            }"""
        )
        push_server.wait_for(lambda server: ("subscribe", "post_3") in server.frames)

        assert push_server.frames == [("subscribe", "post_1"), ("subscribe", "post_3")]


class TestOn:
    def test_calls_back_with_the_data_and_where_it_came_from(self, open_page, push_server):
        page = open_page("", script=RECORD).page

        page.evaluate("void pusherable.on('room', 'message', (...all) => heard.push(all))")
        push_server.wait_for(lambda server: server.frames == [("subscribe", "room")])
        push_server.publish("room", "message", {"text": "hi"})

        assert heard(page, 1) == [[{"text": "hi"}, {"event": "message", "channel": "room"}]]

    def test_returns_what_ends_it(self, open_page, push_server):
        page = open_page("").page

        page.evaluate("() => { window.off = pusherable.on('room', 'message', () => {}); }")
        push_server.wait_for(lambda server: server.frames == [("subscribe", "room")])
        page.evaluate("off(); off()")

        push_server.wait_for(lambda server: server.frames == [("subscribe", "room"), ("unsubscribe", "room")])

    def test_hears_of_the_channels_own_life(self, open_page, push_server):
        page = open_page("").page

        page.evaluate("void pusherable.on('room', 'pusher:subscription_succeeded', () => heard.push('in'))")

        assert heard(page, 1) == ["in"]


class TestConnection:
    def test_of_a_page_without_subscriptions_is_not_made(self, open_page, push_server):
        page = open_page("").page

        assert page.evaluate("document.documentElement.dataset.pusherable") == "initialized"
        assert push_server.opened == 0

    def test_is_made_by_being_read(self, open_page, push_server):
        page = open_page("").page

        page.evaluate("pusherable.pusher.connection.state")
        wait_for_state(page)

        assert push_server.opened == 1

    def test_that_is_lost_shows_at_once_and_comes_back_with_its_subscriptions(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)
        page.clock.install()

        push_server.drop_connections()
        wait_for_state(page, "connecting")
        assert page.locator(ELEMENT).get_attribute("subscribed") is None

        page.clock.run_for(1000)
        wait_for_state(page)
        wait_for_subscriptions(page)
        push_server.publish("post_1", "view", 1)
        assert heard(page, 1)[0] == ["notify", "view", 1]
        assert push_server.frames == [("subscribe", "post_1")] * 2

    def test_to_nothing_becomes_unavailable_and_the_page_works(self, open_page, push_server, complaints, page):
        push_server.close()
        complaints.allow("ERR_CONNECTION_REFUSED")
        page.clock.install()
        open_page(VIEW + '<button id="button">0</button>', script="onclick = ({target}) => target.append('!')")

        wait_for_state(page, "connecting")
        page.clock.run_for(10_000)
        wait_for_state(page, "unavailable")
        page.locator("#button").click()

        expect(page.locator("#button")).to_have_text("0!")

    def test_that_is_refused_for_good_becomes_disconnected(self, open_page, push_server):
        push_server.closing_code = 4001

        page = open_page(VIEW).page

        wait_for_state(page, "disconnected")

    def test_without_pusher_js_fails_with_one_line(self, open_page, site, complaints, page):
        site.missing.add("/static/pusherable/vendor/pusher.min.js")

        open_page(VIEW + VIEW)
        wait_for_state(page, "failed")
        page.evaluate("pusherable.on('post_1', 'view', () => {})()")

        assert page.evaluate("pusherable.pusher") is None
        assert page.evaluate("pusherable.state") == "failed"
        assert complaints.take()[1:] == [
            "pusherable: pusher-js did not load, so this page hears of nothing.",
        ]

    def test_without_a_usable_configuration_fails_with_one_line(self, open_page, settings, complaints, page):
        settings.PUSHER_SECRET = ""

        open_page(VIEW + VIEW)

        wait_for_state(page, "failed")
        assert complaints.take() == ["pusherable: the service is not configured; the log of the web server says why."]

    def test_of_a_page_that_runs_the_script_twice_is_one(self, open_page, push_server):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        page.add_script_tag(url="/static/pusherable/pusherable.js")
        push_server.publish("post_1", "view", 1)

        assert heard(page, 2) == [["notify", "view", 1], ["pusherable-subscribe", "view", 1, "post_1"]]
        assert push_server.opened == 1

    def test_of_a_page_kept_for_the_back_button_is_given_up_and_taken_again(self, open_page, push_server):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)

        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        wait_for_state(page, "disconnected")
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

        wait_for_state(page)
        wait_for_subscriptions(page)
        assert push_server.opened == 2

    def test_that_the_page_gave_up_itself_is_not_taken_again(self, open_page, push_server):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)

        page.evaluate("pusherable.pusher.disconnect()")
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

        wait_for_state(page, "disconnected")
        assert push_server.opened == 1


WITHOUT_SOCKETS = "() => { window.WebSocket = class { constructor() { this.readyState = 0; } close() {} }; }"
OPTIONS = (
    "(({ cluster, wsHost, wsPort, wssPort, wsPath, useTLS, enabledTransports }) =>"
    " ({ cluster, wsHost, wsPort, wssPort, wsPath, useTLS, enabledTransports }))(pusherable.pusher.config)"
)


class TestOptions:
    def test_left_open_come_from_the_pages_own_address(self, open_page, site, monkeypatch):
        browser = {
            "key": "k",
            "cluster": "local",
            "wsHost": None,
            "wsPort": None,
            "wssPort": None,
            "forceTLS": None,
        }
        monkeypatch.setattr("pusherable.conf.PusherableSettings.browser", browser)
        site.policy = "default-src 'self'"
        page = open_page("").page
        # Nothing listens there for sockets; the options alone are looked at.
        page.evaluate(WITHOUT_SOCKETS)
        port = int(site.url.rpartition(":")[2])

        assert page.evaluate(OPTIONS) == {
            "cluster": "local",
            "wsHost": "127.0.0.1",
            "wsPort": port,
            "wssPort": port,
            "wsPath": "",
            "useTLS": False,
            "enabledTransports": ["ws"],
        }

    def test_of_the_hosted_service_are_its_cluster_and_never_another_transport(self, open_page, settings):
        settings.PUSHER_HOST, settings.PUSHER_PORT, settings.PUSHER_SSL = "", "", None
        settings.PUSHER_CLUSTER = "eu"
        page = open_page("").page
        page.evaluate(WITHOUT_SOCKETS)

        assert page.evaluate(OPTIONS) == {
            "cluster": "eu",
            "wsHost": "ws-eu.pusher.com",
            "wsPort": 80,
            "wssPort": 443,
            "wsPath": "",
            "useTLS": True,
            "enabledTransports": ["ws"],
        }

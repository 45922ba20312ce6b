"""What ``streams.js`` does in place of pusher-js, with a server of streams that does as it is told.

``test_streaming_newsroom.py`` meets the real one.
"""

import json
import queue
import select
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from playwright.sync_api import expect
from pusher import Pusher

from tests.browser import test_leaving_out as leaving_out
from tests.browser.conftest import Site
from tests.browser.waiting import PATIENCE, heard, wait_for_state, wait_for_subscriptions
from tests.server.processes import running_server

htmx = leaving_out.htmx

ELEMENT = "pusherable-subscribe"
VIEW = "{% pusherable_subscribe 'view' 'post_1' %}"
PRIVATE = "{% pusherable_subscribe 'view' 'private-post_1' %}"
PRESENCE = "{% pusherable_presence 'presence-post_1' %}"
ADD = """(channel) => document.body.append(Object.assign(document.createElement("p"), {
    innerHTML: `<pusherable-subscribe event="view" channel="${channel}"></pusherable-subscribe>`,
}))"""
RECORD = """
    window.pusherable_notify = (event, data) => heard.push([event, data]);
    window.pusherable_resync = (channels) => heard.push(["resync", channels]);
    document.addEventListener("pusherable:resync", ({ detail }) => heard.push(["DOM", detail]));
"""
NOTE_PAUSES = """
    window.pauses = [];
    const planned = window.setTimeout;
    window.setTimeout = (call, pause, ...rest) => pauses.push(pause) && planned(call, pause, ...rest);
"""
COUNTED = "window.heard.filter(([event]) => event === 'view').map(([, data]) => data)"


@dataclass
class Opened:
    """A stream that a browser has asked for; ``is_open`` until either end has ended it."""

    query: list[tuple[str, str]]
    origin: str
    waiting: "queue.SimpleQueue[bytes | None]" = field(default_factory=queue.SimpleQueue)
    is_open: bool = True

    def all_of(self, name):
        return [value for key, value in self.query if key == name]


class ScriptedStreams:
    """Speaks as the server's streams do, and notes what it was asked for."""

    def __init__(self):
        self.opened = []
        #: A status and a sentence each, for the next requests.
        self.refusals = []
        #: As long as it is not set, nothing is answered.
        self.answers = threading.Event()
        self.answers.set()
        #: The members of every presence channel.
        self.members = {}
        self.retry = 1000
        self.epoch = "0123abcd"
        self.sequence = 0
        self._changed = threading.Condition()
        streams = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                streams.serve(self)

            def log_message(self, format, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self.answers.set()
        self.drop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, channel, event, data, *, to=None):
        """Send an event to whoever listens, or to these alone, and return its id."""
        self.sequence += 1
        id = f"{self.epoch}-{self.sequence}/{quote(channel, safe='')}"
        for stream in to or [stream for stream in self.opened if channel in stream.all_of("channel")]:
            self.put(stream, event, data, id)
        return id

    def put(self, stream, event, data, id):
        lines = [f"event: {event}", *(f"data: {line}" for line in json.dumps(data, indent=1).split("\n")), f"id: {id}"]
        stream.waiting.put(("\n".join(lines) + "\n\n").encode())

    def drop(self):
        for stream in self.opened:
            stream.waiting.put(None)

    def wait_for(self, condition):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), PATIENCE), self.opened

    def serve(self, handler):
        stream = Opened(parse_qsl(urlsplit(handler.path).query), handler.headers["Origin"])
        with self._changed:
            self.opened.append(stream)
            self._changed.notify_all()
        self.answers.wait(PATIENCE)
        status, reason = self.refusals.pop(0) if self.refusals else (200, "")
        handler.send_response(status)
        handler.send_header("Content-Type", "text/event-stream" if status == 200 else "text/plain")
        handler.send_header("Access-Control-Allow-Origin", stream.origin)
        handler.send_header("Access-Control-Allow-Credentials", "true")
        handler.end_headers()
        if status == 200:
            self._begin(stream)
        else:
            stream.waiting.put(reason.encode())
            stream.waiting.put(None)
        self._flow(stream, handler)
        with self._changed:
            stream.is_open = False
            self._changed.notify_all()

    def _begin(self, stream):
        position = f"{self.epoch}-{self.sequence}"
        established = {"socket_id": f"1.{self.opened.index(stream) + 1}", "activity_timeout": 120}
        stream.waiting.put(f"retry: {self.retry}\n\nid: {position}\n\n".encode())
        self.put(stream, "pusher:connection_established", established, position)
        for channel in stream.all_of("channel"):
            presence = {"ids": [*self.members], "hash": self.members, "count": len(self.members)}
            data = {"presence": presence} if channel.startswith("presence-") else {}
            self.put(stream, "pusher:subscription_succeeded", data, f"{position}/{quote(channel, safe='')}")

    def _flow(self, stream, handler):
        while not self._has_gone(handler):
            try:
                part = stream.waiting.get(timeout=0.02)
            except queue.Empty:
                continue
            if part is None:
                return
            handler.wfile.write(part)

    def _has_gone(self, handler):
        readable, _, _ = select.select([handler.connection], [], [], 0)
        return bool(readable) and not handler.connection.recv(1, socket.MSG_PEEK)


@pytest.fixture
def streams():
    server = ScriptedStreams()
    yield server
    server.close()


def admit(posted):
    """The answer of an address that signs everything, as one user."""
    names = [value for key, value in posted.form.items() if key.startswith("channel_name")]
    return answer_for(names, user="1" if "signin" in posted.form else None)


def answer_for(names, *, user=None, refused=()):
    channels = {name: {"status": 200, "data": {}} for name in names}
    channels |= {
        name: {"status": 403, "data": {"code": "not-yours", "reason": "It is not yours."}} for name in refused
    }
    pairs = [("channel", name) for name in names]
    if user:
        pairs.append(("channel", f"#server-to-user-{user}"))
    if any(name.startswith("presence-") for name in names):
        pairs.append(("channel_data", json.dumps({"user_id": "1"})))
    return 200, {"channels": channels, "user": user, "query": urlencode([*pairs, ("auth", "test-key:signed")])}


@pytest.fixture
def site(streams, settings):
    settings.PUSHER_PORT = streams.port
    settings.PUSHERABLE_TRANSPORT = "sse"
    settings.ROOT_URLCONF = "tests.templatetags.urls"
    site = Site(connect=f"http://127.0.0.1:{streams.port}")
    site.reply = admit
    yield site
    site.close()


@pytest.fixture
def quiet(page):
    """Time that passes only when the test says so, and no chance."""
    page.clock.install()
    page.add_init_script("Math.random = () => 0")
    return page.clock


class TestStream:
    def test_of_two_hundred_elements_is_one_and_asks_for_nothing_else(self, open_page, streams, site):
        names = [f"post_{number}" for number in range(50)] * 4
        page = open_page("{% for name in names %}{% pusherable_subscribe 'view' name %}{% endfor %}", names=names).page
        wait_for_subscriptions(page)

        assert [stream.all_of("channel") for stream in streams.opened] == [names[:50]]
        assert streams.opened[0].query[-1] == ("key", "test-key")
        assert site.posted == []
        assert page.evaluate("[typeof Pusher, pusherable.state, pusherable.socketId]") == [
            "undefined",
            "connected",
            "1.1",
        ]

    @pytest.mark.parametrize("data", [None, False, 0, "text", "", [1, {"a": None}], {"b": "</script>\u2028\"'\n"}])
    def test_hands_on_any_json_to_function_element_and_script(self, open_page, streams, data):
        page = open_page(f"<main>{VIEW}</main>", script=RECORD).page
        page.evaluate(
            """() => {
                document.addEventListener("pusherable:view", ({ target, detail }) => {
                    heard.push([target.localName, detail.data, detail.channel]);
                });
                pusherable.on("post_1", "view", (data) => heard.push(["on", data]));
            }"""
        )
        wait_for_subscriptions(page)

        streams.publish("post_1", "other", data)
        streams.publish("post_1", "view", data)

        assert heard(page, 3) == [["view", data], [ELEMENT, data, "post_1"], ["on", data]]

    def test_leaves_out_what_the_page_has_caused_itself(self, open_page, streams):
        opened = open_page(VIEW, script=RECORD)
        wait_for_subscriptions(opened.page)

        streams.publish("post_1", "view", {"origin": opened.origin})
        streams.publish("post_1", "view", {"origin": "of-somebody-else"})

        assert heard(opened.page, 1) == [["view", {"origin": "of-somebody-else"}]]

    def test_of_a_page_without_subscriptions_is_none(self, open_page, streams):
        page = open_page("").page

        assert page.evaluate("pusherable.state") == "initialized"
        assert streams.opened == []

    def test_without_its_script_fails_with_one_line(self, open_page, site, complaints, page):
        site.missing.add("/static/pusherable/streams.js")
        open_page(VIEW + VIEW)
        wait_for_state(page, "failed")

        assert complaints.take()[1:] == ["pusherable: streams.js did not load, so this page hears of nothing."]


class TestChange:
    def test_by_an_element_that_is_added_goes_on_without_a_gap(self, open_page, streams):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)
        last = streams.publish("post_1", "view", 1)
        heard(page, 1)
        [first] = streams.opened
        streams.answers.clear()

        page.evaluate(ADD, "post_2")
        streams.wait_for(lambda streams: len(streams.opened) == 2)
        second = streams.opened[1]
        missed = streams.publish("post_1", "view", 2, to=[first])
        heard(page, 2)
        assert first.is_open
        streams.answers.set()
        wait_for_subscriptions(page)
        streams.put(second, "view", 2, missed)
        streams.publish("post_2", "view", 3)

        heard(page, 3)
        assert page.evaluate(COUNTED) == [1, 2, 3]
        assert second.query[-2:] == [("lastEventId", last), ("new", "post_2")]
        assert second.all_of("channel") == ["post_1", "post_2"]
        streams.wait_for(lambda streams: not first.is_open)
        assert page.evaluate("pusherable.socketId") == "1.2"

    def test_by_many_elements_at_once_is_one(self, open_page, streams):
        page = open_page(VIEW + '<div id="old">{% pusherable_subscribe "view" "post_2" %}</div>').page
        wait_for_subscriptions(page)
        page.evaluate(
            f"() => {{ old.remove(); for (let number = 3; number < 40; number++) ({ADD})(`post_${{number}}`); }}"
        )
        wait_for_subscriptions(page)
        expect(page.locator("[subscribed]")).to_have_count(38)

        assert [len(stream.all_of("channel")) for stream in streams.opened] == [2, 38]

    def test_by_an_element_that_is_removed_leaves_its_channel(self, open_page, streams):
        page = open_page(VIEW + "{% pusherable_subscribe 'view' 'post_2' %}").page
        wait_for_subscriptions(page)

        page.evaluate("document.querySelector('[channel=post_2]').remove()")
        streams.wait_for(lambda streams: len(streams.opened) == 2 and not streams.opened[0].is_open)

        assert streams.opened[1].all_of("channel") == ["post_1"]

    def test_by_the_last_element_ends_the_stream_until_there_is_another(self, open_page, streams):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)
        page.evaluate("document.querySelector('pusherable-subscribe').remove()")
        wait_for_state(page, "initialized")
        streams.wait_for(lambda streams: not streams.opened[0].is_open)

        page.evaluate(ADD, "post_3")
        wait_for_state(page)
        wait_for_subscriptions(page)

    def test_of_an_element_that_only_moves_is_none(self, open_page, streams):
        page = open_page(f"<main></main>{VIEW}").page
        wait_for_subscriptions(page)
        page.evaluate("document.querySelector('main').append(document.querySelector('pusherable-subscribe'))")
        page.evaluate(ADD, "post_2")
        wait_for_subscriptions(page)

        assert [stream.all_of("channel") for stream in streams.opened] == [["post_1"], ["post_1", "post_2"]]

    def test_while_a_stream_is_on_its_way_follows_it(self, open_page, streams, page):
        streams.answers.clear()
        open_page(VIEW)
        streams.wait_for(lambda streams: len(streams.opened) == 1)
        page.evaluate(ADD, "post_2")
        streams.answers.set()
        wait_for_subscriptions(page)

        assert [stream.all_of("channel") for stream in streams.opened] == [["post_1"], ["post_1", "post_2"]]

    def test_that_cannot_be_made_leaves_the_stream_there(self, quiet, open_page, streams, complaints):
        complaints.allow("Failed to load resource")
        page = open_page(VIEW, script=RECORD).page
        quiet.run_for(20)
        wait_for_subscriptions(page)
        streams.refusals.append((503, "There is no room"))

        page.evaluate(ADD, "post_2")
        quiet.run_for(20)
        streams.wait_for(lambda streams: len(streams.opened) == 2 and not streams.opened[1].is_open)
        streams.publish("post_1", "view", 1, to=streams.opened[:1])
        assert heard(page, 1) == [["view", 1]]
        assert page.evaluate("pusherable.state") == "connected"
        page.wait_for_function("() => document.querySelector('[channel=post_2]:not([subscribed])')")
        quiet.run_for(1000)
        wait_for_subscriptions(page)

        assert complaints.take() == [
            f"pusherable: http://127.0.0.1:{streams.port}/stream has answered 503. There is no room"
        ]


class TestInterruption:
    def test_is_over_after_the_time_that_the_server_names_and_goes_on_where_it_was(
        self, quiet, open_page, streams, page
    ):
        streams.retry = 1234
        page.add_init_script(NOTE_PAUSES)
        open_page(VIEW, script=RECORD)
        quiet.run_for(20)
        wait_for_subscriptions(page)
        last = streams.publish("post_1", "view", 1)
        heard(page, 1)

        streams.drop()
        wait_for_state(page, "connecting")
        expect(page.locator(ELEMENT)).not_to_have_attribute("subscribed", "")
        page.wait_for_function("() => pauses.includes(1234)")
        quiet.run_for(1234)
        wait_for_subscriptions(page)

        assert streams.opened[1].query[-1] == ("lastEventId", last)

    def test_that_lasts_is_waited_out_ever_longer(self, quiet, open_page, streams, complaints, page):
        complaints.allow("Failed to load resource")
        streams.refusals += [(502, ""), (503, "There is no room"), (503, "There is no room"), (429, "")]
        page.add_init_script(NOTE_PAUSES)
        open_page(VIEW)
        quiet.run_for(20)
        for count, pause in enumerate((1000, 2000, 4000, 8000), start=1):
            page.wait_for_function("(pause) => pauses.includes(pause)", arg=pause)
            quiet.run_for(pause)
            streams.wait_for(lambda streams, count=count: len(streams.opened) == count + 1)
        wait_for_subscriptions(page)

        assert complaints.take() == [
            f"pusherable: http://127.0.0.1:{streams.port}/stream has answered {what}"
            for what in ("502.", "503. There is no room", "429.")
        ]

    def test_to_nothing_becomes_unavailable_and_the_page_works(self, quiet, open_page, streams, complaints, page):
        streams.close()
        complaints.allow("ERR_CONNECTION_REFUSED")
        open_page(VIEW + '<button id="button">0</button>', script="onclick = ({target}) => target.append('!')")
        quiet.run_for(20)
        wait_for_state(page, "connecting")
        quiet.run_for(10_000)
        wait_for_state(page, "unavailable")
        page.locator("#button").click()

        expect(page.locator("#button")).to_have_text("0!")

    def test_by_silence_is_noticed(self, quiet, open_page, streams):
        page = open_page(VIEW, script=RECORD).page
        quiet.run_for(20)
        wait_for_subscriptions(page)
        quiet.run_for(50_000)
        streams.publish("post_1", "view", 1)
        heard(page, 1)
        quiet.run_for(50_000)
        assert page.evaluate("pusherable.state") == "connected"

        quiet.run_for(25_000)
        wait_for_state(page, "connecting")
        quiet.run_for(1000)
        wait_for_subscriptions(page)
        assert len(streams.opened) == 2

    def test_that_has_lost_something_says_so(self, open_page, streams):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        streams.put(streams.opened[0], "resync", {"channels": ["post_1"]}, "89abcdef-0")
        streams.publish("post_1", "resync", "an event of this name")

        assert heard(page, 2) == [["resync", ["post_1"]], ["DOM", {"channels": ["post_1"]}]]

    def test_of_a_page_kept_for_the_back_button_is_made_good(self, open_page, streams):
        page = open_page(VIEW).page
        wait_for_subscriptions(page)
        last = streams.publish("post_1", "view", 1)

        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        wait_for_state(page, "disconnected")
        streams.wait_for(lambda streams: not streams.opened[0].is_open)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        wait_for_state(page)

        assert streams.opened[1].all_of("lastEventId")[0].startswith(last.partition("-")[0])

    def test_is_over_at_once_when_the_network_is_back(self, quiet, open_page, streams):
        streams.retry = 600_000
        page = open_page(VIEW).page
        quiet.run_for(20)
        wait_for_subscriptions(page)
        page.evaluate("dispatchEvent(new Event('online'))")
        streams.drop()
        wait_for_state(page, "connecting")

        page.evaluate("dispatchEvent(new Event('online'))")
        quiet.run_for(1)
        wait_for_subscriptions(page)
        assert len(streams.opened) == 2


class TestSite:
    def test_is_asked_for_all_private_channels_at_once_and_at_each_return(self, open_page, streams, site):
        page = open_page(
            "{% for name in names %}{% pusherable_subscribe 'view' name %}{% endfor %}" + VIEW,
            names=[f"private-post_{number}" for number in range(40)],
        ).page
        wait_for_subscriptions(page)
        streams.drop()
        streams.wait_for(lambda streams: len(streams.opened) == 2)
        wait_for_subscriptions(page)

        form = {f"channel_name[{number}]": f"private-post_{number}" for number in range(40)}
        assert [posted.form for posted in site.posted] == [{"stream": "1", "signin": "1", **form}] * 2
        names = [*form.values(), "#server-to-user-1", "post_1"]
        assert [stream.all_of("channel") for stream in streams.opened] == [names, names]
        assert streams.opened[1].all_of("new") == []

    def test_tells_where_each_subscription_comes_from(self, open_page, site):
        page = open_page(
            '<pusherable-subscribe event="view" channel="private-a" page="/a/?b=c"></pusherable-subscribe>'
        ).page
        wait_for_subscriptions(page)

        assert site.posted[0].form["page[0]"] == "/a/?b=c"

    def test_that_refuses_a_channel_leaves_the_others_and_is_asked_again_after_a_return(
        self, open_page, streams, site, complaints
    ):
        site.reply = lambda posted: answer_for(["private-post_2"], refused=["private-post_1"])
        page = open_page(PRIVATE + "{% pusherable_subscribe 'view' 'private-post_2' %}" + VIEW).page
        expect(page.locator(f"{ELEMENT}[refused=not-yours]")).to_have_count(1)
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(2)
        assert complaints.take() == ["pusherable: this page may not listen to private-post_1 (It is not yours.)."]
        page.evaluate(ADD, "post_3")
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(3)
        assert [key for key in site.posted[1].form.values() if "post_1" in key] == []
        site.reply = admit

        streams.drop()
        expect(page.locator(f"{ELEMENT}[subscribed]:not([refused])")).to_have_count(4)

    def test_that_refuses_is_asked_again_for_an_element_that_is_added(self, open_page, site, complaints):
        site.reply = lambda posted: answer_for([], refused=["private-post_1"])
        page = open_page(PRIVATE).page
        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)
        wait_for_state(page, "disconnected")
        site.reply = admit

        page.evaluate("document.body.append(document.querySelector('pusherable-subscribe').cloneNode())")
        expect(page.locator(f"{ELEMENT}[subscribed]:not([refused])")).to_have_count(2)
        assert len(complaints.take()) == 1

    def test_that_answers_nothing_of_use_leaves_the_public_channels(self, open_page, site, complaints):
        complaints.allow("Failed to load resource")
        site.reply = lambda posted: (403, "<h1>Forbidden</h1> CSRF")
        page = open_page(PRIVATE + VIEW).page

        expect(page.locator(f"{ELEMENT}[refused=csrf]")).to_have_count(1)
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(1)
        assert complaints.take() == [
            "pusherable: this page may not listen to private-post_1. /pusher/auth/: 403: the CSRF token is missing or "
            "old. Reload the page."
        ]

    def test_in_trouble_is_waited_out_while_public_channels_are_heard(
        self, quiet, open_page, streams, site, complaints, page
    ):
        complaints.allow("Failed to load resource")
        answers = [(503, "busy"), (503, "busy"), (429, "", {"Retry-After": "30"})]
        site.reply = lambda posted: answers[len(site.posted)] if len(site.posted) < 3 else admit(posted)
        page.add_init_script(NOTE_PAUSES)
        open_page(PRIVATE + VIEW)
        quiet.run_for(20)
        expect(page.locator("[channel=post_1]")).to_have_attribute("subscribed", "")
        quiet.run_for(20)
        page.wait_for_function("() => pauses.includes(1000)")
        quiet.run_for(1000)
        page.wait_for_function("() => pauses.includes(30_000)")
        assert streams.opened[0].is_open
        quiet.run_for(30_000)
        wait_for_subscriptions(page)

        assert [stream.all_of("channel") for stream in streams.opened] == [
            ["post_1"],
            ["private-post_1", "#server-to-user-1", "post_1"],
        ]
        assert (len(site.posted), page.locator("[refused]").count()) == (4, 0)

    def test_in_trouble_alone_is_asked_until_it_answers(self, quiet, open_page, streams, site, complaints, page):
        complaints.allow("Failed to load resource")
        site.reply = lambda posted: admit(posted) if site.posted else (500, "")
        page.add_init_script(NOTE_PAUSES)
        open_page(PRIVATE)
        quiet.run_for(20)
        page.wait_for_function("() => pauses.includes(1000)")
        quiet.run_for(1000)
        wait_for_subscriptions(page)

        assert (len(site.posted), len(streams.opened)) == (2, 1)

    def test_is_asked_anew_where_the_server_takes_an_address_no_more(self, open_page, streams, site, complaints):
        complaints.allow("Failed to load resource")
        streams.refusals += [(401, "The address has expired: load the page again")]
        page = open_page(PRIVATE).page
        wait_for_subscriptions(page)

        assert (len(site.posted), len(streams.opened)) == (2, 2)
        assert len(complaints.take()) == 1

    def test_without_an_address_is_said_to_lack_it(self, open_page, settings, complaints):
        settings.ROOT_URLCONF = "tests.urls"
        page = open_page(PRIVATE + VIEW).page

        expect(page.locator(f"{ELEMENT}[refused]")).to_have_count(1)
        expect(page.locator(f"{ELEMENT}[subscribed]")).to_have_count(1)
        assert complaints.take() == [
            "pusherable: this page may not listen to private-post_1. The site has no address that authorizes channels."
        ]


class TestUser:
    def test_hears_what_is_sent_to_the_user_by_whatever_name(self, open_page, streams):
        page = open_page(PRIVATE + "{% pusherable_notifications %}", script=RECORD).page
        page.evaluate("void pusherable.onUser('greeting', (data) => heard.push(['on', data]))")
        wait_for_subscriptions(page)

        streams.publish("#server-to-user-1", "greeting", {"message": "Hello"})

        data = {"message": "Hello"}
        assert heard(page, 2) == [["on", data], ["greeting", data]]
        expect(page.locator("pusherable-notifications li [data-part=text]")).to_have_text(["Hello"])

    def test_is_signed_in_by_a_script_alone_and_lets_go(self, open_page, streams, site):
        page = open_page("", script=RECORD).page
        page.evaluate("pusherable.onUser('greeting', () => heard.push('first'))()")
        wait_for_state(page)
        streams.publish("#server-to-user-1", "greeting", 1)

        assert heard(page, 1) == [["greeting", 1]]
        assert [posted.form for posted in site.posted] == [{"stream": "1", "signin": "1"}]

    def test_who_is_sent_away_comes_back_as_whoever_the_visitor_is_then(
        self, quiet, open_page, streams, site, complaints
    ):
        page = open_page(PRIVATE + VIEW).page
        quiet.run_for(20)
        wait_for_subscriptions(page)
        site.reply = lambda posted: answer_for([], refused=["private-post_1"])

        streams.put(streams.opened[0], "pusher:error", {"code": 4009, "message": "Terminated"}, "0123abcd-0")
        streams.wait_for(lambda streams: not streams.opened[0].is_open)
        wait_for_state(page, "connecting")
        quiet.run_for(1000)
        expect(page.locator("[channel=private-post_1]")).to_have_attribute("refused", "not-yours")
        wait_for_state(page)

        assert streams.opened[1].all_of("channel") == ["post_1"]
        assert len(complaints.take()) == 1

    def test_of_another_error_stays(self, open_page, streams):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)

        streams.put(streams.opened[0], "pusher:error", {"code": None, "message": "x"}, "0123abcd-0")
        streams.publish("post_1", "view", 1)

        assert heard(page, 1) == [["view", 1]]


class TestPresence:
    def names(self, page):
        return page.locator("pusherable-presence li:visible [data-part=name]")

    def test_shows_who_is_there_comes_and_goes(self, open_page, streams):
        streams.members = {"1": {"name": "Zoe"}, "2": {"name": "Bob"}}
        page = open_page(PRESENCE).page
        expect(self.names(page)).to_have_text(["Zoe", "Bob"])
        expect(page.locator("li [data-part=you]:visible")).to_have_text(["(you)"])

        streams.publish("presence-post_1", "pusher:member_added", {"user_id": "3", "user_info": {"name": "Ada"}})
        expect(self.names(page)).to_have_text(["Zoe", "Ada", "Bob"])
        streams.publish("presence-post_1", "pusher:member_removed", {"user_id": "2"})
        expect(self.names(page)).to_have_text(["Zoe", "Ada"])

    def test_is_not_disturbed_by_a_change_of_the_stream(self, open_page, streams):
        streams.members = {"1": {"name": "Zoe"}, "2": {"name": "Bob"}}
        page = open_page(PRESENCE).page
        page.evaluate(
            "void pusherable.on('presence-post_1', 'pusher:subscription_succeeded', ({ myID }) => heard.push(myID))"
        )
        expect(self.names(page)).to_have_text(["Zoe", "Bob"])
        item = page.locator("li[data-member='2']").element_handle()
        streams.members = {"1": {"name": "Zoe"}, "2": {"name": "Bob"}, "3": {"name": "Ada"}}

        page.evaluate(ADD, "post_2")
        expect(self.names(page)).to_have_text(["Zoe", "Ada", "Bob"])
        assert item.evaluate("(item) => item.isConnected")
        expect(page.locator("pusherable-presence[subscribed]")).to_have_count(1)

    def test_of_a_channel_that_is_full_is_refused_alone(self, open_page, streams, complaints):
        complaints.allow("Failed to load resource")
        full = (403, "Channel presence-post_1 has 100 members, which is the limit")
        streams.refusals += [full, full]
        page = open_page(PRESENCE + VIEW).page

        page.locator("pusherable-presence[refused]").wait_for(state="attached")
        wait_for_subscriptions(page)
        assert streams.opened[2].all_of("channel") == ["#server-to-user-1", "post_1"]
        assert len(complaints.take()) == 1


class TestHtmx:
    def test_tells_the_stream_with_what_it_sends_and_its_fragment_subscribes(self, open_page, site, streams, htmx):
        site.pages["/htmx.js"] = htmx
        site.reply = lambda posted: (
            200,
            '<pusherable-subscribe event="view" channel="post_2"></pusherable-subscribe>',
        )
        page = open_page(
            '<meta name="htmx-config" content=\'{"includeIndicatorStyles": false}\'>'
            + VIEW
            + '<button hx-post="/save/" hx-swap="outerHTML">Save</button><script src="/htmx.js"></script>'
        ).page
        wait_for_subscriptions(page)
        page.get_by_role("button").click()
        page.locator("[channel=post_2][subscribed]").wait_for(state="attached")

        assert [posted.headers["x-socket-id"] for posted in site.posted] == ["1.1"]
        assert streams.opened[1].all_of("channel") == ["post_1", "post_2"]


class TestAtTheRealServer:
    @pytest.fixture
    def server(self):
        with running_server("--noreload") as server:
            yield server

    @pytest.fixture
    def site(self, server, settings):
        settings.PUSHER_PORT = server.port
        settings.PUSHERABLE_TRANSPORT = "sse"
        site = Site(connect=f"http://{server.address}")
        yield site
        site.close()

    def test_pages_of_another_port_listen_and_go_on(self, open_page, server):
        page = open_page(VIEW, script=RECORD).page
        wait_for_subscriptions(page)
        pusher = Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port, timeout=30)
        pusher.trigger(["post_1"], "view", 1)
        heard(page, 1)

        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        wait_for_state(page, "disconnected")
        pusher.trigger(["post_1"], "view", 2)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        pusher.trigger(["post_1"], "view", 3)

        assert heard(page, 3) == [["view", 1], ["view", 2], ["view", 3]]


class TestWhatStreamsCannot:
    def test_read_encrypted_channels_is_said(self, open_page, complaints):
        page = open_page(VIEW + "{% pusherable_subscribe 'view' 'private-encrypted-a' %}").page
        expect(page.locator("[channel=post_1]")).to_have_attribute("subscribed", "")

        assert complaints.take() == [
            "pusherable: private-encrypted-a is encrypted, and takes a WebSocket: event streams have no pusher-js to "
            "read it."
        ]

    def test_be_pusher_js_is_said_once(self, open_page, complaints):
        page = open_page(VIEW).page

        assert page.evaluate("[pusherable.pusher, pusherable.pusher]") == [None, None]
        assert complaints.take() == [
            "pusherable: there is no pusher-js with event streams: client events and whatever else is its own take "
            'PUSHERABLE_TRANSPORT = "websocket".'
        ]

    def test_have_a_channel_that_cannot_be_is_reported_and_leaves_the_others_alone(
        self, open_page, streams, complaints
    ):
        page = open_page('<pusherable-subscribe event="view" channel="#no"></pusherable-subscribe>' + VIEW).page
        expect(page.locator("[channel=post_1]")).to_have_attribute("subscribed", "")

        assert streams.opened[0].all_of("channel") == ["post_1"]
        assert complaints.take() == ['Cannot create a channel with name "#no".']

    def test_have_more_channels_than_the_server_allows_is_said(self, open_page, streams, settings, complaints):
        settings.PUSHERABLE_SERVER_LIMITS = {"channels_per_stream": 3}
        names = [f"post_{number}" for number in range(5)]
        page = open_page("{% for name in names %}{% pusherable_subscribe 'view' name %}{% endfor %}", names=names).page
        expect(page.locator("[subscribed]")).to_have_count(3)
        expect(page.locator("[refused]")).to_have_count(2)
        assert complaints.take() == [
            "pusherable: this page does not hear of 2 of its 5 channels. A stream has up to 3 channels."
        ]

        page.evaluate("document.querySelector('[channel=post_0]').remove()")
        expect(page.locator("[subscribed]:not([refused])")).to_have_count(3)
        assert len(complaints.take()) == 1

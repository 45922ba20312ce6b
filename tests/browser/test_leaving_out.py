"""How a page's own requests say which connection they come from."""

import subprocess
from pathlib import Path

import pytest

from tests.browser.waiting import wait_for_subscriptions

VIEW = "{% pusherable_subscribe 'view' 'post_1' %}"
HTMX = "htmx.org@2.0.11"


@pytest.fixture
def page_of(open_page, push_server, site):
    """A page that is connected as 1.1, and the requests that it sends."""
    site.reply = lambda posted: (200, "done")

    def page_of(body="", **options):
        page = open_page(VIEW + body, **options).page
        wait_for_subscriptions(page)
        return page

    return page_of


@pytest.fixture
def told(site):
    """The id that each request has told, as a header or as a field."""

    def told():
        return [posted.headers.get("x-socket-id", posted.form.get("pusherable_socket_id")) for posted in site.posted]

    return told


class TestFetch:
    def test_of_every_form_tells_this_site_and_changes_nothing_else(self, page_of, site):
        page = page_of()
        page.evaluate(
            """async () => {
                const form = new FormData();
                form.set("a", "1");
                await fetch("/1/", { method: "POST", body: form, headers: { "X-Own": "yes" } });
                await fetch(new URL("/2/", location), { method: "POST", headers: [["X-Own", "yes"]], body: "b" });
                const headers = new Headers({ "X-Own": "yes" });
                await fetch(new Request("/3/", { method: "POST", body: "c", headers, referrer: "/from/" }));
                await fetch(new Request("/4/", { method: "POST" }), { body: "d", headers });
                await fetch(location.origin + "/5/", Object.assign(Object.create(null), { method: "POST" }));
                heard.push(headers.has("X-Socket-ID"));
            }"""
        )

        assert page.evaluate("heard") == [False]
        assert [(posted.path, posted.headers["x-socket-id"]) for posted in site.posted] == [
            (f"/{number}/", "1.1") for number in range(1, 6)
        ]
        assert [posted.headers.get("x-own") for posted in site.posted] == ["yes"] * 4 + [None]
        assert site.posted[2].headers["referer"] == f"{site.url}/from/"

    def test_hands_on_as_they_are_bodies_and_what_is_not_for_this_page_to_change(self, open_page, push_server, page):
        page.add_init_script(
            "window.fetch = (...all) => { (window.handed ??= []).push(all); return Promise.resolve(); };"
        )
        open_page(VIEW)
        wait_for_subscriptions(page)

        results = page.evaluate(
            """() => {
                const told = (...given) => {
                    window.handed = [];
                    fetch(...given);
                    const [input, init] = handed[0];
                    const headers = init?.headers instanceof Headers ? init.headers : null;
                    return [headers?.get("X-Socket-ID") ?? null, input === given[0], init === given[1]];
                };
                const body = () => ({ method: "POST", body: new ReadableStream(), duplex: "half" });
                const streaming = new Request("/", body());
                const init = body();
                return {
                    plain: told("/"),
                    stream: told("/", init),
                    sameStream: handed[0][1].body === init.body,
                    request: told(streaming),
                    unread: !streaming.bodyUsed,
                    ownHeader: told("/", { headers: { "x-socket-id": "own" } }),
                    ownRequest: told(new Request("/", { headers: { "X-Socket-ID": "own" } })),
                    requestAsOptions: told("/", new Request("/", { headers: { "X-Own": "yes" } })),
                    elsewhere: told("https://elsewhere.example/", { method: "POST" }),
                    elsewhereRequest: told(new Request("https://elsewhere.example/")),
                    noAddress: told("http://["),
                    noHeaders: told("/", { headers: { "": 1 } }),
                };
            }"""
        )

        untouched = [None, True, True]
        assert results == {
            "plain": ["1.1", True, False],
            "stream": ["1.1", True, False],
            "sameStream": True,
            "request": ["1.1", True, False],
            "unread": True,
            "ownHeader": untouched,
            "ownRequest": untouched,
            "requestAsOptions": untouched,
            "elsewhere": untouched,
            "elsewhereRequest": untouched,
            "noAddress": untouched,
            "noHeaders": untouched,
        }

    def test_without_a_connection_or_after_another_tells_no_stale_one(self, page_of, push_server, told):
        page = page_of()
        page.evaluate("fetch('/', {method: 'POST'})")
        page.clock.install()
        push_server.drop_connections()
        page.wait_for_selector("html[data-pusherable=connecting]", state="attached")
        page.evaluate("fetch('/', {method: 'POST'})")
        page.clock.run_for(1000)
        wait_for_subscriptions(page)
        page.evaluate("fetch('/', {method: 'POST'})")

        assert told() == ["1.1", None, "1.2"]
        assert page.evaluate("pusherable.socketId") == "1.2"


class TestXMLHttpRequest:
    SEND = """({ url, header, body }) => new Promise((done) => {
        const request = new XMLHttpRequest();
        request.open("POST", url);
        if (header) request.setRequestHeader("x-socket-id", header);
        request.onloadend = done;
        request.send(body);
    })"""

    def test_tells_this_site_unless_it_does_so_itself(self, page_of, site, told):
        page = page_of()
        page.evaluate(self.SEND, {"url": "/", "body": "a=1"})
        page.evaluate(self.SEND, {"url": f"{site.url}/", "body": None})
        page.evaluate(self.SEND, {"url": "/", "header": "own"})

        assert told() == ["1.1", "1.1", "own"]
        assert site.posted[0].form == {"a": "1"}

    def test_tells_no_other_site(self, page_of, site, complaints):
        page = page_of()
        site.policy = "default-src *"
        seen = page.evaluate(
            """() => {
                const seen = [];
                const request = new XMLHttpRequest();
                request.open("POST", "https://elsewhere.example/");
                request.send = XMLHttpRequest.prototype.send;
                Object.getPrototypeOf(request).setRequestHeader = new Proxy(request.setRequestHeader, {
                    apply: (_, __, [name]) => seen.push(name),
                });
                request.send();
                return seen;
            }"""
        )

        assert seen == []
        complaints.allow("elsewhere.example")
        page.wait_for_function("() => true")
        complaints.take()

    def test_that_is_opened_again_tells_once(self, page_of, told):
        page = page_of()
        page.evaluate(
            """() => new Promise((done) => {
                const request = new XMLHttpRequest();
                request.open("POST", "https://elsewhere.example/");
                request.open("POST", "/", true);
                request.onloadend = done;
                request.send("");
            })"""
        )

        assert told() == ["1.1"]


class TestForm:
    FORM = (
        '<form method="{method}" action="{action}" {asks}><input name="action" value="x">'
        '<input name="method" value="y"></form>'
    )

    def test_that_asks_for_it_tells_this_site_when_it_is_sent(self, page_of):
        asks = "data-pusherable-exclude"
        forms = {
            ("post", "", asks): "1.1",
            ("POST", "/save/", asks): "1.1",
            ("post", "/save/", ""): None,
            ("get", "/save/", asks): None,
            ("post", "https://elsewhere.example/", asks): None,
        }
        page = page_of(
            "".join(self.FORM.format(method=method, action=action, asks=asks) for method, action, asks in forms)
        )

        values = page.evaluate("[...document.forms].map((form) => new FormData(form).get('pusherable_socket_id'))")
        assert values == list(forms.values())
        assert page.locator("form input").count() == 2 * len(forms)

    def test_that_is_really_sent_arrives_with_it(self, page_of, site):
        page = page_of(
            '<form method="post" action="/save/" data-pusherable-exclude><button name="b">B</button></form>'
        )
        page.get_by_role("button").click()
        page.wait_for_url("**/save/")

        assert site.posted[0].form["pusherable_socket_id"] == "1.1"

    def test_that_was_sent_with_an_old_one_loses_it(self, page_of, push_server):
        page = page_of(
            '<form id="form" method="post" data-pusherable-exclude>'
            '<input type="hidden" name="pusherable_socket_id" value="0.1"></form>'
        )
        page.evaluate("pusherable.pusher.disconnect()")

        assert page.evaluate("new FormData(form).has('pusherable_socket_id')") is False


@pytest.fixture(scope="session")
def htmx(tmp_path_factory):
    """The script of htmx; skips where npm cannot bring it."""
    folder: Path = tmp_path_factory.mktemp("htmx")
    try:
        command = ["npm", "install", "--prefix", str(folder), "--no-save", "--ignore-scripts", HTMX]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"npm could not install {HTMX}: {error}")
    return (folder / "node_modules/htmx.org/dist/htmx.min.js").read_text("utf-8")


class TestHtmx:
    def test_tells_with_what_it_sends_and_its_fragment_subscribes(self, page_of, site, push_server, told, htmx):
        site.pages["/htmx.js"] = htmx
        site.reply = lambda posted: (
            200,
            '<pusherable-subscribe event="view" channel="post_2"></pusherable-subscribe>',
        )
        page = page_of(
            '<meta name="htmx-config" content=\'{"includeIndicatorStyles": false}\'>'
            '<button hx-post="/save/" hx-swap="outerHTML">Save</button><script src="/htmx.js"></script>'
        )
        page.get_by_role("button").click()
        push_server.wait_for(lambda server: ("subscribe", "post_2") in server.frames)

        assert told() == ["1.1"]

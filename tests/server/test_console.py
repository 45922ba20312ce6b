import json
import re

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from pusherable.server.addresses import Address
from pusherable.server.config import Limits, ServerConfig
from pusherable.server.console import PATH, Console, find_errors
from pusherable.server.facts import Broadcast
from pusherable.server.hub import Hub
from pusherable.server.viewers import Feed
from tests.server.conftest import APP, RecordingClient, ask

HERE = Address("127.0.0.1", 8001)
HOST = {"Host": "127.0.0.1:8001"}
SAME_ORIGIN = {"Origin": "http://127.0.0.1:8001", "Sec-Fetch-Site": "same-origin"}
FORM = {"channel": "post_1", "event": "update", "data": '{"a": 1}'}
PAGES = ["", "console.css", "console.js", "icon.svg", "stream"]


class Site:
    """A console and a browser for it that keeps the cookie."""

    def __init__(self, config=None, *, key=None):
        self.config = config or ServerConfig(apps=(APP,))
        self.facts = []
        self.feed = Feed(APP)
        self.hub = Hub(self.config, observers=[self.facts.append, self.feed.observe])
        self.console = Console(self.hub, self.feed, key=key)
        # A stream then ends after its first part.
        self.feed.close()
        self.app = Starlette(routes=self.console.routes(), exception_handlers={HTTPException: self._not_found})
        self.headers = dict(HOST)

    async def _not_found(self, request, exception):
        raise AssertionError("no test asks for an address without a route")

    @property
    def query(self):
        return self.console.link(HERE).partition("?")[2]

    def get(self, path="", *, method="GET", headers=None, **scope):
        return ask(
            self.app, method, f"{self.config.path}{PATH}{path}", headers=self.headers | (headers or {}), **scope
        )

    def come_in(self):
        """Use the link; gives back the answer."""
        answer = self.get(f"?{self.query}")
        self.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def post(self, content, *, headers=None):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        length = {"Content-Length": str(len(raw))}
        return ask(
            self.app,
            "POST",
            f"{self.config.path}{PATH}events",
            content=raw,
            headers=self.headers | SAME_ORIGIN | length | (headers or {}),
        )


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def visited(site):
    """A console that has let its visitor in."""
    site.come_in()
    return site


def assert_nothing_here(answer):
    """What is answered says nothing of a console."""
    assert (answer.status_code, answer.text) == (404, "404 NOT FOUND\n")
    assert answer.headers.keys() == {"content-length", "content-type"}


class TestLink:
    def test_it_leads_to_the_address_by_which_this_machine_finds_the_server(self, site):
        link = site.console.link(Address("0.0.0.0", 8001))
        assert re.fullmatch(r"http://127\.0\.0\.1:8001/pusherable/console/\?token=[\w-]{43}", link)
        assert site.console.link(Address("::1", 443), scheme="https").startswith("https://[::1]:443/pusherable/")

    def test_it_has_the_path_of_the_server_before_it(self):
        site = Site(ServerConfig(apps=(APP,), path="/push"))
        assert site.console.link(HERE).startswith("http://127.0.0.1:8001/push/pusherable/console/?token=")
        assert "; Path=/push/pusherable/console/;" in site.come_in().headers["set-cookie"]
        assert site.get().status_code == 200

    def test_it_is_another_one_each_time(self):
        assert Site().query != Site().query

    def test_it_lets_in_and_leads_to_the_page(self, site):
        answer = site.come_in()
        assert answer.status_code == 200
        assert '<meta http-equiv="refresh" content="0; url=./">' in answer.text
        assert re.fullmatch(
            r"pusherable_console_8001=[\w-]{43}; HttpOnly; Path=/pusherable/console/; SameSite=strict",
            answer.headers["set-cookie"],
        )
        assert "<h1>Push console</h1>" in site.get().text

    def test_it_is_good_once(self, site):
        link = f"?{site.query}"
        assert site.get(link).status_code == 200
        assert_nothing_here(site.get(link))

    def test_used_again_by_who_is_in_leads_to_the_page(self, site):
        link = f"?{site.query}"
        site.come_in()
        answer = site.get(link)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers

    def test_looked_at_by_a_program_stays_good(self, site):
        assert site.get(f"?{site.query}", method="HEAD").status_code == 404
        assert site.come_in().status_code == 200

    def test_over_tls_its_cookie_is_for_tls_alone(self, site):
        assert "; Secure" in site.get(f"?{site.query}", scheme="https").headers["set-cookie"]

    def test_leads_to_nothing_but_the_page(self, site):
        for path in PAGES[1:]:
            assert_nothing_here(site.get(f"{path}?{site.query}"))

    def test_the_secret_is_in_none_of_it(self, visited):
        answers = [visited.get(path) for path in PAGES]
        assert "the secret" not in visited.console.link(HERE) + str([(one.text, one.headers) for one in answers])


class TestGuard:
    @pytest.mark.parametrize("path", PAGES)
    def test_a_visitor_is_served_with_the_headers_that_keep_others_out(self, visited, path):
        answer = visited.get(path)
        assert answer.status_code == 200
        expected = {
            "cache-control": "no-store",
            "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
        }
        assert expected.items() <= answer.headers.items()

    @pytest.mark.parametrize("path", PAGES)
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Cookie": "pusherable_console_8001="},
            {"Cookie": "pusherable_console_8001=guessed"},
            {"Cookie": "pusherable_console_8001=\u00e9"},
        ],
    )
    def test_without_the_cookie_there_is_nothing(self, site, path, headers):
        assert_nothing_here(site.get(path, headers=headers))

    @pytest.mark.parametrize("query", ["token=", "token=guessed", "token=%C3%A9", "other=1"])
    def test_a_guessed_token_leads_nowhere_and_the_right_one_stays_good(self, site, query):
        assert_nothing_here(site.get(f"?{query}"))
        assert site.come_in().status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "", "[", "10.0.0.9"]
    )
    def test_another_name_for_the_server_finds_nothing(self, visited, host):
        for path in PAGES:
            assert_nothing_here(visited.get(path, headers={"Host": host}))
        assert_nothing_here(visited.post(FORM, headers={"Host": host, "Origin": f"http://{host}"}))

    @pytest.mark.parametrize("host", ["localhost:8001", "LOCALHOST", "127.0.0.1", "[::1]:9000"])
    def test_names_of_the_loopback_are_right_by_any_port(self, visited, host):
        assert visited.get(headers={"Host": host}).status_code == 200

    def test_the_address_that_it_is_bound_to_is_right(self):
        site = Site(ServerConfig(apps=(APP,), host="Push.example"))
        site.headers["Host"] = "push.example:8001"
        site.come_in()
        assert site.get().status_code == 200

    def test_bound_to_all_the_address_that_was_called_is_right(self):
        site = Site(ServerConfig(apps=(APP,), host="0.0.0.0"))
        site.come_in()
        host = {"Host": "10.0.0.9:8001"}
        assert site.get(headers=host, server=("10.0.0.9", 8001)).status_code == 200
        assert_nothing_here(site.get(headers=host, server=("10.0.0.8", 8001)))

    @pytest.mark.parametrize("where", ["same-site", "cross-site", "none"])
    def test_other_origins_reach_the_page_alone(self, visited, where):
        headers = {"Sec-Fetch-Site": where}
        assert visited.get(headers=headers).status_code == 200
        for path in PAGES[1:]:
            assert_nothing_here(visited.get(path, headers=headers))

    def test_each_port_has_a_cookie_of_its_own(self):
        site = Site(ServerConfig(apps=(APP,), port=9001))
        assert site.come_in().headers["set-cookie"].startswith("pusherable_console_9001=")

    def test_started_anew_with_the_same_key_lets_visitors_stay(self):
        before = Site(key="the key of a supervisor")
        before.come_in()
        after, stranger = Site(key="the key of a supervisor"), Site()
        assert after.get(headers=before.headers).status_code == 200
        assert_nothing_here(stranger.get(headers=before.headers))
        assert before.query != after.query


class TestFiles:
    @pytest.mark.parametrize(
        ("path", "type"),
        [
            ("", "text/html; charset=utf-8"),
            ("console.css", "text/css; charset=utf-8"),
            ("console.js", "text/javascript; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("stream", "text/event-stream; charset=utf-8"),
        ],
    )
    def test_each_has_its_type(self, visited, path, type):
        assert visited.get(path).headers["content-type"] == type

    def test_the_page_has_nothing_inline(self, visited):
        for answer in (visited.get(), visited.get("?token=")):
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)", answer.text)

    def test_the_stream_begins_with_an_overview(self, visited):
        assert visited.get("stream").text.startswith("retry: 1000\n\nevent: overview\ndata: {")


class TestSending:
    def test_a_test_event_is_broadcast_as_it_was_written(self, visited):
        client = RecordingClient()
        visited.hub.subscribe(visited.hub.connect(APP, client), "post_1")
        client.take()
        answer = visited.post(FORM)
        assert (answer.status_code, answer.json()) == (200, {"receivers": 1})
        assert client.take() == [{"event": "update", "channel": "post_1", "data": '{"a": 1}'}]
        assert visited.facts[-1] == Broadcast("1", "post_1", "update", '{"a": 1}', 1)

    def test_what_is_wrong_is_said_field_by_field(self, visited):
        answer = visited.post({"channel": "a b", "event": "pusher:x", "data": '{"a": }'})
        assert answer.status_code == 422
        assert answer.json() == {
            "errors": {
                "channel": "'a b' is no channel name: only letters, digits and _ - = @ , . ; are allowed, "
                "and at least one of them.",
                "event": "The event name 'pusher:x' is reserved: 'pusher:' and 'pusher_internal:' are Pusher's own.",
                "data": "This is no JSON: line 1, column 7: Expecting value.",
            }
        }
        assert visited.facts == []

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "http://127.0.0.1:9000"},
            {"Origin": "https://127.0.0.1:8001"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Sec-Fetch-Site": "same-site"},
            {"Cookie": ""},
        ],
    )
    def test_what_another_page_sends_finds_nothing(self, visited, headers):
        assert_has_no_effect(visited, visited.post(FORM, headers=headers))

    def test_without_an_origin_nothing_is_found(self, visited):
        answer = ask(visited.app, "POST", f"{PATH}events", content=b"{}", headers=visited.headers)
        assert_has_no_effect(visited, answer)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
    def test_a_body_that_is_no_form_is_refused(self, visited, content):
        answer = visited.post(content)
        assert (answer.status_code, answer.text) == (400, "400 BAD REQUEST\n")

    @pytest.mark.parametrize("length", ["1000000000", "-1", "many"])
    def test_a_body_of_no_possible_length_is_refused(self, visited, length):
        assert visited.post(FORM, headers={"Content-Length": length}).status_code == 400

    def test_a_body_that_breaks_off_is_refused(self, visited):
        async def receive():
            return {"type": "http.disconnect"}

        headers = visited.headers | SAME_ORIGIN | {"Content-Length": "2"}
        assert ask(visited.app, "POST", f"{PATH}events", headers=headers, receive=receive).status_code == 400


def assert_has_no_effect(site, answer):
    assert_nothing_here(answer)
    assert site.facts == []


class TestFindErrors:
    LIMITS = Limits(channel_length=8, event_name_length=4, event_data_size=10)

    @pytest.mark.parametrize(
        "form",
        [
            {"channel": "a", "event": "b", "data": "1"},
            {"channel": "#server-to-user-1", "event": "b", "data": ' "é" '},
            {"channel": "private-encrypted-a", "event": "b", "data": '{"nonce": "", "ciphertext": ""}'},
        ],
    )
    def test_a_sound_event_has_none(self, form):
        assert find_errors(form, Limits()) == {}

    def test_empty_fields_are_asked_for(self):
        asked = {
            "channel": "Name the channel, such as post_1.",
            "event": "Name the event, such as update.",
            "data": 'Write JSON, such as {"title": "News"} or "a text".',
        }
        assert find_errors({}, Limits()) == asked
        assert find_errors({"channel": "", "event": "", "data": " \n"}, Limits()) == asked

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (1, 'Write JSON, such as {"title": "News"} or "a text".'),
            ("{\n'a': 1}", "This is no JSON: line 2, column 1: Expecting property name enclosed in double quotes."),
            ("NaN", "This is no JSON: NaN is not JSON."),
            ('"01234567é"', "The data has 12 bytes; 10 is the limit."),
        ],
    )
    def test_faulty_data_is_explained(self, data, error):
        assert find_errors({"channel": "a", "event": "b", "data": data}, self.LIMITS) == {"data": error}

    def test_data_too_deep_is_refused(self):
        errors = find_errors({"channel": "a", "event": "b", "data": "[" * 100_000}, Limits(event_data_size=10**6))
        assert errors["data"].startswith("This is no JSON: ")

    @pytest.mark.parametrize("channel", [1, ["a"], "123456789"])
    def test_a_faulty_channel_is_explained(self, channel):
        assert find_errors({"channel": channel, "event": "b", "data": "1"}, self.LIMITS).keys() == {"channel"}

    @pytest.mark.parametrize("event", [1, ["a"], "12345"])
    def test_a_faulty_event_is_explained(self, event):
        assert find_errors({"channel": "a", "event": event, "data": "1"}, self.LIMITS).keys() == {"event"}

    @pytest.mark.parametrize("data", ["1", "{}", '{"nonce": ""}'])
    def test_a_plain_event_for_an_encrypted_channel_is_explained(self, data):
        form = {"channel": "private-encrypted-a", "event": "b", "data": data}
        assert find_errors(form, Limits()) == {
            "data": 'An encrypted channel carries {"nonce": …, "ciphertext": …}: '
            "this server has no key to make them with."
        }

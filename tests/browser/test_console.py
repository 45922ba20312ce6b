"""The console in a real browser, at a real ``runpushserver``, with real clients of the server."""

import json
import os
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from pusher import Pusher
from websockets.sync.client import connect

from pusherable.signing import channel_message, sign
from tests.browser.waiting import PATIENCE
from tests.server.processes import ROOT, running_server

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"
#: What a browser says of every answer that is no success, and of a server that is gone.
UNLUCKY = "Failed to load resource"

PROJECT = """
SECRET_KEY = "a secret of the tests alone"
DEBUG = True
PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET = "1", "test-key", "test-secret"
INSTALLED_APPS = ["pusherable"]
"""


class Client:
    """A WebSocket client of the server."""

    def __init__(self, server):
        self._socket = connect(f"ws://{server.address}/app/test-key?protocol=7", open_timeout=PATIENCE).__enter__()
        self.socket_id = json.loads(self.read()["data"])["socket_id"]

    def subscribe(self, channel, **member):
        data = {"channel": channel}
        if member:
            data["channel_data"] = json.dumps(member)
            signature = sign("test-secret", channel_message(self.socket_id, channel, data["channel_data"]))
            data["auth"] = f"test-key:{signature}"
        self.send({"event": "pusher:subscribe", "data": data})
        assert self.read()["event"] == "pusher_internal:subscription_succeeded"
        return self

    def send(self, message):
        self._socket.send(message if isinstance(message, str) else json.dumps(message))

    def read(self):
        return json.loads(self._socket.recv(timeout=PATIENCE))

    def close(self):
        self._socket.close()


@pytest.fixture(scope="module")
def server():
    with running_server("--noreload", "-v", "2") as server:
        yield server


@pytest.fixture(scope="module")
def cookie(chromium, server):
    """What the link of the server has been exchanged for."""
    with chromium.new_context() as context:
        context.new_page().goto(link_of(server))
        [cookie] = context.cookies()
    return cookie


@pytest.fixture
def join(server):
    """Connect a client to the server."""
    clients = []

    def join(*channels):
        client = Client(server)
        clients.append(client)
        for channel in channels:
            client.subscribe(channel)
        return client

    yield join
    for client in clients:
        client.close()
        # The next test's console is to hear nothing of it.
        server.wait_for(f"{client.socket_id} disconnected")


@pytest.fixture
def console(server, cookie, context, page, complaints):
    """The page of the console, live."""
    context.add_cookies([cookie])
    complaints.allow(UNLUCKY)
    return open_console(page, f"http://{server.address}/pusherable/console/")


@pytest.fixture
def publish(server):
    pusher = Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port)
    return pusher.trigger


def link_of(server, *, count=1):
    return "http://" + server.wait_for("/console/?token=", count=count).partition("http://")[2]


def open_console(page, link):
    page.goto(link)
    expect(page.get_by_role("status").first).to_have_text("Live")
    # The first overview has come, so that nothing can be missed any more.
    expect(page.locator("#app")).to_have_text("App 1, key test-key")
    return page


def rows(page):
    return page.locator("#happenings tr:visible")


def named(page, name):
    """The rows of one event."""
    return rows(page).filter(has=page.get_by_role("cell", name=name, exact=True))


def cells(row):
    """The texts of a row, but for the time."""
    return row.get_by_role("cell").all_text_contents()[1:]


class TestLink:
    def test_leads_to_the_console_and_is_good_once(self, chromium, context, page, complaints):
        with running_server("--noreload") as server:
            complaints.allow(UNLUCKY)
            link = link_of(server)
            open_console(page, link)
            assert page.url == f"http://{server.address}/pusherable/console/"
            page.reload()
            expect(page.get_by_role("heading", name="Push console")).to_be_visible()
            with chromium.new_context() as other:
                stranger = other.new_page()
                for address in (link, page.url, f"{page.url}console.js", f"{page.url}stream"):
                    assert stranger.goto(address).status == 404
                    assert stranger.locator("body").inner_text().strip() == "404 NOT FOUND"
            assert page.evaluate("document.cookie") == ""

    def test_followed_from_another_site_leads_to_the_console(self, site, page):
        """A terminal in a browser, for one; a cookie of SameSite=Strict survives no redirect from elsewhere."""
        with running_server("--noreload") as server:
            site.pages["/"] = f'<!doctype html><title>x</title><a href="{link_of(server)}">The console</a>'
            site.pages["/favicon.ico"] = ""
            page.goto(site.url.replace("127.0.0.1", "localhost"))
            page.get_by_role("link").click()
            expect(page.get_by_role("status").first).to_have_text("Live")


class TestHappenings:
    def test_an_event_is_shown_with_its_receivers_and_its_data_laid_out(self, console, join, publish):
        join("post_1")
        data = {"title": HOSTILE, "big": 12345678901234567890, "none": [], "list": [1, {"a": None}]}
        publish("post_1", "seen", data)
        row = named(console, "seen")
        expect(row).to_have_count(1)
        name, channel, _, receivers = cells(row)
        assert (name, channel, receivers) == ("seen", "post_1", "1")
        row.locator("summary").click()
        assert json.loads(row.locator("pre").text_content()) == data
        assert row.locator("pre").text_content().split("\n")[2:] == [
            '  "big": 12345678901234567890,',
            '  "none": [],',
            '  "list": [',
            "    1,",
            "    {",
            '      "a": null',
            "    }",
            "  ]",
            "}",
        ]
        assert row.locator("img").count() == 0

    @pytest.mark.parametrize("data", ["no JSON at all", '{"a": 1}', "[]", '"a text"', "7", "{} {", HOSTILE])
    def test_short_data_is_shown_as_it_is(self, console, publish, data):
        publish("post_2", "short", data)
        expect(named(console, "short").locator("code")).to_have_text(data, use_inner_text=False)

    def test_names_are_text(self, console, publish):
        publish("post_3", HOSTILE, "1")
        expect(rows(console).first.locator(".name")).to_have_text(HOSTILE)

    def test_visits_and_problems_are_shown_and_can_be_left_out(self, console, join, publish):
        client = join("visited")
        client.send("{")
        client.read()
        publish("visited", "noted", "1")
        for name in ("connected", "subscribed", "occupied", "error", "noted"):
            expect(named(console, name)).to_have_count(1)
        assert cells(named(console, "error"))[2] == f"{client.socket_id} was told: Invalid JSON"

        console.get_by_label("Show").select_option("problems only")
        expect(rows(console)).to_have_count(1)
        expect(rows(console).locator(".name")).to_have_text("error")
        console.get_by_label("Show").select_option("events only")
        expect(rows(console).locator(".name")).to_have_text(["noted"])
        expect(console.locator("#events-count")).to_have_text(re.compile(r"^1 of \d+$"))

    def test_are_filtered_by_channel(self, console, publish):
        events = console.get_by_role("region", name="Events")
        for channel in ("apple", "pear", "apple-pie"):
            publish(channel, "eaten", "1")
        expect(rows(console)).to_have_count(3)
        console.get_by_label("Only channel").fill("apple")
        expect(rows(console).locator(".channel")).to_have_text(["apple-pie", "apple"])
        publish("plum", "eaten", "1")
        publish("apple", "eaten", "1")
        expect(rows(console).locator(".channel")).to_have_text(["apple", "apple-pie", "apple"])
        console.get_by_label("Only channel").fill("cherry")
        expect(events.get_by_text("None of it passes the filter.")).to_be_visible()

    def test_pausing_keeps_them_back_and_clearing_forgets_them(self, console, publish):
        pause = console.get_by_role("button", name="Pause")
        expect(console.get_by_text("Nothing has happened since this page was opened.")).to_be_visible()
        publish("a", "one", "1")
        expect(rows(console)).to_have_count(1)
        pause.click()
        expect(pause).to_have_attribute("aria-pressed", "true")
        expect(console.get_by_role("status").first).to_have_text("Paused")
        publish("a", "two", "1")
        publish("a", "three", "1")
        expect(console.get_by_text("2 waiting")).to_be_visible()
        expect(rows(console)).to_have_count(1)
        pause.click()
        expect(rows(console).locator(".name")).to_have_text(["three", "two", "one"])
        expect(console.get_by_role("status").first).to_have_text("Live")
        console.get_by_role("button", name="Clear").click()
        expect(rows(console)).to_have_count(0)
        expect(console.get_by_role("button", name="Clear")).to_be_focused()

    def test_only_the_latest_are_kept(self, console, publish):
        for first in range(0, 520, 100):
            publish([f"c{number}" for number in range(first, min(first + 100, 520))], "many", "1")
        expect(rows(console).first.locator(".channel")).to_have_text("c519")
        assert rows(console).count() == 500

    def test_that_are_too_many_for_the_page_are_counted(self, console, server, publish):
        console.get_by_role("button", name="Pause").click()
        for first in range(0, 600, 100):
            publish([f"c{number}" for number in range(first, first + 100)], "many", "1")
        expect(console.get_by_text("500 waiting")).to_be_visible()
        console.get_by_role("button", name="Pause").click()
        expect(console.get_by_text("100 more happened before these than could be shown.")).to_be_visible()


class TestOverview:
    def test_connections_channels_and_members_come_and_go(self, console, join):
        ada = join("news")
        ada.subscribe("presence-desk", user_id="ada", user_info={"name": HOSTILE})
        grace = join("news")
        channels = console.get_by_role("table", name="Channels")
        expect(channels.locator("tbody tr")).to_have_count(2)
        assert [row.get_by_role("cell").all_text_contents()[1:] for row in channels.locator("tbody tr").all()] == [
            ["public", "2"],
            ["presence", "1"],
        ]
        channels.get_by_text("1 member").click()
        info = json.dumps({"name": HOSTILE}, ensure_ascii=False)
        expect(channels.get_by_role("listitem")).to_have_text(f"ada {info}")
        connections = console.get_by_role("table", name="Connections").locator("tbody tr")
        expect(connections).to_have_count(2)
        assert connections.first.get_by_role("cell").all_text_contents() == [ada.socket_id, "", "news, presence-desk"]
        expect(console.locator("#connections-count")).to_have_text("2")

        grace.subscribe("presence-desk", user_id="grace")
        expect(channels.get_by_text("2 members")).to_be_visible()
        expect(channels.get_by_role("listitem").last).to_have_text("grace")
        ada.close()
        grace.close()
        expect(console.get_by_text("Nobody is connected.")).to_be_visible()
        expect(console.get_by_text("Nobody is subscribed to anything.")).to_be_visible()

    def test_a_channel_of_the_list_filters_the_events(self, console, join, publish):
        join("news")
        publish(["news", "other"], "told", "1")
        expect(named(console, "told")).to_have_count(2)
        console.get_by_role("button", name="news").click()
        expect(named(console, "told").locator(".channel")).to_have_text(["news"])
        console.get_by_role("button", name="news").click()
        expect(named(console, "told")).to_have_count(2)

    def test_a_row_that_goes_leaves_the_focus_at_its_heading(self, console, join):
        client = join("fleeting")
        console.get_by_role("button", name="fleeting").focus()
        client.close()
        expect(console.get_by_role("heading", name="Channels")).to_be_focused()


class TestSending:
    def test_a_test_event_reaches_a_subscriber(self, console, join):
        client = join("post_9")
        console.locator("#channel").fill("post_9")
        console.get_by_label("Event", exact=True).fill("update")
        console.get_by_label("Data, as JSON").fill('{"title": "é"}')
        console.get_by_role("button", name="Send").click()
        assert client.read() == {"event": "update", "channel": "post_9", "data": '{"title": "é"}'}
        expect(console.locator("#sent")).to_have_text("Sent to 1 subscriber.")
        expect(named(console, "update")).to_have_count(1)
        assert cells(named(console, "update")) == ["update", "post_9", '{"title": "é"}', "1"]

    def test_what_is_wrong_is_said_beside_its_field(self, console):
        console.locator("#channel").fill("a b")
        console.get_by_label("Data, as JSON").fill("{")
        console.get_by_role("button", name="Send").click()
        channel = console.locator("#channel")
        expect(channel).to_be_focused()
        expect(channel).to_have_attribute("aria-invalid", "true")
        expect(channel).to_have_accessible_description(re.compile("^'a b' is no channel name"))
        expect(console.get_by_label("Event", exact=True)).to_have_accessible_description(
            "Name the event, such as update."
        )
        expect(console.get_by_label("Data, as JSON")).to_have_accessible_description(
            re.compile("^This is no JSON: line 1")
        )
        expect(console.locator("#sent")).to_have_text("Not sent.")

        channel.fill("a")
        console.get_by_label("Event", exact=True).fill("b")
        console.get_by_label("Data, as JSON").fill("1")
        console.keyboard.press("Tab")
        console.keyboard.press("Enter")
        expect(console.locator("#sent")).to_have_text("Sent to 0 subscribers.")
        expect(console.locator("[aria-invalid]")).to_have_count(0)

    def test_without_a_server_says_so(self, console):
        console.route("**/events", lambda route: route.fulfill(status=503))
        console.get_by_role("button", name="Send").click()
        expect(console.locator("#sent")).to_have_text("Not sent: the server answered 503.")


class TestConnection:
    def test_the_page_goes_on_by_itself_when_the_code_has_changed(self, tmp_path, page, complaints):
        complaints.allow(UNLUCKY)
        (tmp_path / "project_settings.py").write_text(PROJECT)
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        env = {"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": paths}
        with running_server(cwd=tmp_path, env=env) as server:
            first = link_of(server)
            open_console(page, first)
            (tmp_path / "project_settings.py").write_text(f"{PROJECT}\n# Changed.\n")
            assert link_of(server, count=2) != first
            expect(page.get_by_text("The server has started anew.")).to_be_visible()
            expect(page.get_by_role("status").first).to_have_text("Live")
            client = Client(server)
            expect(named(page, "connected")).to_have_count(1)
            client.close()
            assert server.stop() == 0
        assert "Cancel" not in server.output
        assert "Traceback" not in server.output

    def test_another_run_of_the_command_closes_it_until_its_own_link_is_used(self, context, page, complaints):
        complaints.allow(UNLUCKY)
        with running_server("--noreload") as server:
            open_console(page, link_of(server))
            address = server.address
            # An open console holds up no stop.
            assert server.stop() == 0
            assert "Cancel" not in server.output
        status = page.get_by_role("status").first
        expect(status).to_have_text("Connection lost. Trying again…")
        with running_server("--noreload", address=address) as server:
            expect(status).to_have_text("Closed. Open the new link that runpushserver has printed.")
            context.new_page().goto(link_of(server))
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(status).to_have_text("Live")


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((value) => value / 255).map(
      (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says && !("value" in element)) continue;
    if (!element.checkVisibility()) continue;
    const [one, other] = [rgb(getComputedStyle(element).color), ground(element)].map(luminance);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) bad.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.fixture
def busy_console(console, join, publish):
    """A console that shows something of every kind."""
    client = join("a-channel-with-a-name-that-is-rather-long-and-has-no-place-to-break-it")
    client.subscribe("presence-desk", user_id="ada", user_info={"name": "Ada"})
    client.send("{")
    publish("presence-desk", "update", {"title": "A title", "text": "x" * 300, "list": [1, True]})
    publish("post_1", "an-event-with-a-name-that-is-rather-long-too", '{"a": "b", "c": 1}')
    named(console, "update").locator("summary").click()
    console.get_by_text("1 member").click()
    console.locator("#channel").fill("a b")
    console.get_by_role("button", name="Send").click()
    expect(console.locator("#sent")).to_have_text("Not sent.")
    return console


class TestLayout:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_text_has_contrast(self, busy_console, scheme):
        busy_console.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        busy_console.get_by_role("button", name="Pause").click()
        assert busy_console.evaluate(CONTRASTS) == []

    @pytest.mark.parametrize("width", [320, 390, 800, 1300])
    def test_nothing_has_to_be_scrolled_sideways(self, busy_console, width):
        busy_console.set_viewport_size({"width": width, "height": 700})
        assert busy_console.evaluate("document.documentElement.scrollWidth") <= width
        regions = busy_console.get_by_role("region", name="Events").last
        assert regions.evaluate("(element) => element.scrollWidth <= element.clientWidth")

    def test_on_a_phone_the_table_is_still_one_for_screen_readers(self, busy_console):
        busy_console.set_viewport_size({"width": 390, "height": 700})
        table = busy_console.get_by_role("table", name="Events")
        assert table.get_by_role("columnheader").all_text_contents() == [
            "Time",
            "Event",
            "Channel",
            "Data",
            "Receivers",
        ]
        expect(table).to_have_attribute("aria-live", "off")
        assert table.get_by_role("row").first.get_by_role("columnheader").count() == 5


class TestKeyboard:
    def test_leads_through_the_page_in_its_order_and_past_the_events(self, console, publish):
        publish("a", "long", {"text": "x" * 200})
        expect(named(console, "long")).to_have_count(1)
        reached = []
        while "submit" not in reached:
            console.keyboard.press("Tab")
            reached.append(console.evaluate("document.activeElement.id || document.activeElement.textContent"))
            assert console.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
            assert len(reached) < 30
        assert reached[:6] == ["Skip the events", "Skip to sending a test event", "filter", "kinds", "pause", "clear"]
        assert reached.index("channel") < reached.index("event") < reached.index("data") < reached.index("submit")

    def test_the_data_of_an_event_opens_by_it(self, console, publish):
        publish("a", "long", {"text": "x" * 200})
        named(console, "long").locator("summary").focus()
        console.keyboard.press("Enter")
        expect(named(console, "long").locator("pre")).to_be_visible()

    def test_the_link_past_the_events_leads_to_the_form(self, console):
        console.keyboard.press("Tab")
        console.keyboard.press("Tab")
        expect(console.get_by_role("link", name="Skip to sending a test event")).to_be_in_viewport()
        console.keyboard.press("Enter")
        console.keyboard.press("Tab")
        expect(console.locator("#channel")).to_be_focused()


def test_the_page_asks_its_own_server_alone(console, publish):
    asked = []
    console.on("request", lambda request: asked.append(request.url))
    console.reload()
    expect(console.locator("#app")).to_have_text("App 1, key test-key")
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(console.url).netloc}
    assert all(urlsplit(url).path.startswith("/pusherable/console/") for url in asked)

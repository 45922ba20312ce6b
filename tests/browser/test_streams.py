"""Event streams in a real browser, with no library, through a real nginx that buffers as it does by default."""

import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlencode

import pytest
import requests
from pusher import Pusher

from pusherable.signing import stream_parameters
from tests.browser.waiting import heard, wait_for_subscriptions
from tests.server.processes import ROOT, running_server

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx was found: apt-get install nginx-light")

PROJECT = """
SECRET_KEY = "a secret of the tests alone"
DEBUG = True
PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET = "1", "test-key", "test-secret"
INSTALLED_APPS = ["pusherable"]
"""

# Pages of a site, which know their streams by its tags; who comes as an editor is one.
PAGES = """
PUSHER_HOST, PUSHER_PUBLIC_HOST, PUSHER_PUBLIC_PORT = "127.0.0.1", "127.0.0.1", {port}
PUSHERABLE_TRANSPORT = "sse"
ROOT_URLCONF = "project_urls"
INSTALLED_APPS += ["django.contrib.staticfiles"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {{"context_processors": ["django.template.context_processors.request"]}},
}}]
STATIC_URL = "/static/"
"""
URLS = """
from django.http import HttpResponse
from django.template import engines
from django.urls import include, path
from pusherable.authorization import authorize

@authorize("<slug:name>")
def may_listen(request, channel, name):
    return request.COOKIES.get("editor") == "1"

def show(source):
    def view(request):
        page = "<!doctype html>{% load pusherable_tags %}<link rel=icon href=data:,>" + source
        response = HttpResponse(engines["django"].from_string(page).render({}, request))
        response["Content-Security-Policy"] = "default-src 'self'; img-src data:"
        return response
    return view

urlpatterns = [
    path("pusher/", include("pusherable.urls")),
    path("tag/", show('<p id=live data-stream="{% pusherable_channel_url "private-news" "post_1" %}">')),
    path("script/", show("{% pusherable_script %}{% pusherable_subscribe 'update' 'post_1' %}"
                         "{% pusherable_subscribe 'update' 'private-news' %}")),
]
"""

# No word on buffering, on the version of HTTP, or on how long to wait.
CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /page {{ default_type text/html; return 200 "<title>A page</title>"; }}
        location /stream {{ proxy_pass http://{server}; }}
        location / {{ proxy_pass http://{server}; proxy_set_header Host $http_host; }}
    }}
}}
"""

LISTEN = """
(address) => {
    window.heard = [];
    window.stream = new EventSource(address);
    const note = (event) => heard.push([event.type, JSON.parse(event.data), event.lastEventId.split("/")[1]]);
    for (const name of ["pusher:subscription_succeeded", "pusher:member_added", "update", "resync"])
        stream.addEventListener(name, note);
}
"""


@contextmanager
def nginx(server, folder, port):
    """Debian's, or whichever there is, in front of the server."""
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, server=server.address))
    process = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if "start worker process" in line and "processes" not in line:
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def running(folder, *options, settings=""):
    """A server for a project in ``folder`` with more ``settings``, and the origin of the nginx before it."""
    environment = {"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": f"{folder}:{ROOT}"}
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (folder / "project_settings.py").write_text(PROJECT + settings.format(port=port))
    (folder / "project_urls.py").write_text(URLS)
    with running_server(*options, env=environment) as server, nginx(server, folder, port) as origin:
        yield server, origin


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with running(tmp_path_factory.mktemp("project"), "--noreload") as place:
        yield place


def publish(server, channel, data, socket_id=None):
    pusher = Pusher("1", "test-key", "test-secret", ssl=False, host="127.0.0.1", port=server.port, timeout=30)
    pusher.trigger(channel, "update", data, socket_id)


@pytest.fixture
def listening(page, complaints):
    """A page of nginx's that listens to an address."""
    complaints.allow("Failed to load resource")

    def listen(origin, address):
        page.goto(f"{origin}/page")
        page.evaluate(LISTEN, address)
        return page

    return listen


OPENED = "(count) => heard.filter(([name]) => name === 'pusher:subscription_succeeded').length >= count"
HAS_HEARD = "(last) => heard.some(([name, data]) => name === 'update' && data === last)"
SUCCEEDED = "pusher:subscription_succeeded"


class TestEventSource:
    def test_events_arrive_at_once(self, listening, place):
        server, origin = place
        page = listening(origin, "/stream?channel=post_1&channel=post_2")
        assert heard(page, 2) == [[SUCCEEDED, {}, "post_1"], [SUCCEEDED, {}, "post_2"]]
        for number, channel in enumerate(["post_2", "post_1", "post_2"]):
            publish(server, channel, {"number": number, "text": "é\u2028"})
            assert heard(page, 3 + number)[-1] == ["update", {"number": number, "text": "é\u2028"}, channel]

    def test_a_page_of_another_origin_may_listen_if_it_is_trusted(self, listening, place):
        server, origin = place
        page = listening(origin, f"http://{server.address}/stream?channel=post_1")
        heard(page, 1)
        publish(server, "post_1", 7)
        assert heard(page, 2)[-1] == ["update", 7, "post_1"]

    def test_a_signed_address_makes_a_member(self, listening, place):
        _, origin = place
        now = int(time.time())
        member = json.dumps({"user_id": "7", "user_info": {"name": "Ann"}})
        pairs = stream_parameters(
            ["presence-a"], key="test-key", secret="test-secret", issued=now, expires=now + 60, channel_data=member
        )
        page = listening(origin, f"/stream?{urlencode(pairs)}")
        everybody = {"ids": ["7"], "hash": {"7": {"name": "Ann"}}, "count": 1}
        assert heard(page, 1) == [[SUCCEEDED, {"presence": everybody}, "presence-a"]]

    def test_a_refused_page_gives_up(self, listening, place):
        _, origin = place
        page = listening(origin, "/stream?channel=private-a")
        page.wait_for_function("() => stream.readyState === EventSource.CLOSED")
        assert page.evaluate("heard") == []

    def test_nothing_is_lost_when_the_server_reloads(self, listening, tmp_path):
        with running(tmp_path) as (server, origin):
            page = listening(origin, "/stream?channel=post_1")
            heard(page, 1)
            with publishing(server, "post_1") as taken:
                for count in (2, 3):
                    reload(server, tmp_path / "project_settings.py", count=count)
                    page.wait_for_function(OPENED, arg=count, timeout=30_000)
            page.wait_for_function(HAS_HEARD, arg=taken[-1])
        events = page.evaluate("heard")
        numbers = [data for name, data, _ in events if name == "update"]
        assert [event for event in events if event[0] == "resync"] == []
        assert numbers == sorted(set(numbers))
        assert sorted(set(taken) - set(numbers)) == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with running(tmp_path_factory.mktemp("pages"), "--noreload", "--allrequests", settings=PAGES) as pages:
        yield pages


def let_in(page, origin):
    page.context.add_cookies([{"name": "editor", "value": "1", "url": origin}])


class TestTag:
    def test_gives_an_address_that_takes_no_library(self, page, pages, complaints):
        server, origin = pages
        let_in(page, origin)
        page.goto(f"{origin}/tag/")
        page.evaluate(LISTEN, page.get_attribute("#live", "data-stream"))
        assert [event[2] for event in heard(page, 2)] == ["private-news", "post_1"]

        publish(server, "private-news", 1)

        assert heard(page, 3)[2] == ["update", 1, "private-news"]

    def test_gives_none_to_who_may_not_listen(self, page, pages):
        _, origin = pages
        page.goto(f"{origin}/tag/")

        assert page.get_attribute("#live", "data-stream") == ""


ADD = """(channel) => document.body.append(Object.assign(document.createElement("p"), {
    innerHTML: `<pusherable-subscribe event="update" channel="${channel}"></pusherable-subscribe>`,
}))"""
NOTE = """() => {
    window.heard = [];
    window.pusherable_notify = (event, data) => heard.push(data);
    window.pusherable_resync = (channels) => heard.push(channels);
}"""


class TestScript:
    def test_hears_of_everything_through_a_proxy_that_buffers(self, page, pages, complaints):
        server, origin = pages
        let_in(page, origin)
        page.goto(f"{origin}/script/")
        page.evaluate(NOTE)
        wait_for_subscriptions(page)

        for number, channel in enumerate(["post_1", "private-news"], start=1):
            publish(server, channel, number)
            assert heard(page, number)[-1] == number
        assert page.evaluate("typeof Pusher") == "undefined"

    def test_is_left_out_of_what_it_causes_even_by_the_next_stream(self, page, pages, complaints):
        server, origin = pages
        let_in(page, origin)
        page.goto(f"{origin}/script/")
        page.evaluate(NOTE)
        wait_for_subscriptions(page)

        publish(server, "post_1", "own", page.evaluate("pusherable.socketId"))
        publish(server, "private-news", 1)
        heard(page, 1)
        publish(server, "post_1", "own", page.evaluate("pusherable.socketId"))
        # The next stream goes on behind the last event, though this one has not had it.
        page.evaluate(ADD, "public")
        page.locator("[channel=public][subscribed]").wait_for(state="attached")
        publish(server, "post_1", 2)

        assert heard(page, 2) == [1, 2]

    def test_hears_what_is_public_where_the_rest_is_refused(self, page, pages, complaints):
        server, origin = pages
        page.goto(f"{origin}/script/")
        page.evaluate(NOTE)
        page.locator("[channel=private-news][refused=rule-refused]").wait_for(state="attached")
        page.locator("[channel=post_1][subscribed]").wait_for(state="attached")

        publish(server, "private-news", "not for all")
        publish(server, "post_1", 1)

        assert heard(page, 1) == [1]
        assert len(complaints.take()) == 1

    def test_loses_nothing_and_doubles_nothing_by_changes_and_reloads(self, page, complaints, tmp_path):
        complaints.allow("Failed to load resource")
        with running(tmp_path, "--allrequests", settings=PAGES) as (server, origin):
            let_in(page, origin)
            page.goto(f"{origin}/script/")
            page.evaluate(NOTE)
            wait_for_subscriptions(page)
            with publishing(server, "post_1") as taken:
                for number in range(8):
                    page.evaluate(ADD, f"private-added_{number}")
                    wait_for_subscriptions(page)
                for count in (2, 3):
                    before = page.evaluate("pusherable.socketId")
                    reload(server, tmp_path / "project_settings.py", count=count)
                    page.wait_for_function(
                        "(before) => pusherable.socketId && pusherable.socketId !== before", arg=before, timeout=60_000
                    )
                    page.evaluate("document.querySelector('[channel^=private-added]').remove()")
                    wait_for_subscriptions(page)
            page.wait_for_function("(last) => heard.includes(last)", arg=taken[-1])
            numbers = page.evaluate("heard")
        assert numbers == sorted(set(numbers))
        assert sorted(set(taken) - set(numbers)) == []
        complaints.take()


@contextmanager
def publishing(server, channel):
    """Publish one number after the other, and note in a list which were taken."""
    taken, is_over = [], threading.Event()

    def keep_publishing():
        number = 0
        while not is_over.wait(0.02):
            number += 1
            # Where its connection is closed by the stop, nobody knows whether the event was taken.
            with suppress(requests.RequestException):
                publish(server, channel, number)
                taken.append(number)

    publisher = threading.Thread(target=keep_publishing)
    publisher.start()
    try:
        yield taken
    finally:
        is_over.set()
        publisher.join()


def reload(server, file, *, count):
    """Change a file until that is noticed: what is there at the reloader's first look counts as old."""
    for _ in range(10):
        file.write_text(f"{file.read_text()}# Change {count}\n")
        try:
            server.wait_for("Quit the server with", count=count, timeout=3)
        except AssertionError:
            continue
        return
    raise AssertionError(server.output)

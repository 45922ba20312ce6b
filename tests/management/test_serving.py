import logging
from dataclasses import replace

import pytest
from django.http import HttpResponse
from django.urls import path

from pusherable.conf import Service
from pusherable.management.serving import explain_mismatch, make_pages, make_server
from pusherable.server.addresses import Address
from tests.server.conftest import ask

SERVICE = Service(
    app_id="1",
    key="key",
    secret="the secret",
    cluster="local",
    host="127.0.0.1",
    port=8001,
    ssl=False,
    timeout=5.0,
)
HERE = Address("127.0.0.1", 8001)

urlpatterns = [path("", lambda request: HttpResponse("the project"))]


async def own_application(scope, receive, send):
    await send({"type": "http.response.start", "status": 500, "headers": []})
    await send({"type": "http.response.body", "body": b"the project's own"})


@pytest.fixture(autouse=True)
def project(settings):
    settings.ROOT_URLCONF = __name__
    settings.DEBUG = True


@pytest.fixture
def requests_logged(caplog):
    with caplog.at_level(logging.INFO, "django.server"):
        # Django keeps this logger's records to itself.
        logging.getLogger("django.server").addHandler(caplog.handler)
        yield lambda: [
            (record.levelname, record.getMessage()) for record in caplog.records if record.name == "django.server"
        ]
        logging.getLogger("django.server").removeHandler(caplog.handler)


class TestMakeServer:
    def test_the_api_is_that_of_the_configured_app(self):
        server = make_server(SERVICE, HERE)
        assert ask(server.config.app, "GET", "/apps/2/channels").text == "No app has the id 2\n"
        assert ask(server.config.app, "GET", "/apps/1/channels").status_code == 401
        assert ask(server.config.app, "GET", "/").text == "404 NOT FOUND\n"

    def test_pages_answer_everything_else(self):
        server = make_server(SERVICE, HERE, pages=own_application)
        assert ask(server.config.app, "GET", "/apps/1/channels").status_code == 401
        assert ask(server.config.app, "GET", "/").text == "the project's own"


class TestMakePages:
    def test_the_project_answers(self, requests_logged):
        answer = ask(make_pages(serve_static=True), "GET", "/?a=b")
        assert (answer.status_code, answer.text) == (200, "the project")
        assert requests_logged() == [("INFO", '"GET /?a=b HTTP/1.1" 200 11')]

    def test_a_page_that_is_missing_is_logged_as_such(self, requests_logged):
        assert ask(make_pages(serve_static=True), "GET", "/nowhere").status_code == 404
        assert [level for level, _ in requests_logged()] == ["WARNING"]

    def test_the_project_s_own_application_goes_first(self, settings, requests_logged):
        settings.ASGI_APPLICATION = f"{__name__}.own_application"
        assert ask(make_pages(serve_static=True), "GET", "/").text == "the project's own"
        assert [level for level, _ in requests_logged()] == ["ERROR"]

    @pytest.mark.parametrize(
        ("debug", "serve_static", "status"), [(True, True, 200), (True, False, 404), (False, True, 404)]
    )
    def test_static_files_are_served_in_debug_unless_unwanted(self, settings, debug, serve_static, status):
        settings.DEBUG = debug
        pages = make_pages(serve_static=serve_static)
        assert ask(pages, "GET", "/static/pusherable/pusherable.js").status_code == status

    def test_static_files_need_their_app(self, settings):
        settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if not name.endswith("staticfiles")]
        assert ask(make_pages(serve_static=True), "GET", "/static/pusherable/pusherable.js").status_code == 404


class TestExplainMismatch:
    @pytest.mark.parametrize(
        ("host", "address"),
        [
            ("127.0.0.1", Address("127.0.0.1", 8001)),
            ("localhost", Address("127.0.0.1", 8001)),
            ("127.0.0.1", Address("0.0.0.0", 8001)),
            ("::1", Address("::", 8001)),
            ("push.example", Address("push.example", 8001)),
        ],
    )
    def test_settings_that_publish_here_need_no_explanation(self, host, address):
        assert explain_mismatch(replace(SERVICE, host=host), address) == ""

    @pytest.mark.parametrize(
        ("changes", "there"),
        [
            ({"port": 9001}, "http://127.0.0.1:9001"),
            ({"host": "::2"}, "http://[::2]:8001"),
            ({"host": "api-eu.pusher.com", "port": 443, "ssl": True}, "https://api-eu.pusher.com:443"),
            ({"ssl": True}, "https://127.0.0.1:8001"),
        ],
    )
    def test_settings_that_publish_elsewhere_are_explained(self, changes, there):
        assert explain_mismatch(replace(SERVICE, **changes), Address("0.0.0.0", 8001)) == (
            f"Your settings publish to {there}, not to this server. To use this one, "
            "set PUSHER_HOST = '127.0.0.1', PUSHER_PORT = 8001 and PUSHER_SSL = False."
        )

    def test_the_secret_is_not_told(self):
        assert "the secret" not in explain_mismatch(replace(SERVICE, port=1), HERE)

import logging
from dataclasses import replace

import pytest
from django.http import HttpResponse
from django.urls import path

from pusherable.conf import Service, SettingsError
from pusherable.management import serving
from pusherable.management.handovers import Handover
from pusherable.management.serving import Choices, ProjectServer, explain_mismatch, make_pages, read_origins
from pusherable.server.addresses import Address, listen
from pusherable.server.certificates import Certificate
from pusherable.server.config import App, Limits
from pusherable.server.hub import Hub
from pusherable.server.origins import Origins
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
PLAIN = Choices()

urlpatterns = [path("", lambda request: HttpResponse("the project"))]


async def own_application(scope, receive, send):
    await send({"type": "http.response.start", "status": 500, "headers": []})
    await send({"type": "http.response.body", "body": b"the project's own"})


@pytest.fixture(autouse=True)
def project(settings):
    settings.ROOT_URLCONF = __name__
    settings.DEBUG = True


@pytest.fixture
def requests_logged(caplog, monkeypatch):
    """Level and text of what is logged; Django's own logger hands nothing on and is set up anew all the time."""
    monkeypatch.setattr(serving, "logger", logging.getLogger("tests.pages"))
    caplog.set_level(logging.INFO, "tests.pages")
    return lambda: [(level, text) for name, level, text in caplog.record_tuples if name == "tests.pages"]


class TestProjectServer:
    def test_the_api_is_that_of_the_configured_app(self):
        app = ProjectServer(SERVICE, HERE, PLAIN).app
        assert ask(app, "GET", "/apps/2/channels").text == "No app has the id 2\n"
        assert ask(app, "GET", "/apps/1/channels").status_code == 401
        assert ask(app, "GET", "/").text == "404 NOT FOUND\n"

    def test_pages_answer_everything_else(self):
        app = ProjectServer(SERVICE, HERE, PLAIN, pages=own_application).app
        assert ask(app, "GET", "/apps/1/channels?auth_key=key").status_code == 401
        assert ask(app, "GET", "/up").text == "OK"
        for address in ("/", "/apps/1/channels", "/users/7/terminate_connections"):
            assert ask(app, "POST", address).text == "the project's own"

    def test_it_is_up_and_counts_its_answers(self):
        app = ProjectServer(SERVICE, HERE, Choices(has_public_metrics=True)).app
        assert ask(app, "GET", "/up").text == "OK"
        assert 'pusherable_api_requests_total{status="200"} 1.0' in ask(app, "GET", "/metrics").text

    def test_metrics_are_not_for_everybody(self):
        assert ask(ProjectServer(SERVICE, HERE, PLAIN).app, "GET", "/metrics").status_code == 404

    @pytest.mark.parametrize(("is_public", "text"), [(False, "the project's own"), (True, "pusherable_connections")])
    def test_among_pages_metrics_have_to_be_asked_for(self, is_public, text):
        choices = Choices(has_public_metrics=is_public)
        assert text in ask(ProjectServer(SERVICE, HERE, choices, pages=own_application).app, "GET", "/metrics").text

    def test_with_a_prefix_the_api_is_at_its_root_too(self):
        app = ProjectServer(SERVICE, HERE, Choices(path="/push")).app
        for address in ("/push/apps/1/channels", "/apps/1/channels"):
            assert ask(app, "GET", address).status_code == 401
        assert ask(app, "GET", "/push/up").text == "OK"

    @pytest.mark.parametrize(
        ("limits", "open_files", "capacity"),
        [
            ({}, None, None),
            ({}, 1_048_576, 1_048_476),
            ({}, 256, 192),
            ({"capacity": 7}, 1_048_576, 7),
        ],
    )
    def test_what_clients_may_do_is_the_project_s_to_say(self, settings, monkeypatch, limits, open_files, capacity):
        """A.37, A.45, A.52"""
        made = []
        monkeypatch.setattr(serving, "Hub", lambda config, **options: made.append(config) or Hub(config, **options))
        settings.PUSHERABLE_SUBSCRIPTION_COUNTS = True
        settings.PUSHERABLE_CLIENT_EVENTS = False
        settings.PUSHERABLE_AUTHORIZATION_TIMEOUT = 10
        settings.PUSHERABLE_SERVER_LIMITS = {"connections": 5, **limits}
        ProjectServer(SERVICE, HERE, Choices(open_files=open_files))
        [config] = made
        assert config.apps == (
            App(
                id="1",
                key="key",
                secret="the secret",
                has_client_events=False,
                has_subscription_counts=True,
                authorization_timeout=10.0,
            ),
        )
        assert config.limits == Limits(connections=5, capacity=capacity)

    def test_a_malformed_limit_is_an_error(self, settings):
        settings.PUSHERABLE_SERVER_LIMITS = {"connections": 0}
        with pytest.raises(SettingsError):
            ProjectServer(SERVICE, HERE, PLAIN)

    @pytest.mark.parametrize(("has_tls", "scheme"), [(False, "http"), (True, "https")])
    def test_the_console_has_a_link(self, certificate, has_tls, scheme):
        choices = Choices(certificate=Certificate(certificate.cert, certificate.key) if has_tls else None)
        link = ProjectServer(SERVICE, HERE, choices).console_link
        assert link.startswith(f"{scheme}://127.0.0.1:8001/pusherable/console/?token=")

    def test_streams_are_at_their_address(self):
        for prefix in ("", "/push"):
            app = ProjectServer(SERVICE, HERE, Choices(path=prefix)).app
            answer = ask(app, "HEAD", f"{prefix}/stream?channel=a")
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"

    def test_streams_go_on_in_the_next_process(self):
        handover = Handover.make()
        choices = Choices(handover=handover)
        first, second, third = (ProjectServer(SERVICE, HERE, choices) for _ in range(3))
        for server in (first, second):
            with listen(Address("127.0.0.1", 0)) as listener:
                server.request_stop()
                server.run(listener)
        assert second._histories.now == first._histories.now
        assert third._histories.now != first._histories.now
        # A process that has died without a word leaves nothing.
        handover.write("{")
        with listen(Address("127.0.0.1", 0)) as listener:
            third.request_stop()
            third.run(listener)
        assert third._histories.now != first._histories.now
        handover.close()

    def test_without_a_supervisor_streams_begin_anew(self):
        server = ProjectServer(SERVICE, HERE, PLAIN)
        before = server._histories.now
        with listen(Address("127.0.0.1", 0)) as listener:
            server.request_stop()
            server.run(listener)
        assert server._histories.now == before

    def test_a_malformed_webhook_url_is_an_error(self, settings):
        settings.PUSHERABLE_WEBHOOK_URL = "nowhere"
        with pytest.raises(SettingsError):
            ProjectServer(SERVICE, HERE, PLAIN)

    @pytest.mark.parametrize(
        ("url", "trusts_own"),
        [
            ("http://127.0.0.1:8001/hooks/", None),
            ("https://localhost:8001/hooks/", True),
            ("https://localhost/hooks/", False),
            ("https://example.com:8001/hooks/", False),
        ],
    )
    def test_webhooks_to_the_project_itself_trust_its_certificate(
        self, settings, monkeypatch, certificate, url, trusts_own
    ):
        made = []
        monkeypatch.setattr(serving, "make_sender", lambda url, tls=None: made.append((url, tls)))
        settings.PUSHERABLE_WEBHOOK_URL = url
        ProjectServer(SERVICE, HERE, Choices(certificate=Certificate(certificate.cert, certificate.key)))
        [(sent_to, tls)] = made
        assert sent_to == url
        assert (None if tls is None else not tls.check_hostname) is trusts_own

    def test_without_a_certificate_of_its_own_nothing_special_is_trusted(self, settings, monkeypatch):
        made = []
        monkeypatch.setattr(serving, "make_sender", lambda url, tls=None: made.append(tls.check_hostname))
        settings.PUSHERABLE_WEBHOOK_URL = "https://127.0.0.1:8001/"
        ProjectServer(SERVICE, HERE, PLAIN)
        assert made == [True]


class TestReadOrigins:
    @pytest.mark.parametrize(
        ("debug", "hosts", "expected"),
        [
            (True, [], {".localhost", "127.0.0.1", "[::1]"}),
            (True, ["example.com"], {"example.com"}),
            (False, [], set()),
            (False, [".example.com"], {".example.com"}),
        ],
    )
    def test_they_are_those_that_django_knows(self, settings, debug, hosts, expected):
        """A.3"""
        settings.DEBUG, settings.ALLOWED_HOSTS = debug, hosts
        settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.org"]
        assert read_origins() == Origins(frozenset(expected), frozenset({"https://*.example.org"}))


class TestMakePages:
    def test_the_project_answers(self, requests_logged):
        answer = ask(make_pages(serve_static=True), "GET", "/?a=b")
        assert (answer.status_code, answer.text) == (200, "the project")
        assert requests_logged() == [(logging.INFO, '"GET /?a=b HTTP/1.1" 200 11')]

    def test_a_page_that_is_missing_is_logged_as_such(self, requests_logged):
        assert ask(make_pages(serve_static=True), "GET", "/nowhere").status_code == 404
        assert [level for level, _ in requests_logged()] == [logging.WARNING]

    def test_the_project_s_own_application_goes_first(self, settings, requests_logged):
        settings.ASGI_APPLICATION = f"{__name__}.own_application"
        assert ask(make_pages(serve_static=True), "GET", "/").text == "the project's own"
        assert [level for level, _ in requests_logged()] == [logging.ERROR]

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
        assert explain_mismatch(replace(SERVICE, host=host), address, PLAIN) == ""

    @pytest.mark.parametrize(
        ("changes", "there", "advice"),
        [
            ({"port": 9001}, "http://127.0.0.1:9001", "PUSHER_HOST = '127.0.0.1' and PUSHER_PORT = 8001"),
            ({"host": "::2"}, "http://[::2]:8001", "PUSHER_HOST = '127.0.0.1' and PUSHER_PORT = 8001"),
            (
                {"host": "api-eu.pusher.com", "port": 443, "ssl": True},
                "https://api-eu.pusher.com:443",
                "PUSHER_HOST = '127.0.0.1', PUSHER_PORT = 8001 and PUSHER_SSL = False",
            ),
            ({"ssl": True}, "https://127.0.0.1:8001", "PUSHER_SSL = False"),
        ],
    )
    def test_settings_that_publish_elsewhere_are_explained(self, changes, there, advice):
        assert explain_mismatch(replace(SERVICE, **changes), Address("0.0.0.0", 8001), PLAIN) == (
            f"Your settings lead to {there}, not to this server. To use this one, set {advice}."
        )

    def test_a_path_that_pages_do_not_know_is_explained(self, settings):
        assert explain_mismatch(SERVICE, HERE, Choices(path="/push")) == (
            "Your settings lead to http://127.0.0.1:8001, not to this server. To use this one, "
            "set PUSHER_PUBLIC_PATH = '/push'."
        )
        settings.PUSHER_PUBLIC_PATH = "/push"
        assert explain_mismatch(SERVICE, HERE, Choices(path="/push")) == ""

    def test_tls_that_django_does_not_know_of_is_explained(self, certificate):
        choices = Choices(certificate=Certificate(certificate.cert, certificate.key))
        assert explain_mismatch(SERVICE, HERE, choices).endswith("To use this one, set PUSHER_SSL = True.")
        assert explain_mismatch(replace(SERVICE, ssl=True), HERE, choices) == ""

    def test_the_secret_is_not_told(self):
        assert "the secret" not in explain_mismatch(replace(SERVICE, port=1), HERE, PLAIN)

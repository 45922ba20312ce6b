from dataclasses import replace

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from pusherable.server.api import create_api
from pusherable.server.asgi import (
    WIRE,
    ApiFirst,
    CountedRequests,
    LoggedRequests,
    answer_without_prefix,
    with_wire,
)
from pusherable.server.hub import Hub
from tests.server.conftest import ask


async def pages(scope, receive, send):
    """A project that answers with its own name, in two parts."""
    await send({"type": "http.response.start", "status": 203, "headers": [(b"x-from", b"pages")]})
    await send({"type": "http.response.body", "body": b"the ", "more_body": True})
    await send({"type": "http.response.body", "body": b"pages"})


async def up(request):
    return PlainTextResponse("OK")


async def faulty_pages(scope, receive, send):
    raise RuntimeError("a fault of the project")


class TestApiFirst:
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/apps/1/events"), ("GET", "/apps/1/channels/a"), ("POST", "/apps/7/events")]
    )
    def test_the_api_answers_at_its_addresses(self, hub, method, path):
        answer = ask(ApiFirst(create_api(hub), pages), method, path)
        assert answer.status_code in (401, 404)
        assert answer.text != "the pages"

    @pytest.mark.parametrize("path", ["/apps/1/events", "/users/7/terminate_connections"])
    def test_what_bears_no_signature_at_a_signed_address_is_for_the_project(self, hub, path):
        api = create_api(hub)
        app = ApiFirst(api, pages, signed=list(api.routes))
        api.router.routes.append(Route("/up", up))
        assert ask(app, "POST", path).text == "the pages"
        assert ask(app, "POST", f"{path}?x=1&auth_key=key").status_code == 401
        assert ask(app, "GET", "/up").text == "OK"

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/"), ("GET", "/apps/1/"), ("GET", "/apps/1/edit/"), ("GET", "/apps/1/events"), ("POST", "/app/key")],
    )
    def test_the_project_answers_everywhere_else(self, hub, method, path):
        assert ask(ApiFirst(create_api(hub), pages), method, path).text == "the pages"


class TestAnswerWithoutPrefix:
    @pytest.mark.parametrize(("prefix", "status"), [("/push", 401), ("", 404)])
    def test_what_has_a_prefix_is_without_it_too(self, config, prefix, status):
        api = create_api(Hub(replace(config, path="/push")))
        answer_without_prefix(api, prefix)
        assert ask(api, "GET", "/push/apps/1/channels").status_code == 401
        assert ask(api, "GET", "/apps/1/channels").status_code == status
        assert ask(api, "POST", "/apps/1/channels").status_code == 404

    def test_what_is_no_route_stays_as_it_is(self, hub):
        api = create_api(hub)
        api.router.routes.append(Mount("/push/files", pages))
        answer_without_prefix(api, "/push")
        assert ask(api, "GET", "/files/a").status_code == 404


class TestWithWire:
    def test_the_app_finds_the_wire_of_its_connection(self):
        scopes, asked = [], []

        async def watching(scope, receive, send):
            scopes.append(scope)
            await pages(scope, receive, send)

        def make_wire(scope, send):
            asked.append(scope["path"])
            return "the wire"

        given = {"others": {}}
        answer = ask(with_wire(watching, make_wire), "GET", "/", extensions=given)
        assert (answer.text, given, asked) == ("the pages", {"others": {}}, ["/"])
        assert [scope["extensions"] for scope in scopes] == [{"others": {}, WIRE: "the wire"}]


class TestCountedRequests:
    def test_each_answer_is_counted_and_passed_on(self):
        counted = []
        answer = ask(CountedRequests(pages, count=counted.append), "GET", "/")
        assert (answer.status_code, answer.text, counted) == (203, "the pages", [203])


class TestLoggedRequests:
    @pytest.fixture
    def lines(self):
        return []

    def test_an_answer_is_passed_on_and_logged(self, lines):
        app = LoggedRequests(pages, log=lambda line, status: lines.append((line, status)))
        answer = ask(app, "GET", "/a%20b?c=d")
        assert (answer.status_code, answer.text, answer.headers) == (203, "the pages", {"x-from": "pages"})
        assert lines == [('"GET /a%20b?c=d HTTP/1.1" 203 9', 203)]

    def test_a_request_without_a_query_is_logged_without_one(self, lines):
        ask(LoggedRequests(pages, log=lambda line, status: lines.append(line)), "GET", "/")
        assert lines == ['"GET / HTTP/1.1" 203 9']

    def test_a_fault_is_logged_and_goes_on(self, lines):
        app = LoggedRequests(faulty_pages, log=lambda line, status: lines.append((line, status)))
        with pytest.raises(RuntimeError, match="a fault of the project"):
            ask(app, "GET", "/")
        assert lines == [('"GET / HTTP/1.1" 500 0', 500)]

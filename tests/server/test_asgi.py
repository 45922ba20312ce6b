import pytest

from pusherable.server.api import create_api
from pusherable.server.asgi import ApiFirst, LoggedRequests
from tests.server.conftest import ask


async def pages(scope, receive, send):
    """A project that answers with its own name, in two parts."""
    await send({"type": "http.response.start", "status": 203, "headers": [(b"x-from", b"pages")]})
    await send({"type": "http.response.body", "body": b"the ", "more_body": True})
    await send({"type": "http.response.body", "body": b"pages"})


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

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/"), ("GET", "/apps/1/"), ("GET", "/apps/1/edit/"), ("GET", "/apps/1/events"), ("POST", "/app/key")],
    )
    def test_the_project_answers_everywhere_else(self, hub, method, path):
        assert ask(ApiFirst(create_api(hub), pages), method, path).text == "the pages"


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

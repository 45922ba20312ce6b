"""ASGI apps around ASGI apps: which of two answers a request, and a line of log for it."""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Application = ASGIApp

#: Among the extensions in the scope of a request: what cuts its connection off at once.
ABORT: Final = "pusherable.abort"


def answer_without_prefix(api: Starlette, prefix: str) -> None:
    """Let ``api`` answer at its addresses without ``prefix`` too: the usual clients know of none."""
    if prefix:
        api.router.routes += [
            Route(route.path.removeprefix(prefix), route.endpoint, methods=sorted(route.methods or ()))
            for route in api.routes
            if isinstance(route, Route)
        ]


def with_abort(app: Application, abort: Callable[[], None]) -> Application:
    """``app``, told how to cut off a connection whose client takes nothing any more (by ``ABORT`` in its scope)."""

    async def lent(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {**scope.get("extensions", {}), ABORT: abort}}, receive, send)

    return lent


class ApiFirst:
    """Lets ``api`` answer what it has a route for, and ``pages`` everything else.

    What comes to one of the routes ``signed`` without any signature is for the pages too, which may have a
    ``/users/`` or an ``/apps/`` of their own.
    """

    def __init__(self, api: Starlette, pages: Application, *, signed: Iterable[BaseRoute] = ()) -> None:
        self._api = api
        self._pages = pages
        self._signed = tuple(signed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._api if self._is_ours(scope) else self._pages)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        route = next((route for route in self._api.routes if route.matches(scope)[0] is Match.FULL), None)
        return route is not None and (route not in self._signed or b"auth_key=" in scope["query_string"])


class CountedRequests:
    """Hands ``count`` the status of each answer of ``app``."""

    def __init__(self, app: Application, *, count: Callable[[int], None]) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
            await send(message)

        await self._app(scope, receive, watch)


class LoggedRequests:
    """Hands ``log`` a line and a status for each request that ``application`` has answered."""

    def __init__(self, application: Application, *, log: Callable[[str, int], None]) -> None:
        self._application = application
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, size = 500, 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._application(scope, receive, watch)
        finally:
            target = b"?".join(filter(None, (scope["raw_path"], scope["query_string"]))).decode("latin-1")
            self._log(f'"{scope["method"]} {target} HTTP/{scope["http_version"]}" {status} {size}', status)

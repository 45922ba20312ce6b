"""ASGI apps around ASGI apps: which of two answers a request, a line of log for it, and the way past ASGI."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Application = ASGIApp

#: Among the extensions in the scope of a request: the ``Wire`` of its connection.
WIRE: Final = "pusherable.wire"


class Wire(Protocol):
    """The connection of one response, for a body that comes in parts which nobody waits to be taken.

    ``take`` comes before the head is sent, ``begin`` after it, ``release`` before the end of the body, which goes by
    ``send`` as the head does.
    """

    def take(self, *, limit: int, on_slow: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Claim the connection: ``on_lost`` is called when the client has gone, even now.

        ``on_slow`` is called when more than ``limit`` bytes wait for it, possibly from within ``write``.
        """

    def begin(self, part: bytes) -> None:
        """Send the first part, with the head."""

    def write(self, part: bytes) -> None:
        """Send another part, at once or very soon. To give one object to many wires in a row costs least."""

    def release(self) -> None:
        """Give the connection back, with all parts written; a second time does nothing."""

    def abort(self) -> None:
        """Cut the connection off, whatever waits."""


def answer_without_prefix(api: Starlette, prefix: str) -> None:
    """Let ``api`` answer at its addresses without ``prefix`` too: the usual clients know of none."""
    if prefix:
        api.router.routes += [
            Route(route.path.removeprefix(prefix), route.endpoint, methods=sorted(route.methods or ()))
            for route in api.routes
            if isinstance(route, Route)
        ]


def with_wire(app: Application, make_wire: Callable[[Scope, Send], Wire]) -> Application:
    """``app``, which finds a ``Wire`` in the scope of each request (by ``WIRE`` among the extensions)."""

    async def wired(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**scope.get("extensions", {}), WIRE: make_wire(scope, send)}
        await app({**scope, "extensions": extensions}, receive, send)

    return wired


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

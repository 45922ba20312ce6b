"""ASGI apps around ASGI apps: which of two answers a request, and a line of log for it."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Application = ASGIApp


class ApiFirst:
    """Lets ``api`` answer what it has a route for, and ``pages`` everything else."""

    def __init__(self, api: Starlette, pages: Application) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = any(route.matches(scope)[0] is Match.FULL for route in self._api.routes)
        await (self._api if is_ours else self._pages)(scope, receive, send)


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

"""The HTTP API by which an app's own server publishes and asks: every request is signed."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pusherable.channels import kind_of
from pusherable.events import IDS_HEADER
from pusherable.server.commands import encode_values
from pusherable.server.config import App
from pusherable.server.facts import Rejected
from pusherable.server.hub import Hub
from pusherable.server.ledger import Outcome
from pusherable.server.publications import Publication, check_channel, read_info, read_object, read_publication
from pusherable.server.verification import SIGNED_BY, ApiError, Verifier

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _answer(content: object) -> Response:
    """An answer in JSON, also where a name in it has no form in UTF-8."""
    return Response(encode_values(content), media_type="application/json")


# Made once: it is the answer to most requests.
_DONE: Final = _answer({})


class Api:
    """The HTTP API of a hub's apps; ``clock`` gives seconds since the epoch."""

    def __init__(self, hub: Hub, *, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._limits = hub.config.limits
        self._path = hub.config.path
        self._verify = Verifier(hub.config, clock=clock).verify

    def routes(self) -> list[Route]:
        base = f"{self._path}/apps/{{app_id}}"
        terminate = "/users/{user_id:path}/terminate_connections"
        return [
            Route(f"{base}/events", self.post_event, methods=["POST"]),
            Route(f"{base}/batch_events", self.post_batch, methods=["POST"]),
            Route(f"{base}/channels", self.get_channels, methods=["GET"]),
            Route(f"{base}/channels/{{channel}}", self.get_channel, methods=["GET"]),
            Route(f"{base}/channels/{{channel}}/users", self.get_users, methods=["GET"]),
            Route(f"{base}{terminate}", self.terminate_connections, methods=["POST"]),
            # Where the pusher package sends it (protocol B.2).
            Route(f"{self._path}{terminate}", self.terminate_connections, methods=["POST"]),
        ]

    async def post_event(self, request: Request) -> Response:
        app, body = await self._verify(request)
        publication = read_publication(read_object(body), self._limits)
        await _settle(self._publish(app, publication, *_read_ids(request, 1)))
        if publication.info is None:
            return _DONE
        channels = {name: self._describe(app, name, publication.info) for name in publication.channels}
        return _answer({"channels": channels})

    async def post_batch(self, request: Request) -> Response:
        """Take all events of a batch, or none of them (protocol B.18)."""
        app, body = await self._verify(request)
        batch = read_object(body).get("batch")
        limit = self._limits.events_per_batch
        if not isinstance(batch, list) or not batch:
            raise ApiError(400, "Expected batch parameter to be an array of events that is not empty")
        if len(batch) > limit:
            raise ApiError(400, f"Batch too large ({len(batch)} > {limit})")
        publications = [read_publication(item, self._limits, is_in_batch=True) for item in batch]
        # Entered together, so that nothing comes in between.
        ids = _read_ids(request, len(publications))
        for outcome in [self._publish(app, *pair) for pair in zip(publications, ids, strict=True)]:
            await _settle(outcome)
        if all(publication.info is None for publication in publications):
            return _DONE
        infos = [self._describe(app, each.channels[0], each.info or frozenset()) for each in publications]
        return _answer({"batch": infos})

    async def get_channels(self, request: Request) -> Response:
        app, _ = await self._verify(request)
        prefix = request.query_params.get("filter_by_prefix", "")
        info = read_info(request.query_params.get("info"))
        if "user_count" in info and not prefix.startswith("presence-"):
            raise ApiError(
                400,
                "user_count may only be requested for presence channels - "
                "please supply filter_by_prefix beginning with presence-",
            )
        await self._hub.ledger.catch_up()
        names = self._hub.occupied_channels(app, prefix=prefix)
        return _answer({"channels": {name: self._describe(app, name, info) for name in names}})

    async def get_channel(self, request: Request) -> Response:
        app, _ = await self._verify(request)
        channel = check_channel(request.path_params["channel"], self._limits)
        info = read_info(request.query_params.get("info"))
        if "user_count" in info and not kind_of(channel).is_presence:
            raise ApiError(400, "user_count may only be requested for presence channels")
        await self._hub.ledger.catch_up()
        answer = {"occupied": self._hub.subscription_count(app, channel) > 0} | self._describe(app, channel, info)
        if "cache" in info and kind_of(channel).is_cache:
            answer["cache"] = self._describe_cache(app, channel)
        return _answer(answer)

    async def get_users(self, request: Request) -> Response:
        """Who is in a presence channel, each user once (protocol B.21)."""
        app, _ = await self._verify(request)
        channel = check_channel(request.path_params["channel"], self._limits)
        if not kind_of(channel).is_presence:
            raise ApiError(400, "Users can only be retrieved for presence channels")
        extraneous = [name for name in request.query_params if name not in (*SIGNED_BY, "body_md5")]
        if extraneous:
            names = ", ".join(sorted(extraneous))
            raise ApiError(400, f"The following query string parameters are extraneous: {names}")
        await self._hub.ledger.catch_up()
        return _answer({"users": [{"id": user_id} for user_id in self._hub.members(app, channel)]})

    async def terminate_connections(self, request: Request) -> Response:
        """Send a user away, whether it is there or not; whatever the body is, it says nothing (protocol B.22)."""
        app, _ = await self._verify(request)
        await _settle(self._hub.terminate(app, request.path_params["user_id"]))
        return _DONE

    def _publish(self, app: App, publication: Publication, id: str | None) -> Outcome:
        return self._hub.publish(
            app,
            channels=publication.channels,
            name=publication.name,
            data=publication.data,
            socket_id=publication.socket_id,
            id=id,
        )

    def _describe(self, app: App, channel: str, info: frozenset[str]) -> dict[str, Any]:
        """The numbers asked for, as far as the channel has them (protocol B.17)."""
        counts: dict[str, Any] = {}
        if "subscription_count" in info:
            counts["subscription_count"] = self._hub.subscription_count(app, channel)
        if "user_count" in info and kind_of(channel).is_presence:
            counts["user_count"] = len(self._hub.members(app, channel))
        return counts

    def _describe_cache(self, app: App, channel: str) -> dict[str, Any] | None:
        """What a cache channel remembers, with the whole seconds left to it (protocol B.20)."""
        found = self._hub.cached(app, channel)
        if found is None:
            return None
        event, remaining = found
        return {"data": event.data, "ttl": int(remaining)}


class Shortcut:
    """Answers a POST to one of the addresses in ``endpoints`` at once: nearly every request is one of these.

    All others find their way by Starlette's routes, which takes a fifth of the time that publishing an event does.
    """

    def __init__(
        self, app: ASGIApp, *, endpoints: Mapping[str, tuple[dict[str, str], Callable[[Request], Awaitable[Response]]]]
    ) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._endpoints.get(scope["path"]) if scope.get("method") == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["path_params"], answer = found
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)


def create_api(hub: Hub, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The HTTP API as an ASGI app; whatever it does not know is a 404 in plain text."""

    async def explain(request: Request, exception: Exception) -> Response:
        assert isinstance(exception, ApiError)
        hub.tell(Rejected(f"{request.method} {request.url.path}", exception.status, str(exception)))
        return PlainTextResponse(f"{exception}\n", status_code=exception.status)

    async def post_event(request: Request) -> Response:
        try:
            return await answers.post_event(request)
        except ApiError as error:
            return await explain(request, error)

    answers = Api(hub, clock=clock)
    api = Starlette(
        routes=answers.routes(),
        exception_handlers={ApiError: explain, HTTPException: _not_found},
    )
    api.router.redirect_slashes = False
    config = hub.config
    endpoints = {f"{config.path}/apps/{app.id}/events": ({"app_id": app.id}, post_event) for app in config.apps}
    api.add_middleware(Shortcut, endpoints=endpoints)
    return api


def _read_ids(request: Request, count: int) -> list[str | None]:
    """By what ids the publisher knows the ``count`` events of its request, if it has any."""
    text = request.headers.get(IDS_HEADER)
    if text is None:
        return [None] * count
    ids = text.split(",")
    if len(ids) != count or not all(map(_ID.fullmatch, ids)):
        raise ApiError(400, f"{IDS_HEADER} is one id for each event, of up to 64 letters, digits, - or _ each")
    return list(ids)


async def _settle(outcome: Outcome) -> None:
    """Wait until what was asked for is done; raise where that is so at this process alone."""
    if outcome is not None and not await outcome:
        raise ApiError(
            503,
            "Redis is away, and with it the other processes of this server: only clients of this one were reached. "
            "Try again",
        )


async def _not_found(request: Request, exception: Exception) -> Response:
    return PlainTextResponse("404 NOT FOUND\n", status_code=404)

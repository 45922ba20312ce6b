"""Subscriptions at the server become Django's signals, with the visitor's own session and user."""

import io
import logging
import queue
import threading
from typing import Any, Final
from urllib.parse import unquote

from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, connections, reset_queries
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string

from pusherable.conf import settings
from pusherable.server.facts import Fact, Subscribed, Unsubscribed
from pusherable.server.openings import Opening, Openings
from pusherable.signals import channel_subscribe, channel_unsubscribe

logger = logging.getLogger("pusherable")

#: Signals that may wait for receivers which are slow; those that come after are dropped.
QUEUE_SIZE: Final = 10_000

# Those that say who somebody is, without an answer to change or a database to ask. By name: importing the second
# one takes the app.
_IDENTIFYING: Final = frozenset(
    {
        ("django.contrib.sessions.middleware", "SessionMiddleware"),
        ("django.contrib.auth.middleware", "AuthenticationMiddleware"),
    }
)

_Item = tuple[Signal, Opening, str, str]


def has_receivers() -> bool:
    """Whether anybody wants to hear of subscriptions."""
    return bool(channel_subscribe.receivers or channel_unsubscribe.receivers)


class VisitorSignals:
    """Sends ``channel_subscribe`` and ``channel_unsubscribe``; ``observe`` is for a hub, a thread does the sending."""

    def __init__(self, openings: Openings) -> None:
        self._openings = openings
        self._queue: queue.Queue[_Item | None] = queue.Queue(QUEUE_SIZE)
        self._is_full = False
        self._thread = threading.Thread(target=self.run, name="pusherable-signals", daemon=True)

    def observe(self, fact: Fact) -> None:
        match fact:
            case Subscribed():
                self._put(channel_subscribe, fact.socket_id, fact.channel)
            case Unsubscribed():
                self._put(channel_unsubscribe, fact.socket_id, fact.channel)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout: float = 1.0) -> None:
        """Send what waits, but for no longer than ``timeout``."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def run(self) -> None:
        """Send until told to stop. This is what the thread does."""
        while (item := self._queue.get()) is not None:
            self._is_full = False
            self._send(*item)
            if self._queue.empty():
                connections.close_all()

    def _put(self, signal: Signal, socket_id: str, channel: str) -> None:
        try:
            self._queue.put_nowait((signal, self._openings[socket_id], channel, socket_id))
        except queue.Full:
            if not self._is_full:
                logger.error("%d subscriptions wait for your receivers: those that follow are dropped.", QUEUE_SIZE)
            self._is_full = True

    def _send(self, signal: Signal, opening: Opening, channel: str, socket_id: str) -> None:
        try:
            reset_queries()
            close_old_connections()
            request = make_request(opening)
            signal.send_robust(sender=VisitorSignals, request=request, channel=channel, socket_id=socket_id)
        except Exception:
            # Receivers have been seen to already: it is the project's middleware.
            logger.exception("A visitor could not be identified, and the signal for %s is not sent.", channel)


def make_request(opening: Opening) -> HttpRequest:
    """The request that opened a connection, with a session and a user as far as the project has middleware for them.

    Both are looked up when they are asked for, so what has changed since then is seen.
    """
    request = ASGIRequest(_make_scope(opening), io.BytesIO())
    for path in settings.middleware:
        middleware = import_string(path)
        if isinstance(middleware, type) and any(_is_identifying(base) for base in middleware.__mro__):
            # They want something to call, but will not call it.
            middleware(HttpResponse).process_request(request)
    return request


def _make_scope(opening: Opening) -> dict[str, Any]:
    path, _, query = opening.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https" if opening.is_secure else "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _merge_cookies(opening)],
        "client": opening.peer or None,
    }


def _merge_cookies(opening: Opening) -> list[tuple[str, str]]:
    """The headers in lower case, all cookies in one: Django 5.2 would put a comma between them."""
    headers = [(name.lower(), value) for name, value in opening.headers]
    cookies = "; ".join(value for name, value in headers if name == "cookie")
    return [*((name, value) for name, value in headers if name != "cookie"), ("cookie", cookies)]


def _is_identifying(middleware: type) -> bool:
    return (middleware.__module__, middleware.__name__) in _IDENTIFYING

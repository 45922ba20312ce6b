"""Asks the view of a page, as if the visitor opened it now: does it let the visitor in, and what does it show?

Nothing comes of it: no page is rendered, no event published, no cookie set, nothing written.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import isawaitable
from secrets import token_hex
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

from asgiref.sync import async_to_sync
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied, SuspiciousOperation
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, Resolver404, ResolverMatch, get_script_prefix, resolve
from django.utils import timezone, translation
from django.utils.datastructures import MultiValueDict
from django.utils.encoding import iri_to_uri, repercent_broken_unicode
from django.utils.module_loading import import_string
from django.views.generic.detail import BaseDetailView
from django.views.generic.edit import BaseUpdateView

from pusherable.conf import settings
from pusherable.exceptions import InvalidChannel
from pusherable.mixins import PROBE_ATTRIBUTE, PusherMixin
from pusherable.refusals import Reason, Refused
from pusherable.suppression import suppress

logger = logging.getLogger("pusherable.authorization")

#: Characters of a page's address; browsers and servers agree on less.
MAX_PAGE_LENGTH: Final = 2048

#: Up to ``get_object()`` these do nothing, so that there the question is answered.
GENERIC_GETS: Final = (BaseDetailView.get, BaseUpdateView.get)
# What concerns a body, or what the browser knows of the page, is not said of another page.
_DROPPED_META = ("CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_RANGE", "HTTP_TRANSFER_ENCODING", "RAW_URI", "REQUEST_URI")
_DROPPED_ATTRIBUTES = (
    "GET", "_body", "_cache_update_cache", "_encoding", "_files", "_post", "_pusherable_origin", "_stream",
    "_upload_handlers", "accepted_types", "accepted_types_by_precedence", "headers",
)  # fmt: skip
# Where no transaction is begun that could be rolled back, nothing else is sent.
_HARMLESS_STATEMENTS = ("BEGIN", "PRAGMA", "RELEASE", "ROLLBACK", "SAVEPOINT", "SELECT", "SET", "SHOW")


@dataclass(frozen=True)
class Shown:
    """What a page shows to a visitor who may see it: the view's own name for its channel."""

    view: PusherMixin
    channel: str


class _ObjectReached(BaseException):
    """The view has its object; unwinds Django's own ``get``, and nothing else."""


def ask_page(request: HttpRequest, page: str) -> Shown:
    """What the view at ``page``, a path with its query, shows to the visitor who has made ``request``.

    All that stands around the object runs: the ``process_view`` of the project's middleware, decorators, the view's
    ``setup`` and ``dispatch``, ``get_queryset`` and ``get_object``. A view with a ``get`` of its own runs to that
    method's end, since it may look at the visitor later. What is returned in place of the page is not rendered, and
    has to pass everything on its way back. Databases are rolled back.

    Raises ``Refused`` for every other outcome; an unexpected error is logged with its traceback.
    """
    path, query = _split(page)
    match = _resolve(request, path)
    probe = Probe()
    asked = _request_for(request, path, query, match)
    setattr(asked, PROBE_ATTRIBUTE, probe)
    with _contained(request, path, _model_of(match)):
        return _ask(probe, asked, match)


def ask_member_info(shown: Shown) -> Any:
    """What the view tells a presence channel of its visitor, under the same precautions; errors are the caller's."""
    with _contained(shown.view.request, shown.view.request.path_info, None):
        return settle(shown.view.get_pusher_member_info())


def settle(value: Any) -> Any:
    """``value``, awaited if it can be; for functions that a project may write either way."""

    async def wait() -> Any:
        return await value

    return async_to_sync(wait)() if isawaitable(value) else value


def shown_by(view: Any, request: HttpRequest) -> dict[str, Shown]:
    """What ``view``, which answers ``request``, need not be asked, by its address; nothing for any other view.

    Django's own ``get`` has let the visitor in by the time that it has its object, as it would if it were asked. Of
    every other view only its answer tells, and that is not there yet.
    """
    match = getattr(request, "resolver_match", None)
    if not (
        isinstance(view, PusherMixin)
        and getattr(view, "request", None) is request
        and request.method == "GET"
        and getattr(getattr(match, "func", None), "view_class", None) is type(view)
        and _has_generic_get(view)
        and isinstance(getattr(view, "object", None), Model)
    ):
        return {}
    probe = Probe()
    probe.view = view
    try:
        return {request.get_full_path(): Shown(view, probe.name_channel())}
    except Refused:
        return {}


def page_of(target: Any, request: HttpRequest | None, view: Any) -> str:
    """The page whose view says who may listen: this one if it shows the object, or else the object's own."""
    if not isinstance(target, Model):
        return ""
    if request is not None and isinstance(view, PusherMixin) and getattr(view, "object", None) == target:
        return request.get_full_path()
    try:
        return str(target.get_absolute_url())  # type: ignore[attr-defined]
    except (AttributeError, NoReverseMatch):
        return ""


def _has_generic_get(view: Any) -> bool:
    # A decorated get is not Django's own any more: it may call get_object() itself, before it refuses.
    return "get" not in vars(view) and getattr(type(view), "get", None) in GENERIC_GETS


class Probe:
    """One question to one view, which ``PusherMixin`` hands over."""

    def __init__(self) -> None:
        self.view: Any = None
        self._answer: HttpResponseBase | None = None

    def attend(self, view: PusherMixin) -> None:
        """Stand around the view's ``get``, to know that it is reached and what it answers."""
        if self.view is not None:
            raise Refused(Reason.NESTED_VIEW)
        self.view = view
        handler = getattr(view, "get", None)
        if handler is not None:
            self.view.get = partial(self._get, handler, _has_generic_get(view))

    def expect(self, view: PusherMixin) -> None:
        """Refuse a view that would now run as for anybody, since it has not been handed over."""
        if self.view is not view:
            raise Refused(Reason.UNASKABLE_VIEW, f"{type(view).__qualname__}.setup() does not call super().setup().")

    def has_let_in(self, response: Any) -> bool:
        """Whether ``response``, having passed all that stands around the view, is what the view's own ``get`` said."""
        # Anybody on the way back may still look at the visitor, and answer otherwise.
        return self._answer is not None and response is self._answer and 200 <= self._answer.status_code < 300

    def name_channel(self) -> str:
        """The view's own name for the channel of what it shows."""
        shown = getattr(self.view, "object", None)
        if isinstance(shown, Model) and shown._state.adding:
            raise Refused(Reason.NO_OBJECT)
        try:
            return cast(str, self.view.get_pusher_channel())
        except InvalidChannel as error:
            raise Refused(Reason.NO_OBJECT, str(error)) from error

    def _get(self, handler: Callable[..., Any], is_generic: bool, *args: Any, **kwargs: Any) -> Any:
        if is_generic:
            self.view.get_object = partial(self._get_object, self.view.get_object)
        elif hasattr(self.view, "render_to_response"):
            self.view.render_to_response = self._stand_in
        try:
            response = handler(*args, **kwargs)
        except _ObjectReached:
            response = self._stand_in()
        if isawaitable(response):
            return self._get_later(response)
        self._answer = response
        return response

    async def _get_later(self, answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        self._answer = await answer
        return self._answer

    def _get_object(self, get_object: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.view.object = get_object(*args, **kwargs)
        raise _ObjectReached

    def _stand_in(self, context: Any = None, **response_kwargs: Any) -> _UnrenderedResponse:
        return _UnrenderedResponse(self.view.request, [], status=response_kwargs.get("status"))


class _UnrenderedResponse(TemplateResponse):
    """Stands for the page on its way back; there is nothing in it, whatever is done to it, and nothing to store."""

    def __init__(self, request: HttpRequest, template: Any, **kwargs: Any) -> None:
        super().__init__(request, template, **kwargs)
        self["Cache-Control"] = "private, no-store"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("No cache may keep this as the page.")

    def render(self) -> _UnrenderedResponse:
        self.content = b""
        return self


class _ProbingRequest:
    """What a request is besides, while it asks: no page cache answers it or keeps anything of it."""

    @property
    def _cache_update_cache(self) -> bool:
        return False

    @_cache_update_cache.setter
    def _cache_update_cache(self, value: bool) -> None:
        """Django's cache would remember here that it wants to store the response."""

    def build_absolute_uri(self, location: str | None = None) -> str:
        uri: str = super().build_absolute_uri(location)  # type: ignore[misc]
        # Django's cache knows pages by this, so that no page of its is this one.
        return f"{uri}#{token_hex(8)}" if location is None else uri


class _ReadingSession:
    """What a session is besides, while it is asked: nothing of it is stored or deleted."""

    def create(self, *args: Any, **kwargs: Any) -> None:
        """Leave the store alone."""

    async def acreate(self, *args: Any, **kwargs: Any) -> None:
        """Leave the store alone."""

    save = delete = create
    asave = adelete = acreate


@lru_cache(maxsize=64)
def _joined(first: type, second: type) -> type:
    # Sessions are signed under the name of their class.
    return type(second.__name__, (first, second), {"__qualname__": second.__qualname__, "__module__": __name__})


def _split(page: str) -> tuple[str, str]:
    """The path below the script's prefix, decoded as the server decodes it, and the query."""
    if len(page) > MAX_PAGE_LENGTH or not page.startswith("/") or page.startswith("//"):
        raise Refused(Reason.MALFORMED_PAGE)
    try:
        address, _, query = iri_to_uri(page).partition("#")[0].partition("?")
    except UnicodeError as error:
        raise Refused(Reason.MALFORMED_PAGE) from error
    path = repercent_broken_unicode(unquote_to_bytes(address)).decode()
    prefix = get_script_prefix()
    if "\0" in path or not path.startswith(prefix):
        raise Refused(Reason.MALFORMED_PAGE)
    return "/" + path.removeprefix(prefix), query


def _resolve(request: HttpRequest, path: str) -> ResolverMatch:
    with _speaking_for(request, path):
        try:
            match = resolve(path, urlconf=getattr(request, "urlconf", None))
        except Resolver404 as error:
            raise Refused(Reason.UNKNOWN_PAGE) from error
    view_class = getattr(match.func, "view_class", None)
    if not (isinstance(view_class, type) and issubclass(view_class, PusherMixin)):
        raise Refused(Reason.UNASKABLE_VIEW, f"It is {match._func_path}.")
    return match


def _model_of(match: ResolverMatch) -> type[Model] | None:
    view_class: Any = match.func.view_class  # type: ignore[attr-defined]
    model = getattr(view_class, "model", None) or getattr(getattr(view_class, "queryset", None), "model", None)
    return model if isinstance(model, type) and issubclass(model, Model) else None


def _request_for(request: HttpRequest, path: str, query: str, match: ResolverMatch) -> HttpRequest:
    """The visitor's GET of that page: all that the middleware has found out, with no body and a session of its own."""
    kind = _joined(_ProbingRequest, cast(Any, type(request)))
    asked: Any = object.__new__(kind)
    vars(asked).update({name: value for name, value in vars(request).items() if name not in _DROPPED_ATTRIBUTES})
    asked.method = "GET"
    asked.path_info = path
    asked.path = get_script_prefix().rstrip("/") + path
    asked.META = _meta_for(request, path, query)
    asked.resolver_match = match
    asked.content_type, asked.content_params = "", {}
    try:
        vars(asked)["GET"] = QueryDict(query)
    except SuspiciousOperation as error:
        raise Refused(Reason.MALFORMED_PAGE) from error
    vars(asked)["COOKIES"] = dict(request.COOKIES)
    asked._body, asked._stream, asked._read_started = b"", io.BytesIO(), False
    asked._post, asked._files = QueryDict(), MultiValueDict()
    if hasattr(asked, "environ"):
        asked.environ = asked.META
    if hasattr(asked, "scope"):
        asked.scope = asked.scope | {"method": "GET", "path": asked.path, "query_string": query.encode()}
    if hasattr(asked, "session"):
        asked.session = _session_for(asked.session)
    if hasattr(asked, "_messages"):
        # Messages of the page that is asked are not for the next page.
        asked._messages = type(asked._messages)(asked)
    return asked  # type: ignore[no-any-return]


def _meta_for(request: HttpRequest, path: str, query: str) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in request.META.items()
        if name not in _DROPPED_META and not name.startswith(("HTTP_IF_", "HTTP_CONTENT_"))
    }
    return kept | {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO()}


def _session_for(session: Any) -> Any:
    if not isinstance(session, SessionBase):
        return deepcopy(session)
    kind = _joined(_ReadingSession, type(session))
    copied: Any = object.__new__(kind)
    vars(copied).update(vars(session))
    if "_session_cache" in vars(copied):
        copied._session_cache = deepcopy(copied._session_cache)
    return copied


@contextmanager
def _speaking_for(request: HttpRequest, path: str) -> Iterator[None]:
    """The language that the address names, as Django's ``LocaleMiddleware`` finds it out; otherwise the visitor's."""
    language = translation.get_language_from_path(path)
    if language is None:
        urlconf = getattr(request, "urlconf", settings.root_urlconf)
        in_addresses, for_all = is_language_prefix_patterns_used(urlconf)
        language = settings.language_code if in_addresses and not for_all else translation.get_language()
    with translation.override(language):
        yield


@contextmanager
def _contained(request: HttpRequest, path: str, model: type[Model] | None) -> Iterator[None]:
    """Within it nothing is published, and what is written is taken back, or refused in a database of nothing shown."""
    # Not of every database, since one that no page needs may be far away, or down.
    begun = {DEFAULT_DB_ALIAS} | ({router.db_for_write(model)} if model else set())
    with ExitStack() as stack:
        stack.enter_context(_speaking_for(request, path))
        stack.enter_context(timezone.override(timezone.get_current_timezone()))
        stack.enter_context(suppress())
        for connection in connections.all():
            if connection.alias in begun or connection.in_atomic_block:
                stack.enter_context(_rolled_back(connection.alias))
            else:
                stack.enter_context(connection.execute_wrapper(_only_read))
        yield


@contextmanager
def _rolled_back(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        try:
            yield
        finally:
            transaction.set_rollback(True, using=alias)


def _only_read(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if not str(sql).lstrip(" (\n").upper().startswith(_HARMLESS_STATEMENTS):
        alias = context["connection"].alias
        raise Refused(Reason.VIEW_FAILED, f"It writes to the database {alias!r} before it shows its object.")
    return execute(sql, params, many, context)


def _ask(probe: Probe, asked: HttpRequest, match: ResolverMatch) -> Shown:
    try:
        response = _respond(asked, match)
        if probe.has_let_in(response):
            return Shown(probe.view, probe.name_channel())
        status = getattr(response, "status_code", 500)
        raise Refused(_reason_of(status), f"(status {status})")
    except Refused:
        raise
    except PermissionDenied as error:
        raise Refused(Reason.FORBIDDEN) from error
    except Http404 as error:
        raise Refused(Reason.NOT_FOUND) from error
    except Exception as error:
        # Whatever is wrong with a page, its visitor is not let in, and nobody else's channel suffers.
        logger.exception("The view of %r failed while it was asked who may listen.", asked.path)
        raise Refused(Reason.VIEW_FAILED, f"It was {type(error).__name__}; see the log.") from error


def _respond(asked: HttpRequest, match: ResolverMatch) -> Any:
    for process_view in _view_middleware(settings.middleware):
        response = settle(process_view(asked, match.func, match.args, match.kwargs))
        if response is not None:
            return response
    return settle(match.func(asked, *match.args, **match.kwargs))


@lru_cache(maxsize=8)
def _view_middleware(paths: tuple[str, ...]) -> tuple[Callable[..., Any], ...]:
    """``process_view`` of each middleware that has one: these decide by the view, as ``LoginRequiredMiddleware``."""
    hooks = []
    for path in paths:
        factory = import_string(path)
        if isinstance(factory, type) and not hasattr(factory, "process_view"):
            continue
        try:
            middleware = factory(_get_no_response)
        except MiddlewareNotUsed:
            continue
        if hasattr(middleware, "process_view"):
            hooks.append(middleware.process_view)
    return tuple(hooks)


def _get_no_response(request: HttpRequest) -> HttpResponseBase:
    raise PermissionDenied("A page that is only asked about its object is not answered.")


def _reason_of(status: int) -> Reason:
    if 300 <= status < 400:
        return Reason.REDIRECTED
    reasons = {401: Reason.FORBIDDEN, 403: Reason.FORBIDDEN, 404: Reason.NOT_FOUND, 410: Reason.NOT_FOUND}
    return reasons.get(status, Reason.OTHER_RESPONSE)

"""HTTP only: what browsers and the service ask of this app, and the answers to it."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse, QueryDict
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.generic import View

from pusherable.authorization import Authorizer
from pusherable.conf import settings
from pusherable.refusals import Reason, Refused
from pusherable.streaming import StreamAuthorizer
from pusherable.webhooks import receive

logger = logging.getLogger("pusherable.authorization")

#: Channels that one request may ask for.
MAX_CHANNELS: Final = 100

_INDEXED = re.compile(r"(channel_name|page)\[([0-9]{1,6})\]")
_Answer = TypeVar("_Answer")
_BAD_REQUESTS = frozenset({Reason.MALFORMED_REQUEST, Reason.TOO_MANY_CHANNELS})


# Whoever has not logged in gets a refusal that pusher-js understands, which a redirect is not (protocol D.3).
@method_decorator(login_not_required, name="dispatch")
class SigningView(View):
    """POST alone. A refusal is a 403, or a 400 for a form that nobody could answer; never a redirect."""

    http_method_names = ("post",)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            response = JsonResponse(self.answer(request))
        except Refused as refused:
            status = 400 if refused.reason in _BAD_REQUESTS else 403
            response = JsonResponse(_describe(refused), status=status)
        response["Cache-Control"] = "no-store"
        return response

    @abstractmethod
    def answer(self, request: HttpRequest) -> dict[str, Any]:
        """What the browser is told; raises ``Refused``."""


class AuthView(SigningView):
    """Signs the channels that the visitor may listen to: one, as pusher-js and Echo ask, or up to 100 at once.

    For an event stream (``stream=1``) it signs those of many that the visitor may listen to, all in one.
    """

    def answer(self, request: HttpRequest) -> dict[str, Any]:
        form = request.POST
        is_for_stream = form.get("stream") == "1"
        try:
            asked = _read_channels(form, limit=settings.stream_channels if is_for_stream else MAX_CHANNELS)
            if is_for_stream and asked is None:
                raise Refused(Reason.MALFORMED_REQUEST)
        except Refused as refused:
            logger.warning("Not signed (%s): %s", refused.reason.code, refused)
            raise
        if is_for_stream:
            return _answer_for_stream(StreamAuthorizer(request), asked or {}, is_signing_in=form.get("signin") == "1")
        authorizer = Authorizer(request, form.get("socket_id", ""))
        if asked is None:
            return {**authorizer.sign_channel(form["channel_name"], form.get("page"))}
        channels = {
            channel: _answer_of(partial(authorizer.sign_channel, channel, page)) for channel, page in asked.items()
        }
        return {
            "channels": channels,
            "user": _unless_refused(authorizer.sign_user) if form.get("signin") == "1" else None,
        }


class UserAuthView(SigningView):
    """Signs the visitor in at the service."""

    def answer(self, request: HttpRequest) -> dict[str, Any]:
        return {**Authorizer(request, request.POST.get("socket_id", "")).sign_user()}


# The service has neither a cookie nor a token; its signature takes their place.
@csrf_exempt
@login_not_required
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Takes what the service tells, and sends the signals."""
    return receive(request)


# What one receiver has written stays when another one fails: only the failed event comes again.
for _alias in connections:
    transaction.non_atomic_requests(_alias)(webhook)


def _answer_of(sign: Callable[[], dict[str, str] | None]) -> dict[str, Any]:
    try:
        return {"status": 200, "data": sign() or {}}
    except Refused as refused:
        return {"status": 403, "data": _describe(refused)}


def _answer_for_stream(
    stream: StreamAuthorizer, asked: Mapping[str, str | None], *, is_signing_in: bool
) -> dict[str, Any]:
    channels = {channel: _answer_of(partial(stream.allow, channel, page)) for channel, page in asked.items()}
    user = _unless_refused(stream.allow_own) if is_signing_in else None
    return {"channels": channels, "user": user, "query": urlencode(stream.sign()) if stream.channels else None}


def _unless_refused(sign: Callable[[], _Answer]) -> _Answer | None:
    try:
        return sign()
    except Refused:
        return None


def _describe(refused: Refused) -> dict[str, str]:
    # Why somebody is refused says something about what there is.
    return {"code": refused.reason.code, "reason": str(refused)} if settings.debug else {}


def _read_channels(form: QueryDict, *, limit: int) -> dict[str, str | None] | None:
    """The pages by channel, in the order of their indices; ``None`` where the form asks for one channel alone."""
    found = {match.group(): (match[1], int(match[2])) for match in map(_INDEXED.fullmatch, form) if match}
    if "channel_name" in form:
        if found or any(len(form.getlist(name)) > 1 for name in ("channel_name", "page", "socket_id")):
            raise Refused(Reason.MALFORMED_REQUEST)
        return None
    if not found and form.get("signin") != "1":
        raise Refused(Reason.MALFORMED_REQUEST)
    if any(len(form.getlist(name)) > 1 for name in (*found, "socket_id")) or len(set(found.values())) < len(found):
        raise Refused(Reason.MALFORMED_REQUEST, "Each index stands once.")
    names = {index: str(form[name]) for name, (field, index) in found.items() if field == "channel_name"}
    pages = {index: str(form[name]) for name, (field, index) in found.items() if field == "page"}
    if len(names) > limit:
        raise Refused(Reason.TOO_MANY_CHANNELS, f"These are {len(names)}.")
    asked = {(names[index], pages.get(index)) for index in names}
    if len(asked) > len(set(names.values())) or pages.keys() - names.keys():
        raise Refused(Reason.MALFORMED_REQUEST, "Each channel has one page, and each page a channel.")
    return {names[index]: pages.get(index) for index in sorted(names)}

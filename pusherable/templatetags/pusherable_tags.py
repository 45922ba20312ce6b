"""The tags of a page: they gather what a template needs. All HTML is in ``templates/pusherable/``."""

import json
from typing import Any

from django import template
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context, TemplateSyntaxError
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext

from pusherable import pusherjs
from pusherable.channels import ChannelKind, Privacy, kind_of
from pusherable.conf import SettingsError, settings
from pusherable.events import validate_event_name
from pusherable.exceptions import InvalidChannel, InvalidEvent
from pusherable.failures import log_quietly
from pusherable.mixins import PusherMixin
from pusherable.probing import page_of
from pusherable.publishing import channel_of, request_origin
from pusherable.refusals import Refused
from pusherable.streaming import channel_url

register = template.Library()


@register.inclusion_tag("pusherable/script.html", takes_context=True)
def pusherable_script(context: Context, *, encrypted: bool | None = None) -> dict[str, Any]:
    """Load the scripts, once in a page. Without a usable service the page still works, and the log says why.

    ``encrypted`` loads the larger build of pusher-js, which can read encrypted channels; by default it is loaded
    where the setting ``PUSHERABLE_PRIVATE_CHANNELS`` makes channels encrypted. With ``PUSHERABLE_TRANSPORT = "sse"``
    pusher-js is not loaded at all.
    """
    return {
        "config": json.dumps(_browser_config()),
        "nonce": _nonce(context),
        "origin": _origin(context),
        "pusherjs": None if _is_streaming() else _choose_build(encrypted),
    }


@register.inclusion_tag("pusherable/subscribe.html", takes_context=True)
def pusherable_subscribe(
    context: Context, event: str, target: Any, *, label: str = "", private: Privacy | None = None
) -> dict[str, Any]:
    """Let the page hear of ``event`` on an object, on a model or on a channel given by its name.

    A queryset stands for its model. ``label`` is what notifications say the event is about; by default the model's
    name. ``private`` is that of the page's view, or else the setting's. Raises ``TemplateSyntaxError`` for what can
    be no event or no channel, and under ``DEBUG`` for a private channel that no address authorizes.
    """
    target = _model_of_list(target)
    try:
        event = validate_event_name(event)
        channel = channel_of(target, private=_privacy(context, private))
    except (InvalidChannel, InvalidEvent) as error:
        raise TemplateSyntaxError(f"{{% pusherable_subscribe %}}: {error}{_hint(error, event, target)}") from error
    return {
        "event": event,
        "label": label or _model_label(target),
        "origin": _origin(context),
        **_subscription(context, target, channel),
    }


@register.inclusion_tag("pusherable/presence.html", takes_context=True)
def pusherable_presence(context: Context, target: Any, *, label: str = "", limit: int = 10) -> dict[str, Any]:
    """Show who has a page of this object open, of those who are logged in; nobody else is shown anything.

    ``target`` is an object, or the name of a presence channel. ``label`` is the name of the list, ``limit`` how many
    members it shows before they fold (0: all). Raises what ``pusherable_subscribe`` raises.
    """
    try:
        channel = channel_of(target, kind=ChannelKind.PRESENCE)
        if not kind_of(channel).is_presence:
            raise InvalidChannel(
                f"{channel!r} is no presence channel: its name begins with presence-.", channel=channel
            )
    except InvalidChannel as error:
        raise TemplateSyntaxError(f"{{% pusherable_presence %}}: {error}{_hint(error, '', target)}") from error
    user = getattr(_request(context), "user", None)
    if user is not None and not user.is_authenticated:
        return {"channel": ""}
    return {
        "label": label or gettext("Here now"),
        "limit": limit,
        "nonce": _nonce(context),
        **_subscription(context, target, channel),
    }


@register.inclusion_tag("pusherable/notifications.html", takes_context=True)
def pusherable_notifications(context: Context, *, seconds: float = 8, limit: int = 4, **texts: str) -> dict[str, Any]:
    """Show what the page's subscriptions hear as a list of messages.

    A message stays for ``seconds`` (0: until it is dismissed), ``limit`` of them at once. Further arguments
    are sentences for events by name, where ``{user}`` and ``{event}`` are filled in.
    """
    return {"limit": limit, "nonce": _nonce(context), "seconds": seconds, "texts": texts}


@register.simple_tag(takes_context=True)
def pusherable_channel_url(context: Context, *targets: Any, private: Privacy | None = None) -> str:
    """The address of an event stream for this visitor, of objects, models or channels given by their names.

    It is empty for a visitor who may not listen to one of them, which the log tells. ``private`` is that of the page's
    view, or else the setting's. Raises ``TemplateSyntaxError`` for what no stream can have and where there is no
    request; under ``DEBUG`` also where there are no streams, of which a live site only logs.
    """
    request = _request(context)
    if request is None:
        raise TemplateSyntaxError(
            "{% pusherable_channel_url %} is for a visitor, and there is no request: add "
            "'django.template.context_processors.request' to TEMPLATES."
        )
    try:
        return channel_url(request, *targets, private=private, view=context.get("view"))
    except InvalidChannel as error:
        raise TemplateSyntaxError(
            f"{{% pusherable_channel_url %}}: {error}{_hint(error, '', error.channel)}"
        ) from error
    except SettingsError as error:
        _complain(f"{{% pusherable_channel_url %}}: {error}", cause="page without streams", error=error)
    except Refused:
        # It is logged already.
        pass
    return ""


def _browser_config() -> dict[str, Any] | None:
    try:
        options = _transport_options()
    except SettingsError as error:
        log_quietly(f"Pages cannot listen for events: {error}", cause="page without a service")
        return None
    url = _auth_url()
    return options | {"auth": {"url": url, "signIn": True, "csrf": settings.csrf}} if url else options


def _transport_options() -> dict[str, Any]:
    if settings.transport == "websocket":
        return settings.browser
    return settings.stream_server | {"transport": "sse", "channelLimit": settings.stream_channels}


def _is_streaming() -> bool:
    try:
        return settings.transport == "sse"
    except SettingsError:
        # A system check tells; the page is told of no service.
        return False


def _choose_build(encrypted: bool | None) -> pusherjs.Asset:
    return pusherjs.ENCRYPTED if _is_encrypted(encrypted) else pusherjs.PLAIN


def _is_encrypted(encrypted: bool | None) -> bool:
    if encrypted is not None:
        return encrypted
    try:
        return settings.private_channels.is_encrypted
    except SettingsError:
        # A system check tells; the page has its own error from the subscription.
        return False


def _subscription(context: Context, target: Any, channel: str) -> dict[str, str]:
    """The channel, and what it takes to be let in."""
    if not kind_of(channel).needs_authorization:
        return {"channel": channel, "page": "", "token": ""}
    if not _auth_url():
        _complain(
            f"Nobody can be let into {channel!r}: the project has no address that authorizes channels. "
            'Add path("pusher/", include("pusherable.urls")) to urls.py.',
            cause="private channel without an address",
        )
    elif kind_of(channel).is_encrypted and _is_streaming():
        _complain(
            f"Nobody hears of {channel!r}: browsers cannot read an encrypted channel without pusher-js, and with "
            "PUSHERABLE_TRANSPORT = 'sse' there is none.",
            cause="encrypted channel without pusher-js",
        )
    return {
        "channel": channel,
        "page": page_of(target, _request(context), context.get("view")),
        "token": _csrf_token(context),
    }


def _auth_url() -> str:
    try:
        return reverse("pusherable:auth")
    except NoReverseMatch:
        return ""


def _complain(message: str, *, cause: str, error: Exception | None = None) -> None:
    """What whoever writes the site has to mend is an error while they do; on a live site it is a line of the log."""
    if settings.debug:
        raise TemplateSyntaxError(message) from error
    log_quietly(message, cause=cause)


def _csrf_token(context: Context) -> str:
    """Have the cookie set that the script reads; where scripts cannot read it, the token itself, once in a page."""
    request = _request(context)
    if request is None:
        return ""
    token = get_token(request)
    if settings.csrf["cookie"] or getattr(request, "_pusherable_csrf_told", False):
        return ""
    request._pusherable_csrf_told = True  # type: ignore[attr-defined]
    return token


def _privacy(context: Context, private: Privacy | None) -> Privacy | None:
    view = context.get("view")
    return view.pusher_private if private is None and isinstance(view, PusherMixin) else private


def _model_of_list(target: Any) -> Any:
    return target.model if isinstance(target, QuerySet) else target


def _request(context: Context) -> HttpRequest | None:
    return getattr(context, "request", None) or context.get("request")


def _origin(context: Context) -> str:
    request = _request(context)
    return request_origin(request) if request is not None else ""


def _nonce(context: Context) -> str:
    """The nonce of Django's own CSP support, or that of django-csp; both are made by being read."""
    # A nonce that nobody has read yet is false, so only None means that there is none.
    nonce = context.get("csp_nonce")
    if nonce is None:
        nonce = getattr(_request(context), "csp_nonce", None)
    return "" if nonce is None else str(nonce)


def _model_label(target: Any) -> str:
    return "" if isinstance(target, str) else str(capfirst(target._meta.verbose_name))


def _hint(error: Exception, event: Any, target: Any) -> str:
    if isinstance(error, InvalidEvent):
        return "" if isinstance(event, str) else " The event comes first, then the object."
    if target is None or target == "":
        return " Is the variable's name right? Where there may be no object, put the tag inside {% if object.pk %}."
    if isinstance(target, Model):
        return f" For all objects of its model, write {channel_of(type(target))!r}."
    return ""

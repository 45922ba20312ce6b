"""The tags of a page: they gather what a template needs. All HTML is in ``templates/pusherable/``."""

import json
from typing import Any

from django import template
from django.db.models import Model
from django.http import HttpRequest
from django.template import Context, TemplateSyntaxError
from django.utils.text import capfirst

from pusherable import pusherjs
from pusherable.conf import SettingsError, settings
from pusherable.events import validate_event_name
from pusherable.exceptions import InvalidChannel, InvalidEvent
from pusherable.failures import log_quietly
from pusherable.publishing import channel_of, request_origin

register = template.Library()


@register.inclusion_tag("pusherable/script.html", takes_context=True)
def pusherable_script(context: Context) -> dict[str, Any]:
    """Load the scripts, once in a page. Without a usable service the page still works, and the log says why."""
    return {
        "config": json.dumps(_browser_config()),
        "nonce": _nonce(context),
        "origin": _origin(context),
        "pusherjs": pusherjs.PLAIN,
    }


@register.inclusion_tag("pusherable/subscribe.html", takes_context=True)
def pusherable_subscribe(context: Context, event: str, target: Any, *, label: str = "") -> dict[str, Any]:
    """Let the page hear of ``event`` on an object, on a model or on a channel given by its name.

    ``label`` is what notifications say the event is about; by default the model's name. Raises
    ``TemplateSyntaxError`` for what can be no event or no channel.
    """
    try:
        return {
            "event": validate_event_name(event),
            "channel": channel_of(target),
            "label": label or _model_label(target),
            "origin": _origin(context),
        }
    except (InvalidChannel, InvalidEvent) as error:
        raise TemplateSyntaxError(f"{{% pusherable_subscribe %}}: {error}{_hint(error, event, target)}") from error


@register.inclusion_tag("pusherable/notifications.html", takes_context=True)
def pusherable_notifications(context: Context, *, seconds: float = 8, limit: int = 4, **texts: str) -> dict[str, Any]:
    """Show what the page's subscriptions hear as a list of messages.

    A message stays for ``seconds`` (0: until it is dismissed), ``limit`` of them at once. Further arguments
    are sentences for events by name, where ``{user}`` and ``{event}`` are filled in.
    """
    return {"limit": limit, "nonce": _nonce(context), "seconds": seconds, "texts": texts}


def _browser_config() -> dict[str, Any] | None:
    try:
        return settings.browser
    except SettingsError as error:
        log_quietly(f"Pages cannot listen for events: {error}", cause="page without a service")
        return None


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

"""Compose now, deliver later: the JSON text is made while the instance is in hand, and leaves after the commit."""

import logging
import secrets
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import Model
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError

from pusherable.backends import get_backend
from pusherable.channels import ChannelKind, Privacy, kind_for, model_channel, validate_channel
from pusherable.conf import settings
from pusherable.events import Event, is_socket_id
from pusherable.exceptions import EventTooLarge, InvalidChannel
from pusherable.failures import report_failure
from pusherable.serialization import FieldNames, serialize

logger = logging.getLogger("pusherable")

#: Characters in a connection's id that a page tells us of; Pusher's own have about twenty.
MAX_SOCKET_ID_LENGTH: Final = 64


def publish(
    instance: Model,
    event: str,
    *,
    user: Any = None,
    include: FieldNames = None,
    exclude: FieldNames | HttpRequest = None,
    channels: str | Iterable[str] | None = None,
    private: Privacy | None = None,
    origin: str = "",
    socket_id: str | None = None,
    immediate: bool = False,
) -> Event:
    """Tell every page that shows ``instance`` of ``event``, once its database has committed.

    ``user`` is a user or a name, ``include`` and ``exclude`` name fields (see ``serialize``), ``channels``
    takes the place of the object's own, of which ``private`` says the kind (see ``channel_of``). ``socket_id`` is a
    connection to leave out; a request given as ``exclude``, or a connection's id, leaves out its own tab. With
    ``immediate`` the event does not wait for the commit, and a rollback cannot stop it.

    Returns the event as it will travel. Raises ``UnknownField``, ``NotSerializable``, ``InvalidChannel`` and
    ``InvalidEvent``, never for a service in trouble: that is logged and sent as ``publish_failed``.
    """
    fields, own_socket_id = _read_exclusion(exclude)
    composed = compose(
        instance,
        event,
        object_data=serialize(instance, include=include, exclude=fields),
        channels=channel_of(instance, private=private) if channels is None else channels,
        user=username_of(user),
        origin=origin,
        socket_id=socket_id or own_socket_id,
    )
    send(composed, using=database_of(instance), immediate=immediate)
    return composed


def trigger(
    channels: str | Iterable[str],
    event: str,
    data: Any,
    *,
    exclude: HttpRequest | str | None = None,
    socket_id: str | None = None,
    immediate: bool = False,
    using: str = DEFAULT_DB_ALIAS,
) -> Event:
    """Send any JSON ``data`` to up to 100 channels, once the transaction on ``using`` has been committed.

    ``exclude`` is a request whose own tab is left out, or the id of a connection as a page has told it: a
    malformed one is ignored, where ``socket_id`` would raise. Returns and raises what ``publish`` does.
    """
    _, own_socket_id = _read_exclusion(exclude)
    composed = Event.compose(
        _as_channels(channels), event, data, socket_id=socket_id or own_socket_id, encoder=settings.json_encoder
    )
    send(composed, using=using, immediate=immediate)
    return composed


def compose(
    instance: Model,
    event: str,
    *,
    object_data: dict[str, Any],
    channels: str | Iterable[str],
    user: str = "",
    origin: str = "",
    socket_id: str | None = None,
) -> Event:
    """Freeze an event about ``instance`` without sending it.

    Where it would be over the limit, ``object`` is reduced to the primary key and ``truncated`` is true.
    """
    payload = {
        "object": object_data,
        "user": user,
        "model": model_name_of(instance),
        "pk": _pk_text(instance.pk),
        "origin": origin,
    }
    freeze = partial(Event.compose, _as_channels(channels), event, socket_id=socket_id, encoder=settings.json_encoder)
    try:
        return freeze(payload)
    except EventTooLarge as error:
        logger.warning(
            "The event %r of %s %s has %d bytes, over the limit of %d: it goes out with the primary key alone. "
            "Name fewer fields (pusher_include_model_fields).",
            event, instance._meta.label, payload["pk"], error.size, error.limit,
        )  # fmt: skip
        names = {field.name for field in instance._meta.pk_fields}
        reduced = {name: value for name, value in object_data.items() if name in names}
        return freeze(payload | {"object": reduced, "truncated": True})


def send(event: Event, *, using: str = DEFAULT_DB_ALIAS, immediate: bool = False) -> None:
    """Hand the event to the backend, after the commit if a transaction is open on ``using``."""
    if immediate or not connections[using].in_atomic_block:
        _hand_over(event)
    else:
        transaction.on_commit(partial(_hand_over, event), using=using, robust=True)


def channel_of(
    target: Model | type[Model] | str, *, private: Privacy | None = None, kind: ChannelKind | None = None
) -> str:
    """The channel of an object (``post_1``) or of a model (``post``); a name is validated and returned as it is.

    ``private`` makes it ``private-post_1``, ``"encrypted"`` makes it ``private-encrypted-post_1``; where it is
    ``None``, the setting ``PUSHERABLE_PRIVATE_CHANNELS`` decides. ``kind`` goes before both, for presence.
    Proxies share the channel of the model that they stand for: it is the same object. Raises
    ``InvalidChannel`` for an object that has no primary key yet.
    """
    if isinstance(target, str):
        return validate_channel(target)
    if kind is None:
        kind = settings.private_channels if private is None else kind_for(private)
    if isinstance(target, type) and issubclass(target, Model):
        return model_channel(model_name_of(target), kind=kind)
    if not isinstance(target, Model):
        raise InvalidChannel(f"{target!r} is no model, no object and no name of a channel.", channel=target)
    if target.pk is None:
        raise InvalidChannel(
            f"This {target._meta.label} has no primary key, so it has no channel: save it first.",
            channel=target,
        )
    return model_channel(model_name_of(target), target.pk, kind=kind)


def model_name_of(target: Model | type[Model]) -> str:
    """The model's name in lower case; of a proxy, that of the model it stands for."""
    return str(target._meta.concrete_model._meta.model_name)  # type: ignore[union-attr]


def database_of(instance: Model) -> str:
    """The alias of the database whose commit an event about ``instance`` has to wait for."""
    # Not where it was read from: that may be a replica.
    return router.db_for_write(instance._meta.model, instance=instance)


def username_of(user: Any) -> str:
    """The name to publish for a user object, ``""`` for anybody who is not logged in."""
    if user is None or isinstance(user, str):
        return user or ""
    return str(user.get_username()) if user.is_authenticated else ""


def request_origin(request: HttpRequest) -> str:
    """A random id of this request, 12 characters; the page that it renders knows its own events by it."""
    # A REST framework wraps the request; the page and the event must agree.
    attributes: dict[str, Any] = vars(getattr(request, "_request", request))
    origin: str = attributes.setdefault("_pusherable_origin", secrets.token_urlsafe(9))
    return origin


def socket_id_of(request: HttpRequest) -> str | None:
    """The connection of the tab that has made this request, as the page tells it; ``None`` for anything malformed.

    It is the header ``X-Socket-ID``, or else the field ``pusherable_socket_id`` of a form. It proves nothing: take
    it to leave somebody out, never to let somebody in.
    """
    # Of a REST framework's request, the one that it wraps.
    django_request: HttpRequest = getattr(request, "_request", request)
    told = django_request.headers.get("X-Socket-ID") or _read_form_field(django_request, "pusherable_socket_id")
    return told if _is_acceptable_socket_id(told) else None


def _read_form_field(request: HttpRequest, name: str) -> str:
    try:
        return str(request.POST.get(name, ""))
    except (BadRequest, MultiPartParserError, OSError, SuspiciousOperation):
        # A body that cannot be read is the view's to refuse.
        return ""


def _read_exclusion(exclude: FieldNames | HttpRequest) -> tuple[FieldNames, str | None]:
    """The fields to leave out, or else the connection: no field's name holds a dot."""
    if isinstance(getattr(exclude, "_request", exclude), HttpRequest):
        return None, socket_id_of(cast(HttpRequest, exclude))
    if isinstance(exclude, str) and _is_acceptable_socket_id(exclude):
        return None, exclude
    return cast(FieldNames, exclude), None


def _is_acceptable_socket_id(text: str) -> bool:
    # Endless digits would make the service refuse the event, and with it a whole batch of others.
    return len(text) <= MAX_SOCKET_ID_LENGTH and is_socket_id(text)


def _hand_over(event: Event) -> None:
    try:
        get_backend().deliver(event)
    except Exception as error:  # noqa: BLE001
        # A backend is anybody's code, and this is the last place before a visitor's page.
        report_failure(event, error, sender=Event)


def _as_channels(channels: str | Iterable[str]) -> tuple[str, ...]:
    return (channels,) if isinstance(channels, str) else tuple(channels)


def _pk_text(pk: Any) -> str:
    return ",".join(map(str, pk)) if isinstance(pk, tuple) else str(pk)

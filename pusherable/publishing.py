"""Compose now, deliver later: the JSON text is made while the instance is in hand, and leaves after the commit."""

import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import Model
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError

from pusherable.channels import ChannelKind, Privacy, kind_for, model_channel, validate_channel
from pusherable.commits import send
from pusherable.conf import settings
from pusherable.events import MAX_DATA_SIZE, Event, Subject, check_data_size, encode, is_socket_id
from pusherable.exceptions import EventTooLarge, InvalidChannel
from pusherable.failures import log_quietly
from pusherable.serialization import FieldNames, serialize
from pusherable.suppression import is_suppressed

#: Characters in a connection's id that a page tells us of; Pusher's own have about twenty.
MAX_SOCKET_ID_LENGTH: Final = 64

# Nobody is kept out by an origin, so it need not be hard to guess; it has to be another one in each process.
_randomness: Final = random.Random()
os.register_at_fork(after_in_child=_randomness.seed)


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

    Of several such events in one transaction about the same object, of the same name, channels, fields, user, origin
    and connection to leave out, the last alone is sent.

    Returns the event as it will travel. Raises ``UnknownField``, ``NotSerializable``, ``InvalidChannel`` and
    ``InvalidEvent``, and ``TypeError`` for what is none of this, never for a service in trouble: that is logged and
    sent as ``publish_failed``.
    """
    if not isinstance(instance, Model):
        raise not_an_object(instance, "publish()")
    fields, own_socket_id = read_exclusion(exclude)
    composed = compose(
        instance,
        event,
        object_data=serialize(instance, include=include, exclude=fields),
        channels=channel_of(instance, private=private) if channels is None else channels,
        user=username_of(user),
        origin=origin,
        socket_id=socket_id or own_socket_id,
    )
    if not is_suppressed(instance._meta.model):
        send((composed,), using=database_of(instance), immediate=immediate)
    return composed


def trigger(
    channels: str | Iterable[str],
    event: str,
    data: Any,
    *,
    exclude: HttpRequest | str | None = None,
    socket_id: str | None = None,
    coalesce: bool = False,
    immediate: bool = False,
    using: str = DEFAULT_DB_ALIAS,
) -> Event:
    """Send any JSON ``data`` to channels, once the transaction on ``using`` has been committed.

    Messages are news, and all of them are sent; with ``coalesce`` only the last of the same name, channels and
    connection to leave out, of those in one transaction. More than 100 channels take more than one call.

    ``exclude`` is a request whose own tab is left out, or the id of a connection as a page has told it: a
    malformed one is ignored, where ``socket_id`` would raise. Returns and raises what ``publish`` does.
    """
    fields, own_socket_id = read_exclusion(exclude)
    if fields is not None and not isinstance(fields, str):
        raise TypeError(f"exclude={fields!r} is neither a request nor the id of a connection, such as '123.456'.")
    composed = Event.compose(
        _as_channels(channels),
        event,
        data,
        socket_id=socket_id or own_socket_id,
        encoder=settings.json_encoder,
        subject=() if coalesce else None,
    )
    send((composed,), using=using, immediate=immediate)
    return composed


async def apublish(instance: Model, event: str, **options: Any) -> Event:
    """``publish`` for async code: it reads the database where Django does, never in the event loop."""
    return await sync_to_async(publish)(instance, event, **options)


async def atrigger(channels: str | Iterable[str], event: str, data: Any, **options: Any) -> Event:
    """``trigger`` for async code; a transaction that is open in Django's own thread is awaited."""
    return await sync_to_async(trigger)(channels, event, data, **options)


def compose(
    instance: Model,
    event: str,
    *,
    object_data: dict[str, Any],
    channels: str | Iterable[str],
    user: str = "",
    origin: str = "",
    socket_id: str | None = None,
    is_automatic: bool = False,
    max_size: int = MAX_DATA_SIZE,
    reduce: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    source: type[Any] | None = None,
) -> Event:
    """Freeze an event about ``instance`` without sending it.

    Where its data would have more than ``max_size`` bytes, ``truncated`` is true, and ``object`` is what ``reduce``
    makes of it; or else, or if that is too large too, the primary key. ``source`` is what the warning
    names: the view, or the model that publishes by itself.
    """
    label, pk = identity_of(instance)
    names = _as_channels(channels)
    payload = make_payload(object_data, user=user, model=model_name_of(instance), pk=pk, origin=origin)
    subject = Subject(label, pk, user, origin, tuple(object_data), is_automatic)

    def freeze(data: dict[str, Any]) -> Event:
        text = encode(data, encoder=settings.json_encoder)
        check_data_size(text, limit=max_size)
        return Event(names, event, text, socket_id, subject)

    try:
        return freeze(payload)
    except EventTooLarge as error:
        _warn_of_size(error, event, f"{label} {pk}", object_data=object_data, source=source)
    if reduce is not None:
        try:
            return freeze(payload | {"object": reduce(object_data), "truncated": True})
        except EventTooLarge:
            # The primary key is what is left.
            pass
    pk_names = {field.name for field in instance._meta.pk_fields}
    reduced = {name: value for name, value in object_data.items() if name in pk_names}
    return freeze(payload | {"object": reduced, "truncated": True})


def make_payload(object_data: dict[str, Any], *, user: str, model: str, pk: str, origin: str) -> dict[str, Any]:
    """What pages are told, in its order."""
    return {"object": object_data, "user": user, "model": model, "pk": pk, "origin": origin}


def _warn_of_size(
    error: EventTooLarge, event: str, what: str, *, object_data: dict[str, Any], source: type[Any] | None
) -> None:
    view = f" of {source.__module__}.{source.__qualname__}" if source is not None else ""
    if source is None:
        lists = "include or exclude"
    elif issubclass(source, Model):
        lists = "include or exclude of its @publishes"
    else:
        lists = "pusher_include_model_fields or pusher_exclude_model_fields"
    sizes = {name: len(encode(value, encoder=settings.json_encoder).encode()) for name, value in object_data.items()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    log_quietly(
        f"The event {event!r}{view} about {what} has {error.size} bytes, over the limit of {error.limit}: it goes out "
        f"reduced. Its largest fields: {', '.join(f'{name} ({sizes[name]} bytes)' for name in largest)}. Name fewer "
        f"({lists}).",
        cause=f"too large: {event}{view or what}",
        level=logging.WARNING,
    )


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
    pk = target.pk
    if pk is None:
        raise InvalidChannel(
            f"This {target._meta.label} has no primary key, so it has no channel: save it first.",
            channel=target,
        )
    return model_channel(model_name_of(target), pk, kind=kind)


def model_name_of(target: Model | type[Model]) -> str:
    """The model's name in lower case; of a proxy, that of the model it stands for."""
    return str(target._meta.concrete_model._meta.model_name)  # type: ignore[union-attr]


def identity_of(instance: Model) -> tuple[str, str]:
    """What no other object has in common with it: its model's label, of a proxy that of its model, and its key."""
    return str(instance._meta.concrete_model._meta.label), _pk_text(instance.pk)  # type: ignore[union-attr]


def database_of(instance: Model) -> str:
    """The alias of the database whose commit an event about ``instance`` has to wait for."""
    # Not where it was read from: that may be a replica.
    return router.db_for_write(instance._meta.model, instance=instance)


def username_of(user: Any) -> str:
    """The name to publish for a user object, ``""`` for anybody who is not logged in."""
    if user is None or isinstance(user, str):
        return user or ""
    try:
        return str(user.get_username()) if user.is_authenticated else ""
    except AttributeError as error:
        raise TypeError(
            f"{user!r} is no user ({error}): give a user object, such as request.user, or a name as text."
        ) from error


def member_info_of(user: Any) -> Mapping[str, Any]:
    """What members of a presence channel are told of each other: ``PUSHERABLE_MEMBER_INFO``, or else the name.

    By default this is the full name, or the username where there is none, of which 150 characters are told.
    """
    describe = settings.member_info
    if describe is not None:
        return cast(Mapping[str, Any], describe(user))
    full_name = getattr(user, "get_full_name", str)()
    return {"name": (full_name or username_of(user))[:150]}


def request_origin(request: HttpRequest) -> str:
    """A random id of this request, 12 characters; the page that it renders knows its own events by it."""
    # A REST framework wraps the request; the page and the event must agree.
    django_request: Any = getattr(request, "_request", request)
    origin: str = getattr(django_request, "_pusherable_origin", "")
    if not origin:
        origin = django_request._pusherable_origin = _randomness.getrandbits(48).to_bytes(6).hex()
    return origin


def socket_id_of(request: HttpRequest) -> str | None:
    """The connection of the tab that has made this request, as the page tells it; ``None`` for anything malformed.

    It is the header ``X-Socket-ID``, or else the field ``pusherable_socket_id`` of a form. It proves nothing: take
    it to leave somebody out, never to let somebody in.
    """
    # Of a REST framework's request, the one that it wraps.
    django_request: HttpRequest = getattr(request, "_request", request)
    # Not `headers`, which puts all of them into a dictionary first.
    told = django_request.META.get("HTTP_X_SOCKET_ID")
    if not told and django_request.method == "POST":
        told = _read_form_field(django_request, "pusherable_socket_id")
    return told if told and _is_acceptable_socket_id(told) else None


def _read_form_field(request: HttpRequest, name: str) -> str:
    try:
        return str(request.POST.get(name, ""))
    except (BadRequest, MultiPartParserError, OSError, SuspiciousOperation):
        # A body that cannot be read is the view's to refuse.
        return ""


def read_exclusion(exclude: FieldNames | HttpRequest) -> tuple[FieldNames, str | None]:
    """The fields to leave out, or else the connection: no field's name holds a dot."""
    if isinstance(getattr(exclude, "_request", exclude), HttpRequest):
        return None, socket_id_of(cast(HttpRequest, exclude))
    if isinstance(exclude, str) and _is_acceptable_socket_id(exclude):
        return None, exclude
    return cast(FieldNames, exclude), None


def _is_acceptable_socket_id(text: str) -> bool:
    # Endless digits would make the service refuse the event, and with it a whole batch of others.
    return len(text) <= MAX_SOCKET_ID_LENGTH and is_socket_id(text)


def not_an_object(value: object, taker: str) -> TypeError:
    """The error for what ``taker`` was given in place of a model's object."""
    if isinstance(value, type) and issubclass(value, Model):
        return TypeError(f"{taker} tells of one object, not of the model {value._meta.label}: give an instance of it.")
    return TypeError(
        f"{taker} tells of an object of a model, not of {value!r:.200}. For data of another kind there is "
        "trigger(channels, event, data)."
    )


def _as_channels(channels: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(channels, str):
        return (channels,)
    if isinstance(channels, Iterable):
        return tuple(channels)
    raise InvalidChannel(
        f"Channels are a name or several names, not {channels!r:.200}. The channel of an object is "
        "channel_of(object), of pusherable.publishing.",
        channel=channels,
    )


def _pk_text(pk: Any) -> str:
    return ",".join(map(str, pk)) if isinstance(pk, tuple) else str(pk)

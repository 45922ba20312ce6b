"""Who may listen: decided by a rule, or else by the page that shows the object, or else by the model's permission.

What none of them allows is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.db.models import Model
from django.http import Http404, HttpRequest
from django.urls.resolvers import RoutePattern

from pusherable.channels import (
    SERVER_TO_USER_PREFIX,
    ChannelKind,
    bare_name,
    kind_of,
    parse_model_channel,
    validate_channel,
)
from pusherable.client import channel_shared_secret
from pusherable.conf import Service, SettingsError, settings
from pusherable.events import is_socket_id
from pusherable.exceptions import InvalidChannel
from pusherable.probing import Shown, ask_member_info, ask_page, settle
from pusherable.publishing import channel_of, member_info_of
from pusherable.refusals import Reason, Refused
from pusherable.signing import channel_message, sign, user_message

logger = logging.getLogger("pusherable.authorization")

#: Bytes of what a service keeps of one member or user (protocol A.36).
MAX_MEMBER_SIZE: Final = 1024
#: Characters of a member's or user's id (protocol A.36).
MAX_USER_ID_LENGTH: Final = 128
#: Characters of a connection's id; Pusher's own have about twenty.
MAX_SOCKET_ID_LENGTH: Final = 64

Rule = Callable[..., Any]
_Rule = TypeVar("_Rule", bound=Rule)
#: What others are told of a member; ``None`` leaves it to ``PUSHERABLE_MEMBER_INFO``.
MemberInfo = Mapping[str, Any] | None


@dataclass(frozen=True)
class _Entry:
    kind: ChannelKind | None
    route: RoutePattern
    rule: Rule


_entries: list[_Entry] = []


def authorize(pattern: str) -> Callable[[_Rule], _Rule]:
    """Let a function decide about the channels whose names match ``pattern``.

    The pattern is a route with Django's path converters. It is matched against the whole name without the prefix of
    its kind, so ``order_<int:pk>`` is about ``private-order_7`` and ``presence-order_7``; a pattern that begins with
    such a prefix is about channels of that kind alone. The function takes the request, the channel's full name, and
    what the converters have found; it may be async. It returns ``True`` or ``False``, or a dictionary, which allows
    the channel and on presence channels is what others are told of this member. Where several rules match, all of
    them have to allow.

    Raises ``ImproperlyConfigured`` for a pattern of channels that need no signature.
    """
    kind = kind_of(pattern)
    if kind is not ChannelKind.PUBLIC and not kind.needs_authorization:
        raise ImproperlyConfigured(
            f"{pattern!r} is about channels that need no signature: begin it with private-, presence- or no prefix."
        )

    def register(rule: _Rule) -> _Rule:
        only = None if kind is ChannelKind.PUBLIC else kind
        _entries.append(_Entry(only, RoutePattern(pattern.removeprefix(kind.prefix), is_endpoint=True), rule))
        return rule

    return register


@dataclass(frozen=True)
class Admission:
    """That the visitor may listen to a channel of this kind; ``member`` is what a presence channel is told."""

    kind: ChannelKind
    member: str | None = None


class Decisions:
    """Decides for one request; each page is asked once, however many channels name it.

    ``shown`` is what is known of pages already. A refusal is raised as ``Refused`` and has been logged.
    """

    def __init__(self, request: HttpRequest, shown: Mapping[str, Shown] | None = None) -> None:
        self._request = request
        self._user = getattr(request, "user", None)
        # Found out before any view is asked, since a session that is no longer good is thrown away by it.
        self._is_known: bool = getattr(self._user, "is_authenticated", False)
        self._answers: dict[str, Shown | Refused] = {**(shown or {})}

    def admit(self, channel: str, page: str | None = None) -> Admission:
        """What lets the visitor in to ``channel``; ``page`` is where they say they come from."""
        with self._logged(channel, page):
            kind = _check_channel(channel)
            if kind.is_presence and not self._is_known:
                raise Refused(Reason.ANONYMOUS)
            info = self._decide(channel, kind, page)
            return Admission(kind, self._describe_user("user_id", info) if kind.is_presence else None)

    @contextmanager
    def _logged(self, channel: str = "", page: str | None = None) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self._log(refused, channel, page)
            raise

    def _describe_user(self, id_name: str, info: MemberInfo) -> str:
        """The text that is signed, and that the others' browsers get: an id as text (protocol D.7) and the info."""
        user_id = str(self._user.pk)  # type: ignore[union-attr]
        try:
            told = member_info_of(self._user) if info is None else info
            description = {id_name: user_id, "user_info": dict(told)}
            text = json.dumps(
                description, cls=settings.json_encoder, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            size = len(text.encode())
        except Exception as error:
            logger.exception("What is told of the user %s cannot be put together.", user_id)
            raise Refused(Reason.UNUSABLE_MEMBER_INFO) from error
        if size > MAX_MEMBER_SIZE or not 0 < len(user_id) <= MAX_USER_ID_LENGTH:
            raise Refused(Reason.UNUSABLE_MEMBER_INFO, f"It has {size} bytes.")
        return text

    def _decide(self, channel: str, kind: ChannelKind, page: str | None) -> MemberInfo:
        rules = list(_matching_rules(channel, kind))
        if rules:
            return self._ask_rules(channel, rules)
        if page:
            return self._ask_page(channel, kind, page)
        return self._ask_models(channel, kind)

    def _ask_rules(self, channel: str, rules: list[tuple[Rule, dict[str, Any]]]) -> MemberInfo:
        answers = [_ask_rule(rule, self._request, channel, arguments) for rule, arguments in rules]
        return next((answer for answer in answers if answer is not None), None)

    def _ask_page(self, channel: str, kind: ChannelKind, page: str) -> MemberInfo:
        shown = self._shown_at(page)
        if bare_name(shown.channel) != bare_name(channel):
            raise Refused(Reason.OTHER_OBJECT, f"It is about {shown.channel!r}.")
        return self._member_info_of(shown) if kind.is_presence else None

    def _shown_at(self, page: str) -> Shown:
        if page not in self._answers:
            try:
                self._answers[page] = ask_page(self._request, page)
            except Refused as refused:
                self._answers[page] = refused
        answer = self._answers[page]
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _member_info_of(self, shown: Shown) -> MemberInfo:
        try:
            info = ask_member_info(shown)
        except Exception as error:
            logger.exception("%s.get_pusher_member_info() failed.", type(shown.view).__qualname__)
            raise Refused(Reason.UNUSABLE_MEMBER_INFO) from error
        if not isinstance(info, Mapping):
            raise Refused(Reason.UNUSABLE_MEMBER_INFO, f"It is {info!r}.")
        return info

    def _ask_models(self, channel: str, kind: ChannelKind) -> MemberInfo:
        """Every model that the name may mean has to allow it: by its object's page, or else by permission."""
        try:
            name = parse_model_channel(channel)
        except InvalidChannel as error:
            raise Refused(Reason.NO_RULE) from error
        models = [model for model in apps.get_models() if _is_called(model, name.model)]
        if not models:
            raise Refused(Reason.NO_RULE)
        if name.pk is None:
            for model in models:
                self._ask_permission(model, None)
            return None
        instances = {model: _find_object(model, channel) for model in models}
        if all(instance is None for instance in instances.values()):
            raise Refused(Reason.NO_OBJECT)
        infos = [self._ask_object(model, instance, channel, kind) for model, instance in instances.items()]
        return next((info for info in infos if info is not None), None)

    def _ask_object(self, model: type[Model], instance: Model | None, channel: str, kind: ChannelKind) -> MemberInfo:
        if instance is None or not hasattr(instance, "get_absolute_url"):
            # A namesake's object that is not there yet may come to be while somebody listens.
            self._ask_permission(model, instance)
            return None
        try:
            page = str(instance.get_absolute_url())
        except Exception as error:
            logger.exception("get_absolute_url() of %s %s failed.", model._meta.label, instance.pk)
            raise Refused(Reason.UNKNOWN_PAGE, "get_absolute_url() has failed.") from error
        return self._ask_page(channel, kind, page)

    def _ask_permission(self, model: type[Model], instance: Model | None) -> None:
        options = model._meta
        permission = f"{options.app_label}.{get_permission_codename('view', options)}"
        has_permission = getattr(self._user, "has_perm", lambda *_: False)
        if not (has_permission(permission) or (instance is not None and has_permission(permission, instance))):
            raise Refused(Reason.NO_PERMISSION, f"It is {permission!r}.")

    def _log(self, refused: Refused, channel: str = "", page: str | None = None) -> None:
        # A query may hold what is nobody else's business.
        path = (page or "").partition("?")[0]
        logger.log(
            refused.reason.level,
            "Not signed (%s): channel %.200r, page %.200r, user %s. %s",
            refused.reason.code, channel, path, getattr(self._user, "pk", None), refused,
        )  # fmt: skip


class Authorizer(Decisions):
    """Decides and signs for one connection of the visitor's."""

    def __init__(self, request: HttpRequest, socket_id: str) -> None:
        super().__init__(request)
        self._socket_id = socket_id
        with self._logged():
            if len(socket_id) > MAX_SOCKET_ID_LENGTH or not is_socket_id(socket_id):
                raise Refused(Reason.MALFORMED_SOCKET_ID)

    def sign_channel(self, channel: str, page: str | None = None) -> dict[str, str]:
        """The reply that lets the connection subscribe to ``channel``; ``page`` is where it says it comes from."""
        admission = self.admit(channel, page)
        with self._logged(channel, page):
            reply = {"auth": self._sign(channel_message(self._socket_id, channel, admission.member))}
        if admission.member is not None:
            reply["channel_data"] = admission.member
        if admission.kind.is_encrypted:
            reply["shared_secret"] = channel_shared_secret(channel)
        return reply

    def sign_user(self) -> dict[str, str]:
        """The reply that signs the connection in as the visitor."""
        with self._logged():
            if not self._is_known:
                raise Refused(Reason.ANONYMOUS)
            data = self._describe_user("id", None)
            return {"auth": self._sign(user_message(self._socket_id, data)), "user_data": data}

    def _sign(self, message: str) -> str:
        service = service_to_sign_for()
        return f"{service.key}:{sign(service.secret, message)}"


def service_to_sign_for() -> Service:
    """The service; raises ``Refused`` where there is none."""
    try:
        return settings.service
    except SettingsError as error:
        raise Refused(Reason.NO_SERVICE, str(error)) from error


def _check_channel(channel: str) -> ChannelKind:
    if channel.startswith(SERVER_TO_USER_PREFIX[:1]):
        raise Refused(Reason.RESERVED_CHANNEL)
    try:
        kind = kind_of(validate_channel(channel))
    except InvalidChannel as error:
        raise Refused(Reason.INVALID_CHANNEL, str(error)) from error
    if not kind.needs_authorization:
        raise Refused(Reason.PUBLIC_CHANNEL)
    if channel == kind.prefix:
        raise Refused(Reason.INVALID_CHANNEL)
    try:
        if kind.is_encrypted and settings.encryption_master_key is None:
            raise Refused(Reason.NO_ENCRYPTION_KEY)
    except SettingsError as error:
        raise Refused(Reason.NO_ENCRYPTION_KEY, str(error)) from error
    return kind


def _matching_rules(channel: str, kind: ChannelKind) -> Iterator[tuple[Rule, dict[str, Any]]]:
    name = bare_name(channel)
    for entry in _entries:
        match = entry.route.match(name) if entry.kind in (None, kind) else None
        if match is not None:
            yield entry.rule, match[2]


def _ask_rule(rule: Rule, request: HttpRequest, channel: str, arguments: dict[str, Any]) -> MemberInfo:
    name = getattr(rule, "__qualname__", repr(rule))
    try:
        answer = settle(rule(request, channel, **arguments))
    except (Http404, PermissionDenied) as error:
        raise Refused(Reason.RULE_REFUSED, f"It is {name}.") from error
    except Exception as error:
        # Whatever is wrong with a rule, nobody is let in by it.
        logger.exception("The rule %s failed.", name)
        raise Refused(Reason.RULE_FAILED, f"It is {name}; see the log.") from error
    if answer is True:
        return None
    if isinstance(answer, Mapping):
        return answer
    if answer is False:
        raise Refused(Reason.RULE_REFUSED, f"It is {name}.")
    if answer is None:
        raise Refused(Reason.RULE_SILENT, f"It is {name}.")
    raise Refused(Reason.RULE_MALFORMED, f"{name} has returned {type(answer).__name__}.")


def _is_called(model: type[Model], name: str) -> bool:
    return model._meta.model_name == name and not model._meta.proxy


def _find_object(model: type[Model], channel: str) -> Model | None:
    try:
        instance = model._default_manager.filter(pk=_parse_pk(model, channel)).first()
        # `01` and `1` find the same row, but only one of them is its channel.
        is_the_one = instance is not None and bare_name(channel_of(instance)) == bare_name(channel)
    except (InvalidChannel, OverflowError, TypeError, ValidationError, ValueError):
        return None
    return instance if is_the_one else None


def _parse_pk(model: type[Model], channel: str) -> Any:
    fields = model._meta.pk_fields
    name, _, text = bare_name(channel).partition("_")
    parts = text.split(",") if len(fields) > 1 else [text]
    # Taken apart before the escapes are, so that a comma within a part stays one.
    values = [parse_model_channel(f"{name}_{part}").pk or "" for part in parts]
    if len(values) != len(fields) or any("\0" in value for value in values):
        raise ValueError(f"{text!r} is no primary key of {model._meta.label}.")
    converted = tuple(field.to_python(value) for field, value in zip(fields, values, strict=True))
    return converted if len(fields) > 1 else converted[0]

"""Addresses of event streams: for one visitor, signed where that takes a signature, and expiring."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import HttpRequest

from pusherable.authorization import Decisions, service_to_sign_for
from pusherable.channels import SERVER_TO_USER_PREFIX, ChannelKind, Privacy, kind_of, validate_channel
from pusherable.conf import bracketed, settings
from pusherable.exceptions import InvalidChannel
from pusherable.mixins import PROBE_ATTRIBUTE, PusherMixin
from pusherable.probing import Shown, page_of, shown_by
from pusherable.publishing import channel_of
from pusherable.refusals import Reason, Refused
from pusherable.signing import is_signed_for_streams, stream_parameters


def channel_url(request: HttpRequest, *targets: Any, private: Privacy | None = None, view: Any = None) -> str:
    """The address of one event stream of all ``targets``, for the visitor who has made ``request``.

    A target is an object, a model, a queryset in place of its model, or the name of a channel. Public channels need
    no signature; the others are decided as the auth view decides them, and are signed together for
    ``PUSHERABLE_STREAM_LIFETIME`` seconds. Where the page's own scheme or host is meant, the address leaves it out,
    for ``request.build_absolute_uri()`` to fill in. ``view`` is the view that renders the page, if it is one with a
    mixin: then it is not asked about itself once more. A view that is only asked who may listen is given ``""``.

    Raises ``Refused``, which is a ``PermissionDenied``, if the visitor may not listen to one of them;
    ``InvalidChannel`` for a channel that no stream has, and for too many; ``SettingsError`` where there is no service,
    or one without streams.
    """
    if hasattr(request, PROBE_ATTRIBUTE):
        # Whatever this page says is not read by anybody, and may be about the page that asks.
        return ""
    address = stream_address(request)
    if private is None and isinstance(view, PusherMixin):
        private = view.pusher_private
    channels = {channel_of(target, private=private): target for target in map(_model_of_list, targets)}
    _check_channels(channels)
    stream = StreamAuthorizer(request, shown_by(view, request))
    for channel, target in channels.items():
        stream.allow(channel, page_of(target, request, view))
    return f"{address}?{urlencode(stream.sign())}"


async def achannel_url(request: HttpRequest, *targets: Any, private: Privacy | None = None, view: Any = None) -> str:
    """As ``channel_url``, from async code."""
    return await sync_to_async(channel_url)(request, *targets, private=private, view=view)


def stream_address(request: HttpRequest) -> str:
    """Where the server has its streams, as a page that came by ``request`` writes it; raises ``SettingsError``."""
    options = settings.stream_server
    path = f"{options.get('wsPath', '')}/stream"
    host, port, has_tls = options["wsHost"], options["wsPort"], options["forceTLS"]
    if host is None:
        if port is None:
            return path
        host = bracketed(urlsplit(f"//{request.get_host()}").hostname or "")
    if has_tls:
        port = options["wssPort"]
    # Of two ports each is that of a scheme, and the scheme is the page's.
    is_given = port == options["wssPort"] and not (has_tls and port == 443)
    return f"{'https:' if has_tls else ''}//{host}{f':{port}' if is_given else ''}{path}"


class StreamAuthorizer(Decisions):
    """Decides and signs for one event stream of the visitor's: ``channels`` are those that it has by now."""

    def __init__(self, request: HttpRequest, shown: Mapping[str, Shown] | None = None) -> None:
        super().__init__(request, shown)
        self.channels: list[str] = []
        self._member: str | None = None

    def allow(self, channel: str, page: str | None = None) -> None:
        """Let the stream have a channel; ``page`` is where it is said to come from. Raises ``Refused``."""
        kind = kind_of(channel)
        if kind.needs_authorization and not kind.is_encrypted:
            member = self.admit(channel, page).member
            with self._logged(channel, page):
                self._be(member)
        else:
            with self._logged(channel, page):
                self._check(channel, kind)
        self.channels.append(channel)

    def allow_own(self) -> str:
        """Let the stream have the visitor's own channel, and return the visitor's id; raises ``Refused``."""
        with self._logged():
            if not self._is_known:
                raise Refused(Reason.ANONYMOUS)
            self._describe_user("id", {})
        self.channels.append(self._own_channel)
        return self._own_channel.removeprefix(SERVER_TO_USER_PREFIX)

    def sign(self) -> list[tuple[str, str]]:
        """The query of the address, in order; it names the visitor, if known, so that a logout ends the stream."""
        with self._logged():
            service = service_to_sign_for()
            if not any(map(is_signed_for_streams, self.channels)):
                return [("key", service.key), *(("channel", channel) for channel in self.channels)]
            user = self._describe_user("id", {}) if self._is_known else None
        issued = int(time.time())
        return stream_parameters(
            self.channels,
            key=service.key,
            secret=service.secret,
            issued=issued,
            expires=issued + settings.stream_lifetime,
            channel_data=self._member,
            user_data=user,
        )

    @property
    def _own_channel(self) -> str:
        return f"{SERVER_TO_USER_PREFIX}{self._user.pk}"  # type: ignore[union-attr]

    def _be(self, member: str | None) -> None:
        # The protocol of streams has one member for all presence channels.
        if member is not None and self._member not in (None, member):
            raise Refused(Reason.OTHER_MEMBER_INFO)
        self._member = self._member or member

    def _check(self, channel: str, kind: ChannelKind) -> None:
        if kind.is_encrypted:
            raise Refused(Reason.ENCRYPTED_STREAM)
        if kind is ChannelKind.SERVER_TO_USER:
            if not self._is_known or channel != self._own_channel:
                raise Refused(Reason.OTHER_USER)
            return
        try:
            validate_channel(channel)
        except InvalidChannel as error:
            raise Refused(Reason.INVALID_CHANNEL, str(error)) from error


def _model_of_list(target: Any) -> Any:
    return target.model if isinstance(target, QuerySet) else target


def _check_channels(channels: Mapping[str, object]) -> None:
    if not channels:
        raise InvalidChannel("An event stream has at least one channel.", channel=())
    limit = settings.stream_channels
    if len(channels) > limit:
        raise InvalidChannel(
            f"An event stream has up to {limit} channels, and these are {len(channels)}. "
            "PUSHERABLE_SERVER_LIMITS = {'channels_per_stream': …} allows more.",
            channel=next(iter(channels)),
        )
    for channel in channels:
        if kind_of(channel).is_encrypted:
            raise InvalidChannel(
                f"{channel!r} is encrypted: browsers cannot read it without pusher-js. Listen to it by a WebSocket.",
                channel=channel,
            )

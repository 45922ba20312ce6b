"""Who may open an event stream, and to what: its address says so, signed by the app's own server or public."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pusherable.channels import ChannelKind, kind_of, validate_channel
from pusherable.exceptions import InvalidChannel
from pusherable.server.config import App, ServerConfig
from pusherable.server.credentials import Denied, Member, User, member_of, read_member, read_user
from pusherable.server.messages import quote
from pusherable.signing import is_signed_for_streams, same_text, stream_message, verify

_SIGNED_BY: Final = ("issued", "expires", "auth")


@dataclass(frozen=True, slots=True)
class Pass:
    """What an address lets in to; ``member`` is for the presence channels among ``channels``.

    ``issued`` is when it was signed, in seconds since 1970, if it was.
    """

    app: App
    channels: tuple[str, ...]
    member: Member | None = None
    user: User | None = None
    issued: int | None = None


def read_pass(query: Iterable[tuple[str, str]], config: ServerConfig, *, now: float) -> Pass:
    """The pass in the query of an address; raises ``Denied`` with what is wrong with it.

    The signature covers all channels that are not public, and whom they are for. ``now`` is in seconds since 1970.
    """
    pairs = tuple(query)
    # Of what comes twice the last counts: whatever matters is signed.
    fields = dict(pairs)
    app = _find_app(fields, config)
    channels = tuple(dict.fromkeys(value for name, value in pairs if name == "channel"))
    _check_channels(channels, config)
    if not any(map(is_signed_for_streams, channels)) and not fields.keys() & {"auth", "channel_data", "user_data"}:
        return Pass(app, channels)
    issued = _verify(app, channels, fields, config, now=now)
    user = read_user(fields["user_data"]) if "user_data" in fields else None
    if user is not None and len(user.id) > config.limits.user_id_length:
        raise Denied(f"The id in user_data has more than {config.limits.user_id_length} characters", status=413)
    _check_own(channels, user)
    member = _read_member(fields, user, config) if any(kind_of(channel).is_presence for channel in channels) else None
    return Pass(app, channels, member, user, issued)


def _find_app(fields: dict[str, str], config: ServerConfig) -> App:
    """By ``key``, or by the signature; a server with one app takes it for granted."""
    key = fields.get("key") or fields.get("auth", "").partition(":")[0]
    if not key and len(config.apps) > 1:
        raise Denied("This server has several apps: name yours by its key, ?key=…&channel=…", status=400)
    app = config.find_app(key=key) if key else config.apps[0]
    if app is None:
        raise Denied(f"No app has the key {quote(key)}", status=404)
    if not app.is_enabled:
        raise Denied("The app is disabled", status=403)
    return app


def _check_channels(channels: tuple[str, ...], config: ServerConfig) -> None:
    limit = config.limits.channels_per_stream
    if not channels:
        raise Denied("Name a channel, ?channel=…, or several of them, ?channel=…&channel=…", status=400)
    if len(channels) > limit:
        raise Denied(f"A stream has {limit} channels at most", status=400)
    for channel in channels:
        kind = kind_of(channel)
        if kind.is_encrypted:
            raise Denied(
                f"{quote(channel)} is encrypted, and a browser cannot read it without pusher-js: use a WebSocket",
                status=400,
            )
        if kind is ChannelKind.SERVER_TO_USER:
            # A user's id may hold whatever it likes; that it is this one's is looked at later.
            continue
        try:
            validate_channel(channel, max_length=config.limits.channel_length)
        except InvalidChannel as invalid:
            raise Denied(str(invalid), status=400) from invalid


def _verify(app: App, channels: tuple[str, ...], fields: dict[str, str], config: ServerConfig, *, now: float) -> int:
    """When the address was signed; raises ``Denied`` unless it was, with the app's secret and for this time."""
    missing = [name for name in _SIGNED_BY if not fields.get(name)]
    if missing:
        raise Denied(f"This takes an address that your server has signed; it lacks {', '.join(missing)}")
    issued, expires = _read_time(fields, "issued"), _read_time(fields, "expires")
    key, _, signature = fields["auth"].partition(":")
    if not same_text(key, app.key):
        raise Denied(f"The address was signed with another key than {quote(app.key)}")
    message = stream_message(
        channels,
        issued=issued,
        expires=expires,
        channel_data=fields.get("channel_data"),
        user_data=fields.get("user_data"),
    )
    if not verify(app.secret, message, signature):
        raise Denied("The signature is wrong: the address is not as your server has signed it")
    lifetime = config.limits.stream_lifetime
    if expires - issued > lifetime:
        raise Denied(f"The address is valid for more than {lifetime:.0f} seconds, which is the limit")
    if issued > now + config.timestamp_window:
        raise Denied("The address was signed in the future: the clocks of your machines differ")
    if expires <= now:
        raise Denied("The address has expired: load the page again")
    return issued


def _read_time(fields: dict[str, str], name: str) -> int:
    text = fields[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise Denied(f"{name} is in whole seconds since 1970, not {quote(text)!r}", status=400)
    return int(text)


def _check_own(channels: tuple[str, ...], user: User | None) -> None:
    # Whoever may listen there reads what is meant for one user alone (protocol A.48).
    own = None if user is None else f"{ChannelKind.SERVER_TO_USER.prefix}{user.id}"
    for channel in channels:
        if kind_of(channel) is ChannelKind.SERVER_TO_USER and channel != own:
            raise Denied(f"Only the user itself, named in user_data, may listen to {quote(channel)}")


def _read_member(fields: dict[str, str], user: User | None, config: ServerConfig) -> Member:
    if "channel_data" in fields:
        return read_member(fields["channel_data"], config.limits)
    if user is None:
        raise Denied("A presence channel takes channel_data or user_data")
    return member_of(user, config.limits)

"""What a server is told when it starts: its apps, its limits, its address. Frozen values only."""

from dataclasses import dataclass, field
from typing import Final

from pusherable.channels import MAX_LENGTH
from pusherable.events import MAX_BATCH, MAX_CHANNELS, MAX_DATA_SIZE, MAX_NAME_LENGTH
from pusherable.server.origins import Origins

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8001


@dataclass(frozen=True, slots=True)
class App:
    """One app, and what its clients may do; the hosted service has a switch for each of these."""

    id: str
    key: str
    secret: str = field(repr=False)
    is_enabled: bool = True
    #: Clients may send events of their own to each other (protocol A.37).
    has_client_events: bool = True
    #: Subscribers are told how many they are (protocol A.45).
    has_subscription_counts: bool = False
    #: Seconds within which a client has to show a signature, if it has to at all (protocol A.52).
    authorization_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the server says no; the defaults are the hosted service's, where it has any.

    Sizes are in bytes, lengths in characters, times in seconds.
    """

    #: Of one app at a time (protocol A.5): as many as in the largest of the hosted service's published plans.
    connections: int = 30_000
    #: Of all apps together, where the system has room for no more; ``None`` is no limit.
    capacity: int | None = None
    #: Subscriptions of one connection. The hosted service names no number: this is against those who mean harm.
    channels_per_connection: int = 5_000
    channel_length: int = MAX_LENGTH
    event_name_length: int = MAX_NAME_LENGTH
    event_data_size: int = MAX_DATA_SIZE
    channels_per_event: int = MAX_CHANNELS
    events_per_batch: int = MAX_BATCH
    #: Users of one presence channel (protocol A.36).
    members_per_channel: int = 100
    #: A member's id and info together, as JSON.
    member_size: int = 1_024
    user_id_length: int = 128
    #: Of one connection (protocol A.41).
    client_events_per_second: int = 10
    #: Users whom one user may watch (protocol A.51).
    watchlist_length: int = 100
    #: How long a cache channel remembers an event (protocol A.44).
    cache_ttl: float = 1_800.0
    #: Memory for what the cache channels of one app remember.
    cache_size: int = 67_108_864
    #: Of one event stream.
    channels_per_stream: int = 100
    #: For how long a signed address may let its visitor in.
    stream_lifetime: float = 86_400.0
    #: What is kept of each channel of event streams for those who come back: events, and how old they are at most, ...
    history_length: int = 100
    history_age: float = 300.0
    #: ... and how much memory all channels of all apps take for it.
    history_size: int = 16_777_216
    #: Subscribers up to whom each change of their number is told at once, ...
    count_threshold: int = 100
    #: ... and how long later ones wait for it at most (protocol A.45).
    count_period: float = 5.0
    #: One message of a client, all its fragments together (protocol A.57).
    frame_size: int = 65_536
    #: What may wait to be read by one client before it is sent away.
    write_buffer_size: int = 1_048_576
    #: A batch of ten full events whose every byte is written as an escape of six.
    request_body_size: int = 10 * 6 * MAX_DATA_SIZE + 65_536


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that one server is told; times are in seconds.

    ``path`` is a prefix of every address, such as ``/push``; ``subscription_errors`` is whether a refused
    subscription is also reported on its channel, which the hosted service does not do (protocol A.28).
    """

    apps: tuple[App, ...]
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    path: str = ""
    activity_timeout: float = 120
    pong_timeout: float = 30
    #: How often an event stream that is silent shows that it is alive.
    heartbeat: float = 15.0
    #: How far a signed request's time may be from ours (protocol B.8).
    timestamp_window: int = 600
    #: How long a client may take over an HTTP request.
    request_timeout: float = 20.0
    #: How long a client has to answer our closing before it is cut off.
    close_timeout: float = 5.0
    #: The same when the whole server stops.
    shutdown_timeout: float = 0.5
    subscription_errors: bool = True
    #: Whose pages may connect; ``None`` is everybody's (protocol A.3).
    origins: Origins | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.path and (not self.path.startswith("/") or self.path.endswith("/")):
            raise ValueError(f"path={self.path!r} starts with a slash and does not end with one, like '/push'.")

    def find_app(self, *, id: str | None = None, key: str | None = None) -> App | None:
        """The app with this id or this key, if there is one."""
        return next((app for app in self.apps if id == app.id or key == app.key), None)

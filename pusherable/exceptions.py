"""Everything this package raises: one base, and one subclass per thing a caller would do differently.

Evidence travels as attributes; no message ever holds a secret.
"""


class PusherableError(Exception):
    """Base of every error of this package."""


class InvalidChannel(PusherableError, ValueError):
    """A channel name that the service would refuse."""

    def __init__(self, message: str, *, channel: object) -> None:
        super().__init__(message)
        self.channel = channel


class InvalidEvent(PusherableError, ValueError):
    """An event that the service would refuse: its name, its channels, its socket id or its data."""


class EventTooLarge(InvalidEvent):
    """An event whose data is over the limit; ``size`` and ``limit`` are bytes of UTF-8."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class UnknownField(PusherableError, ValueError):
    """A name in an include or exclude list that is no field of the model."""

    def __init__(self, message: str, *, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


class NotSerializable(PusherableError, ValueError):
    """A value that JSON cannot hold; ``field`` names where it was found."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidSignature(PusherableError):
    """A request that its sender did not sign with the app's secret, or signed too long ago."""


class InvalidWebhook(PusherableError, ValueError):
    """A webhook that is none, though its signature may be right; ``status`` is the HTTP status to answer with."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class DeliveryFailed(PusherableError):
    """The service did not take an event.

    ``reason`` is one word for machines (see ``pusherable.client``), ``status`` the HTTP status or
    ``None`` where no answer came, and ``retryable`` says whether the same request may succeed later: after
    ``retry_after`` seconds, where the service has asked for that.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after

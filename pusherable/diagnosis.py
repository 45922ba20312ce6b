"""What an answer of the service, or its silence, means to the person who has to mend it.

Reasons are words for machines, messages name the setting. The secret is in none of them.
"""

import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pusherable.conf import Service, bracketed
from pusherable.exceptions import DeliveryFailed

#: Seconds that a service may ask for by ``Retry-After``; it is not heeded beyond.
MAX_RETRY_AFTER: Final = 60.0
#: Seconds by which a clock may be off: requests signed earlier or later are refused (protocol B.8).
CLOCK_WINDOW: Final = 600


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the body as text, and the headers ``Date`` and ``Retry-After``, ``""`` where there are none."""

    status: int
    text: str
    date: str = ""
    retry_after: str = ""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def address_of(service: Service) -> str:
    """The service's address as a URL, without any credentials."""
    return f"{'https' if service.ssl else 'http'}://{bracketed(service.host)}:{service.port}"


def explain_answer(answer: Answer, service: Service, *, now: float | None = None) -> DeliveryFailed:
    """Why the service has not taken a request; ``now`` are seconds since 1970, those of the clock by default."""
    now = time.time() if now is None else now
    reason, advice = _judge(answer, service, now)
    text = " ".join(answer.text.replace(service.secret, "[secret]").split())[:300]
    is_retryable = answer.status == 429 or answer.status >= 500
    return DeliveryFailed(
        f"{address_of(service)} answered {answer.status}: {text or 'nothing more'}. {advice}",
        reason=reason,
        status=answer.status,
        retryable=is_retryable,
        retry_after=_read_retry_after(answer, now) if is_retryable else None,
    )


def explain_nonsense(answer: Answer, service: Service) -> DeliveryFailed:
    """Why an answer of success is none."""
    return DeliveryFailed(
        f"{address_of(service)} answered with something else than the JSON that is expected ({answer.text[:60]!r}…): "
        "is it really a Pusher service? Check PUSHER_HOST and PUSHER_PORT.",
        reason="bad-answer",
    )


def explain_silence(error: Exception, service: Service) -> DeliveryFailed:
    """Why there was no answer: ``error`` is one of urllib3."""
    import urllib3

    address = address_of(service)
    # A failed attempt through a proxy is wrapped once more.
    cause = getattr(error, "original_error", error)
    if isinstance(cause, urllib3.exceptions.SSLError) and not _has_hung_up(cause):
        own = ", PUSHER_CA_FILE" if service.ca_file else ""
        return DeliveryFailed(
            f"{address} could not be trusted ({cause}): check PUSHER_SSL, PUSHER_PORT{own} and the certificate.",
            reason="tls",
        )
    # Of urllib3 1.26 a refused connection is a kind of timeout.
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
        return DeliveryFailed(
            f"{address} did not answer within {service.timeout:g} s (PUSHER_TIMEOUT).",
            reason="timeout",
            retryable=True,
        )
    hint = "Is `manage.py runpushserver` running?" if service.is_local else "Check PUSHER_HOST and PUSHER_PORT."
    # urllib3 begins with the name of a class.
    why = str(cause).partition(": ")[2] if refused else str(cause)
    return DeliveryFailed(f"{address} cannot be reached ({why}). {hint}", reason="unreachable", retryable=True)


def _has_hung_up(error: Exception) -> bool:
    """Whether TLS ended for the same reason as any connection may: the far end went away."""
    return any(isinstance(part, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for part in error.args)


_REFUSALS: Final[dict[int, tuple[str, str]]] = {
    400: ("bad-request", "The event was refused."),
    403: ("forbidden", "The app is disabled or over its quota."),
    413: ("too-large", "Publish fewer fields."),
    429: ("rate-limited", "Too many events at once."),
}
_IN_TROUBLE: Final = ("service-error", "The service is in trouble.")
_NO_SERVICE: Final = ("bad-answer", "Is it really a Pusher service? Check PUSHER_HOST, PUSHER_PORT and PUSHER_SSL.")


def _judge(answer: Answer, service: Service, now: float) -> tuple[str, str]:
    if answer.status == 401:
        return _judge_credentials(answer, service, now)
    if answer.status == 404:
        where = f"the cluster {service.cluster}" if service.is_hosted else "that service"
        mend = "PUSHER_CLUSTER" if service.is_hosted else "PUSHER_HOST"
        return "not-found", f"Has {where} an app {service.app_id}? Check PUSHER_APP_ID and {mend}."
    return _REFUSALS.get(answer.status, _IN_TROUBLE if answer.status >= 500 else _NO_SERVICE)


def _judge_credentials(answer: Answer, service: Service, now: float) -> tuple[str, str]:
    offset = _clock_offset(answer, now)
    if offset is not None:
        direction = "ahead of" if offset > 0 else "behind"
        return "clock", (
            f"It is the clock: this machine's is {_span(abs(offset))} {direction} the service's. Set it right; the "
            "key and the secret are not at fault."
        )
    # What the hosted service and ours say (protocol B.9); others say less.
    if "signature" in answer.text.lower():
        return "unauthorized", "PUSHER_SECRET is not the secret that belongs to PUSHER_KEY."
    if "key" in answer.text.lower():
        where = "PUSHER_APP_ID and PUSHER_CLUSTER" if service.is_hosted else "PUSHER_APP_ID and PUSHER_HOST"
        return "unauthorized", f"PUSHER_KEY is not known there: it has to belong to {where}."
    return "unauthorized", "Check PUSHER_KEY and PUSHER_SECRET."


_EXPIRED: Final = re.compile(
    r"Timestamp expired: Given timestamp \((\S+)\) not within \d+ ?s of server time \((\S+)\)"
)


def _clock_offset(answer: Answer, now: float) -> float | None:
    """Seconds by which this machine's clock is ahead, if that is why a request was refused."""
    told = _EXPIRED.search(answer.text)
    if told is not None:
        try:
            given, there = map(datetime.fromisoformat, told.groups())
            return (given - there).total_seconds()
        except (ValueError, TypeError):
            pass
    there_now = _read_date(answer.date)
    if there_now is None or "signature" in answer.text.lower():
        return None
    offset = now - there_now
    # A second less than the window: a date has no fractions.
    return offset if abs(offset) >= CLOCK_WINDOW - 1 else None


def _read_retry_after(answer: Answer, now: float) -> float | None:
    """Seconds to wait, as given or until the date that is given, counted by the service's own clock."""
    text = answer.retry_after.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        # A number of any length.
        return float(min(int(text[:9]), MAX_RETRY_AFTER))
    until = _read_date(text)
    if until is None:
        return None
    there_now = _read_date(answer.date)
    return max(0.0, min(until - (now if there_now is None else there_now), MAX_RETRY_AFTER))


def _read_date(text: str) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(filter(None, parts)) or "0 s"

"""The service's webhooks become signals: verified over the raw bytes before anything is read, each event told once."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Final

from django.apps import apps
from django.core.cache import cache
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.http.request import RawPostDataException
from django.views.decorators.debug import sensitive_variables

from pusherable import signals
from pusherable.channels import ChannelKind, parse_model_channel
from pusherable.conf import settings
from pusherable.exceptions import InvalidChannel, InvalidSignature, InvalidWebhook
from pusherable.signing import verify

logger = logging.getLogger("pusherable")

#: Bytes of a body. Fifty client events of ten kilobytes, all of it written in escapes, come near to it.
MAX_BODY_SIZE: Final = 4 * 1024 * 1024
#: Seconds that an event is remembered where ``PUSHERABLE_WEBHOOK_MAX_AGE`` sets no limit.
MEMORY_WITHOUT_LIMIT: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """What the service has told in one request; ``digest`` is the same whenever it sends the same again."""

    time: datetime
    events: tuple[Any, ...]
    digest: str


def receive(request: HttpRequest) -> HttpResponse:
    """Answer a webhook: 200 when every receiver has succeeded, 500 when one has failed, so that it comes again.

    A signature that is not the service's, or too old, is 401; a body that is no webhook 400, one that is too large
    413. Runs outside of a transaction.
    """
    try:
        webhook = read_webhook(request)
    except InvalidSignature as error:
        return _refuse(401, error)
    except InvalidWebhook as error:
        return _refuse(error.status, error)
    return HttpResponse(status=200 if tell(webhook) else 500)


@sensitive_variables("secrets")
def read_webhook(request: HttpRequest) -> Webhook:
    """The webhook in a request, which nobody but the service can have made.

    Raises ``InvalidSignature`` and ``InvalidWebhook``, and ``SettingsError`` where no service is configured.
    """
    secrets = [secret for key, secret in settings.webhook_secrets if key == request.headers.get("X-Pusher-Key")]
    if not secrets:
        raise InvalidSignature(
            "X-Pusher-Key is no key of this project. A further one goes into PUSHERABLE_WEBHOOK_SECRETS."
        )
    body = _read_body(request)
    signature = request.headers.get("X-Pusher-Signature", "")
    if not any(verify(secret, body, signature) for secret in secrets):
        raise InvalidSignature("X-Pusher-Signature is not the signature of this body by the secret of X-Pusher-Key.")
    webhook = parse_webhook(body)
    _check_age(webhook)
    return webhook


def parse_webhook(body: bytes) -> Webhook:
    """Read a body whose signature has been verified; raises ``InvalidWebhook`` (protocol C.2)."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidWebhook("The body is no JSON.") from error
    if not isinstance(document, dict):
        raise InvalidWebhook("The body is no JSON object.")
    time_ms, events = document.get("time_ms"), document.get("events")
    if not isinstance(time_ms, int) or isinstance(time_ms, bool) or not isinstance(events, list):
        raise InvalidWebhook("The body has no time_ms that is a whole number, or no list of events.")
    try:
        sent = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise InvalidWebhook("The body's time_ms is no moment of this age.") from error
    return Webhook(sent, tuple(events), hashlib.sha256(body).hexdigest())


def tell(webhook: Webhook) -> bool:
    """Send the signal of each event, in order; false if a receiver has failed, whose event may then be told again.

    An event whose receivers have all succeeded is not told a second time, as long as Django's cache remembers.
    """
    told = [_tell_once(event, webhook, f"{webhook.digest}.{n}") for n, event in enumerate(webhook.events)]
    return all(told)


def instance_of(channel: str) -> tuple[type[Model] | None, str | None]:
    """The model and the primary key whose channel this is; twice ``None`` for any other channel.

    The key is text, ``None`` for the channel of the whole model. A name that several models have is none's.
    """
    try:
        named = parse_model_channel(channel)
    except InvalidChannel:
        return None, None
    models = [model for model in apps.get_models() if _is_named(model, named.model)]
    if named.kind is ChannelKind.SERVER_TO_USER or len(models) != 1:
        return None, None
    if named.pk is not None and not _is_key(models[0], named.pk):
        return None, None
    return models[0], named.pk


def _is_named(model: type[Model], name: str) -> bool:
    return model._meta.model_name == name and not model._meta.proxy


def _is_key(model: type[Model], text: str) -> bool:
    """Whether the text is how this model's channels write a key: ``post_01`` is not the channel of post 1."""
    if len(model._meta.pk_fields) > 1:
        return text.count(",") >= len(model._meta.pk_fields) - 1
    try:
        return str(model._meta.pk.to_python(text)) == text
    except ValidationError:
        return False


def _read_body(request: HttpRequest) -> bytes:
    declared = request.META.get("CONTENT_LENGTH") or ""
    try:
        # What comes in chunks has no length, and `request.body` would take it all.
        body = request.body if declared and int(declared) <= MAX_BODY_SIZE else request.read(MAX_BODY_SIZE + 1)
    except RequestDataTooBig:
        # Django's own limit is meant for forms.
        body = request.read(MAX_BODY_SIZE + 1)
    except RawPostDataException as error:
        raise InvalidWebhook(
            "The body has been read before, and the signature cannot be verified. A middleware must leave it alone, "
            "or read it by request.body.",
            # A form is no webhook, and nobody's fault but its sender's.
            status=500 if request.content_type == "application/json" else 400,
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidWebhook("The body did not arrive as a whole.") from error
    if len(body) > MAX_BODY_SIZE:
        raise InvalidWebhook(f"The body has more than {MAX_BODY_SIZE} bytes.", status=413)
    return body


def _check_age(webhook: Webhook) -> None:
    limit = settings.webhook_max_age
    age = time.time() - webhook.time.timestamp()
    # From the future, too: one of the two clocks may be wrong.
    if limit is not None and abs(age) > limit:
        raise InvalidSignature(
            f"The webhook was signed {age:.0f} s ago, by this machine's clock; {limit:.0f} s is the limit "
            "(PUSHERABLE_WEBHOOK_MAX_AGE)."
        )


def _tell_once(event: Any, webhook: Webhook, event_id: str) -> bool:
    described = _describe(event)
    if described is None:
        return True
    key = f"pusherable.webhook.{event_id}"
    if cache.get(key):
        return True
    signal, details = described
    model, pk = instance_of(details["channel"])
    answers = signal.send_robust(sender=model, model=model, pk=pk, time=webhook.time, event_id=event_id, **details)
    failures = [answer for _, answer in answers if isinstance(answer, Exception)]
    if failures:
        # Django has logged each of them with its traceback.
        logger.error("%d receivers of %s failed: the service will send it again.", len(failures), event["name"])
        return False
    cache.set(key, True, _memory())
    return True


def _memory() -> float:
    limit = settings.webhook_max_age
    # From the furthest future that is taken to the oldest past.
    return MEMORY_WITHOUT_LIMIT if limit is None else 2 * limit


#: The signal of each event, and what it tells besides the channel (protocol C.3).
_EVENTS: Final[Mapping[str, tuple[Signal, Mapping[str, type | UnionType]]]] = {
    "channel_occupied": (signals.channel_occupied, {}),
    "channel_vacated": (signals.channel_vacated, {}),
    "member_added": (signals.member_added, {"user_id": str}),
    "member_removed": (signals.member_removed, {"user_id": str}),
    "client_event": (
        signals.client_event,
        {"event": str, "data": str, "socket_id": str, "user_id": str | None},
    ),
    "cache_miss": (signals.cache_miss, {}),
    "subscription_count": (signals.subscription_count, {"subscription_count": int}),
}


def _describe(event: Any) -> tuple[Signal, dict[str, Any]] | None:
    """The signal of an event and what it is sent with; ``None``, and a line in the log, for what we do not know."""
    name = event.get("name") if isinstance(event, dict) else None
    if not isinstance(name, str) or name not in _EVENTS:
        logger.debug("A webhook tells of %.80r, which is unknown here.", name)
        return None
    signal, fields = _EVENTS[name]
    kinds = {"channel": str, **fields}
    details = {field: _clean(field, event.get(field)) for field in kinds}
    # Sending it again would not mend it, and the others of its request are good.
    wrong = [field for field, kind in kinds.items() if not isinstance(details[field], kind)]
    if wrong:
        logger.warning("A webhook's %s is left out: it has no %s that can be used.", name, " and no ".join(wrong))
        return None
    return signal, details


def _clean(field: str, value: Any) -> Any:
    """Text without lone surrogates, which no database takes: a browser may have sent it."""
    if field == "user_id" and isinstance(value, int):
        value = str(value)
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _refuse(status: int, error: Exception) -> HttpResponse:
    logger.warning("A webhook was refused with %d: %s", status, error)
    return HttpResponse(f"{error}\n", status=status, content_type="text/plain; charset=utf-8")

"""The short road for the event that pages wait for: what all objects of a model have in common is worked out once.

It leads where ``compose`` leads. Where that is not certain from the start it ends at once, and ``compose`` is asked.
"""

import datetime
import decimal
import math
import uuid
import zoneinfo
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from pusherable.channels import MAX_LENGTH, ChannelKind, Privacy, kind_for, model_channel
from pusherable.conf import settings
from pusherable.events import MAX_ENCRYPTED_SIZE, Event, Subject, encode, validate_event_name
from pusherable.publishing import make_payload, model_name_of
from pusherable.serialization import FieldNames, as_names, plain_attributes

# No value of these changes, or fails to be written, or takes more bytes than so many.
_SHORT_TYPES: Final[Mapping[type, int]] = {
    type(None): len("null"),
    bool: len("false"),
    datetime.date: len('"2000-01-01"'),
    datetime.datetime: len('"2000-01-01T00:00:00.000000+00:00:00.000000"'),
    uuid.UUID: len('"00000000-0000-0000-0000-000000000000"'),
}
# Whose offset is known to be sound: it is asked for when a time is written.
_TIME_ZONES: Final = frozenset({type(None), datetime.timezone, zoneinfo.ZoneInfo})
#: Larger whole numbers are rare, and some are too long for Python to write.
_LARGEST: Final = 10**20
_NUMBER_SIZE: Final = 25
# What JSON escapes, and the bytes that it adds to such a character at most: a control character becomes ``\u0000``.
_ESCAPED: Final = bytes([*range(32), *b'"\\'])
_ESCAPE_SIZE: Final = 5
# Primary keys of these types are written into the channel's name as they are.
_KEYS: Final = frozenset({int, uuid.UUID})
_LONGEST_KEY: Final = len("_00000000-0000-0000-0000-000000000000")


class Plan:
    """How ``event`` is told of objects of ``model``: of these attributes, on the channel of that name and a key."""

    __slots__ = ("_attributes", "_channel", "_event", "_fixed_size", "_label", "_model_name", "_pk_name")

    def __init__(
        self, model: type[Model], event: str, *, attributes: tuple[tuple[str, str], ...], pk_name: str, channel: str
    ) -> None:
        options: Any = model._meta.concrete_model._meta  # type: ignore[union-attr]
        self._label = str(options.label)
        self._model_name = str(options.model_name)
        self._event = validate_event_name(event)
        self._attributes = attributes
        self._pk_name = pk_name
        self._channel = f"{channel}_"
        nothing = {name: "" for name, _ in attributes}
        self._fixed_size = len(self.write(nothing, "", "", "").encode())

    def compose(
        self, instance: Model, *, user: str, origin: str, socket_id: str | None, max_size: int
    ) -> Event | None:
        """What ``publishing.compose`` makes, though the text is yet to be written; ``None`` where that is to be asked.

        Nobody can tell the difference: no value changes meanwhile, and the text is known to fit.
        """
        kept = instance.__dict__
        try:
            values = {name: kept[attname] for name, attname in self._attributes}
            key = kept[self._pk_name]
        except KeyError:
            return None
        if type(key) not in _KEYS:
            return None
        limit = min(max_size, MAX_ENCRYPTED_SIZE) - self._fixed_size
        if not _surely_fit((*values.values(), key, user, origin), limit):
            return None
        pk = str(key)
        return Event.drafted(
            (self._channel + pk,),
            self._event,
            writer=self,
            draft=(values, pk, user, origin),
            socket_id=socket_id,
        )

    def write(self, values: dict[str, Any], pk: str, user: str, origin: str) -> str:
        """The text of such an event."""
        payload = make_payload(values, user=user, model=self._model_name, pk=pk, origin=origin)
        return encode(payload, encoder=DjangoJSONEncoder)

    def name_subject(self, values: dict[str, Any], pk: str, user: str, origin: str) -> Subject:
        """What such an event tells of."""
        return Subject(self._label, pk, user, origin, tuple(values))


def find_plan(
    model: type[Model], event: str, *, include: FieldNames, exclude: FieldNames, private: Privacy | None
) -> Plan | None:
    """The plan for such events, or ``None`` where there can be none; raises ``UnknownField`` as ``serialize`` does."""
    encoder, kind = settings.composing
    if encoder is not DjangoJSONEncoder:
        return None
    if private is not None:
        kind = kind_for(private)
    return _make_plan(
        model,
        event,
        None if include is None else as_names(include),
        None if exclude is None else as_names(exclude),
        kind._value_,
    )


@lru_cache(maxsize=1024)
def _make_plan(
    model: type[Model], event: str, include: tuple[str, ...] | None, exclude: tuple[str, ...] | None, prefix: str
) -> Plan | None:
    attributes = plain_attributes(model, include=include, exclude=exclude)
    pk_names = [field.attname for field in model._meta.pk_fields]
    channel = model_channel(model_name_of(model), kind=ChannelKind(prefix))
    if attributes is None or len(pk_names) > 1 or len(channel) + _LONGEST_KEY > MAX_LENGTH:
        return None
    return Plan(model, event, attributes=attributes, pk_name=pk_names[0], channel=channel)


def _surely_fit(values: Iterable[Any], limit: int) -> bool:
    """Whether ``values`` take no more than ``limit`` bytes of JSON, whenever they are written.

    ``False`` where that cannot be known but by writing: a value may change, or has no form in JSON, or is of a type
    that is not known here.
    """
    texts = []
    for value in values:
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif (kind is int and -_LARGEST < value < _LARGEST) or (kind is float and math.isfinite(value)):
            limit -= _NUMBER_SIZE
        elif kind is decimal.Decimal:
            texts.append(str(value))
        elif kind in _SHORT_TYPES and (kind is not datetime.datetime or type(value.tzinfo) in _TIME_ZONES):
            limit -= _SHORT_TYPES[kind]
        else:
            return False
    try:
        raw = "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    if len(raw) * (1 + _ESCAPE_SIZE) <= limit:
        return True
    return len(raw) + _ESCAPE_SIZE * (len(raw) - len(raw.translate(None, _ESCAPED))) <= limit

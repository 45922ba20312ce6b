"""JSON from outside, read strictly: what is accepted here, every client can read again."""

import json
import math
from typing import Any, Final


def decode(text: str) -> Any:
    """The values in ``text``; raises ``ValueError`` for whatever is not JSON, or is too large or deep to be read."""
    try:
        return _DECODER.decode(text)
    except RecursionError as too_deep:
        raise ValueError("The JSON is nested too deeply") from too_deep


def encode(value: object) -> str:
    """The shortest JSON for what ``decode`` gave; raises ``ValueError`` where it is nested too deeply."""
    try:
        return _ENCODER.encode(value)
    except RecursionError as too_deep:
        raise ValueError("The JSON is nested too deeply") from too_deep


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        # It would be written as Infinity, which no other client can read.
        raise ValueError("A number is too large")
    return number


# Made once: `json` makes them anew for every call with options.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

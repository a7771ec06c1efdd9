"""JSON with exact numbers: a number stays the text that was written until somebody needs its value.

`number` turns it into a rational. Numbers whose exact value would fill the memory (1e999999999)
are refused, as are NaN and the infinities, which JSON does not have but many writers emit. Keys
must not repeat.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import TypeAlias

from leo_cli.domain.place import Place, quoted

_LONGEST = 800  # digits of a number, and the largest decimal exponent
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?")


class NumberText(str):
    """A number as it was written."""


class NotFinite(str):
    """NaN, Infinity or -Infinity."""


Json: TypeAlias = "dict[str, Json] | list[Json] | str | bool | None"


class _RepeatedKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def parse_json(text: str, place: Place) -> Json:
    """Numbers become NumberText. Raises DomainError with line and column."""
    try:
        result: Json = json.loads(
            text,
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=NotFinite,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise place.at(where).error(
            f'not JSON ({error.msg}); a bounds file is {{"lower": 0, "upper": 1}}, a full '
            "bounds.json, a list of OMLT, or a VNN-LIB property"
        ) from None
    except RecursionError:
        raise place.error("nested too deeply; a bounds file needs a few levels only") from None
    except _RepeatedKeyError as error:
        raise place.error(f"key {quoted(error.key)} occurs twice; keep one of them") from None
    return result


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(key)
            seen.add(key)
    return result


def kind(value: Json) -> str:
    """What a value is, for messages."""
    if isinstance(value, NumberText):
        return f"the number {quoted(str(value))[1:-1]}"
    if isinstance(value, NotFinite):
        return str(value)
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    return "a list" if isinstance(value, list) else "an object"


def exact(text: str) -> Fraction | None:
    """The value of a decimal number as written; None if it is no number or too long to handle."""
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > 2 * _LONGEST:
        return None
    sign, whole, part, power = match.groups()
    digits = whole + (part or "")
    if not digits or len(digits) > _LONGEST:
        return None
    if power is not None and len(power.lstrip("+-0")) > 4:
        return None
    exponent = int(power or "0") - len(part or "")
    if abs(exponent) > _LONGEST:
        return None
    value = Fraction(int(digits)) * Fraction(10) ** exponent
    return -value if sign == "-" else value


def number(value: Json, place: Place) -> Fraction:
    """The exact value. Raises DomainError for anything but a finite number of a sensible size."""
    if isinstance(value, NumberText):
        result = exact(value)
        if result is None:
            raise place.error(
                f"the number {quoted(str(value))[1:-1]} is too long or out of range; "
                f"numbers have at most {_LONGEST} digits and exponents up to {_LONGEST}"
            )
        return result
    if isinstance(value, NotFinite):
        raise place.error(f"{value} is no bound; every bound is a finite number")
    raise place.error(f"must be a number, not {kind(value)}")


def text(value: Json, place: Place) -> str:
    """A string. Raises DomainError for anything else."""
    if isinstance(value, str) and not isinstance(value, NumberText | NotFinite):
        return value
    raise place.error(f"must be a text, not {kind(value)}")


def items(value: Json, place: Place) -> list[Json]:
    if isinstance(value, list):
        return value
    raise place.error(f"must be a list, not {kind(value)}")


def members(value: Json, place: Place) -> dict[str, Json]:
    if isinstance(value, dict):
        return value
    raise place.error(f"must be an object, not {kind(value)}")

"""OMLT's input bounds: a list of {"key", "lower_bound", "upper_bound"}, as its write_input_bounds
makes.

A key is the index of a feature (through all inputs, flattened), a list with one index for each
axis of the only input, or a text: such an index, the name of an input with one feature, or NAME[i]
and NAME[i,j,...].
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from leo_cli.domain.exact import ExactDomain
from leo_cli.domain.json_text import Json, NumberText, exact, kind, members, number
from leo_cli.domain.place import Place, quoted, suggestion
from leo_cli.tensors import TensorSpec

_KEYS = ("key", "lower_bound", "upper_bound")
_INDEXED = re.compile(r"(.*)\[([0-9, ]+)\]", re.DOTALL)


def read_omlt(entries: list[Json], inputs: Sequence[TensorSpec], place: Place) -> ExactDomain:
    """Raises DomainError."""
    result = ExactDomain.blank(inputs, place)
    for k, entry in enumerate(entries):
        here = place.at(f"entry {k}")
        given = members(entry, here)
        for key in given:
            if key not in _KEYS:
                raise here.error(f"unknown key {quoted(key)}; {suggestion(key, _KEYS)}")
        for key in _KEYS:
            if key not in given:
                raise here.error(
                    f'"{key}" is missing; an entry has key, lower_bound and upper_bound'
                )
        i = _feature(given["key"], result, here.at("key"))
        if result.lower[i] is not None:
            raise here.error(f"feature {i} has bounds already; keep one entry for each feature")
        result.lower[i] = number(given["lower_bound"], here.at("lower_bound"))
        result.upper[i] = number(given["upper_bound"], here.at("upper_bound"))
    return result


def _feature(key: Json, result: ExactDomain, place: Place) -> int:
    if isinstance(key, NumberText):
        return _position([str(key)], None, result, place)
    if isinstance(key, list):
        if not all(isinstance(part, NumberText) for part in key):
            raise place.error("a list of indices was expected")
        return _position([str(part) for part in key], None, result, place)
    if not isinstance(key, str):
        raise place.error(f"must be an index or a name, not {kind(key)}")
    names = [spec.name for spec in result.inputs]
    if key in names:
        owner = names.index(key)
        if result.inputs[owner].size != 1:
            raise place.error(
                f"input {quoted(key)} has {result.inputs[owner].size} features; "
                f"give {quoted(key + '[i]')} for each"
            )
        return result.offsets[owner]
    if key.isascii() and key.isdigit():
        return _position([key], None, result, place)
    match = _INDEXED.fullmatch(key)
    if match is None or match[1] not in names:
        word = match[1] if match else key
        raise place.error(
            f"the model has no input {quoted(word)}; {suggestion(word, names, 'its inputs')}"
        )
    parts = [part.strip() for part in match[2].split(",")]
    return _position(parts, names.index(match[1]), result, place)


def _position(parts: list[str], owner: int | None, result: ExactDomain, place: Place) -> int:
    """Flat index of a feature: of one input, or (owner None) through all of them."""
    index = []
    for part in parts:
        value = exact(part)
        if value is None or value.denominator != 1 or value < 0:
            raise place.error(f"{quoted(part)} is no index; features are counted from 0")
        index.append(int(value))
    size, offset = result.size, 0
    shape: tuple[int, ...] = (result.size,)
    if owner is not None:
        size, offset = result.inputs[owner].size, result.offsets[owner]
    if len(index) == 1:
        shape = (size,)
    elif owner is not None or len(result.inputs) == 1:
        shape = result.inputs[owner or 0].features
        if len(index) == len(shape) + 1 and index[0] == 0:
            index = index[1:]  # a batch axis
    if len(index) != len(shape) or any(i >= n for i, n in zip(index, shape, strict=True)):
        where = ", ".join(map(str, shape))
        raise place.error(f"no feature [{', '.join(parts)[:60]}]; the input has shape [{where}]")
    return offset + int(np.ravel_multi_index(index, shape)) if index else offset

"""Normalisation between raw data and a model's input: x = (raw - mean) / std, feature by feature.

mean and std are numbers, or lists along one axis of the input (its shape without the batch axis),
or lists with one value for each feature.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from leo_cli.domain.exact import shape_text, show
from leo_cli.domain.feature import values_of
from leo_cli.domain.json_text import Json, members, number
from leo_cli.domain.place import Place, quoted, suggestion
from leo_cli.tensors import TensorSpec

_KEYS = ("mean", "std", "axis")


def read_normalize(value: Json, spec: TensorSpec, place: Place) -> list[tuple[Fraction, Fraction]]:
    """(mean, std) of each feature, flattened."""
    given = members(value, place)
    for key in given:
        if key not in _KEYS:
            raise place.error(f"unknown key {quoted(key)}; {suggestion(key, _KEYS)}")
    axis = _axis(given["axis"], spec, place.at("axis")) if "axis" in given else None
    columns = []
    for key in ("mean", "std"):
        if key not in given:
            raise place.error(f'"{key}" is missing; give mean and std')
        columns.append(_spread(given[key], axis, spec, place.at(key)))
    for i, std in enumerate(columns[1]):
        if std <= 0:
            raise place.at("std").error(f"value {show(std)} for feature {i}; must be positive")
    return list(zip(*columns, strict=True))


def _axis(value: Json, spec: TensorSpec, place: Place) -> int:
    axis, rank = number(value, place), len(spec.features)
    if axis.denominator != 1 or not -rank <= axis < rank:
        raise place.error(f"no axis {show(axis)}; the input has {rank} without its batch axis")
    return int(axis) % rank


def _spread(value: Json, axis: int | None, spec: TensorSpec, place: Place) -> list[Fraction]:
    """One value for each feature."""
    if not isinstance(value, list):
        return values_of(value, spec, place)
    if axis is None:
        if len(value) != spec.size and not any(isinstance(entry, list) for entry in value):
            raise place.sentence(
                f"has {len(value)} values, the model's input has {spec.size} (shape "
                f'{shape_text(spec)}); add "axis", the axis without the batch that they belong to'
            )
        return values_of(value, spec, place)
    length = spec.features[axis]
    if len(value) != length:
        raise place.sentence(f"has {len(value)} values, axis {axis} of the input has {length}")
    values = [number(entry, place.at(f"value {i}")) for i, entry in enumerate(value)]
    shape = [1] * len(spec.features)
    shape[axis] = length
    index = np.broadcast_to(np.arange(length).reshape(shape), spec.features)
    return [values[i] for i in index.ravel()]

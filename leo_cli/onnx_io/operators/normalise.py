"""BatchNormalization in inference and scikit-learn's Scaler.

BatchNormalization, for each channel: s (x - mean) with s = scale / sqrt(variance + epsilon), plus a
shift. Computed in float64: the sum, the root and the division each have a relative error of at most
u (half of that after the root), so s is within 2.5 u (1 + small) of its real value, stated as 4 u.
The constant part shift - s mean adds the rounding of a product and a sum, stated as 16 u (|shift| +
|s mean|) and one smallest normal number for underflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Scaled, Term
from leo_cli.onnx_io.affine import scaled, shifted
from leo_cli.onnx_io.forms import Normalisation
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import Affine, Unsupported, Value
from leo_cli.rounding import UNIT_ROUNDOFF

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope

SMALLEST_NORMAL = 2.0**-1022


def batch_normalization(step: Step, scope: Scope) -> Sequence[Value]:
    if step.integer("training_mode", 0) or any(step.outputs[1:]):
        raise Unsupported("is in training mode; export the model for inference")
    if step.integer("spatial", 1) != 1:
        raise Unsupported("normalises each feature (spatial = 0)")
    value = scope.affine(step, 0)
    if len(value.dims) < 2 or value.batch == 1:
        raise Unsupported("has no axis of channels", "batch")
    channels = np.indices(value.indices().shape)[1].reshape(-1)
    scale, shift, mean, variance = (
        scope.numbers(step, k, value.dtype).reshape(-1)[channels] for k in range(1, 5)
    )
    epsilon = step.number("epsilon", float(np.float32(1e-5)))
    spread = variance + epsilon
    if np.any(spread <= 0) or not np.all(np.isfinite(spread)):
        raise Unsupported("has a variance that is not positive")
    factor = scale / np.sqrt(spread)
    if np.any((scale != 0) & (np.abs(factor) < 1e-300)) or not np.all(np.isfinite(factor)):
        raise Unsupported("has coefficients that are too large or too small")
    value = scope.plain(step, 0)
    offset = factor * mean
    terms = []
    for term in value.form.terms:
        if not isinstance(term.map, Scaled):
            raise Unsupported("normalises a tensor that is not read exactly")
        terms.append(Term(term.source, replace(term.map, scale=term.map.scale * factor)))
    form = replace(
        value.form,
        terms=tuple(terms),
        bias=shift - offset,
        weight_error=4 * UNIT_ROUNDOFF,
        bias_error=16 * UNIT_ROUNDOFF * (np.abs(shift) + np.abs(offset)) + SMALLEST_NORMAL,
        realisation=Normalisation(scale, shift, mean, variance, epsilon),
        sealed=True,
    )
    return [value.with_form(form.through(step.position))]


def _per_feature(step: Step, scope: Scope, name: str, value: Affine) -> Floats:
    stored = step.attributes.get(name)
    given = np.array([] if stored is None else stored, dtype=np.float64)
    last = value.dims[-1] if value.dims else 1
    if not isinstance(last, int) or given.size not in (1, last):
        raise Unsupported(f"has {given.size} values of {name} for shape {list(value.dims)}")
    row = np.broadcast_to(given, value.indices().shape)
    return scope.finite(row.reshape(-1), step, name)


def scaler(step: Step, scope: Scope) -> Sequence[Value]:
    """(x - offset) * scale, the difference being a node of its own."""
    value = scope.plain(step, 0)
    if value.dtype != "float32":
        raise Unsupported(f"scales {value.dtype}")
    offset = _per_feature(step, scope, "offset", value)
    scale = _per_feature(step, scope, "scale", value)
    if np.any(offset):
        form = shifted(value.form, -offset)
        if form is None:
            raise Unsupported("shifts a tensor that is not read exactly")
        value = scope.virtual(value, form.through(step.position), step.outputs[0])
    form = scaled(value.form, scale, value.dtype)
    if form is None:
        raise Unsupported("scales by numbers that its own type cannot hold")
    return [value.with_form(form.through(step.position))]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "BatchNormalization"): batch_normalization,
    ("ai.onnx.ml", "Scaler"): scaler,
}

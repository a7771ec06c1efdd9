"""Do two models have the same interface?"""

from __future__ import annotations

from collections.abc import Sequence

from leo_cli.tensors import TensorSpec


def interface_difference(
    a_inputs: Sequence[TensorSpec],
    a_outputs: Sequence[TensorSpec],
    b_inputs: Sequence[TensorSpec],
    b_outputs: Sequence[TensorSpec],
    extra_outputs: Sequence[str] = (),
) -> str:
    """The first difference in names, order, types or shapes, in words; "" where there is none.

    Names of symbolic dimensions may differ. extra_outputs: what the second model may have in
    addition.
    """
    kept = [spec for spec in b_outputs if spec.name not in extra_outputs]
    return _difference("input", a_inputs, b_inputs) or _difference("output", a_outputs, kept)


def _difference(kind: str, a: Sequence[TensorSpec], b: Sequence[TensorSpec]) -> str:
    names_a, names_b = [spec.name for spec in a], [spec.name for spec in b]
    if names_a != names_b:
        return f"{kind}s are named {', '.join(names_a)} against {', '.join(names_b)}"
    for one, two in zip(a, b, strict=True):
        if one.dtype != two.dtype:
            return f"{kind} {one.name!r} has type {one.dtype} against {two.dtype}"
        if _sizes(one) != _sizes(two):
            return f"{kind} {one.name!r} has shape {_shape(one)} against {_shape(two)}"
    return ""


def _sizes(spec: TensorSpec) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in spec.shape)


def _shape(spec: TensorSpec) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in spec.shape) + "]"

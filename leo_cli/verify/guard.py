"""Does a guard do what it should: nothing inside the domain, its job outside?

Inside, the guarded model must give the bits of the model without a guard. Outside, a flag must be
false; a point is moved there by steps beyond the bounds, and NaN is tried too. A flag that is false
inside is no fault: constraints that rounding could blur are decided with a margin.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.onnx_io import Model, with_outputs
from leo_cli.verify.compare import VerifyOptions
from leo_cli.verify.difference import difference
from leo_cli.verify.points import verification_points
from leo_cli.verify.runtime import Session, open_session

OUTSIDE = 200  # points tried outside the domain


def check_guard(
    plain: Model, guarded: Model, domain: Domain, flag: str | None, options: VerifyOptions
) -> str:
    """The first fault in one line, "" where there is none.

    flag: the output that says whether a row is inside the domain, None for a guard without one.
    Raises ModelError where onnxruntime refuses a model.
    """
    rng = np.random.default_rng(options.seed)
    inside = verification_points(domain, options.samples, rng).values
    names = [spec.name for spec in plain.outputs]
    first, second = (_session(model, names, options) for model in (plain, guarded))
    old, new = first.run(inside), second.run(inside)
    for name in names:
        if not difference(old[name], new[name]).rows.all():
            return f"output {name!r}: the guard changes it inside the domain"
    if flag is None:
        return ""
    outside = _outside(domain, inside, rng)
    told = _session(guarded, [flag], options).run(outside)[flag]
    return f"output {flag!r} is true outside the domain" if told.any() else ""


def _session(model: Model, names: list[str], options: VerifyOptions) -> Session:
    content = with_outputs(model, ())
    return open_session(content, model.inputs, names, model.name, options.level)


def _outside(domain: Domain, inside: Floats, rng: np.random.Generator) -> Floats:
    """Points outside the domain: one feature moved past its bounds, or not a number."""
    x = inside[rng.integers(len(inside), size=OUTSIDE)].copy()
    feature = rng.integers(domain.inputs, size=OUTSIDE)
    reach = np.maximum(domain.upper - domain.lower, 1.0)[feature]
    moved = np.where(
        rng.random(OUTSIDE) < 0.5,
        domain.upper[feature] + reach * rng.random(OUTSIDE),
        domain.lower[feature] - reach * rng.random(OUTSIDE),
    )
    with np.errstate(over="ignore"):
        moved = moved.astype(domain.dtype).astype(np.float64)
    moved[:: OUTSIDE // 10] = np.nan
    x[np.arange(OUTSIDE), feature] = moved
    finite = np.isfinite(x).all(axis=1)
    known = x[finite]
    return np.concatenate([x[~finite], known[~domain.contains(known)]])

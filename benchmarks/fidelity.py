"""How close compressed models stay to their originals: bit-exact mode, deviations, rounding bounds.

    python benchmarks/fidelity.py

- bit-exact: share of the connections that go where no output bit may move at any verification
  point (`--bit-exact`), and how many layers were given up for that.
- deviation, and the largest difference of onnxruntime's outputs at the verification points (those
  of the search for a difference included), by default; absolute.
- rounding: the a-priori bound on a model's own rounding over the largest error of onnxruntime that
  was seen at POINTS points (against float64, whose own error hardly counts beside it), median over
  the outputs; original and compressed model.
"""

from __future__ import annotations

import numpy as np
from ablation import MODELS, OTHERS, short, table
from compressible import Case, case, options

from leo_cli.arrays import Floats
from leo_cli.candidate import back_off, verify_candidate
from leo_cli.onnx_io import Model, observed_tensors
from leo_cli.verify import VerifyOptions
from leo_cli.verify.evaluation import concatenated_outputs
from leo_cli.verify.runtime import open_session
from leo_cli.verify.subject import subject_of

POINTS = 2_000


def bit_exact(known: Case) -> str:
    rewriting, verifying = options("half-ulp"), VerifyOptions()
    candidate = known.rewritten(rewriting)
    found = verify_candidate(known.analysis, candidate, verifying)
    notes: tuple[str, ...] = ()
    if found.bit_identical < 1:
        candidate, found, notes = back_off(known.analysis, candidate, found, rewriting, verifying)
    layers = sum("layer" in note for note in notes)
    given_up = f", {layers} layers given up" if layers else ""
    return f"{known.removed(candidate):.1%}{given_up}"


def largest_error(model: Model, points: Floats) -> Floats:
    """(components,) of onnxruntime against float64."""
    subject = subject_of(model)
    names = [spec.name for spec in observed_tensors(model)]
    session = open_session(subject.content, model.inputs, names, model.name, "disabled")
    native = session.run(points)
    values = np.concatenate([np.asarray(native[name], np.float64) for name in names], axis=1)
    return np.asarray(np.abs(values - concatenated_outputs(model.network, points)).max(axis=0))


def ratio(bound: Floats, error: Floats) -> str:
    seen = error > 0
    if len(bound) != len(error) or not seen.any():
        return "-"
    return f"{float(np.median(bound[seen] / error[seen])):,.0f}"


def row(known: Case) -> tuple[str, ...]:
    problem = known.analysis.problem
    candidate = known.rewritten(options("half-ulp"))
    found = verify_candidate(known.analysis, candidate, VerifyOptions())
    rng = np.random.default_rng(0)
    halves = (problem.domain.sample(POINTS // 2, rng), problem.domain.corners(POINTS // 2, rng))
    points = np.concatenate(halves)
    before, after = (largest_error(model, points) for model in (problem.model, candidate.model))
    return (
        short(known),
        f"{known.removed(candidate):.1%}",
        bit_exact(known),
        f"{candidate.shrunk.deviation.max(initial=0.0):.1e}",
        f"{found.max_abs_diff:.1e}",
        f"{found.bit_identical:.0%}",
        ratio(found.rounding_before, before),
        ratio(found.rounding_after, after),
    )


def main() -> None:
    head = ("model", "default", "bit-exact", "deviation", "largest difference")
    head += ("bit-identical points", "rounding bound / error, before", "after")
    table(head, (row(case(*model)) for model in (*MODELS, *OTHERS)))


if __name__ == "__main__":
    main()

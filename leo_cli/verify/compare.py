"""Verification: do two models agree on the domain?

At the output of the rewritten (dense) part, native onnxruntime evaluations may differ by both
rounding bounds plus the deviation, and float64 evaluations of both networks, as read from their
files, by both float64 bounds plus the deviation (verify/allowance.py). Behind it, every output must
be what the original's own operators compute from the candidate's values, bit by bit
(verify/tail.py): then whatever differs there, labels included, was decided by a difference of the
scores that is within the allowed one. NaN and infinity count as equal only to the same bits.

This is measured on samples of the domain, random and corner points, given ones, and those of a
search for a difference. It is a test, no proof: the proof is the deviation; a test that fails shows
that something promised is not so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import AnswerNo, InputError
from leo_cli.onnx_io import Model
from leo_cli.verify.allowance import Allowance, ProvedBounds, allowance
from leo_cli.verify.conditions import Judgement, judge
from leo_cli.verify.interface import interface_difference
from leo_cli.verify.measure import Measured, measure
from leo_cli.verify.outcome import OutputDifference, Verification
from leo_cli.verify.points import ORIGINS, verification_points
from leo_cli.verify.search import SearchOptions
from leo_cli.verify.subject import SharedPart, Subject, shared_part, subject_of


@dataclass(frozen=True)
class VerifyOptions:
    """samples: points to compare, the search's excluded. tolerance: absolute bound on differences
    of the graph outputs, instead of the rounding bounds. level: of onnxruntime's graph
    optimisation. extra_outputs: outputs that the candidate may have in addition. examined: how many
    points with the largest differences are judged by rounding bounds for these points alone.
    proved: bounds of the original's pre-activations, to sharpen its rounding bound.
    deviation_known: False for two models of unknown kinship: then only their native evaluations are
    compared, by the rounding bounds of the domain."""

    samples: int = 10000
    seed: int = 0
    tolerance: float | None = None
    level: str = "disabled"
    extra_outputs: tuple[str, ...] = ()
    search: SearchOptions = field(default_factory=SearchOptions)
    examined: int = 4
    proved: ProvedBounds | None = None
    deviation_known: bool = True


def verify_models(
    original: Model,
    candidate: Model,
    domain: Domain,
    deviation: Floats | float = 0.0,
    points: Floats | None = None,
    options: VerifyOptions | None = None,
) -> Verification:
    """`verify_subjects` for two models as `read_model` returns them."""
    first = subject_of(original)
    second = first if candidate is original else subject_of(candidate)
    return verify_subjects(first, second, domain, deviation, points, options)


def verify_subjects(
    a: Subject,
    b: Subject,
    domain: Domain,
    deviation: Floats | float = 0.0,
    points: Floats | None = None,
    options: VerifyOptions | None = None,
) -> Verification:
    """Compare original a and candidate b on the domain.

    deviation: proved bound on what rewriting changed, for all or each of the concatenated outputs
    of a's network. points: (m, inputs) witnesses and real samples; those outside the domain are
    left out. Raises AnswerNo where the interfaces differ; InputError where the models' dense parts
    cannot be compared and no tolerance is given; ModelError where onnxruntime refuses one.
    """
    chosen = options or VerifyOptions()
    wrong = interface_difference(a.inputs, a.outputs, b.inputs, b.outputs, chosen.extra_outputs)
    if wrong:
        raise AnswerNo(f"{a.name} and {b.name} have different interfaces: {wrong}")
    shared = shared_part(a, b)
    components = sum(a.network.width(node) for node in a.network.outputs)
    spread = np.broadcast_to(np.asarray(deviation, dtype=np.float64), (components,))[shared.first]
    allowed = _allowed(a, b, shared, domain, spread, chosen)
    rng = np.random.default_rng(chosen.seed)
    where = verification_points(domain, chosen.samples, rng, points)
    measured = measure(a, b, shared, domain, where, chosen.level, chosen.search)
    strict = chosen.tolerance is None and chosen.deviation_known
    examined = chosen.examined if strict else 0
    judgement = judge(a, b, shared, domain, spread, allowed, measured, chosen.tolerance, examined)
    return _verification(a, shared, allowed, measured, judgement)


def _allowed(
    a: Subject,
    b: Subject,
    shared: SharedPart,
    domain: Domain,
    deviation: Floats,
    options: VerifyOptions,
) -> Allowance:
    if options.tolerance is not None:
        flat = np.full(len(shared.first), options.tolerance)
        none = np.zeros(0)
        return Allowance(flat, np.full(len(flat), np.inf), none, none)
    if not shared.names and not (shared.whole and a.sha256 == b.sha256):
        ends = f"{', '.join(a.observed) or 'none'} against {', '.join(b.observed) or 'none'}"
        raise InputError(
            f"{a.name} and {b.name}: no output of a dense ReLU part is common to both ({ends}), "
            "so that no rounding bound compares them; give --tolerance"
        )
    bounds = allowance(a, b, shared, domain, deviation, options.proved)
    if options.deviation_known:
        return bounds
    return replace(bounds, float64=np.full(len(bounds.float64), np.inf))


def _verification(
    a: Subject, shared: SharedPart, allowed: Allowance, measured: Measured, judgement: Judgement
) -> Verification:
    differences = measured.differences
    identical = np.all([differences[name].rows for name in a.graph_outputs], axis=0)
    kinds = judgement.kinds
    measured_names = shared.names or [n for n in a.graph_outputs if kinds[n] == "continuous"]
    compared = [differences[name] for name in measured_names]
    return Verification(
        passed=not judgement.failures,
        failure=judgement.failures[0] if judgement.failures else "",
        samples=len(measured.where),
        searched=int(np.sum(measured.where.origin == ORIGINS.index("search"))),
        bit_identical=float(np.mean(identical)) if np.size(identical) else 1.0,
        max_abs_diff=max((d.largest for d in compared), default=0.0),
        max_ulp=max((d.max_ulp for d in compared), default=0),
        scaled_ulp=max((d.scaled_ulp for d in compared), default=0.0),
        bound=allowed.native,
        rounding_before=allowed.before,
        rounding_after=allowed.after,
        float64_diff=float(np.abs(measured.float64).max(initial=0.0)),
        float64_bound=allowed.float64,
        labels=judgement.labels,
        outputs=tuple(
            OutputDifference(
                name,
                kinds[name],
                name in a.graph_outputs,
                float(np.mean(d.rows)) if len(d.rows) else 1.0,
                d.largest,
                d.max_ulp,
                d.scaled_ulp,
            )
            for name, d in differences.items()
        ),
        worst=judgement.worst,
        notes=judgement.notes,
    )

"""From the pipeline's results to the report: every figure is computed here, once for all forms."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.report.model import (
    Compression,
    DomainReport,
    Fidelity,
    LatencyReport,
    LayerReport,
    ModelReport,
    OutputReport,
    ProofReport,
    Report,
    RewriteReport,
    Size,
    Totals,
    UnitReport,
    VerificationReport,
)
from leo_cli.stability.verdict import LayerStability, StabilityMap, State

if TYPE_CHECKING:
    from leo_cli.arrays import Floats
    from leo_cli.domain import Domain
    from leo_cli.network import Layer, Network
    from leo_cli.onnx_io import Model
    from leo_cli.pipeline import Comparison, Compressed
    from leo_cli.problem import Analysis, Problem
    from leo_cli.proof.prove import Proof
    from leo_cli.verify import Verification


def report_of_analysis(analysis: Analysis) -> Report:
    problem, stability = analysis.problem, analysis.stability
    network = problem.model.network
    return Report(
        command="analyze",
        model=_model(problem.model),
        domain=_domain(problem.domain),
        seconds=problem.watch.seconds(),
        layers=_layers(network, stability, None),
        totals=_totals(network, stability),
        before=_size(network),
        deciders=dict(stability.cost),
        notes=_notes(problem, stability.notes),
    )


def report_of_compression(
    compressed: Compressed, path: str, written: Model | None, proof: ProofReport | None = None
) -> Report:
    """written: the new file as it is at `path`; None where nothing was written. proof: as it was
    written beside it."""
    analysis, candidate = compressed.analysis, compressed.candidate
    problem, stability = analysis.problem, analysis.stability
    before, after = _size(problem.model.network), _size(candidate.model.network)
    new = compressed.output.model if written is None else written
    return Report(
        command="compress",
        model=_model(problem.model),
        domain=_domain(problem.domain),
        seconds=problem.watch.seconds(),
        layers=_layers(problem.model.network, stability, candidate.shrunk.network),
        totals=_totals(problem.model.network, stability),
        rewrites=tuple(
            RewriteReport(step.rewrite, step.layer, step.units, _largest(step.deviation), step.note)
            for step in candidate.shrunk.steps
        ),
        before=before,
        after=after,
        compression=Compression(
            _removed(before.connections, after.connections),
            _removed(before.units, after.units),
            _removed(problem.model.size, new.size),
        ),
        fidelity=Fidelity(
            _largest(candidate.shrunk.deviation),
            _largest(candidate.shrunk.allowance),
            _known(compressed.verification.rounding_before),
            _known(compressed.verification.rounding_after),
        ),
        verification=_verification(compressed.verification),
        latency=_latency(compressed),
        output=None if written is None else OutputReport(path, new.sha256, new.size),
        proof=proof,
        deciders=dict(stability.cost),
        notes=_notes(problem, (*stability.notes, *compressed.notes, *_copy_note(compressed))),
    )


def report_of_proof(proof: Proof, path: Path, seconds: float) -> ProofReport:
    """A proof as it is at `path`. seconds: to make and to write it."""
    size, deviation = path.stat().st_size, _largest(proof.deviation)
    return ProofReport(str(path), size, proof.records, seconds, **proof.counts, deviation=deviation)


def report_of_comparison(comparison: Comparison) -> Report:
    problem = comparison.problem
    return Report(
        command="verify",
        model=_model(problem.model),
        other=_model(comparison.other),
        domain=_domain(problem.domain),
        seconds=problem.watch.seconds(),
        verification=_verification(comparison.verification),
        notes=_notes(problem, ()),
    )


def _model(model: Model) -> ModelReport:
    return ModelReport(
        model.name,
        model.sha256,
        model.size,
        {spec.name: spec.shape for spec in model.inputs},
        {spec.name: spec.shape for spec in model.outputs},
    )


def _domain(domain: Domain) -> DomainReport:
    fixed = domain.inputs - len(domain.free)
    return DomainReport(domain.inputs, fixed, domain.sha256, domain.relaxed)


def _layers(
    network: Network, stability: StabilityMap, rewritten: Network | None
) -> tuple[LayerReport, ...]:
    widths = {} if rewritten is None else {layer.name: layer.width for layer in rewritten.layers}
    return tuple(
        _layer(layer, known, None if rewritten is None else widths.get(layer.name, 0))
        for layer, known in zip(network.layers, stability.layers, strict=True)
        if layer.relu
    )


def _layer(layer: Layer, known: LayerStability, width_after: int | None) -> LayerReport:
    groups = {state: tuple(known.units(state).tolist()) for state in State}
    units = tuple(
        UnitReport(
            unit,
            verdict.state.value,
            verdict.by,
            verdict.lower,
            verdict.upper,
            verdict.margin,
            verdict.seconds,
            verdict.claim,
            verdict.trusted,
        )
        for unit, verdict in enumerate(known.verdicts)
    )
    return LayerReport(
        layer.name,
        layer.width,
        groups[State.INACTIVE],
        groups[State.ACTIVE],
        groups[State.UNSTABLE],
        groups[State.UNDECIDED],
        units,
        width_after,
    )


def _totals(network: Network, stability: StabilityMap) -> Totals:
    states = [verdict.state for layer in stability.layers for verdict in layer.verdicts]
    return Totals(
        units=network.units,
        inactive=states.count(State.INACTIVE),
        active=states.count(State.ACTIVE),
        unstable=states.count(State.UNSTABLE),
        undecided=states.count(State.UNDECIDED),
        milps=stability.milps,
        witnesses=len(stability.witnesses),
    )


def _size(network: Network) -> Size:
    return Size(
        units=network.units,
        layers=len(network.relu_layers),
        connections=network.connections,
        parameters=network.parameters,
        inputs_used=int(np.count_nonzero(network.used_inputs())),
    )


def _verification(found: Verification) -> VerificationReport:
    known = {field.name for field in fields(VerificationReport)}
    more = {key: value for key, value in found.as_report().items() if key not in known}
    return VerificationReport(
        found.samples,
        found.bit_identical,
        found.max_abs_diff,
        found.max_ulp,
        found.scaled_ulp,
        found.passed,
        found.failure,
        found.notes,
        more,
    )


def _latency(compressed: Compressed) -> tuple[LatencyReport, ...] | None:
    if not compressed.latency:
        return None
    return tuple(LatencyReport(e.batch, e.before, e.after, e.ratio) for e in compressed.latency)


def _copy_note(compressed: Compressed) -> tuple[str, ...]:
    copied = "nothing can go: the output is a plain copy of the input"
    return (copied,) if compressed.unchanged else ()


def _notes(problem: Problem, more: tuple[str, ...]) -> tuple[str, ...]:
    notes = [*problem.model.notes, *problem.domain.notes, *problem.notes]
    if problem.domain.relaxed:
        notes.append(
            "bounds use the linear constraints of the domain only in part: valid, but looser"
        )
    return tuple(dict.fromkeys([*notes, *more]))


def _removed(before: int, after: int) -> float:
    return 1 - after / before if before else 0.0


def _largest(values: Floats) -> float:
    return float(np.max(values, initial=0.0))


def _known(bound: Floats) -> float | None:
    """None where verification had no bound to compute."""
    return float(bound.max()) if len(bound) else None

"""A rewritten model: made, read again, verified, and perhaps guarded. All in memory.

What is verified is what is written: the rendered bytes are read again with the same reader as any
other file. A model in which nothing changed is handed on byte for byte, if it is a valid one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from leo_cli import __version__
from leo_cli.errors import InternalFault
from leo_cli.network import Dense, Network
from leo_cli.onnx_io import Model, Rendered, add_guard, read_model, render
from leo_cli.problem import Analysis, Problem
from leo_cli.rewrite import RewriteOptions, Shrunk, Tolerance, shrink
from leo_cli.rewrite.surgery import dense
from leo_cli.stability.budget import Budget
from leo_cli.verify import ProvedBounds, Verification, VerifyOptions, verify_models
from leo_cli.verify.guard import check_guard

GRACE = 3.0  # seconds that rewriting may take where the search has used up the run's time


@dataclass(frozen=True)
class Candidate:
    """A new file. content: what goes to disk; model: what is read from that."""

    content: Rendered | Model
    model: Model
    shrunk: Shrunk

    @property
    def external(self) -> bool:
        """Whether the weights go to a file of their own."""
        return isinstance(self.content, Rendered) and self.content.external


def make_candidate(
    analysis: Analysis, options: RewriteOptions, budget: Budget | None = None
) -> Candidate:
    """The smaller model, rendered and read again; the source itself where nothing changed.

    budget: of the run; where the search has used it up, rewriting gets GRACE seconds.
    """
    problem = analysis.problem
    with problem.watch.stage("rewrite"):
        network, domain = problem.model.network, problem.domain
        left = _for_rewriting(budget or Budget())

        def rewritten(options: RewriteOptions) -> Candidate:
            shrunk = shrink(network, analysis.stability, domain, options, left)
            return _candidate(problem, shrunk)

        found = rewritten(options)
        twice = _sharing(network)
        if twice and _size(found.model) > problem.model.size:
            found = rewritten(replace(options, skip_layers=(*options.skip_layers, *twice)))
        return found


def _sharing(network: Network) -> tuple[str, ...]:
    """Layers that have a matrix in common, which a file may store once, and what they read.

    Rewriting one of them makes two matrices of one.
    """
    matrices = [
        (k, term)
        for k, layer in enumerate(network.layers)
        for term in layer.terms
        if isinstance(term.map, Dense)
    ]
    found: set[int] = set()
    for i, (k, term) in enumerate(matrices):
        for other, same in matrices[:i]:
            if np.array_equal(dense(term.map), dense(same.map)):
                found |= {k, other, term.source - 1, same.source - 1}
    return tuple(network.layers[k].name for k in sorted(found) if k >= 0)


def _size(model: Model) -> int:
    """Bytes of a model, without what leo writes about it."""
    return model.size - _told(model)


def _told(model: Model) -> int:
    """Bytes that leo's metadata take in a file: each entry, a tag, and a length of one byte."""
    entries = [e for e in model.proto.metadata_props if e.key.startswith("leo.")]
    return sum(int(entry.ByteSize()) + 2 for entry in entries)


def growth(source: Model, output: Model) -> tuple[str, ...]:
    """A note where a file has become larger, as tiny ones do by what is told about them."""
    more, told = output.size - source.size, _told(output) - _told(source)
    if more <= 0:
        return ()
    note = f"the file is {more} bytes larger: it tells its source, domain and version in {told}"
    if more > told:
        note += f", and new operators take {more - told} more than what went"
    return (note,)


def _for_rewriting(budget: Budget) -> Budget:
    """What is left, and no less than GRACE seconds. After an interrupt a second one ends the run,
    so that the first has nothing more to stop."""
    if budget.stop.is_set():
        return Budget(deadline=budget.clock() + GRACE, clock=budget.clock)
    return replace(budget, deadline=max(budget.deadline, budget.clock() + GRACE))


def verify_candidate(
    analysis: Analysis, candidate: Candidate, options: VerifyOptions
) -> Verification:
    """Compare a candidate with its original: at witnesses, samples, and what `options` asks for."""
    problem, stability = analysis.problem, analysis.stability
    points = [stability.witnesses]
    if problem.samples is not None:
        points.append(problem.samples)
    bounds = ProvedBounds(
        tuple(layer.lower for layer in stability.layers),
        tuple(layer.upper for layer in stability.layers),
    )
    with problem.watch.stage("verify"):
        return verify_models(
            problem.model,
            candidate.model,
            problem.domain,
            candidate.shrunk.deviation,
            np.vstack(points),
            replace(options, proved=bounds),
        )


def back_off(
    analysis: Analysis,
    candidate: Candidate,
    verification: Verification,
    rewriting: RewriteOptions,
    verifying: VerifyOptions,
    budget: Budget | None = None,
) -> tuple[Candidate, Verification, tuple[str, ...]]:
    """Give up what is not exact in real arithmetic, then the rewrites of one layer after another,
    until no output bit moves.

    Returns the new candidate, its verification, and notes of what was given up.
    """
    notes: tuple[str, ...] = ()
    if not rewriting.tolerance.is_zero:
        rewriting = replace(rewriting, tolerance=Tolerance("absolute", 0.0))
        candidate = make_candidate(analysis, rewriting, budget)
        verification = verify_candidate(analysis, candidate, verifying)
        notes = ("bit-exact: gave up the rewrites that are not exact",)
    given_up: list[str] = []
    while verification.bit_identical < 1:
        layer = _first_to_move_a_bit(analysis, candidate, verifying)
        if layer in given_up:
            raise InternalFault(f"bit-exact: layer {layer} moves bits, yet nothing rewrites it")
        given_up.append(layer)
        skipped = (*rewriting.skip_layers, *given_up)
        candidate = make_candidate(analysis, replace(rewriting, skip_layers=skipped), budget)
        verification = verify_candidate(analysis, candidate, verifying)
    layers = tuple(f"bit-exact: gave up the rewrites of layer {name}" for name in given_up)
    return candidate, verification, (*notes, *layers)


def _first_to_move_a_bit(analysis: Analysis, candidate: Candidate, options: VerifyOptions) -> str:
    """The layer of the first step after which a bit differs, found by bisection."""
    shrunk = candidate.shrunk
    same, moved = 0, len(shrunk.steps)
    while moved - same > 1:
        middle = (same + moved) // 2
        part = replace(shrunk, network=shrunk.steps[middle - 1].network)
        tried = verify_candidate(analysis, _candidate(analysis.problem, part), options)
        same, moved = (middle, moved) if tried.bit_identical == 1 else (same, middle)
    return shrunk.steps[moved - 1].layer


def guard_candidate(
    problem: Problem, plain: Candidate, guard: Literal["clip", "flag"], options: VerifyOptions
) -> tuple[Candidate, str]:
    """The candidate with a guard, and what is wrong with that ("" if nothing is)."""
    with problem.watch.stage("rewrite"):
        rendered = render(problem.model, plain.shrunk.network, _metadata(problem))
        guarded = add_guard(rendered, problem.model, problem.domain, guard)
        output = _with_guard(plain, guarded.rendered)
    with problem.watch.stage("verify"):
        failure = check_guard(plain.model, output.model, problem.domain, guarded.output, options)
    return output, failure


def _with_guard(plain: Candidate, rendered: Rendered) -> Candidate:
    """The network is that of the plain candidate; `check_guard` compares what surrounds it."""
    content = rendered.to_bytes()
    model = replace(
        plain.model,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        source=content,
        proto=rendered.proto,
    )
    return Candidate(rendered, model, plain.shrunk)


def _candidate(problem: Problem, shrunk: Shrunk) -> Candidate:
    model = problem.model
    if shrunk.network is model.network and model.in_order:
        return Candidate(model, model, shrunk)
    return _read_again(problem, render(model, shrunk.network, _metadata(problem)), shrunk)


def _read_again(problem: Problem, rendered: Rendered, shrunk: Shrunk) -> Candidate:
    name = f"{problem.model.name} (rewritten)"
    return Candidate(rendered, read_model(rendered.to_bytes(), name), shrunk)


def _metadata(problem: Problem) -> dict[str, str]:
    """What a compressed file says of itself: outside its domain it differs from its source."""
    return {
        "leo.version": __version__,
        "leo.source_sha256": problem.model.sha256,
        "leo.domain_sha256": problem.domain.sha256,
    }

"""The one orchestrator: read, classify, rewrite, render, read again, verify, save.

    load(model, bounds)        -> Problem
    analyze(problem)           -> Analysis      (the classification)
    compress(problem)          -> Compressed    (the new file, in memory, and its verification)
    save_compressed(...)       puts it on disk, and only if it was verified
    verify(a, b, bounds)       -> Comparison

Values in, values out: nothing is printed, and only `save_compressed` touches the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leo_cli.candidate import (
    Candidate,
    back_off,
    growth,
    guard_candidate,
    make_candidate,
    verify_candidate,
)
from leo_cli.domain import read_domain
from leo_cli.errors import AnswerNo, InternalFault, VerificationFailed
from leo_cli.onnx_io import Model, read_model, save
from leo_cli.problem import Analysis, Problem, Stopwatch
from leo_cli.rewrite import RewriteOptions
from leo_cli.samples import read_samples
from leo_cli.stability.budget import Budget
from leo_cli.stability.ladder import classify
from leo_cli.stability.options import ClassifyOptions
from leo_cli.stability.search import Journal, Observer
from leo_cli.verify import Latency, Verification, VerifyOptions, measure_latency, verify_models

if TYPE_CHECKING:
    from leo_cli.proof.prove import Proof

Source = Path | bytes
Guard = Literal["none", "clip", "flag"]


@dataclass(frozen=True)
class CompressOptions:
    """Options of all stages. bit_exact: keep every output bit at every verification point. guard:
    what the new model does outside the domain. latency: whether to measure it. proof: whether to
    prove it, and to leave what is not proved as it is."""

    classify: ClassifyOptions = field(default_factory=ClassifyOptions)
    rewrite: RewriteOptions = field(default_factory=RewriteOptions)
    verify: VerifyOptions = field(default_factory=VerifyOptions)
    bit_exact: bool = False
    guard: Guard = "none"
    latency: bool = False
    proof: bool = False


@dataclass(frozen=True)
class Compressed:
    """candidate: the smaller model. output: what goes to disk, the same with its guard. proof: that
    it equals the original, if one was asked for."""

    analysis: Analysis
    candidate: Candidate
    output: Candidate
    verification: Verification
    notes: tuple[str, ...] = ()
    latency: tuple[Latency, ...] = ()
    proof: Proof | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the output is a plain copy of the input."""
        return self.output.model is self.analysis.problem.model

    @property
    def connections_removed(self) -> float:
        """Fraction of the connections that are gone."""
        before = self.analysis.problem.model.network.connections
        return 1 - self.candidate.model.network.connections / before if before else 0.0


@dataclass(frozen=True)
class Comparison:
    problem: Problem
    other: Model
    verification: Verification


def load(
    model: Source,
    bounds: Path | str,
    samples: Source | None = None,
    model_name: str | None = None,
    bounds_name: str | None = None,
) -> Problem:
    """Read a model, its domain (a path, or the text itself) and perhaps samples.

    Raises ModelError, DomainError or InputError, each naming its file.
    """
    watch = Stopwatch()
    with watch.stage("read"):
        read = read_model(model, model_name)
        name = bounds_name or (str(bounds) if isinstance(bounds, Path) else "<bounds>")
        domain = read_domain(bounds, read.inputs, read.sha256, name)
        problem = Problem(read, domain, watch=watch)
        if samples is not None:
            real = read_samples(samples, read.inputs, domain)
            problem = replace(problem, samples=real.points, notes=real.notes)
    return problem


def analyze(
    problem: Problem,
    options: ClassifyOptions,
    budget: Budget,
    observer: Observer | None = None,
    journal: Journal | None = None,
) -> Analysis:
    """Classify every unit. Raises Contradiction where the evidence excludes itself."""
    network, domain = problem.model.network, problem.domain
    with problem.watch.stage("classify"):
        stability = classify(network, domain, options, budget, problem.samples, observer, journal)
    return Analysis(problem, stability)


def compress(
    problem: Problem,
    options: CompressOptions,
    budget: Budget,
    observer: Observer | None = None,
    journal: Journal | None = None,
) -> Compressed:
    """Classify, rewrite and verify, all in memory.

    The verification may have failed (`verification.passed`); `save_compressed` refuses that.
    """
    analysis = analyze(problem, options.classify, budget, observer, journal)
    proof: Proof | None = None
    if options.proof:
        analysis, candidate, found, notes, proof = _with_proof(analysis, options, budget)
    else:
        candidate, found, notes = _smaller(analysis, options, options.rewrite, budget)
    output = candidate
    notes = (*notes, *growth(problem.model, candidate.model))
    if options.guard != "none":
        output, fault = guard_candidate(problem, candidate, options.guard, options.verify)
        if fault and found.passed:
            found = replace(found, passed=False, failure=fault)
    latency: tuple[Latency, ...] = ()
    if options.latency:
        with problem.watch.stage("latency"):
            latency = measure_latency(
                problem.model, output.model, problem.domain, options.verify.seed
            )
    return Compressed(analysis, candidate, output, found, notes, latency, proof)


def _smaller(
    analysis: Analysis, options: CompressOptions, rewriting: RewriteOptions, budget: Budget
) -> tuple[Candidate, Verification, tuple[str, ...]]:
    """The rewritten model, its verification, and notes."""
    candidate = make_candidate(analysis, rewriting, budget)
    found = verify_candidate(analysis, candidate, options.verify)
    if options.bit_exact and found.bit_identical < 1:
        return back_off(analysis, candidate, found, rewriting, options.verify, budget)
    return candidate, found, ()


def _with_proof(
    analysis: Analysis, options: CompressOptions, budget: Budget
) -> tuple[Analysis, Candidate, Verification, tuple[str, ...], Proof]:
    """The same, from proved verdicts only, with ever fewer rewrites until the proof succeeds.

    The original domain without its linear constraints is what a proof is about."""
    from leo_cli.proof.prove import begin, ladder  # heavy, and most runs need no proof

    problem = analysis.problem
    with problem.watch.stage("prove"):
        proving = begin(problem.model, problem.domain, analysis.stability, budget)
    analysis = replace(analysis, stability=proving.stability)
    remarks = list(proving.remarks)
    attempts = [options.rewrite]
    while attempts:
        rewriting = attempts.pop(0)
        candidate, found, notes = _smaller(analysis, options, rewriting, budget)
        shrunk = candidate.shrunk
        with problem.watch.stage("prove"):
            proof = proving.relate(candidate.model, shrunk.network, shrunk.allowance)
        if proof is not None:
            return analysis, candidate, found, (*notes, *remarks), proof
        if rewriting is options.rewrite:
            attempts = list(ladder(options.rewrite, shrunk.allowance))
            remarks.append("proof: not found for all rewrites; fewer were applied")
    raise InternalFault(
        f"{problem.model.name}: not even the unchanged model could be proved equal to itself; "
        "nothing was written; run without --proof, and please report this model"
    )


def save_compressed(compressed: Compressed, path: Path, fail_under: float = 0.0) -> Model:
    """Put the new file on disk, atomically, and return it as it is there.

    Raises what `content_to_write` raises; the disk is untouched then.
    """
    check_result(compressed, fail_under)
    output = compressed.output
    save(output.content, path)
    # with its weights in a file of their own, it has other bytes than in memory
    return read_model(path) if output.external else output.model


def content_to_write(compressed: Compressed, fail_under: float = 0.0) -> bytes:
    """The new file as bytes.

    Raises VerificationFailed, or AnswerNo where less than `fail_under` of the connections went.
    """
    check_result(compressed, fail_under)
    content = compressed.output.content
    return content.source if isinstance(content, Model) else content.to_bytes()


def check_result(compressed: Compressed, fail_under: float = 0.0) -> None:
    """Raise VerificationFailed or AnswerNo where the result must not be written."""
    model = compressed.analysis.problem.model
    if not compressed.verification.passed:
        raise VerificationFailed(
            f"{model.name}: verification failed, nothing was written: "
            f"{compressed.verification.failure}"
        )
    removed = compressed.connections_removed
    if removed < fail_under:
        raise AnswerNo(
            f"{model.name}: {removed:.1%} of the connections can go, less than --fail-under "
            f"{fail_under:.1%}; nothing was written"
        )


def verify(problem: Problem, other: Model, options: VerifyOptions) -> Comparison:
    """Compare two models on the domain: by `options.tolerance`, or both rounding bounds."""
    unrelated = replace(options, deviation_known=False)
    with problem.watch.stage("verify"):
        found = verify_models(problem.model, other, problem.domain, 0.0, problem.samples, unrelated)
    return Comparison(problem, other, found)

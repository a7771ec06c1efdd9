"""The one orchestrator: read, classify, rewrite, render, read again, verify, save.

    load(model, bounds)        -> Problem
    analyze(problem)           -> Analysis      (the classification)
    compress(problem)          -> Compressed    (the new file, in memory, and its verification)
    save_compressed(...)       puts it on disk, and only if it was verified
    verify(a, b, bounds)       -> Comparison

Values in, values out: nothing is printed, and only `save_compressed` touches the disk. What is
verified is what is written: the rendered bytes are read again with the same reader as any other
file. A model in which nothing changed is handed on byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from leo_cli import __version__
from leo_cli.arrays import Floats
from leo_cli.domain import Domain, read_domain
from leo_cli.errors import AnswerNo, InternalFault, VerificationFailed
from leo_cli.onnx_io import Model, Rendered, read_model, render, save
from leo_cli.rewrite import RewriteOptions, Shrunk, shrink
from leo_cli.samples import read_samples
from leo_cli.stability.budget import Budget
from leo_cli.stability.ladder import ClassifyOptions, Journal, Observer, classify
from leo_cli.stability.verdict import StabilityMap
from leo_cli.verify import ProvedBounds, Verification, VerifyOptions, verify_models

Source = Path | bytes


class Stopwatch:
    """Seconds by stage, and `total` since it was started."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        return {"total": time.perf_counter() - self._start, **self._stages}


@dataclass(frozen=True)
class Problem:
    """A model, its domain and, where given, real inputs of that domain: (m, inputs)."""

    model: Model
    domain: Domain
    samples: Floats | None = None
    notes: tuple[str, ...] = ()
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True)
class Analysis:
    problem: Problem
    stability: StabilityMap


@dataclass(frozen=True)
class CompressOptions:
    """Options of all stages. bit_exact: keep every output bit at every verification point."""

    classify: ClassifyOptions = field(default_factory=ClassifyOptions)
    rewrite: RewriteOptions = field(default_factory=RewriteOptions)
    verify: VerifyOptions = field(default_factory=VerifyOptions)
    bit_exact: bool = False


@dataclass(frozen=True)
class Candidate:
    """A rewritten file, in memory. content: what goes to disk; model: what is read from that."""

    content: Rendered | Model
    model: Model
    shrunk: Shrunk

    @property
    def external(self) -> bool:
        """Whether the weights go to a file of their own."""
        return isinstance(self.content, Rendered) and self.content.external


@dataclass(frozen=True)
class Compressed:
    analysis: Analysis
    candidate: Candidate
    verification: Verification
    notes: tuple[str, ...] = ()

    @property
    def unchanged(self) -> bool:
        """Whether the output is a plain copy of the input."""
        return self.candidate.model is self.analysis.problem.model

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
    candidate = rewrite(analysis, options.rewrite)
    verification = _verified(analysis, candidate, options.verify)
    notes: tuple[str, ...] = ()
    if options.bit_exact and verification.bit_identical < 1:
        candidate, verification, notes = _back_off(analysis, options, candidate, verification)
    return Compressed(analysis, candidate, verification, notes)


def rewrite(analysis: Analysis, options: RewriteOptions) -> Candidate:
    """The smaller model, rendered and read again; the source itself where nothing changed."""
    problem = analysis.problem
    with problem.watch.stage("rewrite"):
        shrunk = shrink(problem.model.network, analysis.stability, problem.domain, options)
        return _candidate(problem, shrunk)


def save_compressed(compressed: Compressed, path: Path, fail_under: float = 0.0) -> Model:
    """Put the new file on disk, atomically, and return it as it is there.

    Raises what `content_to_write` raises; the disk is untouched then.
    """
    check_result(compressed, fail_under)
    candidate = compressed.candidate
    save(candidate.content, path)
    # with its weights in a file of their own, it has other bytes than in memory
    return read_model(path) if candidate.external else candidate.model


def content_to_write(compressed: Compressed, fail_under: float = 0.0) -> bytes:
    """The new file as bytes.

    Raises VerificationFailed, or AnswerNo where less than `fail_under` of the connections went.
    """
    check_result(compressed, fail_under)
    content = compressed.candidate.content
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


def _candidate(problem: Problem, shrunk: Shrunk) -> Candidate:
    model = problem.model
    if shrunk.network is model.network:
        return Candidate(model, model, shrunk)
    rendered = render(model, shrunk.network, _metadata(problem))
    return Candidate(rendered, read_model(rendered.to_bytes(), f"{model.name} (rewritten)"), shrunk)


def _verified(analysis: Analysis, candidate: Candidate, options: VerifyOptions) -> Verification:
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


def _back_off(
    analysis: Analysis, options: CompressOptions, candidate: Candidate, verification: Verification
) -> tuple[Candidate, Verification, tuple[str, ...]]:
    """Give up the rewrites of one layer after another until no output bit moves."""
    given_up: list[str] = []
    while verification.bit_identical < 1:
        layer = _first_to_move_a_bit(analysis, options, candidate)
        if layer in given_up:
            raise InternalFault(f"bit-exact: layer {layer} moves bits, yet nothing rewrites it")
        given_up.append(layer)
        skipped = (*options.rewrite.skip_layers, *given_up)
        candidate = rewrite(analysis, replace(options.rewrite, skip_layers=skipped))
        verification = _verified(analysis, candidate, options.verify)
    notes = tuple(f"bit-exact: gave up the rewrites of layer {name}" for name in given_up)
    return candidate, verification, notes


def _first_to_move_a_bit(analysis: Analysis, options: CompressOptions, candidate: Candidate) -> str:
    """The layer of the first step after which a bit differs, found by bisection."""
    shrunk = candidate.shrunk
    same, moved = 0, len(shrunk.steps)
    while moved - same > 1:
        middle = (same + moved) // 2
        part = replace(shrunk, network=shrunk.steps[middle - 1].network)
        tried = _verified(analysis, _candidate(analysis.problem, part), options.verify)
        same, moved = (middle, moved) if tried.bit_identical == 1 else (same, middle)
    return shrunk.steps[moved - 1].layer


def _metadata(problem: Problem) -> dict[str, str]:
    """What a compressed file says of itself: outside its domain it differs from its source."""
    return {
        "leo.version": __version__,
        "leo.source_sha256": problem.model.sha256,
        "leo.domain_sha256": problem.domain.sha256,
    }

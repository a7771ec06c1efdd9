"""The shared models with each of their domains, classified and rewritten: what benchmarks of
rewriting go through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leo_cli.candidate import Candidate, make_candidate
from leo_cli.errors import LeoError
from leo_cli.pipeline import analyze, load
from leo_cli.problem import Analysis
from leo_cli.rewrite import RewriteOptions, parse_tolerance
from leo_cli.stability import Budget, ClassifyOptions

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


@dataclass(frozen=True)
class Case:
    """A model that the reader accepts. name: path and the tag of the bounds file."""

    name: str
    analysis: Analysis

    def rewritten(self, options: RewriteOptions) -> Candidate:
        return make_candidate(self.analysis, options)

    def removed(self, candidate: Candidate) -> float:
        """Share of the connections that are gone."""
        before = self.analysis.problem.model.network.connections
        return 1 - candidate.model.network.connections / before if before else 0.0


def options(tolerance: str, rewrites: tuple[str, ...] | None = None) -> RewriteOptions:
    return RewriteOptions(tolerance=parse_tolerance(tolerance), rewrites=rewrites)


def case(path: str, tag: str = "", seconds: float = 60.0) -> Case:
    """A model by its path below the shared models, without its suffix, and a tag of its bounds.

    seconds: for the search. Raises LeoError where the reader refuses it.
    """
    box = MODELS / f"{path}.bounds{'.' if tag else ''}{tag}.json"
    problem = load(MODELS / f"{path}.onnx", box)
    limit = Budget(time.monotonic() + seconds)
    name = f"{path} {tag}".strip()
    return Case(name, analyze(problem, ClassifyOptions(), limit))


def cases(seconds: float, pattern: str = "") -> Iterator[Case]:
    """All that the reader accepts and whose path contains `pattern`."""
    for model in sorted(MODELS.rglob("*.onnx")):
        path = model.relative_to(MODELS).with_suffix("").as_posix()
        for box in sorted(model.parent.glob(f"{model.stem}.bounds*.json")):
            tag = box.name[len(model.stem) + len(".bounds") : -len(".json")].strip(".")
            if pattern in f"{path} {tag}":
                try:
                    yield case(path, tag, seconds)
                except LeoError:
                    continue  # refused, with its reason: tests/end_to_end looks at those

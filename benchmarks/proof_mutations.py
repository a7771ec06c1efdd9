"""A mutation campaign against the proof checker.

    python benchmarks/proof_mutations.py [--small N] [--real N] [--shared DIR] [--seed N]

Hashes are made right after every mutation, so that the mathematics must catch it. An accepted
mutant of a small network is decided by exact enumeration: what it claims must be true. An accepted
mutant of a real model is compared at points of the domain. Exit code 1 if a false claim was
accepted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # not this directory: it has a proof.py

from proof.mutants import MUTATIONS, Mutant, accepted, claims_of, domain_of, mutants  # noqa: E402
from proof.proof_cases import Case, proved  # noqa: E402
from proof.truth import small_cases, untruth  # noqa: E402

from leo_cli.domain import read_domain  # noqa: E402
from leo_cli.onnx_io import read_model  # noqa: E402
from leo_cli.proof.graph import Net  # noqa: E402
from leo_cli.proof.translate import box_of_domain  # noqa: E402

REAL = (
    ("models/mnist_l1/mnist_25x25_l1_0.001.onnx", None),
    ("models/mnist_l1/mnist_50x50_l1_0.001.onnx", None),
    ("models/mnist_l1/mnist_100x100_l1_0.0005.onnx", None),
    ("models/torch/seq_planted.ts.onnx", None),
    ("models/sklearn/cancer_minmax_mlpclf.onnx", None),
    ("models/vnncomp/mnistfc/mnist-net_256x2.onnx", "properties/mnistfc_prop_0_0.03.vnnlib"),
    ("models/vnncomp/acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "properties/acasxu_prop_3.vnnlib"),
)
POINTS = 2_000


def values(net: Net, x: np.ndarray) -> np.ndarray:
    """The cuts of a model at points, in plain float64."""
    known = [x]
    for node in net.nodes[1:]:
        z = node.bias + sum(known[s] @ w.T for s, w in node.terms.items())
        known.append(np.maximum(z, 0.0) if node.relu else z)
    return np.concatenate([known[k] for k in net.cuts], axis=1)


def refuted(mutant: Mutant, rng: np.random.Generator) -> str:
    """What points of the domain show against the claims of a mutant ("" if nothing)."""
    box, claims = domain_of(mutant.records[0]), claims_of(mutant.records)
    share = rng.random((POINTS, len(box.lower)))
    share[::2] = np.rint(share[::2])
    x = box.lower + share * (box.upper - box.lower)
    gap = np.abs(values(mutant.old, x) - values(mutant.new, x)).max(axis=0)
    size = np.abs(values(mutant.old, x)).max(axis=0)
    if np.any(gap > claims.deviation + 1e-10 * (1.0 + size)):
        return f"outputs differ by {gap.max():.3g}, more than stated"
    return ""


def report(name: str, tried: Counter[str], passed: Counter[str], wrong: list[str]) -> None:
    print(f"\n{name}\n{'mutation':24s} {'mutants':>8s} {'rejected':>9s} {'accepted':>9s}")
    for kind in sorted(tried):
        print(f"{kind:24s} {tried[kind]:8d} {tried[kind] - passed[kind]:9d} {passed[kind]:9d}")
    total, kept = sum(tried.values()), sum(passed.values())
    print(f"{'all':24s} {total:8d} {total - kept:9d} {kept:9d}")
    print(f"accepted although false: {len(wrong)} {wrong[:3] if wrong else ''}", flush=True)


def small(count: int, seed: int) -> bool:
    """`count` mutants of small networks, each accepted one decided exactly."""
    cases = small_cases(48, seed)
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    wrong = []
    start = time.perf_counter()
    each = -(-count // len(MUTATIONS))
    for case, mutant in mutants(cases, np.random.default_rng(seed), each):
        tried[mutant.kind] += 1
        if accepted(mutant, box_of_domain(case.domain)):
            passed[mutant.kind] += 1
            found = untruth(mutant)
            wrong += [f"{mutant.kind}: {found}"] if found else []
    seconds = time.perf_counter() - start
    title = f"{len(cases)} small networks, {seconds:.0f} s; accepted claims decided exactly"
    report(title, tried, passed, wrong)
    return not wrong


def real(each: int, shared: Path, seed: int) -> bool:
    """At least `each` mutants of every real model."""
    fine = True
    for name, bounds in REAL:
        path = shared / name
        if not path.exists():
            continue
        model = read_model(path)
        source = shared / bounds if bounds else path.with_suffix(".bounds.json")
        domain = read_domain(source, model.inputs, model.sha256)
        case: Case = proved(path.read_bytes(), domain)
        rng = np.random.default_rng(seed)
        tried: Counter[str] = Counter()
        passed: Counter[str] = Counter()
        wrong = []
        for _, mutant in mutants([case], rng, -(-each // 12)):
            tried[mutant.kind] += 1
            if accepted(mutant, box_of_domain(domain)):
                passed[mutant.kind] += 1
                found = refuted(mutant, rng)
                wrong += [f"{mutant.kind}: {found}"] if found else []
        report(f"{path.name}, {source.name}", tried, passed, wrong)
        fine &= not wrong
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--real", type=int, default=60)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fine = not given.real or real(given.real, given.shared, given.seed)
    fine = (not given.small or small(given.small, given.seed)) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""Proofs of the shared models: size, time to find, to prove and to check, as a table.

    python benchmarks/proof.py [--shared DIR] [--exact-units N] [NAME ...]

Times are without start-up: `classify` is what finding the verdicts took, `prove` the writer,
`check` the checker in float64 on one
thread, `exact` the same in rational arithmetic, for models of at most N ReLU units. Exit code 1 if
a proof does not hold.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from leo_cli.onnx_io import save  # noqa: E402
from leo_cli.pipeline import CompressOptions, compress, load  # noqa: E402
from leo_cli.proof.checker import Fails, check_records, read_records  # noqa: E402
from leo_cli.proof.graph import read_net  # noqa: E402
from leo_cli.proof.verdicts import box_of_domain  # noqa: E402
from leo_cli.stability.budget import Budget  # noqa: E402
from leo_cli.verify import VerifyOptions  # noqa: E402

GROUPS = ("models/mnist_l1/*.onnx", "models/sklearn/*.onnx", "models/torch/seq*.onnx")
NAMED = (
    ("models/vnncomp/acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "properties/acasxu_prop_3.vnnlib"),
    ("models/vnncomp/acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "properties/acasxu_prop_5.vnnlib"),
    ("models/vnncomp/mnistfc/mnist-net_256x2.onnx", "properties/mnistfc_prop_0_0.03.vnnlib"),
)


def instances(shared: Path) -> Iterator[tuple[Path, Path]]:
    models = [path for group in GROUPS for path in sorted(shared.glob(group))]
    models += sorted((ROOT / "sample_models").glob("*.onnx"))
    for path in models:
        yield path, path.with_suffix(".bounds.json")
    for model, bounds in NAMED:
        if (shared / model).exists():
            yield shared / model, shared / bounds


def row(model: Path, bounds: Path, exact_units: int, target: Path) -> str:
    """One line of the table. Raises Fails."""
    problem = load(model, bounds)
    options = CompressOptions(proof=True, verify=VerifyOptions(samples=100))
    made = compress(problem, options, Budget().at_most(120.0))
    seconds = problem.watch.seconds()
    if made.proof is None:
        raise Fails("no proof was written")
    save(made.output.content, target)
    old = read_net(model)
    new = read_net(target, old)
    buffer = io.BytesIO()
    made.proof.write(buffer, new.sha256)
    box = box_of_domain(problem.domain)
    times = []
    units = problem.model.network.units
    for exact in (False, True)[: 1 + (units <= exact_units)]:
        buffer.seek(0)
        start = time.perf_counter()
        check_records(old, new, read_records(buffer), box, exact)
        times.append(time.perf_counter() - start)
    shown = [f"{seconds['classify']:9.2f}", f"{seconds['prove']:7.2f}", f"{times[0]:7.2f}"]
    shown.append(f"{times[1]:7.2f}" if len(times) > 1 else f"{'-':>7s}")
    name = f"{model.stem}{'' if bounds.suffix == '.json' else ' ' + bounds.stem}"
    after = made.output.model.network.units
    deviation = float(made.proof.deviation.max(initial=0.0))
    size = len(buffer.getvalue())
    return f"{name:52s} {units:5d} {after:5d} {size:9d} {' '.join(shown)} {deviation:9.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only models whose names contain one of these")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--exact-units", type=int, default=60)
    given = parser.parse_args()
    print(f"{'model':52s} {'units':>5s} {'after':>5s} {'bytes':>9s} {'classify':>9s} {'prove':>7s} "
          f"{'check':>7s} {'exact':>7s} {'deviation':>9s}")  # fmt: skip
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for model, bounds in instances(given.shared):
            name = f"{model.name} {bounds.name}"
            if given.names and not any(part in name for part in given.names):
                continue
            try:
                line = row(model, bounds, given.exact_units, Path(directory) / model.name)
            except Fails as failure:
                failed += 1
                line = f"{name}: {failure}"
            print(line, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

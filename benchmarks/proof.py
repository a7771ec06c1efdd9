"""Proofs of the shared models: size, time to find, to prove and to check, as a table.

    python benchmarks/proof.py [--shared DIR] [--exact-units N] [--repeat N] [NAME ...]

Times are without start-up: `classify` and `prove` (the writer) are seconds of wall time on one run;
`check` is CPU time of the checker in float64 on one thread, the best of --repeat; `exact` the same
in rational arithmetic, once, for models of at most N ReLU units. Exit code 1 if a proof does not
hold.
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
from leo_cli.proof.checker import Fails, check_records  # noqa: E402
from leo_cli.proof.graph import read_net  # noqa: E402
from leo_cli.proof.stream import read_records  # noqa: E402
from leo_cli.proof.translate import box_of_domain  # noqa: E402
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


HEAD = ("model", "units", "after", "bytes", "records", "classify", "prove", "check", "exact",
        "classify / check", "deviation")  # fmt: skip


def row(model: Path, bounds: Path, exact_units: int, target: Path, repeat: int) -> list[str]:
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
    units = problem.model.network.units
    times = []
    for exact in (False, True)[: 1 + (units <= exact_units)]:
        tries = []
        for _ in range(1 if exact else repeat):
            start = time.process_time()
            check_records(old, new, read_records(buffer), box, exact)
            tries.append(time.process_time() - start)
        times.append(min(tries))
    name = f"{model.stem}{'' if bounds.suffix == '.json' else ' ' + bounds.stem}"
    after = made.output.model.network.units
    deviation = float(made.proof.deviation.max(initial=0.0))
    ratio = seconds["classify"] / max(times[0], 1e-6)
    shown = [name, str(units), str(after), f"{len(buffer.getvalue()):,}", str(made.proof.records)]
    shown += [f"{seconds['classify']:.2f}", f"{seconds['prove']:.2f}", f"{times[0]:.3f}"]
    shown += [f"{times[1]:.2f}" if len(times) > 1 else "", f"{ratio:.1f}", f"{deviation:.1e}"]
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only models whose names contain one of these")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--exact-units", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for model, bounds in instances(given.shared):
            name = f"{model.name} {bounds.name}"
            if given.names and not any(part in name for part in given.names):
                continue
            target = Path(directory) / model.name
            try:
                cells = row(model, bounds, given.exact_units, target, given.repeat)
            except Fails as failure:
                failed += 1
                cells = [f"{name}: {failure}"]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

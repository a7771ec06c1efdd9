"""LEO's Table 1, reproduced and beaten: train MNIST classifiers, compress, compare with the paper.

    python benchmarks/table1.py FOLDER_OF_MNIST --out results/

Trains the paper's nine kinds of networks (two hidden layers of 25, 50 or 100 units, three
strengths of L1 each) as the paper does, and the same widths with the regularisers of `leo train`;
compresses each as `leo compress` does, by default and at a tolerance of 1e-4r; counts what LEO's
rules alone remove. Every network is a line of OUT/table1.csv, written when it is done: a killed
run goes on where it stopped. OUT/table1.md holds mean and spread over the seeds beside the
paper's figures, OUT/table1.png the plot.

Paper: T. Serra, A. Kumar, S. Ramalingam, "Lossless Compression of Deep Neural Networks", CPAIOR
2020, arXiv 2001.00218, Table 1 (31 networks a row). With --isa also the wider and deeper networks
of T. Serra, X. Yu, A. Kumar, S. Ramalingam, "Scaling Up Exact Neural Network Compression by ReLU
Stability", NeurIPS 2021, arXiv 2102.07804. Needs the extra leo-cli[bench], and MNIST's four IDX
files in a folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

import click
import numpy as np
from table1_results import (
    PAPER,
    RELATIVE,
    Result,
    append_result,
    draw,
    read_results,
    render_markdown,
)

from leo_cli.candidate import make_candidate
from leo_cli.errors import VerificationFailed
from leo_cli.network import Network
from leo_cli.pipeline import CompressOptions, compress, load
from leo_cli.rewrite import RewriteOptions
from leo_cli.rewrite.tolerance import parse_tolerance
from leo_cli.stability.budget import Budget
from leo_cli.stability.verdict import StabilityMap, State
from leo_cli.train import TrainOptions, bounds_text, model_bytes, read_data, score, train
from leo_cli.train.dataset import Dataset


@dataclass(frozen=True)
class Recipe:
    """One kind of network: `method` is a curve of the plot, `options` all but the seed."""

    method: str
    options: TrainOptions


# The paper gives neither rate nor schedule; these reach its accuracies. The whole training set is
# trained on, as there; the test set is only measured.
SUBGRADIENT: dict[str, Any] = {"regularizer": "subgradient", "rate": 0.02, "val_split": 0.0}
PROXIMAL: dict[str, Any] = {"regularizer": "proximal", "rate": 0.1, "val_split": 0.0}

# (l1, group_inputs) for each width: what to try on the way from "as accurate as without" to "as
# accurate as the paper's strongest row"
PROXIMAL_STRENGTHS = {
    25: ((2e-4, 0.0), (1e-3, 0.0), (2e-3, 0.0)),
    50: ((2e-4, 0.0), (5e-4, 0.0), (1.5e-3, 0.0)),
    100: ((1e-4, 0.0), (2e-4, 0.0), (5e-4, 0.0), (7e-4, 0.0)),
}
GROUP_STRENGTHS = {
    25: ((3e-4, 1e-3), (1e-3, 2e-3), (1.5e-3, 2e-3)),
    50: ((2e-4, 1e-3), (7e-4, 3e-3)),
    100: ((1e-4, 1e-3), (2e-4, 1e-3), (4e-4, 2e-3), (5e-4, 3e-3)),
}
ISA_NETS = ((200, 200), (400, 400), (800, 800), (100,) * 3, (100,) * 4, (100,) * 5)
ISA_L1 = 1e-4
LIMIT = 120.0  # seconds to compress one network


def recipes(epochs: int, isa: bool) -> list[Recipe]:
    """Every kind of network that the benchmark trains."""
    found = [
        Recipe(
            "subgradient",
            TrainOptions(hidden=(row.width,) * 2, l1=row.l1, epochs=epochs, **SUBGRADIENT),
        )
        for row in PAPER
    ]
    for method, table in (("proximal", PROXIMAL_STRENGTHS), ("proximal + inputs", GROUP_STRENGTHS)):
        found += [
            Recipe(
                method,
                TrainOptions(
                    hidden=(width,) * 2, l1=l1, group_inputs=inputs, epochs=epochs, **PROXIMAL
                ),
            )
            for width, strengths in table.items()
            for l1, inputs in strengths
        ]
    found += [
        Recipe("proximal", TrainOptions(hidden=(width,) * 2, l1=0.0, epochs=epochs, **PROXIMAL))
        for width in PROXIMAL_STRENGTHS
    ]
    if isa:
        found += [
            Recipe(
                "ISA's nets", TrainOptions(hidden=hidden, l1=ISA_L1, epochs=epochs, **SUBGRADIENT)
            )
            for hidden in ISA_NETS
        ]
    return found


def leo_rules_connections(network: Network, stability: StabilityMap) -> int:
    """Connections that remain after the rules of LEO's Algorithm 1 alone, for a dense chain.

    Stably inactive units go; of the stably active ones as many stay as their rows have rank; a
    layer of only stably active units is folded into the next where it pays.
    """
    widths = [network.inputs]
    foldable = [False]
    for layer, stable in zip(network.layers, stability.layers, strict=True):
        if not layer.relu:
            widths.append(layer.width)
            foldable.append(False)
            continue
        (term,) = layer.terms
        rows = term.map.rows(stable.active) if len(stable.active) else np.zeros((0, 1))
        kept = layer.width - len(stable.inactive) - len(stable.active)
        widths.append(kept + int(np.linalg.matrix_rank(rows) if rows.size else 0))
        foldable.append(kept == 0)
    if 0 in widths:
        return 0  # a layer without units left: the network is a constant
    for k in range(len(widths) - 2, 0, -1):
        before, here, after = widths[k - 1 : k + 2]
        if foldable[k] and before * after <= before * here + here * after:
            del widths[k], foldable[k]
    return sum(a * b for a, b in pairwise(widths))


def measure(recipe: Recipe, seed: int, training: Dataset, test: Dataset, folder: Path) -> Result:
    """Train one network, compress it twice, and count."""
    options = replace(recipe.options, seed=seed)
    start = perf_counter()
    trained = train(training, None, options, training.bounds())
    train_seconds = perf_counter() - start
    model_path, bounds_path = folder / "model.onnx", folder / "model.bounds.json"
    model_path.write_bytes(model_bytes(trained.model, training, options))
    bounds_path.write_text(bounds_text(training, training.bounds(), 0.0))
    by_default = compress(
        load(model_path, bounds_path), CompressOptions(), Budget(monotonic() + LIMIT)
    )
    tolerant = make_candidate(
        by_default.analysis, RewriteOptions(tolerance=parse_tolerance(RELATIVE))
    )
    if not by_default.verification.passed:
        raise VerificationFailed(f"{recipe}, seed {seed}: {by_default.verification.failure}")
    network = by_default.analysis.problem.model.network
    stability = by_default.analysis.stability
    small = by_default.candidate.model.network
    relu = [stability.layers[k] for k in network.relu_layers]

    def counts(state: State) -> str:
        return " ".join(str(len(layer.units(state))) for layer in relu)

    return Result(
        method=recipe.method,
        hidden="x".join(map(str, options.hidden)),
        l1=options.l1,
        group_inputs=options.group_inputs,
        seed=seed,
        accuracy=score(trained.model, test),
        train_seconds=round(train_seconds, 1),
        inactive=counts(State.INACTIVE),
        active=counts(State.ACTIVE),
        unstable=counts(State.UNSTABLE),
        undecided=counts(State.UNDECIDED),
        classify_seconds=round(by_default.analysis.problem.watch.seconds()["classify"], 3),
        leo_rules=1 - leo_rules_connections(network, stability) / network.connections,
        units_left=" ".join(str(layer.width) for layer in small.layers if layer.relu),
        inputs_left=int(small.used_inputs().sum()),
        removed=by_default.connections_removed,
        removed_relative=1 - tolerant.model.network.connections / network.connections,
        bit_identical=by_default.verification.bit_identical,
        max_abs_diff=by_default.verification.max_abs_diff,
    )


@click.command()
@click.argument("mnist", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--seeds", default=3, show_default=True, help="Networks a row (the paper: 31).")
@click.option("--epochs", default=40, show_default=True)
@click.option("--isa", is_flag=True, help="Also ISA's wider and deeper networks.")
@click.option("--only", multiple=True, help="Only this method (may be repeated).")
@click.option("--draw-only", is_flag=True, help="Train nothing; table and plot from the CSV.")
def main(
    mnist: Path,
    out: Path,
    seeds: int,
    epochs: int,
    isa: bool,
    only: tuple[str, ...],
    draw_only: bool,
) -> None:
    """Train and compress the networks of LEO's Table 1 on the MNIST files in the folder MNIST."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "table1.csv"
    results = read_results(path)
    done = {(r.key, r.seed) for r in results}
    if not draw_only:
        training, test = read_data(mnist)
        if test is None:
            raise click.UsageError(
                f"{mnist}: no t10k files of test images beside the training images"
            )
        for seed in range(seeds):
            for recipe in recipes(epochs, isa):
                options = recipe.options
                hidden = "x".join(map(str, options.hidden))
                key = (recipe.method, hidden, options.l1, options.group_inputs)
                if (key, seed) in done or (only and recipe.method not in only):
                    continue
                with TemporaryDirectory() as folder:
                    result = measure(recipe, seed, training, test, Path(folder))
                append_result(path, result)
                results.append(result)
                click.echo(
                    f"{key} seed {seed}: accuracy {result.accuracy:.4f}, "
                    f"LEO's rules {result.leo_rules:.3f}, all rewrites {result.removed:.3f}, "
                    f"{RELATIVE} {result.removed_relative:.3f}",
                    err=True,
                )
    if not results:
        raise click.UsageError(f"{path}: nothing measured yet")
    (out / "table1.md").write_text(render_markdown(results))
    draw(results, out / "table1.png")


if __name__ == "__main__":
    main()

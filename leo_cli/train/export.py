"""What a training run leaves: the ONNX model, the bounds of its inputs, and a report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from decimal import Decimal
from typing import Any

import numpy as np

from leo_cli import __version__
from leo_cli.onnx_io.build import build_mlp_bytes
from leo_cli.train.dataset import Dataset, Floats32
from leo_cli.train.loop import Epoch
from leo_cli.train.options import TrainOptions
from leo_cli.train.perceptron import Perceptron, size_estimate, stable_share
from leo_cli.train.run import Run
from leo_cli.train.scores import score
from leo_cli.train.search import Candidate, Found

INPUT_NAME = "x"


def model_bytes(model: Perceptron, training: Dataset, options: TrainOptions) -> bytes:
    """The ONNX file; the same arguments give the same bytes.

    A classifier's output is `logits`, one for each class in the order of the metadata's
    `classes`; a regressor's is `y`.
    """
    metadata = {
        "leo.train.data_sha256": training.sha256,
        "leo.train.options": json.dumps(dataclasses.asdict(options), sort_keys=True),
    }
    if training.is_classification:
        metadata["classes"] = json.dumps(training.classes)
    return build_mlp_bytes(
        model.weights,
        model.biases,
        offset=model.offset,
        scale=model.scale,
        input_name=INPUT_NAME,
        output_name="logits" if training.is_classification else "y",
        metadata=metadata,
    )


def bounds_text(training: Dataset, box: tuple[Floats32, Floats32], margin: float) -> str:
    """The bounds file of the model's input: `box`, with where it comes from, as JSON.

    Numbers stand there in full, not in the fewest digits that tell floats apart: a reader rounds
    what is not a float32 outward, and a constant feature would cease to be one.
    """
    method = "minmax" if training.range is None else "the format's range of a byte, divided by 255"
    provenance: dict[str, Any] = {
        "from": training.source,
        "sha256": training.sha256,
        "method": method,
    }
    if training.range is None:
        provenance["margin"] = margin
    entry: dict[str, Any] = {}
    if training.features != tuple(f"x{i}" for i in range(len(training.features))):
        entry["names"] = list(training.features)
    entry |= {"lower": _LOWER, "upper": _UPPER}
    text = json.dumps({"leo_bounds": 1, "inputs": {INPUT_NAME: entry}, "provenance": provenance})
    for mark, values in ((_LOWER, box[0]), (_UPPER, box[1])):
        text = text.replace(json.dumps(mark), _exact(values), 1)
    return text + "\n"


_LOWER, _UPPER = "\0lower", "\0upper"  # no name of a feature holds a NUL


def _exact(values: Floats32) -> str:
    """JSON of all values, exact; one number where all are equal."""
    numbers = [str(Decimal(float(value))) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"


def report_json(run: Run, output: str, content: bytes, bounds: str | None) -> dict[str, Any]:
    """The training report. output, bounds: paths of what was written. content: of the model."""
    model = run.trained.model
    size = size_estimate(model, *run.box)
    parts = {"training": run.training, "held_out": run.held_out, "test": run.test}
    report: dict[str, Any] = {
        "leo_train_report": 1,
        "leo_version": __version__,
        "command": "train",
        "data": {
            "path": run.data.source,
            "sha256": run.data.sha256,
            "features": int(run.data.x.shape[1]),
            "classes": list(run.data.classes),
            "samples": {name: part.samples for name, part in parts.items() if part is not None},
        },
        "options": dataclasses.asdict(run.options),
        "measure": "accuracy" if run.data.is_classification else "r2",
        "score": {name: score(model, part) for name, part in parts.items() if part is not None},
        "network": {
            "hidden": list(run.options.hidden),
            "connections": model.connections,
            "nonzero": model.nonzero,
            "stable": stable_share(model, *run.box),
        },
        "estimate": {
            "units": list(size.units),
            "inputs_used": size.inputs,
            "connections": size.connections,
        },
        "stopped_early": run.trained.stopped_early,
        "history": [_epoch_json(epoch) for epoch in run.trained.history],
    }
    if run.found is not None:
        report["search"] = [_candidate_json(c, run.found) for c in run.found.candidates]
    report["output"] = {
        "path": output,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "bounds": bounds,
    }
    report["seconds"] = round(run.seconds, 3)
    return report


def _epoch_json(epoch: Epoch) -> dict[str, float]:
    return {
        name: float(np.format_float_positional(value, 6, fractional=False))
        if name != "epoch"
        else value
        for name, value in dataclasses.asdict(epoch).items()
    }


def _candidate_json(candidate: Candidate, found: Found) -> dict[str, Any]:
    return {
        "factor": candidate.factor,
        "l1": candidate.options.l1,
        "score": candidate.score,
        "units": list(candidate.size.units),
        "inputs_used": candidate.size.inputs,
        "connections": candidate.size.connections,
        "on_front": any(candidate is other for other in found.front),
        "chosen": candidate is found.chosen,
    }

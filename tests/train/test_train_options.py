"""Options are checked when they are made, before anything is read."""

import subprocess
import sys
from typing import Any

import pytest

from leo_cli.errors import InputError
from leo_cli.train.options import TrainOptions


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("hidden", (10, 0), "--hidden"),
        ("l1", -1e-4, "--l1"),
        ("l1", float("nan"), "--l1"),
        ("l1", float("inf"), "--l1"),
        ("group_inputs", -1.0, "--group-inputs"),
        ("rate", 0.0, "--lr"),
        ("momentum", 1.0, "--momentum"),
        ("finetune", 1.0, "--finetune"),
        ("val_split", 1.0, "--val-split"),
        ("epochs", 0, "--epochs"),
        ("batch_size", 0, "--batch-size"),
        ("regularizer", "l0", "--regularizer l0: unknown, choose from proximal, subgradient"),
        ("normalize", "z", "--normalize"),
        ("schedule", "step", "--schedule"),
        ("patience", 0, "--patience"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainOptions(**{name: value})


def test_patience_needs_held_out_samples() -> None:
    with pytest.raises(InputError, match="--val-split"):
        TrainOptions(patience=3, val_split=0.0)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        (TrainOptions(epochs=40, finetune=0.25), 10),
        (TrainOptions(epochs=40, finetune=0.25, regularizer="subgradient"), 0),
        (TrainOptions(epochs=40, finetune=0.25, l1=0.0), 0),
        (TrainOptions(epochs=1, finetune=0.9), 0),
    ],
)
def test_finetuning_needs_exact_zeros_and_leaves_an_epoch(
    options: TrainOptions, epochs: int
) -> None:
    assert options.finetune_epochs == epochs


def test_importing_the_package_does_not_import_torch_or_onnxruntime() -> None:
    code = (
        "import sys, leo_cli.train; "
        "assert not {'torch', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_torch_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from leo_cli.train.pytorch import import_torch

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'leo-cli\[train\]'"):
        import_torch()

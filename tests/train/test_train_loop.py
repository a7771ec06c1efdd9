"""Training: what each penalty promises of the weights, and that a run repeats exactly."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from leo_cli.errors import InputError
from leo_cli.train import Dataset, TrainOptions, make_dataset, score, search, split, train
from leo_cli.train.loop import Epoch
from leo_cli.train.perceptron import Perceptron, interval_bounds, size_estimate, stable_share
from leo_cli.train.scores import normalization
from leo_cli.train.search import choose, front

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")

SMALL = TrainOptions(hidden=(12, 8), epochs=30, batch_size=16, rate=0.1, l1=1e-3, val_split=0.25)


def blobs(samples: int = 240, features: int = 6) -> Dataset:
    """Three classes that differ in the first three features; the rest is noise."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, samples)
    x = rng.normal(size=(samples, features)) * 0.4
    x[np.arange(samples), y] += 2
    return make_dataset(x, y, source="blobs", sha256="0")


def ramp(samples: int = 300) -> Dataset:
    """Two targets of very different size, both functions of the first two features."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, size=(samples, 4))
    y = np.stack([1000 + 300 * np.abs(x[:, 0]), 0.01 * x[:, 1]], axis=1)
    return make_dataset(x, y, source="ramp", sha256="0")


def trained(data: Dataset, options: TrainOptions) -> Perceptron:
    training, held_out = split(data, options.val_split, options.seed)
    return train(training, held_out, options, data.bounds()).model


def test_the_same_seed_gives_the_same_model_and_another_seed_does_not() -> None:
    data = blobs()
    first, again = (trained(data, SMALL) for _ in range(2))
    other = trained(data, replace(SMALL, seed=1))
    for a, b in zip(first.weights + first.biases, again.weights + again.biases, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.weights[0], other.weights[0])


def test_settings_of_torch_are_given_back() -> None:
    import torch  # takes seconds: not while tests are collected

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    trained(blobs(), replace(SMALL, epochs=1, threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_a_classifier_learns() -> None:
    data = blobs()
    assert score(trained(data, replace(SMALL)), data) > 0.95


@pytest.mark.parametrize("normalize", ["none", "standard", "minmax"])
def test_a_regressor_learns_targets_of_any_size(normalize: str) -> None:
    data = ramp()
    options = replace(SMALL, epochs=80, rate=0.03, l1=1e-5, normalize=normalize)
    assert score(trained(data, options), data) > 0.95


def test_proximal_training_makes_exact_zeros_and_subgradient_does_not() -> None:
    data = blobs()
    proximal = trained(data, replace(SMALL, l1=1e-2))
    subgradient = trained(data, replace(SMALL, l1=1e-2, regularizer="subgradient"))
    assert proximal.nonzero < 0.6 * proximal.connections
    assert subgradient.nonzero > 0.95 * subgradient.connections
    magnitude = [sum(float(np.abs(w).sum()) for w in m.weights) for m in (proximal, subgradient)]
    assert magnitude[0] == pytest.approx(magnitude[1], rel=0.5)  # the same strength, the same size


def test_stronger_l1_leaves_fewer_weights() -> None:
    data = blobs()
    counts = [trained(data, replace(SMALL, l1=l1)).nonzero for l1 in (0.0, 1e-3, 1e-2, 1.0)]
    assert counts[0] == 12 * 6 + 8 * 12 + 3 * 8
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_group_penalties_remove_whole_inputs_and_units() -> None:
    data = blobs(features=20)
    plain = trained(data, replace(SMALL, l1=0.0))
    inputs = trained(data, replace(SMALL, l1=0.0, group_inputs=2e-2))
    units = trained(data, replace(SMALL, l1=0.0, group_units=5e-2))

    def used(model: Perceptron) -> tuple[int, int]:
        first = model.weights[0] != 0
        return int(first.any(axis=0).sum()), int(first.any(axis=1).sum())

    assert used(plain) == (20, 12)
    assert used(inputs)[0] < 12
    assert used(units)[1] < 10
    kept = np.flatnonzero((inputs.weights[0] != 0).any(axis=0))
    assert set(kept) >= {0, 1, 2}  # the features that matter
    for model in (inputs, units):
        assert score(model, data) > 0.9


def test_the_stability_penalty_makes_units_stable() -> None:
    data = blobs()
    box = data.bounds()
    options = replace(SMALL, l1=0.0)
    shares = [stable_share(trained(data, replace(options, stability=s)), *box) for s in (0.0, 1.0)]
    assert shares[1] > shares[0] + 0.2


def test_finetuning_keeps_the_zeros_and_lowers_the_loss() -> None:
    data = blobs()
    options = replace(SMALL, l1=5e-3, epochs=12, finetune=0.5)
    training, held_out = split(data, options.val_split, options.seed)
    history = train(training, held_out, options, data.bounds()).history
    main, finetuned = history[:6], history[6:]
    assert all(epoch.nonzero <= main[-1].nonzero for epoch in finetuned)
    assert finetuned[-1].loss < main[-1].loss


def test_patience_stops_early_and_keeps_the_best_weights() -> None:
    data = blobs(60)
    options = replace(SMALL, l1=0.0, epochs=400, patience=3, val_split=0.4, schedule="constant")
    training, held_out = split(data, options.val_split, options.seed)
    assert held_out is not None
    run = train(training, held_out, options, data.bounds())
    assert run.stopped_early
    assert len(run.history) < 400
    best = min(epoch.held_out_loss for epoch in run.history)
    logits = run.model.evaluate(held_out.x).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_softmax[np.arange(held_out.samples), held_out.y].mean()
    assert loss == pytest.approx(best, rel=1e-4, abs=1e-7)


def test_every_epoch_is_observed() -> None:
    seen: list[Epoch] = []
    data = blobs()
    run = train(data, None, SMALL, data.bounds(), seen.append)
    assert tuple(seen) == run.history
    assert [epoch.epoch for epoch in seen] == list(range(1, SMALL.epochs + 1))
    assert seen[-1].score == pytest.approx(score(run.model, data))


def test_divergence_is_an_error_with_a_way_out() -> None:
    data = ramp()
    with pytest.raises(InputError, match=r"diverged.*--lr"):
        trained(data, replace(SMALL, rate=1e6, schedule="constant"))


def test_normalization_scales_and_leaves_constant_features_finite() -> None:
    x = np.array([[1, 5, 0], [3, 5, 10], [5, 5, 20]], dtype=np.float32)
    for kind, spread in (("standard", x.std(axis=0)), ("minmax", np.ptp(x, axis=0))):
        offset, scale = normalization(x, kind)
        scaled = (x - offset) * scale
        assert (scaled[:, 1] == 0).all()
        varying = [0, 2]
        want = np.ptp(x, axis=0)[varying] / spread[varying]
        np.testing.assert_allclose(np.ptp(scaled, axis=0)[varying], want, rtol=1e-6)


def test_interval_bounds_hold_the_samples() -> None:
    data = blobs()
    model = trained(data, replace(SMALL, normalize="standard"))
    bounds = interval_bounds(model, *data.bounds())
    h = model.normalized(data.x)
    for (low, high), weight, bias in zip(bounds, model.weights, model.biases, strict=False):
        z = h @ weight.T + bias
        assert (z >= low - 1e-4).all() and (z <= high + 1e-4).all()
        h = np.maximum(z, 0)


def test_the_size_estimate_counts_what_matters() -> None:
    model = Perceptron(
        weights=(
            np.array([[1, 0, 0], [0, 0, 0], [1, -1, 0], [0, 0, 1]], dtype=np.float32),
            np.array([[1, 1, 0, 0], [0, 2, 1, 0]], dtype=np.float32),
            np.array([[1, 0]], dtype=np.float32),
        ),
        biases=(
            np.array([0, 1, 0, 0], dtype=np.float32),
            np.zeros(2, dtype=np.float32),
            np.zeros(1, dtype=np.float32),
        ),
    )
    ends = np.full(3, -1, dtype=np.float32), np.full(3, 1, dtype=np.float32)
    size = size_estimate(model, *ends)
    assert size.units == (1, 1)  # unit 1 is constant, 2 and 3 reach nothing that is read
    assert size.inputs == 1
    assert size.connections == 1 + 1 + 1


def test_search_keeps_the_smallest_good_model() -> None:
    data = blobs()
    training, held_out = split(data, 0.4, 0)
    found = search(
        training, held_out, replace(SMALL, l1=1e-2), data.bounds(), 0.05, (0.5, 1.0, 500.0)
    )
    assert [c.factor for c in found.candidates] == [0.0, 0.5, 1.0, 500.0]
    reference = found.candidates[0]
    assert reference.options.l1 == 0
    assert found.chosen.score >= reference.score - 0.05
    assert found.chosen.size.connections < reference.size.connections
    assert found.candidates[-1].score < reference.score - 0.05  # too strong, and not chosen
    assert found.chosen is choose(list(found.candidates), 0.05)
    sizes = [c.size.connections for c in found.front]
    scores = [c.score for c in found.front]
    assert sizes == sorted(set(sizes))
    assert scores == sorted(set(scores))
    assert found.front == front(list(found.candidates))


@pytest.mark.parametrize(
    ("options", "held", "loss", "factors", "words"),
    [
        (SMALL, False, 0.01, (1.0,), "--val-split"),
        (replace(SMALL, l1=0.0), True, 0.01, (1.0,), "--l1"),
        (SMALL, True, 0.01, (0.0, 1.0), "--factors"),
        (SMALL, True, -0.01, (1.0,), "--max-accuracy-loss"),
    ],
)
def test_a_search_without_sense_is_refused(
    options: TrainOptions, held: bool, loss: float, factors: tuple[float, ...], words: str
) -> None:
    data = blobs()
    with pytest.raises(InputError, match=words):
        search(data, data if held else None, options, data.bounds(), loss, factors)

"""No evaluation in the type, whatever its order of summation, may leave the rounding bound."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from support import SCALE, examples
from support.strategies import networks_with_domain
from verify_cases import ORDERS, edited, forwards, mlp, native, parameters

from leo_cli.domain import Domain, read_domain
from leo_cli.errors import InputError
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.onnx_io import read_model
from leo_cli.verify import exact_outputs, rounding_bound
from leo_cli.verify.evaluation import concatenated_outputs
from leo_cli.verify.ranges import value_ranges
from leo_cli.verify.runtime import open_session
from leo_cli.verify.subject import subject_of

TYPES = ("float16", "float32", "float64")


def random_network(rng: np.random.Generator, dtype: str) -> tuple[Network, Domain]:
    """One to three hidden layers, weights of very different sizes, zeros and cancelling pairs."""
    widths = rng.integers(1, 8, size=rng.integers(2, 5)).tolist()
    inputs = int(rng.integers(1, 12))
    spread = {"float16": 2.0, "float32": 6.0, "float64": 30.0}[dtype]
    layers, before = [], inputs
    for k, width in enumerate(widths):
        scale = 10.0 ** rng.uniform(-spread, spread / 2, size=(width, before))
        if rng.random() < 0.5:
            scale = 10.0 ** rng.uniform(-1, 0.3)
        weights = rng.choice([-1, 1], size=(width, before)) * scale * rng.random((width, before))
        weights *= rng.random((width, before)) < rng.choice([0.3, 0.9, 1.0])
        if before > 1 and rng.random() < 0.3:
            weights[:, 1] = -weights[:, 0]
        bias = rng.normal(size=width) * rng.choice([0.0, 1.0, 10.0 ** (spread / 2)])
        matrix = stored(weights, dtype)
        relu = k + 1 < len(widths) and rng.random() < 0.9
        layers.append(Layer(f"l{k}", (Term(k, Dense(matrix)),), stored(bias, dtype), bool(relu)))
        before = width
    outputs = (len(widths),) if rng.random() < 0.8 else (1, len(widths))
    centre = rng.normal(size=inputs) * 10.0 ** rng.uniform(-1, 1)
    radius = rng.choice([0.0, 0.01, 1.0]) * rng.random(inputs)
    box = np.sort(stored(np.stack([centre - radius, centre + radius]), dtype), axis=0)
    return Network(inputs, tuple(layers), outputs, dtype), Domain(box[0], box[1], dtype)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    return values.astype(dtype).astype(np.float64)


def check(network: Network, domain: Domain, dtype: str, rng: np.random.Generator) -> float:
    """Every order stays within the bound at samples and corners; returns the largest share."""
    points = np.concatenate([domain.sample(3, rng), domain.corners(3, rng)])
    bound = rounding_bound(network, domain, dtype)
    real = exact_outputs(network, points).fractions()
    share = 0.0
    for order in ORDERS:
        values = native(network, points, dtype, order, rng).astype(np.float64)
        for index, value in np.ndenumerate(values):
            most = bound[index[1]]
            if np.isinf(most):
                continue
            assert np.isfinite(value), f"{order.__name__} overflows within a finite bound"
            error = abs(Fraction(float(value)) - real[index])
            assert error <= Fraction(float(most)), f"{order.__name__}: {float(error)} > {most}"
            share = max(share, float(error / Fraction(float(most))) if most else 0.0)
    return share


@pytest.mark.parametrize("dtype", TYPES)
def test_random_networks_stay_within_the_bound(dtype: str) -> None:
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(round(200 * SCALE)):
        network, domain = random_network(rng, dtype)
        shares.append(check(network, domain, dtype, rng))
    # the bound is worth something: random networks of a few units come within a factor of ten
    assert max(shares) > 0.1


@examples(80)
@given(networks_with_domain(), st.integers(0, 2**32 - 1))
def test_nasty_networks_stay_within_the_bound(case: tuple[Network, Domain], seed: int) -> None:
    network, domain = case
    domain = replace(domain, constraints=())  # sampling a constrained domain is tested with domains
    dtype = max(network.dtype, domain.dtype)
    check(network, domain, dtype, np.random.default_rng(seed))


def test_float64_evaluation_of_numpy_stays_within_the_bound() -> None:
    rng = np.random.default_rng(3)
    for _ in range(round(150 * SCALE)):
        network, domain = random_network(rng, "float32")
        points = domain.sample(4, rng)
        bound = rounding_bound(network, domain, "float64")
        real = exact_outputs(network, points).fractions()
        for index, value in np.ndenumerate(concatenated_outputs(network, points)):
            assert abs(Fraction(float(value)) - real[index]) <= Fraction(float(bound[index[1]]))


def test_a_bound_on_a_part_of_the_domain_is_not_larger_and_proved_bounds_sharpen() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        network, domain = random_network(rng, "float32")
        point = domain.sample(1, rng)[0]
        whole = rounding_bound(network, domain, "float32")
        here = rounding_bound(network, Domain(point, point), "float32")
        assert np.all(here <= whole * (1 + 1e-9) + 1e-300)
        z = network.pre_activations(np.concatenate([domain.sample(50, rng), point[None]]))
        lower = [values.min(axis=0) for values in z]
        upper = [values.max(axis=0) for values in z]
        assert np.all(
            rounding_bound(network, domain, "float32", lower, upper) <= whole * (1 + 1e-9)
        )


def test_ranges_hold_all_values_and_are_sharper_than_intervals() -> None:
    rng = np.random.default_rng(6)
    sharper = 0
    for _ in range(40):
        network, domain = random_network(rng, "float32")
        found = value_ranges(network, domain)
        crude = value_ranges(network, domain, linear=False)
        z = network.pre_activations(
            np.concatenate([domain.sample(30, rng), domain.corners(30, rng)])
        )
        for k, values in enumerate(z):
            slack = 1e-9 * np.abs(values).max()
            assert np.all(found.lower[k] <= values.min(axis=0) + slack)
            assert np.all(found.upper[k] >= values.max(axis=0) - slack)
            assert np.all(found.lower[k] >= crude.lower[k])
            assert np.all(found.upper[k] <= crude.upper[k])
            sharper += int(np.any(found.lower[k] > crude.lower[k] + slack))
            sharper += int(np.any(found.upper[k] < crude.upper[k] - slack))
    assert sharper > 20


def test_inexact_coefficients_are_included() -> None:
    layer = Layer(
        "y",
        (Term(0, Dense(np.array([[2.0]]))),),
        np.array([3.0]),
        False,
        bias_error=np.array([0.25]),
    )
    network = Network(1, (layer,), (1,), "float64")
    domain = Domain(np.array([0.0]), np.array([1.0]), "float64")
    plain = rounding_bound(
        replace(network, layers=(replace(layer, bias_error=None),)), domain, "float64"
    )
    assert plain[0] < 1e-14
    assert 0.25 <= rounding_bound(network, domain, "float64")[0] < 0.25 + 1e-12
    rough = replace(network, layers=(replace(layer, bias_error=None, weight_error=0.125),))
    assert rounding_bound(rough, domain, "float64")[0] >= 0.125 * 2


def test_inputs_of_a_wider_type_are_rounded_first() -> None:
    layer = Layer("y", (Term(0, Dense(np.array([[1.0]]))),), np.array([0.0]), False)
    network = Network(1, (layer,), (1,), "float16")
    wide = Domain(np.array([0.0]), np.array([1000.0]), "float32")
    narrow = Domain(np.array([0.0]), np.array([1000.0]), "float16")
    assert (
        rounding_bound(network, wide, "float16")[0] > rounding_bound(network, narrow, "float16")[0]
    )
    x = np.float32(999.9)
    error = abs(float(np.float16(x)) - float(x))
    assert error <= rounding_bound(network, wide, "float16")[0]
    integer = np.array([True])
    whole = Domain(np.array([0.0]), np.array([1000.0]), "float64", integer)
    assert (
        rounding_bound(network, whole, "float16")[0]
        <= rounding_bound(network, narrow, "float16")[0]
    )
    large = Domain(np.array([0.0]), np.array([5000.0]), "float64", integer)
    assert rounding_bound(network, large, "float16")[0] >= 2.0


def test_what_can_overflow_has_an_infinite_bound_and_nothing_else() -> None:
    """Behind a unit that overflows, even a weight of 0 makes NaN."""
    weights = np.array([[60000.0], [1.0]])
    first = Layer("h", (Term(0, Dense(weights)),), np.zeros(2), True)
    last = Layer("y", (Term(1, Dense(np.eye(2))),), np.zeros(2), False)
    beside = Layer("w", (Term(0, Dense(np.array([[1.0]]))),), np.zeros(1), False)
    network = Network(1, (first, last, beside), (2, 3), "float16")
    domain = Domain(np.array([0.0]), np.array([2.0]), "float16")
    bound = rounding_bound(network, domain, "float16")
    assert np.isinf(bound[:2]).all()
    assert bound[2] < 0.1
    value = native(network, np.array([[2.0]]), "float16", forwards, np.random.default_rng(0))
    assert np.isinf(value[0, 0])
    assert np.isnan(value[0, 1])


def test_an_error_does_not_pass_a_unit_that_is_never_positive() -> None:
    first = Layer("h", (Term(0, Dense(np.array([[1e6], [1.0]]))),), np.array([-2e6, 0.0]), True)
    last = Layer("y", (Term(1, Dense(np.array([[1.0, 1.0]]))),), np.zeros(1), False)
    network = Network(1, (first, last), (2,), "float32")
    domain = Domain(np.array([0.0]), np.array([1.0]), "float32")
    assert rounding_bound(network, domain, "float32")[0] < 1e-5


def test_a_type_without_a_known_format_is_refused() -> None:
    layer = Layer("y", (Term(0, Dense(np.eye(1))),), np.zeros(1), False)
    with pytest.raises(InputError, match="bfloat16"):
        rounding_bound(Network(1, (layer,), (1,)), Domain(np.zeros(1), np.ones(1)), "bfloat16")


def normalised(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A BatchNormalization before each Relu, with means and shifts that almost cancel."""
    numbers = 0
    for node in list(proto.graph.node):
        if node.op_type != "Relu":
            continue
        width = 12
        scale, mean = rng.normal(size=width), 1e5 * rng.normal(size=width)
        variance = 10.0 ** rng.uniform(-6, 3, size=width)
        shift = rng.normal(size=width) + scale * mean / np.sqrt(variance + 1e-5)
        values = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
        names = [f"{key}{numbers}" for key in values]
        proto.graph.initializer.extend(
            numpy_helper.from_array(value.astype("float32"), name)
            for name, value in zip(names, values.values(), strict=True)
        )
        made = helper.make_node("BatchNormalization", [node.input[0], *names], [f"n{numbers}"])
        proto.graph.node.insert(list(proto.graph.node).index(node), made)
        node.input[0] = f"n{numbers}"
        numbers += 1


@pytest.mark.parametrize("level", ["disabled", "all"])
def test_onnxruntime_stays_within_the_bound_behind_normalisations(level: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(10):
        plain = mlp(parameters([6, 12, 12, 3], rng))
        model = edited(plain, lambda proto: normalised(proto, rng))
        domain = Domain(np.full(6, -1.0), np.full(6, 1.0))
        points = domain.sample(200, rng)
        session = open_session(model.source, model.inputs, ["y"], model.name, level)
        apart = np.abs(session.run(points)["y"] - concatenated_outputs(model.network, points))
        allowed = rounding_bound(model.network, domain, "float32")
        allowed = allowed + rounding_bound(model.network, domain, "float64")
        assert np.all(apart <= allowed)
        assert apart.max() > allowed.max() / 1e4
        row = int(apart.max(axis=1).argmax())
        here = Domain(points[row], points[row])
        assert np.all(apart[row] <= 1.001 * rounding_bound(model.network, here, "float32"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["25x25_l1_0.001", "50x50_l1_0.001", "100x100_l1_0.0005"])
def test_onnxruntime_stays_within_the_bound_and_not_absurdly_far(shared: Path, name: str) -> None:
    path = shared / "models" / "mnist_l1" / f"mnist_{name}.onnx"
    model = read_model(path)
    domain = read_domain(path.with_suffix(".bounds.json"), model.inputs, model.sha256)
    rng = np.random.default_rng(0)
    points = np.concatenate([domain.sample(300, rng), domain.corners(300, rng)])
    subject = subject_of(model)
    session = open_session(subject.content, model.inputs, subject.observed, model.name)
    values = np.concatenate(list(session.run(points).values()), axis=1)
    observed = np.abs(values - concatenated_outputs(model.network, points)).max(axis=0)
    bound = rounding_bound(model.network, domain, "float32")
    assert np.all(observed <= bound)
    assert np.median(bound / observed) < 3000

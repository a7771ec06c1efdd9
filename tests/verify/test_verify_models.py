"""Equal models pass, whatever they look like; altered ones are caught, however little altered."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from verify_cases import TAILS, Parameters, edited, mlp, parameters

from leo_cli.domain import Domain
from leo_cli.errors import AnswerNo, InputError
from leo_cli.onnx_io import Model
from leo_cli.verify import SearchOptions, VerifyOptions, verify_models
from leo_cli.verify.compare import verify_subjects
from leo_cli.verify.subject import subject_of

FEW = VerifyOptions(samples=400)


def box(inputs: int, dtype: str = "float32", lower: float = -1.0, upper: float = 1.0) -> Domain:
    return Domain(np.full(inputs, lower), np.full(inputs, upper), dtype)


def copied(layers: Parameters) -> Parameters:
    return [(weights.copy(), bias.copy()) for weights, bias in layers]


def with_dead_unit(layers: Parameters) -> Parameters:
    """The same function on [-1, 1]^n, with one more hidden unit that is never positive there."""
    (first, bias), (second, last), *rest = copied(layers)
    dead = np.ones((1, first.shape[1]), dtype=first.dtype)
    low = np.array([-first.shape[1] - 1], dtype=first.dtype)
    reader = np.full((len(second), 1), 5, dtype=first.dtype)
    return [
        (np.concatenate([first, dead]), np.concatenate([bias, low])),
        (np.concatenate([second, reader], axis=1), last),
        *rest,
    ]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_a_dead_unit_less_passes_behind_every_tail(tail: str, batch: int | str) -> None:
    rng = np.random.default_rng(1)
    layers = parameters([5, 12, 8, 1 if tail == "threshold" else 4], rng)
    found = verify_models(
        mlp(with_dead_unit(layers), tail, batch), mlp(layers, tail, batch), box(5), 0.0, None, FEW
    )
    assert found.passed, found.failure
    assert found.failure == ""
    assert found.samples >= 400
    assert found.max_abs_diff <= found.bound.max() < 1e-4
    discrete = tail in ("argmax", "strings", "threshold")
    assert found.labels.compared == (found.samples if discrete else 0)
    assert {output.name for output in found.outputs} >= {"y"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_permuted_and_rescaled_units_pass(dtype: str) -> None:
    rng = np.random.default_rng(2)
    layers = parameters([6, 20, 3], rng, dtype)
    order = rng.permutation(20)
    factor = 2.0 ** rng.integers(-2, 3, size=20)
    moved = [
        (
            (layers[0][0][order].T * factor).T.astype(dtype),
            (layers[0][1][order] * factor).astype(dtype),
        ),
        ((layers[1][0][:, order] / factor).astype(dtype), layers[1][1]),
    ]
    found = verify_models(mlp(layers), mlp(moved), box(6, dtype), 0.0, None, FEW)
    assert found.passed, found.failure
    assert found.bit_identical < 1 or found.max_abs_diff == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tail", TAILS)
def test_one_changed_weight_is_caught(seed: int, tail: str) -> None:
    rng = np.random.default_rng(seed)
    layers = parameters([5, 12, 8, 1 if tail == "threshold" else 4], rng)
    changed = copied(layers)
    layer = seed % 3
    unit = int(rng.integers(len(changed[layer][1])))
    weights = changed[layer][0]
    live = np.flatnonzero(np.abs(layers[layer + 1][0]).sum(axis=0)) if layer < 2 else [unit]
    weights[live[unit % len(live)]] *= np.float32(1 + 1e-5)
    found = verify_models(mlp(layers, tail), mlp(changed, tail), box(5), 0.0, None, FEW)
    assert not found.passed
    assert "differ" in found.failure


@pytest.mark.parametrize("examined", [0, 4])
def test_a_weight_that_moved_by_one_ulp_is_caught_in_float64(examined: int) -> None:
    layers = parameters([5, 12, 4], np.random.default_rng(3))
    changed = copied(layers)
    changed[1][0][2, 3] = np.nextafter(changed[1][0][2, 3], np.float32(9))
    options = replace(FEW, examined=examined)
    found = verify_models(mlp(layers), mlp(changed), box(5), 0.0, None, options)
    assert not found.passed
    assert "float64" in found.failure
    allowed = verify_models(mlp(layers), mlp(changed), box(5), 1e-5, None, FEW)
    assert allowed.passed, allowed.failure


def test_bounds_of_a_point_see_what_those_of_the_domain_hide() -> None:
    """Features of a million make rounding bounds in which a change at 0 disappears."""
    rng = np.random.default_rng(21)
    layers = parameters([5, 12, 1], rng)
    changed = copied(layers)
    changed[1][1][0] += np.float32(1e-7)
    wide = box(5, lower=0.0, upper=1e9)
    origin = np.zeros((1, 5))
    options = VerifyOptions(samples=1, search=SearchOptions(ascents=0))
    models = mlp(layers), mlp(changed)
    blind = verify_models(*models, wide, 0.0, origin, replace(options, examined=0))
    assert blind.passed
    found = verify_models(*models, wide, 0.0, origin, options)
    assert not found.passed
    assert "this point" in found.failure


def two_heads(proto: onnx.ModelProto, swapped: bool) -> None:
    """A second output beside the scores, whose node stands before or after theirs."""
    last = proto.graph.node[-1]
    second = helper.make_node("Gemm", [last.input[0], "W1", "b2"], ["w"], transB=1)
    shift = numpy_helper.from_array(np.full(3, 7, dtype="float32"), "b2")
    proto.graph.initializer.append(shift)
    proto.graph.node.insert(len(proto.graph.node) - swapped, second)
    shown = onnx.ValueInfoProto()
    shown.CopyFrom(proto.graph.output[0])
    shown.name = "w"
    proto.graph.output.append(shown)


def test_outputs_of_the_dense_part_are_matched_by_name() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(22))
    model = mlp(layers)
    first, second = (
        edited(model, lambda proto, swapped=swapped: two_heads(proto, swapped))
        for swapped in (False, True)
    )
    deviation = np.array([0.0, 0.0, 0.0, 1e-3, 1e-3, 1e-3])
    found = verify_models(first, second, box(5), 0.0, None, FEW)
    assert found.passed, found.failure
    moved = edited(second, shift_second_head)
    assert verify_models(first, moved, box(5), deviation, None, FEW).passed
    assert not verify_models(first, moved, box(5), deviation[::-1].copy(), None, FEW).passed


def test_the_order_of_the_outputs_does_not_matter() -> None:
    model = mlp(parameters([5, 12, 3], np.random.default_rng(22)))
    subject = subject_of(edited(model, lambda proto: two_heads(proto, swapped=False)))
    network = replace(subject.network, outputs=subject.network.outputs[::-1])
    other = replace(subject, network=network, observed=subject.observed[::-1])
    assert subject.observed == ("y", "w")
    found = verify_subjects(subject, other, box(5), 0.0, None, FEW)
    assert found.passed, found.failure


def shift_second_head(proto: onnx.ModelProto) -> None:
    (bias,) = (tensor for tensor in proto.graph.initializer if tensor.name == "b2")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, 7 + 2.0**-11, dtype="float32"), "b2"))


def test_models_of_unknown_kinship_are_compared_natively() -> None:
    layers = parameters([5, 12, 4], np.random.default_rng(3))
    changed = copied(layers)
    changed[1][0][2, 3] = np.nextafter(changed[1][0][2, 3], np.float32(9))
    unrelated = replace(FEW, deviation_known=False)
    found = verify_models(mlp(layers), mlp(changed), box(5), 0.0, None, unrelated)
    assert found.passed, found.failure
    assert "float64_diff" not in found.as_report()
    assert found.notes == ()
    changed[1][0][2, 3] += 0.1
    assert not verify_models(mlp(layers), mlp(changed), box(5), 0.0, None, unrelated).passed


def test_a_bound_beyond_the_outputs_is_said_to_be_so() -> None:
    rng = np.random.default_rng(4)
    (first, bias), (last, end) = parameters([5, 12, 1], rng)
    cancelling = np.concatenate([1e6 * last, -1e6 * last], axis=1)
    doubled = (np.concatenate([first, first]), np.concatenate([bias, bias]))
    model = mlp([doubled, (cancelling, 0 * end)])
    unrelated = replace(FEW, deviation_known=False)
    found = verify_models(model, model, box(5), 0.0, None, unrelated)
    assert found.passed
    (note,) = found.notes
    assert "--tolerance" in note


def column(proto: onnx.ModelProto) -> None:
    """x -> transposed, weights on the left, softmax over the features that lie along axis 0."""
    del proto.graph.node[:]
    proto.graph.node.extend(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["W0", "t"], ["z0"]),
            helper.make_node("Relu", ["z0"], ["h0"]),
            helper.make_node("MatMul", ["W1", "h0"], ["y"]),
            helper.make_node("Softmax", ["y"], ["q"], axis=0),
        ]
    )
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    size = dims[1].dim_value
    dims[0].dim_value, dims[1].dim_param = size, "n"
    for tensor in list(proto.graph.initializer):
        if tensor.name.startswith("b"):
            proto.graph.initializer.remove(tensor)


def test_samples_may_lie_along_the_last_axis() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(20))
    dead = copied(layers)
    dead[0][0][4] = 0.0
    less = [(np.delete(dead[0][0], 4, axis=0), dead[0][1][:11])]
    less.append((np.delete(dead[1][0], 4, axis=1), dead[1][1]))
    models = [edited(mlp(one, "softmax"), column) for one in (dead, less, layers)]
    found = verify_models(models[0], models[1], box(5), 0.0, None, FEW)
    assert found.passed, found.failure
    assert [output.kind for output in found.outputs] == ["dense", "continuous"]
    assert found.notes == ()
    assert not verify_models(models[0], models[2], box(5), 0.0, None, FEW).passed


@pytest.mark.parametrize("layer", [0, 1])
def test_a_removed_live_unit_is_caught(layer: int) -> None:
    layers = parameters([5, 12, 8, 3], np.random.default_rng(4))
    changed = copied(layers)
    changed[layer] = tuple(np.delete(part, 2, axis=0) for part in layers[layer])
    changed[layer + 1] = (np.delete(layers[layer + 1][0], 2, axis=1), layers[layer + 1][1])
    found = verify_models(mlp(layers, "softmax"), mlp(changed, "softmax"), box(5), 0.0, None, FEW)
    assert not found.passed
    assert found.worst is not None
    assert found.worst.difference > found.worst.allowed


def test_a_bias_shift_that_is_not_taken_back_is_caught() -> None:
    layers = parameters([5, 12, 8, 3], np.random.default_rng(5))
    layers[1][1][0] = 4  # active on the whole domain
    shifted = copied(layers)
    shifted[1][1][0] += 1e-4
    assert not verify_models(mlp(layers), mlp(shifted), box(5), 0.0, None, FEW).passed


def test_the_search_finds_what_samples_miss() -> None:
    """Two networks that differ only where 30 features are all near their upper ends."""
    inputs = 30
    first = (np.eye(inputs, dtype="float32")[:2], np.zeros(2, dtype="float32"))
    corner = (np.ones((1, inputs), dtype="float32"), np.array([-inputs + 1.5], dtype="float32"))
    wide = (np.concatenate([first[0], corner[0]]), np.concatenate([first[1], corner[1]]))
    last = np.array([[1.0, -1.0]], dtype="float32")
    bias = np.zeros(1, dtype="float32")
    small = mlp([first, (last, bias)])
    hidden = np.float32(0.5)
    large = mlp([wide, (np.concatenate([last, [[hidden]]], axis=1).astype("float32"), bias)])
    domain = box(inputs, lower=0.0)
    random = replace(FEW, samples=200)
    points = domain.sample(200, np.random.default_rng(0))
    assert np.all(points.sum(axis=1) < inputs - 1.5)
    found = verify_models(large, small, domain, 0.0, points, random)
    assert not found.passed
    assert found.searched > 0


def test_given_points_outside_the_domain_and_nan_are_left_out() -> None:
    layers = parameters([3, 6, 2], np.random.default_rng(6))
    points = np.array([[0.5, 0.5, 0.5], [2.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    model = mlp(layers)
    found = verify_models(model, model, box(3), 0.0, points, FEW)
    assert found.passed
    assert any("2 given points" in note for note in found.notes)
    with pytest.raises(InputError, match="3 features"):
        verify_models(model, model, box(3), 0.0, np.zeros((4, 2)), FEW)


def swap_labels(proto: onnx.ModelProto) -> None:
    (encoder,) = (node for node in proto.graph.node if node.op_type == "LabelEncoder")
    (values,) = (a for a in encoder.attribute if a.name == "values_strings")
    values.strings[0], values.strings[1] = values.strings[1], values.strings[0]


def test_swapped_labels_are_no_near_ties() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(7))
    model = mlp(layers, "strings")
    found = verify_models(model, edited(model, swap_labels), box(5), 0.0, None, FEW)
    assert not found.passed
    assert "near-tie" in found.failure
    assert "class 0" in found.failure
    assert found.labels.flipped > found.labels.near_ties == 0


def test_a_label_that_flips_within_the_allowed_difference_is_a_shown_near_tie() -> None:
    """Both scores are equal everywhere, up to an allowed deviation of one."""
    rng = np.random.default_rng(8)
    (weights, bias), *_ = parameters([5, 12, 1], rng)
    last = np.repeat(rng.normal(size=(1, 12)).astype("float32"), 2, axis=0)
    even = [(weights, bias), (last, np.array([1e-3, 0.0], dtype="float32"))]
    odd = [(weights, bias), (last, np.array([0.0, 1e-3], dtype="float32"))]
    found = verify_models(mlp(even, "argmax"), mlp(odd, "argmax"), box(5), 2e-3, None, FEW)
    assert found.passed, found.failure
    assert found.labels.flipped == found.labels.near_ties > 0
    tie = found.labels.shown[0]
    assert tie.labels == ("0", "1")
    assert tie.gap <= tie.allowed < 1e-2
    strict = verify_models(mlp(even, "argmax"), mlp(odd, "argmax"), box(5), 0.0, None, FEW)
    assert not strict.passed
    assert strict.labels.flipped > strict.labels.near_ties == 0


def test_a_flag_that_flips_at_its_threshold_is_a_near_tie() -> None:
    weights = np.eye(2, dtype="float32")
    zero = np.zeros(1, dtype="float32")
    hidden = (weights, np.zeros(2, dtype="float32"))
    last = np.array([[0.0, 0.0]], dtype="float32")
    at = mlp([hidden, (last, zero)], "threshold")
    above = mlp([hidden, (last, zero + np.float32(1e-6))], "threshold")
    found = verify_models(at, above, box(2), 2e-6, None, FEW)
    assert found.passed, found.failure
    assert found.labels.near_ties == found.labels.flipped == found.samples
    assert not verify_models(at, above, box(2), 0.0, None, FEW).passed


def log_instead_of_softmax(proto: onnx.ModelProto) -> None:
    (node,) = (node for node in proto.graph.node if node.op_type == "Softmax")
    node.op_type = "Log"
    del node.attribute[:]


def test_another_tail_is_caught_and_nan_is_never_equal() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(9))
    model = mlp(layers, "softmax")
    other = edited(model, log_instead_of_softmax)
    found = verify_models(model, other, box(5), 0.0, None, FEW)
    assert not found.passed
    assert "'q'" in found.failure
    (tail,) = (output for output in found.outputs if output.name == "q")
    assert np.isinf(tail.max_abs_diff)
    assert found.bit_identical < 1
    tolerant = verify_models(model, other, box(5), 0.0, None, replace(FEW, tolerance=1e9))
    assert not tolerant.passed
    same = verify_models(other, edited(other, lambda proto: None), box(5), 0.0, None, FEW)
    assert same.passed, same.failure
    assert same.bit_identical == 1


def test_a_tolerance_replaces_the_bounds_for_any_two_models() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(10))
    near = copied(layers)
    near[1][1][1] += 1e-4
    model, other = mlp(layers, "softmax"), mlp(near, "softmax")
    strict = replace(FEW, tolerance=1e-7)
    assert verify_models(model, other, box(5), 0.0, None, replace(FEW, tolerance=1e-3)).passed
    failed = verify_models(model, other, box(5), 0.0, None, strict)
    assert not failed.passed
    assert "tolerance" in failed.failure


def rename_scores(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["scores" if name == "y" else name for name in names]


def test_dense_parts_that_end_elsewhere_need_a_tolerance() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(11))
    model = mlp(layers, "softmax")
    other = edited(model, rename_scores)
    with pytest.raises(InputError, match="--tolerance"):
        verify_models(model, other, box(5), 0.0, None, FEW)
    found = verify_models(model, other, box(5), 0.0, None, replace(FEW, tolerance=0.0))
    assert found.passed, found.failure


def test_labels_of_such_models_are_compared_by_the_scores_that_are_outputs() -> None:
    layers = parameters([5, 12, 3], np.random.default_rng(12))
    model = mlp(layers, "strings")
    other = edited(model, rename_scores)
    assert verify_models(model, other, box(5), 0.0, None, replace(FEW, tolerance=1e-6)).passed
    swapped = edited(other, swap_labels)
    found = verify_models(model, swapped, box(5), 0.0, None, replace(FEW, tolerance=1e-6))
    assert not found.passed
    assert "near-tie" in found.failure


def rename_output(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].name = "result"
    proto.graph.node[-1].output[0] = "result"


def fix_the_batch(proto: onnx.ModelProto) -> None:
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (fix_the_batch, r"input 'x' has shape \[n, 3\] against \[3, 3\]"),
        (rename_output, "outputs are named y against result"),
    ],
)
def test_interfaces_that_differ_are_named(change, words: str) -> None:
    model = mlp(parameters([3, 6, 2], np.random.default_rng(13)))
    with pytest.raises(AnswerNo, match=words):
        verify_models(model, edited(model, change), box(3), 0.0, None, FEW)


def test_other_types_are_named() -> None:
    rng = np.random.default_rng(14)
    single, double = (mlp(parameters([3, 6, 2], rng, t)) for t in ("float32", "float64"))
    with pytest.raises(AnswerNo, match="type float32 against float64"):
        verify_models(single, double, box(3), 0.0, None, FEW)


def add_flag(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0, "float32"), "nothing"))
    proto.graph.node.append(helper.make_node("Greater", ["x", "nothing"], ["in_domain"]))
    proto.graph.output.append(
        helper.make_tensor_value_info("in_domain", onnx.TensorProto.BOOL, ["n", 3])
    )


def test_additional_outputs_must_be_announced() -> None:
    model = mlp(parameters([3, 6, 2], np.random.default_rng(15)))
    guarded = edited(model, add_flag)
    with pytest.raises(AnswerNo, match="in_domain"):
        verify_models(model, guarded, box(3), 0.0, None, FEW)
    announced = replace(FEW, extra_outputs=("in_domain",))
    found = verify_models(model, guarded, box(3), 0.0, None, announced)
    assert found.passed, found.failure


def test_the_same_seed_gives_the_same_verification() -> None:
    layers = parameters([5, 12, 8, 3], np.random.default_rng(16))
    pair: list[Model] = [mlp(with_dead_unit(layers)), mlp(layers)]
    first, second = (verify_models(*pair, box(5), 0.0, None, FEW) for _ in range(2))
    assert first.as_report() == second.as_report()

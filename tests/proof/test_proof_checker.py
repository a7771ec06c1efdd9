"""Proofs written by hand, false ones among them, and files that are no proofs."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from proof.proof_cases import (
    Case,
    box_domain,
    chain_file,
    packed,
    proved,
    random_chain,
    unpacked,
    with_arrays,
)

from leo_cli.cli.main import run
from leo_cli.errors import InputError
from leo_cli.proof.bounding import Arithmetic, Box
from leo_cli.proof.checker import VERSION, Checker, Fails, Record, check_records
from leo_cli.proof.graph import Unreadable, read_net
from leo_cli.proof.prove import save
from leo_cli.proof.stream import read_records
from leo_cli.proof.translate import box_of_domain
from leo_cli.rewrite import RewriteOptions, parse_tolerance

UNIT_BOX = Box(np.array([-1.0, -1.0]), np.array([1.0, 1.0]), np.zeros(2, bool))
IDENTITY = np.eye(2)

# h1 = relu(x + 2, y - 2, x + y): active, inactive, unstable. h2 = relu(h1_0 - h1_2 - 4, x-ish + 1)
ORIGINAL = [
    (np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([2.0, -2.0, 0.0])),
    (np.array([[1.0, 5.0, -1.0], [0.0, 7.0, 1.0]]), np.array([0.0, 0.5])),
]
# without the inactive unit
SMALLER = [
    (np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 0.0])),
    (np.array([[1.0, -1.0], [0.0, 1.0]]), np.array([0.0, 0.5])),
]


def begin(old: bytes, new: bytes, box: Box = UNIT_BOX) -> Record:
    arrays = {"lower": box.lower, "upper": box.upper, "integer": box.integer.astype(np.uint8)}
    hashes = {"in": read_net(old).sha256, "out": read_net(new).sha256}
    return Record("begin", {"version": VERSION, **hashes, "groups": 0}, arrays)


def verdicts(widths: dict[int, int], *claims: tuple[int, int, int]) -> Record:
    """Of (node, unit, state), for nodes of these widths."""
    arrays = {f"states{k}": np.full(width, 3) for k, width in widths.items()}
    for k, unit, state in claims:
        arrays[f"states{k}"][unit] = state
    return Record("verdicts", {}, {"points": np.zeros((0, 2)), **arrays})


def match(node: int, of: int, units: list[int], partners: list[int]) -> Record:
    pairs = np.array(list(itertools.zip_longest(units, partners, fillvalue=0))).reshape(-1, 2)
    return Record(
        "match", {"node": node, "of": of}, {"pairs": pairs, "factors": np.ones(len(partners))}
    )


def by_hand(new: bytes, deviation: float = 0.0, inactive: tuple[int, ...] = (1,)) -> list[Record]:
    """Node 3 is the ReLU of the smaller model, node 4 its output."""
    old = chain_file(ORIGINAL)
    return [
        begin(old, new),
        verdicts({1: 3}, (1, 0, 1), *((1, unit, 0) for unit in inactive)),
        match(3, 1, [0, 1], [0, 2]),
        match(4, 2, [0, 1], [0, 1]),
        Record("outputs", {}, {"deviation": np.full(2, deviation)}),
    ]


def holds(records: list[Record], new: bytes, exact: bool = False, box: Box | None = None) -> bool:
    try:
        old = read_net(chain_file(ORIGINAL))
        check_records(old, read_net(new, old), iter(records), box, exact)
    except Fails:
        return False
    return True


@pytest.mark.parametrize("exact", [False, True])
def test_a_proof_by_hand_holds(exact: bool) -> None:
    new = chain_file(SMALLER)
    assert holds(by_hand(new), new, exact)


def test_a_network_that_is_constant_can_be_checked_again_and_again() -> None:
    weights = [(np.array([[1.0, 1.0]]), np.array([-3.0])), (np.array([[2.0]]), np.array([0.25]))]
    case = proved(chain_file(weights), box_domain(2))
    assert [node.terms for node in case.new.nodes[len(case.old.nodes) :]] == [{}]
    for exact in (False, True, False, True):
        assert not case.check(exact=exact).deviation.any()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("unit", [0, 2])
def test_an_unstable_or_active_unit_claimed_inactive_is_refused(unit: int, exact: bool) -> None:
    new = chain_file(SMALLER)
    assert not holds(by_hand(new, inactive=(1, unit)), new, exact)


def test_a_model_that_lacks_an_unstable_unit_is_refused() -> None:
    wrong = chain_file([(IDENTITY[:1], np.array([2.0])), (np.array([[1.0], [0.0]]), SMALLER[1][1])])
    records = by_hand(wrong, deviation=0.5)
    records[2] = match(3, 1, [0], [0])
    assert not holds(records, wrong)
    # what is lacking is relu(x + y), at most 2
    records[4] = Record("outputs", {}, {"deviation": np.full(2, 2.001)})
    assert holds(records, wrong)


@pytest.mark.parametrize("ulps", [1, -1])
def test_a_weight_that_is_an_ulp_off_breaks_a_claim_of_equality(ulps: int) -> None:
    rows = SMALLER[0][0].astype(np.float32)
    rows[0, 0] = np.nextafter(rows[0, 0], np.float32(ulps * np.inf))
    new = chain_file([(rows, SMALLER[0][1]), SMALLER[1]])
    assert not holds(by_hand(new), new)
    assert holds(by_hand(new, deviation=1.01 * 2.0**-23), new)


def test_a_unit_without_a_match_must_be_active() -> None:
    new = chain_file(SMALLER)
    records = by_hand(new, deviation=1e-12)
    records[2] = match(3, 1, [1], [2])  # the first unit is active
    assert holds(records, new)
    records[2] = match(3, 1, [0], [0])  # the other is not
    assert not holds(records, new)


def test_a_unit_is_matched_once_and_with_its_own_kind() -> None:
    new = chain_file(SMALLER)
    for wrong in (
        match(3, 1, [0, 0], [0, 2]),
        match(3, 2, [0, 1], [0, 1]),  # an output has no ReLU
        match(3, 3, [0, 1], [0, 1]),  # not a node of the larger model
        match(3, 0, [0, 1], [0, 1]),
        match(9, 1, [0, 1], [0, 2]),
        match(3, 1, [0, 1], [0, 3]),
        match(3, 1, [0, -1], [0, 2]),
        match(3, 1, [0, 1], [0]),
    ):
        records = by_hand(new, deviation=9.0)
        records[2] = wrong
        assert not holds(records, new)
    records = by_hand(new)
    records.insert(3, match(3, 1, [0], [1]))
    assert not holds(records, new)
    records = by_hand(new)
    records[2] = match(3, 1, [0, 1], [2, 2])  # two units may have one partner: it is not close
    assert not holds(records, new)


def test_the_domain_of_the_user_counts() -> None:
    new = chain_file(SMALLER)
    larger = Box(UNIT_BOX.lower, np.array([1.0, 2.5]), UNIT_BOX.integer)
    smaller = Box(UNIT_BOX.lower, np.array([1.0, 0.5]), UNIT_BOX.integer)
    assert holds(by_hand(new), new, box=smaller)
    assert not holds(by_hand(new), new, box=larger)
    records = by_hand(new)
    records[0] = begin(chain_file(ORIGINAL), new, larger)
    assert not holds(records, new, box=larger)  # there the unit is not inactive
    records[0] = begin(
        chain_file(ORIGINAL), new, Box(UNIT_BOX.upper, UNIT_BOX.lower, larger.integer)
    )
    assert not holds(records, new)  # an empty domain


def test_a_proof_about_other_files_is_refused() -> None:
    new, other = chain_file(SMALLER), chain_file([*SMALLER[:1], (SMALLER[1][0], np.ones(2))])
    assert not holds(by_hand(new), other)
    assert not holds(by_hand(other), other)


@pytest.mark.parametrize("at", range(1, 5))
def test_no_record_can_be_missing(at: int) -> None:
    new = chain_file(SMALLER)
    records = by_hand(new)
    del records[at]
    # the verdicts are claims of their own: without them there is only less claimed; and what has
    # no ReLU needs no partner
    assert holds(records, new) is (at in (1, 3))


def test_phases_need_multipliers_of_the_right_sign_and_a_whole_tree() -> None:
    # z = relu(x) - relu(x) - 0.01, for a checker that does not see that the two are the same
    weights = [
        (np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.0])),
        (np.array([[1.0, -1.0]]), np.array([-0.01])),
        (np.array([[1.0]]), np.array([0.0])),
    ]
    net = read_net(chain_file(weights))

    def bound(tree: list[tuple[int, int]], multipliers: list[list[float]]) -> float:
        checker = Checker(net, None, UNIT_BOX, Arithmetic())
        for part in one_by_one(tree_of_phases(tree, multipliers)):
            checker.apply(part)
        if checker.open:
            raise Fails("the tree is not complete")
        return float(checker.upper[2][0])

    # in the order in which open parts are taken: z <= 0 before z >= 0
    leaf = (-1, 0)
    both = [(1, 0), (1, 1), leaf, leaf, (1, 1), leaf, leaf]
    good = [[0.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    assert bound(both, good) <= 0
    assert bound([leaf], [[1.0, 1.0]]) > 0  # where there is no phase there is no multiplier
    assert bound(both, [[0.0, 0.0]] * 4) > 0  # without a multiplier the mixed phases are possible
    for tree, multipliers in (
        (both, [[0.0, 0.0], [0.0, -1.0], *good[2:]]),
        (both, [[0.0, 0.0], [0.0, np.nan], *good[2:]]),
        (both, good[:-1]),
        (both[:-1], good[:-1]),
        ([*both, leaf], [*good, good[0]]),
        ([(1, 0), leaf], [[1.0, 0.0]]),
        ([(2, 0), leaf, leaf], [[0.0, 0.0]] * 2),
        ([(3, 0), leaf, leaf], [[0.0, 0.0]] * 2),
        ([(1, 9), leaf, leaf], [[0.0, 0.0]] * 2),
    ):
        with pytest.raises(Fails):
            bound(tree, multipliers)


def tree_of_phases(tree: list[tuple[int, int]], multipliers: list[list[float]]) -> Record:
    """z <= 0 of unit 0 of node 2, in each leaf."""
    table = np.array([[node, unit] for node, unit in tree])
    leaves, count = np.flatnonzero(table[:, 0] < 0), len(multipliers)
    arrays = {
        "parts": np.pad(table, ((0, 0), (0, 1))), "cut": np.zeros(len(tree)),
        "rows": np.stack([leaves, 0 * leaves + 2, 0 * leaves, 0 * leaves + 1], axis=1),
        "multipliers1": np.array(multipliers).reshape(count, 2), "slopes1": np.zeros((count, 2)),
    }  # fmt: skip
    return Record("tree", {"node": 2, "hints": len(leaves)}, arrays)


def one_by_one(record: Record) -> list[Record]:
    """The same tree with a record for each part."""
    records, arrays = [], record.arrays
    if not len(arrays["parts"]):
        return [record]
    for i in range(len(arrays["parts"])):
        rows = arrays["rows"][:, 0] == i
        names = ("parts", "cut")
        mine = {name: arrays[name][i : i + 1] for name in names}
        for name in arrays.keys() - set(names):
            length = min(len(rows), len(arrays[name]))
            mine[name] = arrays[name][:length][rows[:length]]
        mine["rows"][:, 0] = 0
        values = {"hints": int(rows[: record.values["hints"]].sum())}
        records.append(Record("tree", values if i else {**record.values, **values}, mine))
    return records


def tree_of_boxes(axis: list[int], cut: list[float]) -> Record:
    count = len(axis)
    two, none = np.full(count, 2), np.zeros(count, int)
    node, unit = np.where(np.array(axis) < 0, -1, 0), np.maximum(np.array(axis, int), 0)
    arrays = {
        "parts": np.stack([node, unit, two], axis=1), "cut": np.array(cut),
        "rows": np.stack([np.arange(count), two, none, none + 1], axis=1),
    }  # fmt: skip
    return Record("tree", {"node": 4, "hints": 0}, arrays)


def test_boxes_must_cover_the_domain() -> None:
    # z = relu(x) - relu(x) - 0.01: too loose on the whole, exact on both sides of 0
    weights = [
        (np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.0])),
        (np.array([[1.0, -1.0]]), np.array([-0.01])),
        (np.array([[1.0]]), np.array([0.0])),
    ]
    net = read_net(chain_file(weights))
    low = np.array([-1.0, -1.0])
    box = Box(low, np.array([0.5, 1.0]), np.zeros(2, bool))

    def apply(record: Record, state: int = 0) -> None:
        checker = Checker(net, None, box, Arithmetic())
        for part in one_by_one(record):
            checker.apply(part)
        checker.apply(verdicts({1: 2, 2: 1}, (2, 0, state)))

    apply(tree_of_boxes([0, -1, -1], [0.0, 0.0, 0.0]))
    apply(tree_of_boxes([0, 1, -1, -1, -1], [0.0] * 5))
    for record in (
        tree_of_boxes([-1], [0.0]),
        tree_of_boxes([0, -1], [0.0, 0.0]),
        tree_of_boxes([0, -1, -1, -1], [0.0] * 4),
        tree_of_boxes([0, -1, -1], [0.4, 0.0, 0.0]),  # no longer too loose, but in one half
        tree_of_boxes([0, -1, -1], [2.0, 0.0, 0.0]),
        tree_of_boxes([0, -1, -1], [np.nan, 0.0, 0.0]),
        tree_of_boxes([5, -1, -1], [0.0, 0.0, 0.0]),
        tree_of_boxes([], []),
    ):
        with pytest.raises(Fails):
            apply(record)
    with pytest.raises(Fails):
        apply(tree_of_boxes([0, -1, -1], [0.0, 0.0, 0.0]), state=1)


def test_ties_are_proved_or_left_but_never_wrong() -> None:
    for shift, inactive in ((0.0, True), (2.0**-52, False), (-(2.0**-52), True)):
        weights = [(np.array([[1.0, 1.0]]), np.array([shift])), (np.array([[1.0]]), np.zeros(1))]
        net = read_net(chain_file(weights, "float64"))
        box = Box(np.array([-1.0, -1.0]), np.zeros(2), np.zeros(2, bool))
        for exact in (False, True):
            checker = Checker(net, None, box, Arithmetic(exact))
            record = verdicts({1: 1}, (1, 0, 0))
            if inactive:
                checker.apply(record)
            else:
                with pytest.raises(Fails):
                    checker.apply(record)


def test_weights_of_1e12_do_not_fool_the_float_checker() -> None:
    # Zombori et al.: 1 is lost beside 1e17 in float64, so that a solver sees z = 0 where z = 1
    weights = [
        (np.array([[1e17], [0.0]]), np.array([1.0, 0.0])),
        (np.array([[1.0, 0.0]]), np.array([-1e17])),
        (np.array([[1.0]]), np.zeros(1)),
    ]
    net = read_net(chain_file(weights, "float64"))
    box = Box(np.ones(1), np.ones(1), np.zeros(1, bool))
    for exact in (False, True):
        checker = Checker(net, None, box, Arithmetic(exact))
        with pytest.raises(Fails):
            checker.apply(verdicts({1: 2, 2: 1}, (2, 0, 0)))


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(1)
    return proved(chain_file(random_chain(rng, [4, 8, 8, 3])), box_domain(4))


def test_files_can_be_written_and_read_again(case: Case) -> None:
    again = unpacked(packed(case.records))
    assert [r.kind for r in again] == [r.kind for r in case.records]
    for ours, theirs in zip(case.records, again, strict=True):
        assert ours.values == theirs.values
        for name, values in ours.arrays.items():
            assert np.array_equal(values, theirs.arrays[name])


def test_damaged_files_are_unreadable(case: Case) -> None:
    content = packed(case.records)
    for size in range(0, len(content), 37):
        with pytest.raises(Unreadable):
            list(read_records(io.BytesIO(content[:size])))
    with pytest.raises(Unreadable):
        list(read_records(io.BytesIO(b"leo-proof 1\n" + bytes(100))))
    for head in (b"[" * 200_000, b"[]", b'{"kind": "begin", "arrays": [["a", "|O", [1]]]}\n', b""):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("begin", head)
        with pytest.raises(Unreadable):
            list(read_records(out))
    locked = bytearray(content)
    for at in range(len(locked) - 4):  # the flag of encryption, wherever a member is described
        if locked[at : at + 4] in (b"PK\x03\x04", b"PK\x01\x02"):
            locked[at + (6 if locked[at + 2] == 3 else 8)] |= 1
    with pytest.raises(Unreadable):
        list(read_records(io.BytesIO(bytes(locked))))
    begin, *rest = case.records
    other = replace(begin, values={**begin.values, "version": VERSION + 1})
    with pytest.raises(Fails):
        check_records(case.old, case.new, iter([other, *rest]))


def test_wrong_verdicts_are_always_refused(case: Case) -> None:
    (at,) = [i for i, record in enumerate(case.records) if record.kind == "verdicts"]
    record, checked = case.records[at], 0
    for name in (name for name in record.arrays if name.startswith("states")):
        for unit, known in enumerate(record.arrays[name].tolist()):
            for state in {0, 1, 2} - {known}:
                states = record.arrays[name].copy()
                states[unit] = state
                records = [*case.records]
                records[at] = with_arrays(record, **{name: states})
                with pytest.raises(Fails):
                    check_records(case.old, case.new, iter(records))
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("tolerance", ["0", "half-ulp", "1e-4r", "0.05"])
def test_proofs_of_all_tolerances_hold(tolerance: str) -> None:
    rng = np.random.default_rng(5)
    for widths in ([3, 8, 6, 2], [5, 10, 10, 8, 3]):
        content = chain_file(random_chain(rng, widths))
        made = proved(content, box_domain(widths[0]), RewriteOptions(parse_tolerance(tolerance)))
        checked = made.check(box_of_domain(made.domain))
        assert checked.deviation is not None and np.isfinite(checked.deviation).all()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    model, out, proof = tmp_path / "in.onnx", tmp_path / "out.onnx", tmp_path / "p.proof"
    model.write_bytes(chain_file(random_chain(rng, [4, 8, 8, 3])))
    bounds, wider = tmp_path / "b.json", tmp_path / "wider.json"
    bounds.write_text('{"lower": -1, "upper": 1}')
    wider.write_text('{"lower": -1.01, "upper": 1}')
    made = ["compress", str(model), str(out), "--bounds", str(bounds), "-q"]
    report = tmp_path / "report.json"
    asked = ["--proof", str(proof), "--check-n", "50", "--report", str(report)]
    assert run([*made, *asked]) == 0
    told = json.loads(report.read_text())["proof"]
    assert (told["path"], told["bytes"]) == (str(proof), proof.stat().st_size)
    assert told["inactive"] + told["active"] + told["unstable"] == 16 and told["seconds"] > 0
    with proof.open("rb") as stream:
        assert told["records"] == len(list(read_records(stream)))
    check = ["check", str(model), str(out), str(proof)]
    assert run([*check, "--bounds", str(bounds)]) == 0
    assert "every claim holds" in capsys.readouterr().out
    assert run([*check, "--exact", "-j", "1"]) == 0
    assert "taken from the proof" in capsys.readouterr().out
    assert run([*check, "--bounds", str(wider)]) == 1
    assert run(["check", str(out), str(model), str(proof)]) == 1
    assert run(["check", str(model), str(model), str(proof)]) == 1
    broken = tmp_path / "broken.proof"
    broken.write_bytes(proof.read_bytes()[:-20])
    assert run(["check", str(model), str(out), str(broken)]) == 2
    assert run(["check", str(model), str(out), str(bounds)]) == 2
    assert run(["check", str(tmp_path / "none.onnx"), str(out), str(proof)]) == 2
    alone = [sys.executable, "-m", "leo_cli.proof.checker", str(model), str(out), str(proof)]
    done = subprocess.run([*alone, "--bounds", str(bounds)], capture_output=True, text=True)
    assert (done.returncode, "every claim holds" in done.stdout) == (0, True), done.stderr
    assert subprocess.run([*alone, "--bounds", str(wider)], capture_output=True).returncode == 1
    for more in (["--guard", "clip"], ["--trust-solver"]):
        assert run([*made, "--proof", str(proof), *more]) == 2
    assert run([*made, "--proof", str(out)]) == 2


def test_a_proof_is_put_on_disk_whole_or_not_at_all(tmp_path: Path, case: Case) -> None:
    class Broken:
        def write(self, stream: object, sha256: str) -> None:
            raise InputError("no")

    with pytest.raises(InputError):
        save(Broken(), tmp_path / "p", "")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_witnesses_are_points_of_the_domain_with_both_signs() -> None:
    group = np.array([0, 1]), np.eye(2)
    box = Box(np.zeros(3), np.ones(3), np.array([True, True, False]), (group,))
    weights = [(np.array([[1.0, -1.0, 0.0]]), np.zeros(1)), (np.ones((1, 1)), np.zeros(1))]
    net = read_net(chain_file(weights))

    def holds_for(points: list[list[float]], domain: Box) -> bool:
        arrays = {
            "points": np.array(points), "states1": np.array([2]),
        }  # fmt: skip
        try:
            for exact in (False, True):
                checker = Checker(net, None, domain, Arithmetic(exact))
                checker.apply(Record("verdicts", {}, arrays))
        except Fails:
            return False
        return True

    assert holds_for([[0, 1, 0.5], [1, 0, 0.5]], box)
    assert holds_for([[1, 0, 0.5], [0, 1, 0.5], [1, 0, 0.0]], box)
    assert not holds_for([[1, 0, 0.5], [1, 0, 0.0]], box)  # one sign only
    assert not holds_for([[0, 1, 1.5], [1, 0, 0.5]], box)  # outside the box
    assert not holds_for([[0, 1, 0.5], [1, 1, 0.5]], box)  # two are hot
    assert not holds_for([[0, 0.5, 0.5], [1, 0, 0.5]], box)  # no integer
    assert not holds_for([[0, 1, 0.5], [0, 0, 0.5]], box)  # z = 0 is no sign, and none is hot


def test_inputs_and_outputs_keep_their_names() -> None:
    content = chain_file(SMALLER)
    for old, new in (("x", "v"), ("y", "v")):
        renamed = onnx.load_model_from_string(content)
        for node in renamed.graph.node:
            for names in (node.input, node.output):
                kept = [new if n == old else n for n in names]
                del names[:]
                names.extend(kept)
        for value in (*renamed.graph.input, *renamed.graph.output):
            value.name = new if value.name == old else value.name
        changed = renamed.SerializeToString()
        assert not holds(by_hand(changed), changed)


@pytest.mark.parametrize("exact", [False, True])
def test_units_of_one_node_that_cancel_leave_nothing(exact: bool) -> None:
    # h1 = relu(x + y) twice, h2 = h1_0 - h1_1, and nothing at all is as good
    doubled = [
        (np.ones((2, 2)), np.zeros(2)),
        (np.array([[1.0, -1.0]]), np.array([0.5])),
    ]
    nothing = [(np.ones((1, 2)), np.zeros(1)), (np.zeros((1, 1)), np.array([0.5]))]
    old = read_net(chain_file(doubled))
    net = read_net(chain_file(nothing), old)
    checker = Checker(old, net, UNIT_BOX, Arithmetic(exact))
    checker.apply(match(1, 1, [1], [0]))
    rounding = 0.0 if exact else 1e-14
    checker.apply(Record("outputs", {}, {"deviation": np.full(1, rounding)}))
    assert checker.deviation is not None


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_an_output_that_is_the_input_is_compared_as_such(factor: float) -> None:
    def file(kind: str, *constants: str) -> bytes:
        value = helper.make_tensor_value_info
        ends = [value(name, onnx.TensorProto.FLOAT, ["N", 2]) for name in ("x", "y")]
        node = helper.make_node(kind, ["x", *constants], ["y"])
        weights = [numpy_helper.from_array(np.full(2, factor, np.float32), "c")][: len(constants)]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:], weights)
        opsets = [helper.make_opsetid("", 17)]
        content: bytes = helper.make_model(graph, opset_imports=opsets).SerializeToString()
        return content

    files = file("Identity"), file("Mul", "c")
    for source, target in (files, files[::-1], (files[0], files[0]), (files[1], files[1])):
        old = read_net(source)
        checker = Checker(old, read_net(target, old), UNIT_BOX, Arithmetic())
        record = Record("outputs", {}, {"deviation": np.zeros(2)})
        if source == target:
            checker.apply(record)
        else:
            with pytest.raises(Fails):
                checker.apply(record)

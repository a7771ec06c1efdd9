"""Mutations of proofs and models, and what decides whether an accepted mutant claims something
true.

Hashes are made right after each mutation, so that the mathematics must catch it. A mutant that is
accepted claims: IN and OUT differ on the domain of the proof by at most the stated deviation, and
the listed units are stable. On small networks that is decided by exact enumeration; on others a
claim is refuted by a sample, if at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import numpy_helper
from proof.proof_cases import Case

from leo_cli.arrays import Floats
from leo_cli.proof.bounding import Box
from leo_cli.proof.checker import Fails, Record, check_records
from leo_cli.proof.graph import Net, Unreadable, read_net


@dataclass(frozen=True)
class Mutant:
    """kind: the name of the mutation. records and files: as changed."""

    kind: str
    records: tuple[Record, ...]
    old: Net
    new: Net


def accepted(mutant: Mutant, box: Box | None) -> bool:
    """Whether the checker accepts a mutant for the domain of the user."""
    try:
        check_records(mutant.old, mutant.new, iter(mutant.records), box)
    except (Fails, Unreadable):
        return False
    return True


def mutants(
    cases: Sequence[Case], rng: np.random.Generator, each: int
) -> Iterator[tuple[Case, Mutant]]:
    """`each` mutants of every kind, from cases to which that kind applies."""
    for mutation in MUTATIONS:
        made = 0
        for _ in range(50 * each):
            case = cases[int(rng.integers(len(cases)))]
            found = mutation(case, rng)
            if found is not None:
                kind = mutation.__name__.strip("_")
                yield case, Mutant(kind, found.records, found.old, found.new)
                made += 1
            if made == each:
                break


TREE = ("tree",)


def _pick(
    case: Case, rng: np.random.Generator, kind: str | tuple[str, ...], array: str
) -> int | None:
    """A record of one of these kinds with entries in this array."""
    kinds = (kind,) if isinstance(kind, str) else kind
    fits = [i for i, r in enumerate(case.records)
            if r.kind in kinds and array in r.arrays and r.arrays[array].size]  # fmt: skip
    return fits[int(rng.integers(len(fits)))] if fits else None


def _with(case: Case, at: int, **arrays: Floats) -> Case:
    records = list(case.records)
    records[at] = replace(records[at], arrays={**records[at].arrays, **arrays})
    return replace(case, records=tuple(records))


def _changed(
    case: Case,
    rng: np.random.Generator,
    kind: str | tuple[str, ...],
    array: str,
    change: Callable[[Floats, int], object],
) -> Case | None:
    """One entry of one array of one record, changed."""
    at = _pick(case, rng, kind, array)
    if at is None:
        return None
    values = np.array(case.records[at].arrays[array])
    where = int(rng.integers(values.size))
    flat = values.ravel()
    new = change(flat, where)
    if new == flat[where]:
        return None
    if values.dtype.kind in "iu" and not np.can_cast(np.min_scalar_type(new), values.dtype):
        values = values.astype(np.int64 if values.dtype.kind == "i" else np.float64)
        flat = values.ravel()
    flat[where] = new
    return _with(case, at, **{array: flat.reshape(values.shape)})


def _entry_changed(
    case: Case,
    rng: np.random.Generator,
    table: str,
    column: int,
    change: Callable[[int], int],
) -> Case | None:
    """One entry of a column of a table of a tree or a match, changed."""
    at = _pick(case, rng, ("tree", "match"), table)
    if at is None:
        return None
    changed = np.array(case.records[at].arrays[table])
    row = int(rng.integers(len(changed)))
    before = int(changed[row, column])
    changed[row, column] = change(before)
    return None if changed[row, column] == before else _with(case, at, **{table: changed})


def _verdicts(case: Case) -> int:
    (at,) = [i for i, r in enumerate(case.records) if r.kind == "verdicts"]
    return at


def _state_changed(case: Case, rng: np.random.Generator) -> Case | None:
    """Another state is claimed of a unit."""
    name = _table(case, rng, "states")
    return _changed(case, rng, "verdicts", name, lambda a, i: int(rng.integers(0, 5)))


def _wrong_verdict(case: Case, rng: np.random.Generator) -> Case | None:
    """A unit that is not known to be stable is claimed to be."""
    name = _table(case, rng, "states")
    at = _verdicts(case)
    states = case.records[at].arrays[name].copy()
    units = np.flatnonzero(states >= 2)
    if not len(units):
        return None
    states[rng.choice(units)] = rng.integers(2)
    return _with(case, at, **{name: states})


def _points_dropped(case: Case, rng: np.random.Generator) -> Case | None:
    at = _verdicts(case)
    points = case.records[at].arrays["points"]
    if len(points) < 2:
        return None
    return _with(case, at, points=np.delete(points, int(rng.integers(len(points))), axis=0))


def _point_moved(case: Case, rng: np.random.Generator) -> Case | None:
    return _changed(
        case, rng, "verdicts", "points", lambda a, i: float(-a[i] + rng.choice([0.0, 0.1, 3.0]))
    )


def _table(case: Case, rng: np.random.Generator, kind: str) -> str:
    """The name of some array of slopes or multipliers."""
    names = {name for r in case.records for name in r.arrays if name.startswith(kind)}
    return sorted(names)[int(rng.integers(len(names)))] if names else kind


def _slope_out_of_range(case: Case, rng: np.random.Generator) -> Case | None:
    name = _table(case, rng, "slopes")
    at = _pick(case, rng, TREE, name)
    if at is None:
        return None
    slopes = case.records[at].arrays[name]
    slopes = slopes / 255.0 if slopes.dtype == np.uint8 else np.array(slopes)
    where = int(rng.integers(slopes.size))
    slopes.ravel()[where] = rng.choice([-0.5, 1.5, np.nan, 1e9, -1e-9, np.inf])
    return _with(case, at, **{name: slopes})


def _slope_changed(case: Case, rng: np.random.Generator) -> Case | None:
    return _changed(
        case, rng, TREE, _table(case, rng, "slopes"),
        lambda a, i: (255 if a[i] < 128 else 0) if a.dtype == np.uint8 else 1.0 - a[i],
    )  # fmt: skip


def _slopes_for_another_node(case: Case, rng: np.random.Generator) -> Case | None:
    name = _table(case, rng, ("slopes", "multipliers")[int(rng.integers(2))])
    at = _pick(case, rng, TREE, name)
    if at is None:
        return None
    arrays = {**case.records[at].arrays}
    arrays[f"{name[:-1]}{int(rng.integers(0, 5))}"] = arrays.pop(name)
    records = list(case.records)
    records[at] = replace(records[at], arrays=arrays)
    return replace(case, records=tuple(records))


def _multiplier_changed(case: Case, rng: np.random.Generator) -> Case | None:
    factors = [-1.0, 0.0, 0.5, 2.0, 100.0, np.nan]
    return _changed(
        case, rng, TREE, _table(case, rng, "multipliers"),
        lambda a, i: float(a[i] * rng.choice(factors) + rng.choice([0.0, 0.0, 1.0, -1.0])),
    )  # fmt: skip


def _multipliers_dropped(case: Case, rng: np.random.Generator) -> Case | None:
    """A row of multipliers gone: there is not one for each row that has hints."""
    name = _table(case, rng, "multipliers")
    at = _pick(case, rng, TREE, name)
    return None if at is None else _with(case, at, **{name: case.records[at].arrays[name][:-1]})


def _row_dropped(case: Case, rng: np.random.Generator) -> Case | None:
    """A bound that is not asked for."""
    at = _pick(case, rng, TREE, "rows")
    if at is None:
        return None
    record = case.records[at]
    return _without_rows(case, at, [int(rng.integers(len(record.arrays["rows"])))])


def _row_moved(case: Case, rng: np.random.Generator) -> Case | None:
    """A bound that is asked for in another part, or of another node."""
    return _entry_changed(case, rng, "rows", int(rng.integers(2)), lambda a: rng.integers(-1, 7))


def _less_deep(case: Case, rng: np.random.Generator) -> Case | None:
    """Another number of nodes is bounded in a part."""
    return _entry_changed(case, rng, "parts", 2, lambda a: rng.integers(-1, 8))


def _without_rows(case: Case, at: int, rows: list[int]) -> Case:
    """A record of a tree without some of its rows, and their hints."""
    record = case.records[at]
    hints = int(record.values["hints"])
    changed = {"rows": np.delete(record.arrays["rows"], rows, axis=0)}
    given = [row for row in rows if row < hints]
    for name, array in record.arrays.items():
        if name.startswith(("slopes", "multipliers")):
            changed[name] = np.delete(array, given, axis=0)
    records = list(case.records)
    values = {**record.values, "hints": hints - len(given)}
    records[at] = replace(record, values=values, arrays={**record.arrays, **changed})
    return replace(case, records=tuple(records))


def _question_changed(case: Case, rng: np.random.Generator) -> Case | None:
    """Another unit, or the other direction, than what the tree was made for."""
    if rng.random() < 0.5:
        return _entry_changed(case, rng, "rows", 3, lambda a: int(not a))
    return _entry_changed(case, rng, "rows", 2, lambda a: rng.integers(-1, 12))


def _tree_changed(case: Case, rng: np.random.Generator) -> Case | None:
    """A tree for another node, or with hints for more or fewer rows."""
    at = _pick(case, rng, TREE, "parts")
    if at is None:
        return None
    values = {**case.records[at].values}
    values[sorted(values)[int(rng.integers(len(values)))]] = int(rng.integers(-1, 6))
    if values == case.records[at].values:
        return None
    records = list(case.records)
    records[at] = replace(records[at], values=values)
    return replace(case, records=tuple(records))


def _leaf_dropped(case: Case, rng: np.random.Generator) -> Case | None:
    """A leaf gone from the tree, its rows with it: part of the domain is not covered."""
    at = _pick(case, rng, TREE, "parts")
    if at is None:
        return None
    arrays = case.records[at].arrays
    leaves = np.flatnonzero(arrays["parts"][:, 0] < 0)
    if not len(leaves):
        return None
    leaf = int(rng.choice(leaves))
    fewer = _without_rows(case, at, np.flatnonzero(arrays["rows"][:, 0] == leaf).tolist())
    rows = np.array(fewer.records[at].arrays["rows"])
    rows[:, 0] -= rows[:, 0] > leaf
    changed = {name: np.delete(arrays[name], leaf, axis=0) for name in ("parts", "cut")}
    return _with(fewer, at, rows=rows, **changed)


def _leaf_added(case: Case, rng: np.random.Generator) -> Case | None:
    """A part that is cut becomes a leaf, or a leaf one that is cut."""
    return _entry_changed(case, rng, "parts", 0, lambda a: rng.integers(-1, 4))


def _split_changed(case: Case, rng: np.random.Generator) -> Case | None:
    """Another unit, or another input, is what a part is cut along."""
    return _entry_changed(case, rng, "parts", 1, lambda a: rng.integers(-1, 12))


def _cut_moved(case: Case, rng: np.random.Generator) -> Case | None:
    return _changed(
        case, rng, TREE, "cut", lambda a, i: float(a[i] + rng.choice([-3.0, -0.3, 0.3, 3.0]))
    )


def _match_changed(case: Case, rng: np.random.Generator) -> Case | None:
    what = int(rng.integers(4))
    if what < 2:
        return _entry_changed(case, rng, "pairs", what, lambda a: rng.integers(-1, 12))
    choices = [-1.0, 0.5, 2.0, np.nan, 1.0 + 2.0**-52] if what == 2 else [-1.0]
    return _changed(case, rng, "match", "factors", lambda a, i: float(a[i] * rng.choice(choices)))


def _match_node_changed(case: Case, rng: np.random.Generator) -> Case | None:
    at = _pick(case, rng, "match", "pairs")
    if at is None:
        return None
    values = {**case.records[at].values}
    values[("node", "of")[int(rng.integers(2))]] = int(rng.integers(-1, 9))
    if values == case.records[at].values:
        return None
    records = list(case.records)
    records[at] = replace(records[at], values=values)
    return replace(case, records=tuple(records))


def _deviation_lowered(case: Case, rng: np.random.Generator) -> Case | None:
    return _changed(
        case, rng, "outputs", "deviation", lambda a, i: float(a[i] * rng.choice([0.0, 0.5, -1.0]))
    )


def _record_dropped(case: Case, rng: np.random.Generator) -> Case | None:
    at = int(rng.integers(1, len(case.records)))
    return replace(case, records=case.records[:at] + case.records[at + 1 :])


def _records_swapped(case: Case, rng: np.random.Generator) -> Case | None:
    if len(case.records) < 4:
        return None
    at = int(rng.integers(1, len(case.records) - 2))
    records = list(case.records)
    records[at], records[at + 1] = records[at + 1], records[at]
    return replace(case, records=tuple(records))


def _cut_short(case: Case, rng: np.random.Generator) -> Case | None:
    at = int(rng.integers(1, len(case.records)))
    return replace(case, records=case.records[:at])


def _domain_changed(case: Case, rng: np.random.Generator) -> Case | None:
    """A domain that is smaller or larger in one feature than the user's."""
    record = case.records[0]
    at = int(rng.integers(len(case.old.nodes[0].bias)))
    low, high = np.array(record.arrays["lower"]), np.array(record.arrays["upper"])
    step = rng.choice([-0.5, -0.01, 0.01, 0.5])
    if rng.random() < 0.5:
        low[at] -= step
    else:
        high[at] += step
    return _with(case, 0, lower=low, upper=high)


def with_file(case: Case, content: bytes, new: bool) -> Case:
    """The case with another file, its hash in the proof made right."""
    files = {"source": case.source, "target": case.target} | {
        ("target" if new else "source"): content
    }
    old = read_net(files["source"])
    net = read_net(files["target"], old)
    record = case.records[0]
    values = {**record.values, "in": old.sha256, "out": net.sha256}
    records = (replace(record, values=values), *case.records[1:])
    return replace(case, old=old, new=net, records=records, **files)


def _weights(content: bytes, rng: np.random.Generator, ulps: bool) -> bytes | None:
    """The file with one stored number changed: by an ulp, or a lot."""
    proto = onnx.load_model_from_string(content)
    fits = [t for t in proto.graph.initializer if numpy_helper.to_array(t).dtype.kind == "f"]
    fits = [t for t in fits if numpy_helper.to_array(t).size]
    if not fits:
        return None
    tensor = fits[int(rng.integers(len(fits)))]
    values = np.array(numpy_helper.to_array(tensor))
    flat = values.ravel()
    at = int(rng.integers(flat.size))
    toward = np.asarray(rng.choice([-np.inf, np.inf]), values.dtype)
    flat[at] = np.nextafter(flat[at], toward) if ulps else -flat[at] + rng.choice([0, 0.1, 1])
    tensor.CopyFrom(numpy_helper.from_array(flat.reshape(values.shape), tensor.name))
    changed: bytes = proto.SerializeToString()
    return changed


def _weight_by_an_ulp(case: Case, rng: np.random.Generator) -> Case | None:
    content = _weights(case.target, rng, ulps=True)
    return None if content is None else with_file(case, content, new=True)


def _weight_by_much(case: Case, rng: np.random.Generator) -> Case | None:
    content = _weights(case.target, rng, ulps=False)
    return None if content is None else with_file(case, content, new=True)


def _original_weight(case: Case, rng: np.random.Generator) -> Case | None:
    content = _weights(case.source, rng, ulps=bool(rng.integers(2)))
    return None if content is None else with_file(case, content, new=False)


MUTATIONS: tuple[Callable[[Case, np.random.Generator], Case | None], ...] = (
    _state_changed,
    _wrong_verdict,
    _points_dropped,
    _point_moved,
    _slope_out_of_range,
    _slope_changed,
    _slopes_for_another_node,
    _multiplier_changed,
    _multipliers_dropped,
    _row_dropped,
    _row_moved,
    _less_deep,
    _question_changed,
    _tree_changed,
    _leaf_dropped,
    _leaf_added,
    _split_changed,
    _cut_moved,
    _match_changed,
    _match_node_changed,
    _deviation_lowered,
    _record_dropped,
    _records_swapped,
    _cut_short,
    _domain_changed,
    _weight_by_an_ulp,
    _weight_by_much,
    _original_weight,
)


@dataclass(frozen=True)
class Claims:
    """What a proof claims, apart from how it shows it."""

    box: Box
    deviation: Floats
    inactive: tuple[tuple[int, int], ...]
    active: tuple[tuple[int, int], ...]
    unstable: tuple[tuple[int, int], ...]


def claims_of(records: tuple[Record, ...]) -> Claims:
    stated = next(r.arrays["deviation"] for r in records if r.kind == "outputs")
    found: list[list[tuple[int, int]]] = [[], [], []]
    for record in records:
        for name, states in record.arrays.items() if record.kind == "verdicts" else ():
            if name.startswith("states"):
                for unit, state in enumerate(states.tolist()):
                    if state < 3:
                        found[int(state)].append((int(name.removeprefix("states")), unit))
    return Claims(domain_of(records[0]), np.asarray(stated), *(tuple(part) for part in found))


def domain_of(begin: Record) -> Box:
    """The domain that a proof is about."""
    a, groups = begin.arrays, range(begin.values["groups"])
    tables = tuple((a[f"members{g}"], a[f"values{g}"]) for g in groups)
    return Box(a["lower"], a["upper"], a["integer"] != 0, tables)

"""A small mutation campaign: whatever is changed, what the checker accepts is true.

`benchmarks/proof_mutations.py` is the large one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from proof.mutants import MUTATIONS, accepted, mutants
from proof.proof_cases import Case
from proof.truth import small_cases, untruth

from leo_cli.proof.translate import box_of_domain


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return small_cases(16, seed=3)


def test_the_cases_hold_records_of_all_kinds(cases: list[Case]) -> None:
    kinds = Counter(record.kind for case in cases for record in case.records)
    assert set(kinds) == {"begin", "tree", "verdicts", "match", "outputs"}
    trees = [record for case in cases for record in case.records if record.kind == "tree"]
    assert {bool(r.arrays["parts"][:, 2].any()) for r in trees} == {False, True}
    assert any("node" not in r.values for r in trees)  # a tree that is more than one record
    names = {name.rstrip("0123456789") for r in trees for name in r.arrays}
    assert {"slopes", "multipliers"} <= names
    matches = [record for case in cases for record in case.records if record.kind == "match"]
    assert any(record.values["node"] == record.values["of"] for record in matches)


def test_unchanged_proofs_hold_in_both_arithmetics(cases: list[Case]) -> None:
    for case in cases:
        box = box_of_domain(case.domain)
        rounded, exact = case.check(box), case.check(box, exact=True)
        assert rounded.counts == exact.counts
        assert np.array_equal(rounded.deviation, exact.deviation)


def test_what_is_accepted_is_true(cases: list[Case]) -> None:
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for case, mutant in mutants(cases, np.random.default_rng(7), each=12):
        tried[mutant.kind] += 1
        if accepted(mutant, box_of_domain(case.domain)):
            passed[mutant.kind] += 1
            assert untruth(mutant) == "", mutant.kind
    assert set(tried.values()) == {12} and len(tried) == len(MUTATIONS)
    # what always makes a proof false or malformed
    for kind in ("slope_out_of_range", "cut_short", "multipliers_dropped", "leaf_dropped"):
        assert tried[kind] and not passed[kind]
    assert sum(passed.values()) < sum(tried.values()) / 2

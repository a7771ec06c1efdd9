"""The JSON report: the members of the contract, in its order, and nothing that JSON cannot hold."""

import json
import math
from dataclasses import replace

import pytest
from report_example import example

from leo_cli import __version__

CONTRACT = {
    "leo_report": None,
    "leo_version": None,
    "command": None,
    "model": ["path", "sha256", "bytes", "inputs", "outputs"],
    "domain": ["features", "fixed", "sha256"],
    "layers": ["name", "width", "inactive", "active", "unstable", "undecided", "units"],
    "totals": ["units", "inactive", "active", "unstable", "undecided", "milps", "witnesses"],
    "rewrites": ["rewrite", "layer", "units", "deviation"],
    "before": ["units", "layers", "connections", "parameters", "inputs_used"],
    "after": ["units", "layers", "connections", "parameters", "inputs_used"],
    "compression": ["connections_removed", "units_removed", "bytes_removed"],
    "fidelity": ["deviation", "tolerance", "rounding_bound_before", "rounding_bound_after"],
    "verification": ["samples", "bit_identical", "max_abs_diff", "max_ulp", "passed"],
    "output": ["path", "sha256", "bytes"],
    "seconds": ["total", "read", "classify", "rewrite", "verify"],
}


def test_the_object_has_every_member_of_the_contract_in_order() -> None:
    data = example().to_dict()
    assert [key for key in data if key in CONTRACT] == list(CONTRACT)
    for key, members in CONTRACT.items():
        value = data[key][0] if isinstance(data[key], list) else data[key]
        if members is not None:
            assert [m for m in value if m in members] == members, key
    assert data["leo_report"] == 1 and data["leo_version"] == __version__


def test_each_unit_carries_its_verdict() -> None:
    unit = example().to_dict()["layers"][0]["units"][0]
    assert list(unit)[:7] == ["unit", "state", "by", "lower", "upper", "margin", "seconds"]


def test_json_is_strict_and_says_the_same() -> None:
    report = example()
    text = report.to_json()
    assert json.loads(text, parse_constant=pytest.fail) == json.loads(json.dumps(report.to_dict()))


def test_infinite_bounds_become_null() -> None:
    report = example()
    layer = report.layers[0]
    unit = replace(layer.units[0], lower=-math.inf, upper=math.inf)
    open_layer = replace(layer, units=(unit, *layer.units[1:]))
    data = json.loads(replace(report, layers=(open_layer,)).to_json())
    assert data["layers"][0]["units"][0]["lower"] is None


def test_parts_that_a_command_lacks_are_left_out() -> None:
    report = replace(example(), rewrites=None, after=None, compression=None, output=None)
    assert not {"rewrites", "after", "compression", "output", "other"} & set(report.to_dict())


def test_a_claim_without_proof_is_told_apart() -> None:
    data = example().to_dict()
    claims = [u.get("claim") for u in data["layers"][1]["units"]]
    assert "solver claims inactive" in claims and None in claims

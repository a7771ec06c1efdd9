"""Findings and evidence as JSON values, bit by bit: arrays as base64, floats as hex."""

from __future__ import annotations

import base64
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from leo_cli.stability import evidence as kinds
from leo_cli.stability.evidence import Evidence
from leo_cli.stability.knowledge import Bound, Claim, Findings

_KINDS = {
    kind.__name__: kind
    for kind in (
        kinds.IntervalEvidence,
        kinds.LinearEvidence,
        kinds.InputSplitEvidence,
        kinds.PhaseLeaves,
        kinds.PhaseSplitEvidence,
        kinds.IdentityEvidence,
        kinds.TightenedEvidence,
        kinds.SolverClaim,
    )
}


def findings_to(findings: Findings) -> dict[str, Any]:
    """Evidence that several bounds share is written once."""
    shared: dict[int, int] = {}
    evidence: list[dict[str, Any]] = []
    bounds = []
    for bound in findings.bounds:
        key = id(bound.evidence)
        if key not in shared:
            shared[key] = len(evidence)
            evidence.append(_to(bound.evidence))
        bounds.append([bound.layer, bound.unit, bound.above, bound.value.hex(), shared[key]])
    return {
        "bounds": bounds,
        "evidence": evidence,
        "claims": [[c.layer, c.unit, c.above, c.solver] for c in findings.claims],
        "points": _to(findings.points),
    }


def findings_from(content: dict[str, Any]) -> Findings:
    """Raises KeyError, TypeError or ValueError where the content is not of that form."""
    evidence: list[Evidence] = [_from(item) for item in content["evidence"]]
    return Findings(
        tuple(
            Bound(int(layer), int(unit), bool(above), float.fromhex(value), evidence[index])
            for layer, unit, above, value, index in content["bounds"]
        ),
        tuple(Claim(int(k), int(j), bool(above), str(by)) for k, j, above, by in content["claims"]),
        points=_from(content["points"]),
    )


def _to(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": value.dtype.str, "shape": list(value.shape), "data": data}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "kind": type(value).__name__,
            **{f.name: _to(getattr(value, f.name)) for f in fields(value)},
        }
    if isinstance(value, tuple):
        return [_to(item) for item in value]
    return value


def _from(value: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        data = base64.b64decode(value["data"])
        return np.frombuffer(data, dtype=np.dtype(value["array"])).reshape(value["shape"])
    if isinstance(value, dict):
        return _KINDS[value["kind"]](**{k: _from(v) for k, v in value.items() if k != "kind"})
    if isinstance(value, list):
        return tuple(_from(item) for item in value)
    return value

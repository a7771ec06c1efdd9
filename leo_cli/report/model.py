"""The report as a value: frozen dataclasses, and the JSON object that they stand for.

Field names and their order are those of the JSON object; parts that a command does not have are
None and left out. Infinite bounds become null, as JSON has no infinity.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from leo_cli import __version__

REPORT_FORMAT = 1


@dataclass(frozen=True)
class ModelReport:
    """inputs, outputs: the shape of each tensor by its name, as it stands in the file."""

    path: str
    sha256: str
    bytes: int
    inputs: dict[str, tuple[int | str | None, ...]]
    outputs: dict[str, tuple[int | str | None, ...]]


@dataclass(frozen=True)
class DomainReport:
    """fixed: features with lower = upper. relaxed: bounds ignored the linear constraints."""

    features: int
    fixed: int
    sha256: str
    relaxed: bool = False


@dataclass(frozen=True)
class UnitReport:
    """by: the decider. lower, upper: proved bounds. claim: a solver's word, without proof.
    trusted: the state rests on that word."""

    unit: int
    state: str
    by: str
    lower: float
    upper: float
    margin: float
    seconds: float
    claim: str = ""
    trusted: bool = False


@dataclass(frozen=True)
class LayerReport:
    """A ReLU layer. width_after: 0 when it vanished; None where nothing was rewritten."""

    name: str
    width: int
    inactive: tuple[int, ...]
    active: tuple[int, ...]
    unstable: tuple[int, ...]
    undecided: tuple[int, ...]
    units: tuple[UnitReport, ...]
    width_after: int | None = None


@dataclass(frozen=True)
class Totals:
    units: int
    inactive: int
    active: int
    unstable: int
    undecided: int
    milps: int
    witnesses: int


@dataclass(frozen=True)
class RewriteReport:
    """deviation: the largest over the output components."""

    rewrite: str
    layer: str
    units: tuple[int, ...]
    deviation: float
    note: str = ""


@dataclass(frozen=True)
class Size:
    units: int
    layers: int
    connections: int
    parameters: int
    inputs_used: int


@dataclass(frozen=True)
class Compression:
    """Fractions of what was there before."""

    connections_removed: float
    units_removed: float
    bytes_removed: float


@dataclass(frozen=True)
class Fidelity:
    """Each figure is the largest over the output components; None where it cannot be computed."""

    deviation: float
    tolerance: float
    rounding_bound_before: float | None
    rounding_bound_after: float | None


@dataclass(frozen=True)
class VerificationReport:
    """bit_identical: share of the samples with the same bits in every output. max_ulp: in units in
    the last place of the numbers compared (many, where an output crosses 0). scaled_ulp: in those
    of the largest value of an output. failure: why it did not pass. more: further members of the
    JSON object."""

    samples: int
    bit_identical: float
    max_abs_diff: float
    max_ulp: int
    scaled_ulp: float
    passed: bool
    failure: str = ""
    notes: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputReport:
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ProofReport:
    """A proof that was written. inactive, active, unstable: units of which it shows that;
    deviation: the largest that it shows of an output; seconds: to make and to write it."""

    path: str
    bytes: int
    records: int
    seconds: float
    inactive: int
    active: int
    unstable: int
    deviation: float


@dataclass(frozen=True)
class LatencyReport:
    """Median seconds of one onnxruntime call, before and after, and the median ratio of pairs."""

    batch: int
    before: float
    after: float
    ratio: float


_ORDER = (
    *("command", "model", "other", "domain", "layers", "totals", "deciders", "rewrites"),
    *("before", "after", "compression", "fidelity", "verification", "latency", "output"),
    *("proof", "seconds", "notes"),
)


@dataclass(frozen=True)
class Report:
    """Everything that a command found out. seconds: by stage, and `total`. notes: for people."""

    command: str
    model: ModelReport
    domain: DomainReport
    seconds: dict[str, float]
    other: ModelReport | None = None
    layers: tuple[LayerReport, ...] | None = None
    totals: Totals | None = None
    rewrites: tuple[RewriteReport, ...] | None = None
    before: Size | None = None
    after: Size | None = None
    compression: Compression | None = None
    fidelity: Fidelity | None = None
    verification: VerificationReport | None = None
    latency: tuple[LatencyReport, ...] | None = None
    output: OutputReport | None = None
    proof: ProofReport | None = None
    deciders: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, in the order of the contract."""
        values = {key: getattr(self, key) for key in _ORDER}
        head = {"leo_report": REPORT_FORMAT, "leo_version": __version__}
        return head | {key: _plain(v) for key, v in values.items() if v is not None}

    def to_json(self) -> str:
        """One JSON object, a line for each member of the two outer levels."""
        members = [
            f"  {json.dumps(key)}: {_member(value)}" for key, value in self.to_dict().items()
        ]
        return "{\n" + ",\n".join(members) + "\n}\n"


def _member(value: Any) -> str:
    """JSON with one line for each entry of a list of objects, such as the layers."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        entries = ",\n    ".join(json.dumps(entry, allow_nan=False) for entry in value)
        return f"[\n    {entries}\n  ]"
    return json.dumps(value, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        named = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        optional = {
            "claim": "",
            "trusted": False,
            "note": "",
            "failure": "",
            "notes": (),
            "width_after": None,
        }
        named |= named.pop("more", {})
        return {
            key: _plain(v)
            for key, v in named.items()
            if not (key in optional and v == optional[key])
        }
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""VNN-LIB 1.0 properties (.vnnlib): the constraints on the inputs X_0, X_1, ... (all inputs,
flattened, in order).

A property is a conjunction of assertions; those on outputs Y_j say what is to be violated and have
no part in the domain, so an atom that mentions an output counts as true. A disjunction becomes its
hull: the smallest box around the boxes of its cases. Linear atoms over several inputs are kept as
constraints, except inside a disjunction of several cases, where leaving them out only makes the
domain larger. Strict inequalities count as weak ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from leo_cli.domain.exact import ExactDomain, ExactLinear
from leo_cli.domain.json_text import exact
from leo_cli.domain.place import Place, quoted
from leo_cli.domain.sexpr import Form, parse
from leo_cli.tensors import TensorSpec

_VARIABLE = re.compile(r"([XY])_(\d{1,9})")
_SILENT = {
    "set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "exit",
}  # fmt: skip
_MIRRORED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<"}
_DROPPED = (
    "linear constraints inside a disjunction of the property are not used: the domain is larger"
)

Bounds = dict[int, tuple[Fraction | None, Fraction | None]]


@dataclass
class _Region:
    """A box (features that are not named are free) with linear constraints; empty: no point at
    all."""

    bounds: Bounds = field(default_factory=dict)
    linear: list[ExactLinear] = field(default_factory=list)
    empty: bool = False


@dataclass
class _Affine:
    """coefficients . X + constant; None in place of it stands for anything with an output in it."""

    coefficients: dict[int, Fraction]
    constant: Fraction


def read_vnnlib(text: str, inputs: Sequence[TensorSpec], place: Place) -> ExactDomain:
    """Raises DomainError."""
    result = ExactDomain.blank(inputs, place)
    reader = _Reader(place, result)
    asserted = []
    for form in parse(text, place):
        here = place.at(f"line {form.line}")
        if form.head in ("declare-const", "declare-fun"):
            reader.declare(form, here)
        elif form.head == "assert":
            if len(form.parts) != 2:
                raise here.error("assert takes one formula")
            asserted.append((form.parts[1], here))
        elif form.head not in _SILENT:
            raise here.error(
                f"unknown command {quoted(form.head)}; leo reads VNN-LIB 1.0: "
                "declare-const and assert"
            )
    declared = reader.declared_inputs
    if len(declared) != result.size or declared != set(range(result.size)):
        raise place.error(
            f"declares {len(declared)} inputs X_i, the model has {result.size} input features; "
            "use the property of this model"
        )
    everything = reader.conjunction(asserted)
    reader.known = everything  # cases that contradict the other assertions now count as empty
    everything = reader.conjunction(asserted)
    if everything.empty:
        raise place.error("the domain is empty: no case of the property allows any input")
    for i, (low, high) in everything.bounds.items():
        result.lower[i], result.upper[i] = low, high
    result.linear = everything.linear
    result.names = {i: f"X_{i}" for i in range(result.size)}
    return result


class _Reader:
    """Evaluates formulas to regions. known: a region that the whole property is within."""

    def __init__(self, place: Place, result: ExactDomain) -> None:
        self.result = result
        self.place = place
        self.known = _Region()
        self.declared: set[str] = set()
        self.declared_inputs: set[int] = set()

    def declare(self, form: Form, place: Place) -> None:
        names = [part for part in form.parts[1:2] if isinstance(part, str)]
        match = _VARIABLE.fullmatch(names[0]) if names else None
        if match is None:
            raise place.error("a variable is X_i (an input) or Y_j (an output)")
        if form.parts[-1] not in ("Real", "Int"):
            raise place.error(f"{match[0]} must be declared as Real")
        if match[0] in self.declared:
            raise place.error(f"{match[0]} is declared twice")
        self.declared.add(match[0])
        if match[1] == "X":
            self.declared_inputs.add(int(match[2]))

    def conjunction(self, asserted: list[tuple[Form | str, Place]]) -> _Region:
        return _both([self.region(formula, True, place) for formula, place in asserted])

    def region(self, formula: Form | str, positive: bool, place: Place) -> _Region:
        """The region of a formula, or of its negation."""
        if isinstance(formula, str):
            if formula in ("true", "false"):
                return _Region(empty=(formula == "true") != positive)
            raise place.error(f"{quoted(formula)} is no formula")
        place = self.place.at(f"line {formula.line}")
        head, rest = formula.head, formula.parts[1:]
        if head == "not" and len(rest) == 1:
            return self.region(rest[0], not positive, place)
        if head in ("and", "or") and rest:
            cases = [self.region(part, positive, place) for part in rest]
            return _both(cases) if (head == "and") == positive else self._either(cases)
        if head in ("<=", ">=", "<", ">", "=") and len(rest) >= 2:
            terms = [self.affine(part, place) for part in rest]
            pairs = [self._atom(a, head, b, positive, place) for a, b in pairwise(terms)]
            return _both(pairs) if positive else self._either(pairs)
        raise place.error(
            f"{quoted(head)} with {len(rest)} arguments is not understood; "
            "use and, or, not, <=, >=, ="
        )

    def _either(self, cases: list[_Region]) -> _Region:
        """The hull of the cases that are not empty, as far as is known."""
        known = _Region(self.known.bounds)
        alive = [case for case in cases if not _both([known, case]).empty]
        if len(alive) <= 1:
            return alive[0] if alive else _Region(empty=True)
        if any(case.linear for case in alive) and _DROPPED not in self.result.notes:
            self.result.notes.append(_DROPPED)
        hull = dict(alive[0].bounds)
        for case in alive[1:]:
            for i in list(hull):
                if i not in case.bounds:
                    del hull[i]
                    continue
                (a, b), (c, d) = hull[i], case.bounds[i]
                hull[i] = (
                    None if a is None or c is None else min(a, c),
                    None if b is None or d is None else max(b, d),
                )
        return _Region(hull)

    def _atom(
        self, a: _Affine | None, op: str, b: _Affine | None, positive: bool, place: Place
    ) -> _Region:
        """a op b, or its negation (closed)."""
        if a is None or b is None or (op == "=" and not positive):
            return _Region()
        difference = _sum([a, _times(b, Fraction(-1))])
        if not positive:
            op = _MIRRORED[op]
        op = "==" if op == "=" else op[0] + "="
        rhs = -difference.constant
        used = {i: c for i, c in difference.coefficients.items() if c}
        if not used:
            holds = {"<=": rhs >= 0, ">=": rhs <= 0, "==": rhs == 0}[op]
            return _Region(empty=not holds)
        if len(used) > 1:
            return _Region(linear=[ExactLinear(used, op, rhs, place)])
        ((i, coefficient),) = used.items()
        bound = rhs / coefficient
        if op == "==":
            return _Region({i: (bound, bound)})
        return _Region({i: (None, bound) if (op == "<=") == (coefficient > 0) else (bound, None)})

    def affine(self, term: Form | str, place: Place) -> _Affine | None:
        """The value of a term; None if an output occurs in it."""
        if isinstance(term, str):
            return self._leaf(term, place)
        head, rest = term.head, [self.affine(part, place) for part in term.parts[1:]]
        if head not in ("+", "-", "*", "/") or not rest:
            raise place.error(
                f"{quoted(head)} is not understood in a term; use numbers, X_i, Y_j, +, -, *, /"
            )
        values = [value for value in rest if value is not None]
        if len(values) < len(rest):
            return None
        if head == "+":
            return _sum(values)
        if head == "-":
            others = [_times(value, Fraction(-1)) for value in values[len(values) > 1 :]]
            return _sum([*values[: len(values) > 1], *others])
        product = values[0]
        for value in values[1:]:
            if head == "/":
                if value.coefficients or value.constant == 0:
                    raise place.error("a division by anything but a non-zero number")
                value = _Affine({}, 1 / value.constant)
            if product.coefficients and value.coefficients:
                raise place.error("a product of inputs; domains have linear constraints only")
            one, other = (product, value) if product.coefficients else (value, product)
            product = _times(one, other.constant)
        return product

    def _leaf(self, word: str, place: Place) -> _Affine | None:
        match = _VARIABLE.fullmatch(word)
        if match is not None:
            if word not in self.declared:
                raise place.error(f"{word} is not declared")
            return _Affine({int(match[2]): Fraction(1)}, Fraction(0)) if match[1] == "X" else None
        value = exact(word)
        if value is None:
            raise place.error(
                f"{quoted(word)} is neither a number of a sensible size nor X_i nor Y_j"
            )
        return _Affine({}, value)


def _sum(values: list[_Affine]) -> _Affine:
    coefficients: dict[int, Fraction] = {}
    for value in values:
        for i, c in value.coefficients.items():
            coefficients[i] = coefficients.get(i, Fraction(0)) + c
    return _Affine(coefficients, sum((value.constant for value in values), Fraction(0)))


def _times(value: _Affine, factor: Fraction) -> _Affine:
    return _Affine({i: factor * c for i, c in value.coefficients.items()}, factor * value.constant)


def _both(regions: list[_Region]) -> _Region:
    """The intersection."""
    result = _Region(empty=any(region.empty for region in regions))
    for region in regions:
        result.linear += region.linear
        for i, (low, high) in region.bounds.items():
            a, b = result.bounds.get(i, (None, None))
            low = low if a is None else a if low is None else max(a, low)
            high = high if b is None else b if high is None else min(b, high)
            result.bounds[i] = (low, high)
    result.empty |= any(
        a is not None and b is not None and a > b for a, b in result.bounds.values()
    )
    return result

"""What bounds.json says about one input: bounds, names, fixed, integer and one-hot features,
constraints, raw space."""

from __future__ import annotations

from leo_cli.domain.exact import ExactDomain, ExactLinear
from leo_cli.domain.feature import index_of, names_of, values_of
from leo_cli.domain.json_text import Json, items, members, number, text
from leo_cli.domain.normalize import read_normalize
from leo_cli.domain.place import Place, quoted, suggestion
from leo_cli.tensors import TensorSpec

SPEC_KEYS = (
    "lower", "upper", "names", "fixed", "integer", "one_hot", "linear", "space", "normalize",
)  # fmt: skip
_LINEAR_KEYS = ("coef", "op", "rhs")
_OPS = ("<=", ">=", "==")


def read_input(spec_value: Json, owner: int, place: Place, result: ExactDomain) -> None:
    """Add what is said of input number `owner` to `result`. Raises DomainError."""
    spec, offset = result.inputs[owner], result.offsets[owner]
    given = members(spec_value, place)
    for key in given:
        if key not in SPEC_KEYS:
            raise place.error(f"unknown key {quoted(key)}; {suggestion(key, SPEC_KEYS)}")
    names: dict[str, int] = {}
    if "names" in given:
        names = names_of(given["names"], spec, place.at("names"))
        result.names.update({offset + i: name for name, i in names.items()})
    for side, bounds in (("lower", result.lower), ("upper", result.upper)):
        if side in given:
            values = values_of(given[side], spec, place.at(side))
            bounds[offset : offset + spec.size] = values
    for word, value in members(given.get("fixed", {}), place.at("fixed")).items():
        here = place.at("fixed")
        i = offset + index_of(word, names, spec, here)
        if i in result.fixed:
            raise here.error(f"feature {quoted(word)} is named twice, by name and by index")
        result.fixed[i] = number(value, here.at(quoted(word)))
    for entry in items(given.get("integer", []), place.at("integer")):
        result.integer.add(offset + index_of(entry, names, spec, place.at("integer")))
    _read_groups(given.get("one_hot", []), names, owner, place.at("one_hot"), result)
    for k, entry in enumerate(items(given.get("linear", []), place.at("linear"))):
        result.linear.append(
            _read_linear(entry, names, spec, offset, place.at(f"linear constraint {k}"))
        )
    _read_space(given, spec, offset, place, result)


def _read_groups(
    value: Json, names: dict[str, int], owner: int, place: Place, result: ExactDomain
) -> None:
    spec, offset = result.inputs[owner], result.offsets[owner]
    taken: set[int] = set()
    for k, entry in enumerate(items(value, place)):
        here = place.at(f"group {k}")
        group = [index_of(key, names, spec, here) for key in items(entry, here)]
        if not group:
            raise here.error("is empty; name its features, or remove it")
        for i in group:
            if i in taken:
                raise here.error(f"feature {i} occurs twice; one-hot groups must not overlap")
            taken.add(i)
        result.one_hot.append(tuple(offset + i for i in group))


def _read_linear(
    value: Json, names: dict[str, int], spec: TensorSpec, offset: int, place: Place
) -> ExactLinear:
    given = members(value, place)
    for key in given:
        if key not in _LINEAR_KEYS:
            raise place.error(f"unknown key {quoted(key)}; {suggestion(key, _LINEAR_KEYS)}")
    for key in _LINEAR_KEYS:
        if key not in given:
            raise place.error(f'"{key}" is missing; a constraint has coef, op and rhs')
    op = text(given["op"], place.at("op"))
    if op not in _OPS:
        raise place.at("op").error(f'{quoted(op)} is not one of "<=", ">=", "=="')
    coefficients = {}
    here = place.at("coef")
    for key, entry in members(given["coef"], here).items():
        i = offset + index_of(key, names, spec, here)
        if i in coefficients:
            raise here.error(f"feature {quoted(key)} is named twice, by name and by index")
        coefficients[i] = number(entry, here.at(quoted(key)))
    return ExactLinear(coefficients, op, number(given["rhs"], place.at("rhs")), place)


def _read_space(
    given: dict[str, Json], spec: TensorSpec, offset: int, place: Place, result: ExactDomain
) -> None:
    """Values are the model's ("model", the default), or raw ones that `normalize` maps to the
    model's."""
    space = text(given["space"], place.at("space")) if "space" in given else None
    if space not in (None, "raw", "model"):
        raise place.at("space").error(f'{quoted(space)} is not "raw" or "model"')
    if space == "raw" and "normalize" not in given:
        raise place.error('"space": "raw" needs "normalize"; add mean and std, or drop "space"')
    if space is None and "normalize" in given:
        raise place.error(
            '"normalize" needs "space": "raw" if the bounds are those of raw data, or "model" '
            "if they are the model's own"
        )
    if "normalize" in given:
        scale = read_normalize(given["normalize"], spec, place.at("normalize"))
        if space == "raw":
            result.scale.update({offset + i: pair for i, pair in enumerate(scale)})

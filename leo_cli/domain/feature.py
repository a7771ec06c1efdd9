"""How files name features and give a value for each: by name or index, as scalars or (nested)
lists."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from leo_cli.domain.exact import shape_text
from leo_cli.domain.json_text import Json, NumberText, exact, items, kind, number, text
from leo_cli.domain.place import Place, quoted, suggestion
from leo_cli.tensors import TensorSpec


def index_of(key: Json, names: Mapping[str, int], spec: TensorSpec, place: Place) -> int:
    """The index, within its input, of a feature given by name or by index (also as a text: keys
    are texts)."""
    if isinstance(key, NumberText):
        return _index(str(key), spec, place)
    word = text(key, place)
    if word in names:
        return names[word]
    if word.isascii() and word.isdigit():
        return _index(word, spec, place)
    hint = suggestion(word, names, "names") if names else 'give an index, or add "names"'
    raise place.error(f"unknown feature {quoted(word)}; {hint}")


def _index(word: str, spec: TensorSpec, place: Place) -> int:
    value = exact(word)
    if value is None or value.denominator != 1 or not 0 <= value < spec.size:
        raise place.error(
            f"no feature {quoted(word)[1:-1]}; the model's input has {spec.size} features, "
            "counted from 0"
        )
    return int(value)


def names_of(value: Json, spec: TensorSpec, place: Place) -> dict[str, int]:
    """Index by name, from a list of one name for each feature."""
    words = [text(name, place.at(f"name {i}")) for i, name in enumerate(items(value, place))]
    if len(words) != spec.size:
        raise place.sentence(_miscounted(len(words), "names", spec))
    names = {word: i for i, word in enumerate(words)}
    if len(names) < len(words):
        twice = next(word for i, word in enumerate(words) if names[word] != i)
        raise place.error(f"name {quoted(twice)} occurs twice; names must differ")
    return names


def values_of(value: Json, spec: TensorSpec, place: Place) -> list[Fraction]:
    """One value for each feature: from a scalar, a flat list, or nested lists of the input's
    shape."""
    if not isinstance(value, list):
        return [number(value, place)] * spec.size
    if len(value) == spec.size and not any(isinstance(entry, list) for entry in value):
        flat = value
    else:
        flat = _flat(value, spec, place)
    known: dict[str, Fraction] = {}
    result = []
    for i, entry in enumerate(flat):
        if not isinstance(entry, NumberText):
            result.append(number(entry, place.at(f"value {i}")))
            continue
        if entry not in known:
            known[entry] = number(entry, place.at(f"value {i}"))
        result.append(known[entry])
    return result


def _flat(value: list[Json], spec: TensorSpec, place: Place) -> list[Json]:
    """Nested lists of the shape `spec.features`, flattened level by level."""
    level: list[Json] = [value]
    for depth, size in enumerate(spec.features):
        below: list[Json] = []
        for entry in level:
            if not isinstance(entry, list):
                raise place.error(f"{kind(entry)} where a list was expected; {_wanted(spec)}")
            if len(entry) != size:
                if depth == 0 and not any(isinstance(e, list) for e in entry):
                    raise place.sentence(_miscounted(len(entry), "values", spec))
                raise place.error(
                    f"a list of {len(entry)} at level {depth + 1}, where {size} were expected; "
                    + _wanted(spec)
                )
            below += entry
        level = below
    if any(isinstance(entry, list) for entry in level):
        raise place.error(f"nested too deeply; {_wanted(spec)}")
    return level


def _wanted(spec: TensorSpec) -> str:
    shape = ", ".join(map(str, spec.features))
    return f"give one number, {spec.size} numbers, or nested lists of shape [{shape}]"


def _miscounted(count: int, what: str, spec: TensorSpec) -> str:
    return f"has {count} {what}, the model's input has {spec.size} (shape {shape_text(spec)})"

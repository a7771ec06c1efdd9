"""bounds.json: the short forms and the full one.

    {"lower": 0, "upper": 1}                      the one input of the model
    {"pixels": {"lower": 0, "upper": 1}, ...}     by name of the input
    {"leo_bounds": 1, "inputs": {...}, ...}       the same, with version, model hash and provenance

An input may have any name, "lower" or "inputs" too: an object whose keys are all names of inputs
and whose values are all objects is taken as the second form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leo_cli.domain.exact import ExactDomain
from leo_cli.domain.input_spec import SPEC_KEYS, read_input
from leo_cli.domain.json_text import Json, members, number, text
from leo_cli.domain.place import Place, quoted, suggestion
from leo_cli.tensors import TensorSpec

_FULL_KEYS = ("leo_bounds", "model_sha256", "inputs", "provenance")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def read_bounds_json(
    document: dict[str, Json], inputs: Sequence[TensorSpec], model_sha256: str, place: Place
) -> ExactDomain:
    """Raises DomainError."""
    result = ExactDomain.blank(inputs, place)
    names = {spec.name for spec in inputs}
    by_name = names.issuperset(document) and all(isinstance(v, dict) for v in document.values())
    nested = members(document["inputs"], place) if by_name and "inputs" in document else {}
    if nested and set(nested) <= names and not set(nested) <= set(SPEC_KEYS):
        by_name = False  # {"inputs": {"inputs": {...}}}: the full form without its version
    if document and by_name:
        _read_inputs(document, place, result)
    elif "leo_bounds" in document or isinstance(document.get("inputs"), dict):
        _read_full(document, model_sha256, place, result)
    elif any(key in SPEC_KEYS for key in document):
        if len(inputs) != 1:
            raise place.error(
                f"no name of an input, and the model has {len(inputs)} inputs; give "
                + '{"NAME": {"lower": ..., "upper": ...}} for each of '
                + ", ".join(quoted(spec.name) for spec in inputs[:8])
            )
        read_input(document, 0, place, result)
    else:
        _read_inputs(document, place, result)
    return result


def _read_full(
    document: dict[str, Json], model_sha256: str, place: Place, result: ExactDomain
) -> None:
    for key in document:
        if key not in _FULL_KEYS:
            raise place.error(f"unknown key {quoted(key)}; {suggestion(key, _FULL_KEYS)}")
    if "leo_bounds" in document:
        version = number(document["leo_bounds"], place.at("leo_bounds"))
        if version != 1:
            raise place.error(
                f"leo_bounds {quoted(document['leo_bounds'])[1:-1]} is not known here, only 1; "
                "use a newer leo"
            )
    if "model_sha256" in document:
        here = place.at("model_sha256")
        wanted = text(document["model_sha256"], here)
        if not _SHA256.fullmatch(wanted):
            raise here.error(f"{quoted(wanted)} is no SHA-256 (64 hexadecimal digits)")
        if wanted.lower() != model_sha256.lower():
            raise here.error(
                f"these bounds are for a model with hash {wanted[:12].lower()}..., this one has "
                f"{model_sha256[:12]}...; use its own bounds, or remove the key"
            )
    if "inputs" not in document:
        raise place.error('"inputs" is missing; add an object with bounds for each input')
    _read_inputs(members(document["inputs"], place.at("inputs")), place, result)


def _read_inputs(given: dict[str, Json], place: Place, result: ExactDomain) -> None:
    names = [spec.name for spec in result.inputs]
    for key in given:
        if key not in names:
            raise place.error(
                f"the model has no input {quoted(key)}; {suggestion(key, names, 'its inputs')}"
            )
    for owner, name in enumerate(names):
        if name not in given:
            raise place.error(
                f"no bounds for input {quoted(name)}; add {quoted(name)}: "
                '{"lower": ..., "upper": ...}'
            )
        read_input(given[name], owner, place.at(f"input {quoted(name)}"), result)

"""Read a domain from any of the file formats: bounds.json, OMLT's list, VNN-LIB."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from leo_cli.domain.assemble import to_domain
from leo_cli.domain.bounds_json import read_bounds_json
from leo_cli.domain.domain import Domain
from leo_cli.domain.exact import ExactDomain
from leo_cli.domain.json_text import kind, parse_json
from leo_cli.domain.omlt import read_omlt
from leo_cli.domain.place import Place
from leo_cli.domain.vnnlib import read_vnnlib
from leo_cli.tensors import TensorSpec

_LARGEST = 64 * 2**20  # bytes of a bounds file; a box for 100,000 features takes 5 MB
_MOST_FEATURES = 10_000_000


def read_domain(
    source: Path | str,
    inputs: Sequence[TensorSpec],
    model_sha256: str,
    name: str | None = None,
) -> Domain:
    """The domain that a file (Path) or text (str) describes, for a model with these inputs.

    model_sha256: the model's hash, compared with the file's if it has one. name: for messages; the
    path by default. A name or path that ends in .vnnlib, or a text that begins with "(" or ";", is
    VNN-LIB. Raises DomainError: one line with the file, the key, and the way out.
    """
    place = Place(
        name if name is not None else str(source) if isinstance(source, Path) else "bounds"
    )
    text = _load(source, place) if isinstance(source, Path) else source
    features = sum(spec.size for spec in inputs)
    if features > _MOST_FEATURES:
        raise place.error(
            f"the model has {features} input features; leo takes {_MOST_FEATURES} at most"
        )
    return to_domain(_parsed(text, inputs, model_sha256, place))


def _parsed(
    text: str, inputs: Sequence[TensorSpec], model_sha256: str, place: Place
) -> ExactDomain:
    if place.file.lower().endswith(".vnnlib") or text.lstrip()[:1] in ("(", ";"):
        return read_vnnlib(text, inputs, place)
    document = parse_json(text, place)
    if isinstance(document, list):
        return read_omlt(document, inputs, place)
    if isinstance(document, dict):
        return read_bounds_json(document, inputs, model_sha256, place)
    raise place.error(
        f'{kind(document)} where {{"lower": 0, "upper": 1}}, a full bounds.json or a list of OMLT '
        "was expected"
    )


def _load(path: Path, place: Place) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        )
        raise place.error(f"cannot be read ({reason}); give a bounds file") from None
    if len(content) > _LARGEST:
        raise place.error(f"larger than {_LARGEST >> 20} MB; this is no bounds file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise place.error(f"byte {error.start} is not UTF-8; this is no bounds file") from None

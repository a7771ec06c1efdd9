"""Read an ONNX file into a `Model`: its network of dense ReLU layers, and all the rest untouched.

Reading is a walk over the graph (`region`) that takes axis 0 for the batch. Where that meets an
operator that mixes samples, and no ReLU was found, the file is read again as a function of one
sample (column vectors). A file without any dense ReLU layer is refused if some layer stands in the
way that a later version may read, and otherwise becomes a model with an empty network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from leo_cli.errors import ModelError
from leo_cli.network import Network, Term
from leo_cli.onnx_io import interface
from leo_cli.onnx_io.forms import whole_node
from leo_cli.onnx_io.load import load
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.placement import Blocker, Placement
from leo_cli.onnx_io.region import Region
from leo_cli.onnx_io.values import Affine
from leo_cli.tensors import TensorSpec

FIRST_IR_WITH_DEFAULTS = 4  # from here on an initializer that is also an input may be overridden


def read_model(source: Path | bytes, name: str | None = None) -> Model:
    """Read and check a model file, or its bytes.

    name: how messages call it (default: the path). Raises ModelError, one line that names the node
    and the way out, for anything that is not a valid ONNX model of the supported kind.
    """
    called = name or (str(source) if isinstance(source, Path) else "model")
    try:
        return _read(source, called)
    except UnicodeDecodeError:
        message = f"{called}: a name in the file is not UTF-8; export or copy the file again"
    except ModelError as error:  # names in a file may hold line ends and worse
        message = "".join(c if c.isprintable() else " " for c in str(error))
    raise ModelError(message)


def _read(source: Path | bytes, called: str) -> Model:
    loaded = load(source, called)
    proto = loaded.proto
    specs = interface.input_specs(proto, called)
    region = _walk(proto, called, specs)
    read = _reduced(region)
    if not any(layer.relu for layer in read[0].layers):
        whole = interface.without_batch(specs)
        if whole is not None and any(b.kind == "batch" for b in region.blockers):
            again = _walk(proto, called, whole)
            found = _reduced(again)
            if any(layer.relu for layer in found[0].layers):
                region, read, specs = again, found, whole
            elif not any(b.kind == "layer" for b in region.blockers):
                region = again
    network, places, views = read
    notes = [*loaded.notes, *_overridable(proto)]
    if not any(layer.relu for layer in network.layers):
        if region.pinned:
            notes.append("no ReLU units are left")
        else:
            notes.append(_without_units(called, region.blockers))
            network, places, views = Network(network.inputs, (), (), network.dtype), {}, {}
    notes.extend(_ends(region.blockers) if network.layers else ())
    return Model(
        name=called,
        sha256=hashlib.sha256(loaded.source).hexdigest(),
        size=loaded.size,
        inputs=specs,
        outputs=interface.output_specs(proto, specs),
        network=network,
        notes=tuple(notes),
        has_external_data=loaded.has_external_data,
        source=loaded.source,
        directory=None if isinstance(source, bytes) else source.absolute().parent,
        proto=proto,
        places=places,
        views=views,
        in_order=loaded.in_order,
    )


def _walk(proto: onnx.ModelProto, name: str, specs: Sequence[TensorSpec]) -> Region:
    region = Region(proto, name, specs)
    region.walk()
    return region


def _outputs(region: Region) -> list[int]:
    """The nodes that the rest of the graph reads, each tensor that it reads being made a node
    unless it relabels one. What depends on the inputs alone is no business of the network."""
    nodes: set[int] = set()
    first: list[int] = []
    for tensor in dict.fromkeys((*region.pinned, *region.observed)):
        value = region.values.get(tensor)
        if not isinstance(value, Affine) or all(t.source == 0 for t in value.form.terms):
            continue
        node = whole_node(value.form)
        if node is None:
            node = whole_node(region.materialise(tensor).form)
        if node is not None:
            nodes.add(node)
            first.extend([node] if tensor in region.pinned and node not in first else ())
    return [*first, *sorted(nodes.difference(first))]


def _reduced(
    region: Region,
) -> tuple[Network, dict[str, Placement], dict[int, tuple[str, ...]]]:
    """The network of the layers that reach an output, with its places and views."""
    outputs = _outputs(region)
    needed = set(outputs)
    for node in range(len(region.layers), 0, -1):
        if node in needed:
            needed.update(t.source for t in region.layers[node - 1].terms)
    kept = sorted(needed | {0})
    number = {old: new for new, old in enumerate(kept)}
    layers = []
    for node in kept[1:]:
        layer = region.layers[node - 1]
        terms = tuple(Term(number[t.source], t.map) for t in layer.terms)
        layers.append(replace(layer, terms=terms))
    places = {region.layers[n - 1].name: region.places[n - 1] for n in kept[1:]}
    types = [p.dtype for p in places.values()] or ["float32"]
    dtype = min(types, key=lambda t: np.dtype(t).itemsize)
    network = Network(region.inputs, tuple(layers), tuple(number[n] for n in outputs), dtype)
    views = {number[n]: tuple(names) for n, names in region.views.items() if n in number}
    return network, places, views


def _overridable(proto: onnx.ModelProto) -> list[str]:
    """A note for weights that a caller of the original could replace."""
    if proto.ir_version < FIRST_IR_WITH_DEFAULTS:
        return []
    stored = {t.name for t in proto.graph.initializer}
    names = [i.name for i in proto.graph.input if i.name in stored]
    if not names:
        return []
    return [
        "weights that are also graph inputs are taken as constants: "
        f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    ]


def _without_units(name: str, blockers: Sequence[Blocker]) -> str:
    """The note of a model without ReLU units. Raises ModelError where a layer could not be read."""
    for blocker in blockers:
        if blocker.kind != "boundary":
            raise ModelError(
                f"{name}: {blocker.node}: {blocker.reason}, and no dense ReLU layer comes before "
                "it; give a network of dense layers (Gemm, MatMul) and ReLU"
            )
    if blockers:
        return (
            f"no ReLU units: {blockers[0].node} comes before any ReLU; the model is kept as it is"
        )
    return "no ReLU units; the model is kept as it is"


def _ends(blockers: Sequence[Blocker]) -> list[str]:
    """Notes on where the network ends for other reasons than an ordinary last operator."""
    return [f"kept as it is from {b.node} on: {b.reason}" for b in blockers if b.kind != "boundary"]

"""A model as verification sees it, and which parts of two models can be compared with each
other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx

from leo_cli.arrays import Ints
from leo_cli.network import Network
from leo_cli.onnx_io import Model, observed_tensors, with_outputs
from leo_cli.tensors import TensorSpec


@dataclass(frozen=True)
class Subject:
    """content: the model serialised with the tensors `observed` among its outputs; these hold the
    values of `network.outputs`, in this order. proto: the same, parsed. sha256: of the model's
    file."""

    name: str
    sha256: str
    network: Network
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    observed: tuple[str, ...]
    content: bytes
    proto: onnx.ModelProto

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.outputs)

    def components(self, name: str) -> Ints:
        """Positions of an observed tensor's components among the concatenated network outputs."""
        start = 0
        for observed, node in zip(self.observed, self.network.outputs, strict=True):
            width = self.network.width(node)
            if observed == name:
                return np.arange(start, start + width)
            start += width
        raise KeyError(name)


def subject_of(model: Model) -> Subject:
    """The model with the outputs of its dense part made visible."""
    observed = tuple(spec.name for spec in observed_tensors(model))
    content = with_outputs(model, observed)
    return Subject(
        name=model.name,
        sha256=model.sha256,
        network=model.network,
        inputs=model.inputs,
        outputs=model.outputs,
        observed=observed,
        content=content,
        proto=onnx.load_model_from_string(content),
    )


@dataclass(frozen=True)
class SharedPart:
    """names: observed tensors that both models have, of equal width. first, second: (components,)
    positions of their components in each network's outputs. whole: no other tensor leaves either
    dense part."""

    names: tuple[str, ...]
    first: Ints
    second: Ints
    whole: bool

    def networks(self, a: Subject, b: Subject) -> tuple[Network, Network]:
        """Both networks, reduced to the shared outputs in the shared order."""
        return self._reduced(a), self._reduced(b)

    def _reduced(self, subject: Subject) -> Network:
        nodes = dict(zip(subject.observed, subject.network.outputs, strict=True))
        return replace(subject.network, outputs=tuple(nodes[name] for name in self.names))

    def split(self, a: Subject) -> list[tuple[str, slice]]:
        """Where each tensor's components lie in the shared order."""
        out, start = [], 0
        for name in self.names:
            width = len(a.components(name))
            out.append((name, slice(start, start + width)))
            start += width
        return out


def shared_part(a: Subject, b: Subject) -> SharedPart:
    names = tuple(
        name
        for name in dict.fromkeys(a.observed)
        if name in b.observed and len(a.components(name)) == len(b.components(name))
    )
    none = [np.zeros(0, dtype=np.int64)]
    return SharedPart(
        names,
        np.concatenate([a.components(name) for name in names] or none),
        np.concatenate([b.components(name) for name in names] or none),
        set(names) == set(a.observed) == set(b.observed),
    )

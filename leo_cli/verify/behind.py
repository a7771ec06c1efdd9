"""Are a candidate's outputs behind the dense part what the original's operators make of its
scores?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Bools
from leo_cli.errors import ModelError
from leo_cli.verify.difference import difference
from leo_cli.verify.runtime import Block, Column, open_session, stacked
from leo_cli.verify.subject import Subject
from leo_cli.verify.tail import tail_model


def explained_rows(
    original: Subject,
    scores: Sequence[str],
    outputs: Sequence[str],
    blocks: Sequence[Block],
    values: Mapping[str, Column],
    level: str,
) -> tuple[dict[str, Bools] | None, str]:
    """For each of `outputs`, (n,) rows whose candidate values have the bits that the original's
    tail computes.

    scores: the tensors at which the tail begins. blocks: the candidate's runs; values: the same,
    stacked. Returns None, and the reason, where the tail cannot be run by itself.
    """
    if not outputs or not blocks:
        return {}, ""
    types = {name: np.asarray(blocks[0].outputs[name]).dtype for name in scores}
    content, inputs = tail_model(original.proto, types, outputs)
    try:
        session = open_session(
            content, (), outputs, f"{original.name} (behind its dense part)", level
        )
        runs = []
        for block in blocks:
            known = {**block.feed, **{name: block.outputs[name] for name in scores}}
            made = session.fetch({name: known[name] for name in inputs})
            runs.append(replace(block, outputs=dict(zip(outputs, made, strict=True))))
    except ModelError as error:
        return None, str(error)
    made_values = stacked(runs)
    return {name: difference(made_values[name], values[name]).rows for name in outputs}, ""

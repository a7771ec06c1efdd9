"""PyTorch, an optional extra: imported when training starts, and made to repeat itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from leo_cli.errors import InputError


def import_torch() -> Any:
    """The module torch; raises InputError that says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"training needs PyTorch, and it is missing ({error}): pip install 'leo-cli[train]'"
        ) from error
    return torch


@contextmanager
def reproducible(torch: Any, threads: int) -> Iterator[None]:
    """Deterministic algorithms on a fixed number of threads; then the caller's settings again.

    Denormals are flushed: momenta of weights with no gradient decay into them, and they are slow.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(before[1])
        torch.set_num_threads(before[0])

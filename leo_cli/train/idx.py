"""IDX files (MNIST's format), gzipped or not.

Layout, big-endian: 0, 0, type code, number of axes, one uint32 a dimension, then the values
(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leo_cli.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(content: bytes) -> bool:
    """Whether `content`, unzipped, starts as an IDX file does."""
    return len(content) >= 4 and content[:2] == b"\0\0" and content[2] in TYPES


def unzipped(content: bytes, source: str) -> bytes:
    """`content` as it is, or what it holds if it is gzip. Raises InputError on broken gzip."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{source}: broken gzip file ({error})") from error


def parse_idx(content: bytes, source: str) -> NDArray[np.generic]:
    """The array in an IDX file, in its own type. Raises InputError naming file and fault."""
    content = unzipped(content, source)
    if not is_idx(content):
        raise InputError(f"{source}: not an IDX file (its first bytes are {content[:4].hex(' ')})")
    axes = content[3]
    start = 4 + 4 * axes
    if axes == 0 or len(content) < start:
        raise InputError(f"{source}: the IDX header ends before its {axes} dimensions")
    shape = struct.unpack(f">{axes}I", content[4:start])
    dtype = np.dtype(TYPES[content[2]])
    expected = dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(content) - start != expected:
        raise InputError(
            f"{source}: the IDX header promises {expected} bytes of shape {list(shape)}, "
            f"the file has {len(content) - start}"
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def find_pair(folder: Path, prefixes: tuple[str, ...]) -> tuple[Path, Path] | None:
    """The files of images and of labels in `folder` whose names start with one of `prefixes`."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for prefix in prefixes:
        mine = [path for path in files if path.name.startswith(prefix) and "idx" in path.name]
        images = [path for path in mine if "images" in path.name]
        labels = [path for path in mine if "labels" in path.name]
        if images and labels:
            return images[0], labels[0]
    return None

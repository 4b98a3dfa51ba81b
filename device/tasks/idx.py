"""Reading IDX files, the format of MNIST and its kin.

::

    0 0  type  dimensions        four bytes; type 8 is unsigned bytes, the only one read here
    size of each dimension       four bytes each, big-endian
    values                       in C order, to the end of the file

A file may be compressed by gzip. Source: http://yann.lecun.com/exdb/mnist/ ("The IDX file format").
"""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skerry.errors import TaskError

__all__ = ["parse_idx", "read_idx"]

_UNSIGNED_BYTES = 8
_GZIP = b"\x1f\x8b"
_LARGEST = 1 << 30


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, compressed or not.

    Raises:
        TaskError: the file cannot be read, is cut short, holds more than it says, or is not an IDX file of unsigned
            bytes with so many dimensions.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP
        with gzip.open(path) if compressed else path.open("rb") as stream:
            data = stream.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"the IDX file cannot be read: {error}", where=str(path), mend=_MEND) from error
    try:
        return parse_idx(data, dimensions)
    except ValueError as error:
        raise TaskError(f"this is not a usable IDX file: {error}", where=str(path), mend=_MEND) from error


def parse_idx(data: bytes, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array in the bytes of an IDX file.

    Raises:
        ValueError: says what does not fit.
    """
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise ValueError(f"it ends after {len(data)} bytes, within its header")
    if data[:2] != b"\0\0":
        raise ValueError("it does not begin as one")
    if data[2] != _UNSIGNED_BYTES:
        raise ValueError(f"its values have type {data[2]}, not unsigned bytes (8)")
    if data[3] != dimensions:
        raise ValueError(f"it has {data[3]} dimensions where {dimensions} are expected")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", data[4:start])
    if prod(shape) != len(data) - start:
        raise ValueError(f"its header announces {prod(shape):,} values and {len(data) - start:,} follow")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


_MEND = "fetch it again; Debian's package dataset-fashion-mnist has the right ones"

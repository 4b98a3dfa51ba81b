"""Arrays out of a data set that somebody shipped as a pickle, without running anything that the pickle asks for.

A pickle is a program: it names functions and calls them. Allowing numpy's own functions only is not enough, since they
trust what they are given. So here

1. every opcode is looked at before any is followed: only those by which numpy stores arrays, lists, dicts, text and
   integers are accepted, and memo slots must fit the file;
2. the four names that numpy's pickles use resolve to stand-ins of this module, made anew for each file, which only
   write down what they are given; any other name is refused;
3. arrays are then made from the written-down bytes, for plain number types, when shape and length agree.
"""

import io
import pickle  # noqa: TID251 - the one place, and nothing real can be reached through it
import pickletools
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import TaskError

__all__ = ["read_pickled_npy", "unpickle_arrays"]

# fmt: off
_OPCODES = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT",
    "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE",
})
# fmt: on
_TYPES = frozenset({"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_LARGEST = 1 << 28


def read_pickled_npy(path: Path) -> Any:
    """The content of an ``.npy`` file that holds one pickled object; see :func:`unpickle_arrays`.

    Raises:
        TaskError: the file cannot be read, is not of this form, or asks for anything but arrays of numbers.
    """
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("another version of the format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            data = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise TaskError(f"this is not a readable .npy file: {error}", where=str(path), mend=_MEND) from error
    if shape != () or dtype != np.dtype(object):
        raise TaskError("this .npy file does not hold one pickled object", where=str(path), mend=_MEND)
    try:
        content = unpickle_arrays(data)
        if not isinstance(content, list) or len(content) != 1:
            raise ValueError("it is no array of one object")
        return content[0]
    except ValueError as error:
        raise TaskError(f"the pickled data are refused: {error}", where=str(path), mend=_MEND) from error


def unpickle_arrays(data: bytes) -> Any:
    """Dicts and lists of numbers, text and numpy arrays from a pickle.

    Raises:
        ValueError: it holds, or asks for, anything else; nothing of it was run.
    """
    if len(data) > _LARGEST:
        raise ValueError("it is too large")
    try:
        _look_at(data)
        return _plain(_Unpickler(data).load())
    except ValueError:
        raise
    except Exception as error:  # hostile bytes make an unpickler raise anything
        raise ValueError(f"it is not a well-formed pickle ({type(error).__name__})") from error


def _look_at(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it uses {opcode.name}, which arrays do not need")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(data):
            raise ValueError("a memo slot is larger than the file")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._left = 2 * len(data)
        modules = ("numpy.core.multiarray", "numpy._core.multiarray")
        self._names: dict[tuple[str, str], Any] = {
            **{(module, "_reconstruct"): self._reconstruct for module in modules},
            ("numpy", "ndarray"): "ndarray",
            ("numpy", "dtype"): self._dtype,
            ("_codecs", "encode"): self._encode,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise ValueError(f"it asks for {module}.{name}")
        return self._names[module, name]

    def _reconstruct(self, kind: object, shape: object, code: object) -> "_Array":
        del shape, code  # placeholders of numpy's; the state has the real ones
        if kind != "ndarray":
            raise ValueError("an array of an unknown kind")
        return _Array()

    def _dtype(self, code: object, align: object, copy: object) -> "_Type":
        del align, copy
        if not isinstance(code, str) or (code not in _TYPES and code not in {"O", "O8"}):
            raise ValueError(f"an array of {code!r}")
        return _Type(code)

    def _encode(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("bytes in an unknown encoding")
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("it repeats its bytes")
        return text.encode("latin1")


@dataclass
class _Type:
    """A stand-in for ``numpy.dtype``."""

    code: str
    order: str = "|"

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        if order not in {"<", ">", "|"} or rest[:3] != [None, None, None]:
            raise ValueError("a structured type")
        self.order = order


@dataclass
class _Array:
    """A stand-in for ``numpy.ndarray``; ``value`` is its array, or the list of an array of objects."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Type) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("an array without type or shape")
        if kind.code in {"O", "O8"}:
            if type(raw) is not list or len(raw) != prod(shape):
                raise ValueError("an array of objects that is no list of them")
            self.value = raw
            return
        if type(raw) is not bytes or len(raw) != prod(shape) * np.dtype(kind.code).itemsize:
            raise ValueError("an array whose bytes do not fill its shape")
        array: npt.NDArray[Any] = np.frombuffer(raw, np.dtype(kind.order + kind.code))
        self.value = array.reshape(shape, order="F" if fortran else "C")


def _plain(value: Any, depth: int = 8) -> Any:
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        if isinstance(value.value, list):
            return [_plain(item, depth - 1) for item in value.value]
        return value.value
    if isinstance(value, dict):
        return {_plain(key, depth - 1): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | int | bytes):
        return value
    raise ValueError("it holds something else than numbers, text and arrays")


_MEND = "install seglearn again: pip install --force-reinstall seglearn"

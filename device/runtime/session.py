"""Running an ONNX file on one thread, the same way on a Pi, a server and in tests."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["OnnxModel"]


class OnnxModel:
    """One ONNX file with one float32 input ``(n, channels, height, width)`` and one float32 output ``(n, outputs)``.

    Guarantee: examples are run one at a time, so an output depends, to the last bit, on its own example alone and not
    on its neighbours in the call. Differential privacy of what is trained on the outputs rests on this.

    The runtime reads each example where it lies; only the ``outputs`` numbers that come out are copied.

    Args:
        path: the file, or its bytes.
        workers: examples under way at once, each on a thread of its own. A device uses one; a server that computes
            many features may use its cores. The numbers are the same.
        front: the first part of a network: its output is a map ``(n, channels, height, width)``, float32 or uint8.
        private: what the examples are must not show. One on which the runtime fails becomes NaN, which training leaves
            out (0 in a uint8 map), and nothing is raised or logged about it: an error would tell something of it.

    Attributes:
        input_shape: of one example, ``(channels, height, width)``.
        output_shape: of one example: ``(outputs,)``, or ``(channels, height, width)`` of a front.

    Raises:
        InputError: onnxruntime cannot read the file, or it is a model of another form.
    """

    def __init__(self, path: Path | bytes, *, workers: int = 1, front: bool = False, private: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4 if private else 3
        try:
            source = path if isinstance(path, bytes) else str(path)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception classes are not part of its interface
            lines = str(error).strip().splitlines() or [type(error).__name__]
            missing = isinstance(path, Path) and not path.is_file()
            what = "there is no such file" if missing else f"onnxruntime cannot read the model: {lines[0]}"
            raise InputError(what, where=_place(path), mend="build or fetch it again") from error
        self._workers = workers
        self._private = private
        read, given = _sole(self._session.get_inputs()), _sole(self._session.get_outputs())
        if not _fits(read, 4) or not _fits(given, 4 if front else 2, *(["tensor(uint8)"] if front else [])):
            sides = (self._session.get_inputs(), self._session.get_outputs())
            has, gives = (", ".join(f"{one.name} {one.type} {one.shape}" for one in side) for side in sides)
            raise InputError(
                f"the model reads {has} and gives {gives}",
                where=_place(path),
                mend="one float32 input (n, channels, height, width) and one float32 output (n, outputs) are needed, "
                "with n free or 1 and the others fixed",
            )
        self._names = [read.name, given.name]
        self._type = np.float32 if given.type == "tensor(float)" else np.uint8
        self.input_shape: tuple[int, ...] = tuple(read.shape[1:])
        self.output_shape: tuple[int, ...] = tuple(given.shape[1:])

    @property
    def outputs(self) -> int:
        """Numbers that come out for each example; channels of a front's map."""
        return self.output_shape[0]

    def run(self, x: Float32Array) -> npt.NDArray[Any]:
        """``(n, *input_shape)`` float32 to ``(n, *output_shape)``, float32 but for a quantized front.

        Raises:
            InputError: the examples have another shape.
            Exception: the runtime's own, where it fails on an example that is not private.
        """
        if x.shape[1:] != self.input_shape:
            raise InputError(f"an example has the shape {x.shape[1:]}, the model reads {self.input_shape}")
        x = np.ascontiguousarray(x, np.float32)
        results = np.empty((len(x), *self.output_shape), self._type)
        rows = iter(range(len(x)))  # shared: each worker takes the next one
        if self._workers == 1:
            self._run(x, results, rows)
        else:
            with ThreadPoolExecutor(self._workers) as pool:
                deque(pool.map(lambda _: self._run(x, results, rows), range(self._workers)), maxlen=0)
        return results

    def _run(self, x: Float32Array, results: npt.NDArray[Any], rows: Iterator[int]) -> None:
        # onnxruntime reads a contiguous view in place. Binding its memory beforehand was measured and is slower for
        # single examples: 27 us a call against 13 us.
        session, names = self._session, self._names
        for row in rows:
            try:
                results[row] = session.run(names[1:], {names[0]: x[row : row + 1]})[0][0]
            except Exception:  # onnxruntime's own exception classes are not part of its interface
                if not self._private:
                    raise
                results[row] = np.nan if self._type is np.float32 else 0


def _sole(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else None


def _place(path: Path | bytes) -> str:
    return str(path) if isinstance(path, Path) else "a model in memory"


def _fits(value: Any, dimensions: int, *others: str) -> bool:
    """Whether it is float32 (or one of the other types), of so many dimensions, the first free or 1, the rest fixed."""
    if value is None or value.type not in {"tensor(float)", *others} or len(value.shape) != dimensions:
        return False
    first, *fixed = value.shape
    return (not isinstance(first, int) or first == 1) and all(isinstance(size, int) and size > 0 for size in fixed)

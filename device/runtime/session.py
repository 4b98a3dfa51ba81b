"""Running an ONNX file on one thread, the same way on a Pi, a server and in tests."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["OnnxModel"]


class OnnxModel:
    """One ONNX file with one float32 input ``(n, channels, height, width)`` and one float32 output ``(n, outputs)``.

    Guarantee: examples are run one at a time, so an output depends, to the last bit, on its own example alone and not
    on its neighbours in the call. Differential privacy of what is trained on the outputs rests on this.

    The runtime reads each example where it lies; only the ``outputs`` numbers that come out are copied.

    Args:
        path: the file.
        workers: examples under way at once, each on a thread of its own. A device uses one; a server that computes
            many features may use its cores. The numbers are the same.

    Attributes:
        input_shape: of one example, ``(channels, height, width)``.
        outputs: numbers that come out for each example.

    Raises:
        InputError: onnxruntime cannot read the file, or it is a model of another form.
    """

    def __init__(self, path: Path, *, workers: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception classes are not part of its interface
            lines = str(error).strip().splitlines() or [type(error).__name__]
            what = "there is no such file" if not path.is_file() else f"onnxruntime cannot read the model: {lines[0]}"
            raise InputError(what, where=str(path), mend="build or fetch it again") from error
        self._workers = workers
        source, target = _sole(self._session.get_inputs()), _sole(self._session.get_outputs())
        if not _fits(source, 4) or not _fits(target, 2):
            sides = (self._session.get_inputs(), self._session.get_outputs())
            has, gives = (", ".join(f"{one.name} {one.type} {one.shape}" for one in side) for side in sides)
            raise InputError(
                f"the model reads {has} and gives {gives}",
                where=str(path),
                mend="one float32 input (n, channels, height, width) and one float32 output (n, outputs) are needed, "
                "with n free or 1 and the others fixed",
            )
        self._names = [source.name, target.name]
        self.input_shape: tuple[int, ...] = tuple(source.shape[1:])
        self.outputs = int(target.shape[1])

    def run(self, x: Float32Array) -> Float32Array:
        """``(n, *input_shape)`` float32 to ``(n, outputs)`` float32.

        Raises:
            InputError: the examples have another shape.
        """
        if x.shape[1:] != self.input_shape:
            raise InputError(f"an example has the shape {x.shape[1:]}, the model reads {self.input_shape}")
        x = np.ascontiguousarray(x, np.float32)
        results = np.empty((len(x), self.outputs), np.float32)
        rows = iter(range(len(x)))  # shared: each worker takes the next one
        if self._workers == 1:
            self._run(x, results, rows)
        else:
            with ThreadPoolExecutor(self._workers) as pool:
                deque(pool.map(lambda _: self._run(x, results, rows), range(self._workers)), maxlen=0)
        return results

    def _run(self, x: Float32Array, results: Float32Array, rows: Iterator[int]) -> None:
        # onnxruntime reads a contiguous view in place. Binding its memory beforehand was measured and is slower for
        # single examples: 27 us a call against 13 us.
        session, names = self._session, self._names
        for row in rows:
            results[row] = session.run(names[1:], {names[0]: x[row : row + 1]})[0][0]


def _sole(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else None


def _fits(value: Any, dimensions: int) -> bool:
    """Whether it is float32, of so many dimensions, the first free or 1 and the others fixed."""
    if value is None or value.type != "tensor(float)" or len(value.shape) != dimensions:
        return False
    first, *others = value.shape
    return (not isinstance(first, int) or first == 1) and all(isinstance(size, int) and size > 0 for size in others)

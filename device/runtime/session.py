"""Running an ONNX file on one thread, the same way on a Pi, a server and in tests."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["OnnxModel"]


class OnnxModel:
    """One ONNX file with one float32 picture input ``(n, c, h, w)`` and one float32 output ``(n, outputs)``.

    Guarantee: pictures are run one at a time, so an output depends, to the last bit, on its own picture alone and not
    on its neighbours in the call. Differential privacy of what is trained on the outputs rests on this.

    Args:
        path: the file.
        workers: pictures under way at once, each on a thread of its own. A device uses one; a server that computes
            many features may use its cores. The numbers are the same.

    Raises:
        InputError: onnxruntime cannot read the file.
    """

    def __init__(self, path: Path, *, workers: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception classes are not part of its interface
            raise InputError(
                "onnxruntime cannot read the model", where=str(path), mend="build or fetch it again"
            ) from error
        self._workers = workers
        self._input = self._session.get_inputs()[0].name
        self.outputs = int(self._session.get_outputs()[0].shape[1])

    def run(self, x: Float32Array) -> Float32Array:
        """``(n, c, h, w)`` float32 to ``(n, outputs)`` float32."""
        results = np.empty((len(x), self.outputs), np.float32)

        def one(row: int) -> None:
            results[row] = self._session.run(None, {self._input: x[row : row + 1]})[0][0]

        if self._workers == 1:
            for row in range(len(x)):
                one(row)
        else:
            with ThreadPoolExecutor(self._workers) as pool:
                deque(pool.map(one, range(len(x))), maxlen=0)
        return results

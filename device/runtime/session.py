"""Running an ONNX file on one thread, the same way on a Pi, a server and in tests."""

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
        threads: threads of one run; one is fastest for small pictures and on busy machines.

    Raises:
        InputError: onnxruntime cannot read the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception classes are not part of its interface
            raise InputError(
                "onnxruntime cannot read the model", where=str(path), mend="build or fetch it again"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self.outputs = int(self._session.get_outputs()[0].shape[1])

    def run(self, x: Float32Array) -> Float32Array:
        """``(n, c, h, w)`` float32 to ``(n, outputs)`` float32."""
        results = np.empty((len(x), self.outputs), np.float32)
        for row, picture in enumerate(x):
            results[row] = self._session.run(None, {self._input: picture[None]})[0][0]
        return results

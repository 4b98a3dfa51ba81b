"""Running models on a device: ONNX by onnxruntime, no torch."""

from skerry.device.runtime.operations import check_operations
from skerry.device.runtime.session import OnnxModel

__all__ = ["OnnxModel", "check_operations"]

"""Running models on a device: ONNX by onnxruntime, no torch."""

from skerry.device.runtime.session import OnnxModel

__all__ = ["OnnxModel"]

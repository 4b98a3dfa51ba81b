"""A small model as files, made once."""

from pathlib import Path

import numpy as np
import pytest

from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import quantize


@pytest.fixture(scope="session")
def files(tiny_graph, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``fp32`` and ``int8`` ONNX and the ``graph`` of the small network."""
    folder = tmp_path_factory.mktemp("tiny")
    found = {"fp32": folder / "tiny.fp32.onnx", "int8": folder / "tiny.int8.onnx", "graph": folder / "tiny.safetensors"}
    noise = np.random.default_rng(1).standard_normal((16, 3, 16, 16), np.float32)
    found["fp32"].write_bytes(to_onnx(tiny_graph).SerializeToString())
    found["int8"].write_bytes(to_onnx(tiny_graph, quantize(tiny_graph, noise)).SerializeToString())
    save_graph(tiny_graph, found["graph"])
    return found

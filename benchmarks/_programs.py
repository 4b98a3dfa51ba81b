"""ExecuTorch's part of the benchmark ``models``, run by an interpreter that has the extra ``export``.

Usage: ``python _programs.py FOLDER``. FOLDER holds ``graph.safetensors``, ``model.int8.onnx`` and ``x.npy``; writes
``fp32.npy`` and ``int8.npy``, the outputs of the programs lowered from them, and prints versions.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import torch

from skerry.device.compression.graph_file import load_graph
from skerry.device.export.lowering import lower, run_program
from skerry.device.model_source import read_onnx


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    x = np.load(folder / "x.npy")
    networks = {"fp32": (load_graph(folder / "graph.safetensors"), None), "int8": read_onnx(folder / "model.int8.onnx")}
    for name, network in networks.items():
        program = folder / f"{name}.pte"
        program.write_bytes(lower(*network))
        np.save(folder / f"{name}.npy", run_program(program, x))
    print(json.dumps({"executorch": importlib.metadata.version("executorch")}))


main()

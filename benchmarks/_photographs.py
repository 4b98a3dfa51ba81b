"""What the network sees in three photographs shipped with scikit-image, in float32 and in int8.

Usage: ``python _photographs.py FOLDER``. The int8 network is calibrated on parts of a fourth public photograph.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import data

from skerry.config import default_scenario
from skerry.device.basebuild import export_networks
from skerry.device.models import Architecture, architecture
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.pictures import to_network_input
from skerry.records import Float32Array

# ImageNet has no class "cat", "coffee" or "rocket": these are its kinds of them.
RIGHT = {
    "cat": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee": {504: "coffee mug", 967: "espresso", 968: "cup"},
    "rocket": {657: "missile", 744: "projectile", 812: "space shuttle"},
}
PARTS = 32


def main() -> None:
    out, declared = Path(sys.argv[1]), architecture(default_scenario().model.architecture)
    size = declared.published_size
    parts = np.concatenate([_input(part, size, declared) for part in _parts(data.astronaut())])
    export_networks(declared.name, size, parts, out, classifier=True)
    seen = {}
    for kind in ("fp32", "int8"):
        network = OnnxModel(out / f"base.{kind}.onnx")
        seen[kind] = {name: _first(network, _input(getattr(data, name)(), size, declared), name) for name in RIGHT}
    print(json.dumps(seen))


def _parts(picture: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    cut = []
    for _ in range(PARTS):
        side = int(generator.integers(160, 512))
        top, left = generator.integers(0, 512 - side + 1, 2)
        cut.append(picture[top : top + side, left : left + side])
    return cut


def _input(picture: npt.NDArray[np.uint8], size: int, declared: Architecture) -> Float32Array:
    """The middle square, as the network takes it."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[None, top : top + side, left : left + side]
    return to_network_input(square, size, mean=declared.mean, scale=declared.scale)


def _first(network: OnnxModel, x: Float32Array, name: str) -> dict[str, object]:
    best = int(network.run(x)[0].argmax())
    return {"class": best, "right": best in RIGHT[name], "name": RIGHT[name].get(best)}


main()

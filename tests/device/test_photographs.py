"""Three photographs shipped with scikit-image get the right ImageNet class, in float32 and through int8.

ImageNet has no class "cat", "coffee" or "rocket". Right is: a domestic cat (281 tabby, 282 tiger cat, 285 Egyptian
cat), 967 espresso, and for the rocket 657 missile or 744 projectile. Calibration sees other photographs only.
"""

import numpy as np
import pytest

from skerry.device.basebuild import export_networks
from skerry.device.models import architecture
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.pictures import to_network_input
from skerry.records import Float32Array

RIGHT = {"chelsea": {281, 282, 285}, "coffee": {967}, "rocket": {657, 744}}
LITE0 = architecture("efficientnet_lite0")


def network_input(picture, box=None) -> Float32Array:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side] if box is None else picture[box]
    return to_network_input(square[None], LITE0.published_size, mean=LITE0.mean, scale=LITE0.scale)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    quarters = [np.s_[t : t + 256, f : f + 256] for t in (0, 256) for f in (0, 256)]
    calibration = [network_input(data.astronaut(), box) for box in quarters]
    calibration += [network_input(data.astronaut())]
    out = tmp_path_factory.mktemp("imagenet")
    export_networks(LITE0.name, LITE0.published_size, np.concatenate(calibration), out, classifier=True)
    return {kind: OnnxModel(out / f"base.{kind}.onnx") for kind in ("fp32", "int8")}


@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_photograph_gets_its_imagenet_class(networks, kind, name):
    from skimage import data

    scores = networks[kind].run(network_input(getattr(data, name)()))
    assert int(scores[0].argmax()) in RIGHT[name]

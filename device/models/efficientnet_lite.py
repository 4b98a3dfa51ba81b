"""EfficientNet-Lite0…4: inverted residuals scaled in width, depth and size together, made for int8.

Tan & Le, "EfficientNet" (arXiv:1905.11946) with the changes of the Lite variants (tensorflow/tpu,
``efficientnet/lite/efficientnet_lite_builder.py``): ReLU6 for swish, no squeeze-excite, stem and head not scaled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from skerry.device.models.blocks import ConvNorm, InvertedResidual, Network, require_size, round_channels

__all__ = ["VARIANTS", "Compound", "efficientnet_lite"]


@dataclass(frozen=True)
class Compound:
    """The compound scaling of one variant: channels times ``width``, repeats times ``depth``, at ``size`` pixels."""

    width: float
    depth: float
    size: int


VARIANTS: Mapping[str, Compound] = MappingProxyType(
    {
        "efficientnet_lite0": Compound(1.0, 1.0, 224),
        "efficientnet_lite1": Compound(1.0, 1.1, 240),
        "efficientnet_lite2": Compound(1.1, 1.2, 260),
        "efficientnet_lite3": Compound(1.2, 1.4, 280),
        "efficientnet_lite4": Compound(1.4, 1.8, 300),
    }
)

_STEM, _HEAD = 32, 1280
_HALVINGS = 5
# expansion, kernel, channels, repeats, stride of the first
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


def efficientnet_lite(
    name: str, *, inputs: tuple[int, int, int], classes: int | None, width: float = 1.0, seed: int = 0
) -> Network:
    """A variant for this input.

    Args:
        name: one of :data:`VARIANTS`.
        inputs: channels, height, width.
        classes: number of scores; None for the 1,280 features.
        width: multiplies the channels of all blocks once more; stem and head stay.
        seed: of the first weights.

    Raises:
        InputError: the input is too small.
    """
    channels, *size = inputs
    require_size(name, (size[0], size[1]), (_HALVINGS, _HALVINGS))
    compound = VARIANTS[name]
    stem = ConvNorm(channels, _STEM, size=(size[0], size[1]), kernel=(3, 3), stride=(2, 2), act="relu6")
    stages: list[nn.Module] = [stem]
    at, channels = stem.size, _STEM
    for index, (expansion, kernel, base, repeats, first_stride) in enumerate(_STAGES):
        outputs = round_channels(base * compound.width * width)
        deep = repeats if index in {0, len(_STAGES) - 1} else math.ceil(repeats * compound.depth)
        for i in range(deep):
            block = InvertedResidual(
                channels,
                channels * expansion,
                outputs,
                size=at,
                kernel=kernel,
                stride=first_stride if i == 0 else 1,
                act="relu6",
            )
            stages.append(block)
            at, channels = block.size, outputs
    stages.append(ConvNorm(channels, _HEAD, size=at, act="relu6"))
    return Network(stages, _HEAD, classes, input_shape=inputs, seed=seed)

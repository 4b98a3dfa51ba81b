"""MobileNetV2 (Sandler et al., arXiv:1801.04381): inverted residuals and ReLU6, at any width."""

from torch import nn

from skerry.device.models.blocks import ConvNorm, InvertedResidual, Network, require_size, round_channels

__all__ = ["mobilenet_v2"]

_STEM, _HEAD = 32, 1280
_HALVINGS = 5
# expansion, channels, repeats, stride of the first: table 2 of the paper
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(*, inputs: tuple[int, int, int], classes: int | None, width: float = 1.0, seed: int = 0) -> Network:
    """The network for this input.

    Args:
        inputs: channels, height, width.
        classes: number of scores; None for the features.
        width: multiplies all channels, but the last convolution's only above 1 (section 6.1 of the paper).
        seed: of the first weights.

    Raises:
        InputError: the input is too small.
    """
    channels, *size = inputs
    require_size("mobilenet_v2", (size[0], size[1]), (_HALVINGS, _HALVINGS))
    first = round_channels(_STEM * width)
    stem = ConvNorm(channels, first, size=(size[0], size[1]), kernel=(3, 3), stride=(2, 2), act="relu6")
    stages: list[nn.Module] = [stem]
    at, channels = stem.size, first
    for expansion, base, repeats, first_stride in _STAGES:
        outputs = round_channels(base * width)
        for i in range(repeats):
            block = InvertedResidual(
                channels,
                channels * expansion,
                outputs,
                size=at,
                kernel=3,
                stride=first_stride if i == 0 else 1,
                act="relu6",
            )
            stages.append(block)
            at, channels = block.size, outputs
    features = round_channels(_HEAD * max(1.0, width))
    stages.append(ConvNorm(channels, features, size=at, act="relu6"))
    return Network(stages, features, classes, input_shape=inputs, seed=seed)

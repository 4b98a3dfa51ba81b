"""DS-CNN: a depthwise separable network for windows of sensor or audio features, of some ten thousand weights.

Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers" (arXiv:1711.07128), table 5, the small one: a first
convolution of stride two, then four depthwise separable blocks of one width. A spectrogram ``(1, time, features)``
gets the published kernels, 10×4 and 3×3. A window ``(channels, 1, length)`` of several sensors, or of features taken
as channels, is convolved along time alone: 1×10, then 1×9, which are as many taps in a row as the square has, and
what Choi et al. found best for temporal convolutions (arXiv:1904.03814).
"""

from torch import Tensor, nn

from skerry.device.models.blocks import ConvNorm, Network, require_size, round_channels

__all__ = ["ds_cnn"]

_CHANNELS = 64
_BLOCKS = 4


class Separable(nn.Module):
    """Depthwise convolution, then 1×1 convolution, each with norm and ReLU."""

    def __init__(self, channels: int, *, size: tuple[int, int], kernel: tuple[int, int]) -> None:
        super().__init__()
        self.depthwise = ConvNorm(channels, channels, size=size, kernel=kernel, groups=channels, act="relu")
        self.pointwise = ConvNorm(channels, channels, size=size, act="relu")

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, *size)`` to the same shape."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


def ds_cnn(*, inputs: tuple[int, int, int], classes: int | None, width: float = 1.0, seed: int = 0) -> Network:
    """The network for this input.

    Args:
        inputs: channels, 1, length of a window; or 1, time steps, features of a spectrogram.
        classes: number of scores; None for the features.
        width: multiplies the 64 channels; the published medium and large ones have 172 and 276.
        seed: of the first weights.

    Raises:
        InputError: the input is too small.
    """
    channels, height, length = inputs
    window = height == 1
    require_size("ds_cnn", (height, length), (0 if window else 1, 1))
    features = round_channels(_CHANNELS * width)
    stem = ConvNorm(
        channels,
        features,
        size=(height, length),
        kernel=(1, 10) if window else (10, 4),
        stride=(1, 2) if window else (2, 2),
        act="relu",
    )
    kernel = (1, 9) if window else (3, 3)
    blocks = [Separable(features, size=stem.size, kernel=kernel) for _ in range(_BLOCKS)]
    return Network([stem, *blocks], features, classes, input_shape=inputs, seed=seed)

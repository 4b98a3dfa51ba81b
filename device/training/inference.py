"""A network in inference mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["inference"]


@contextmanager
def inference(network: nn.Module) -> Iterator[None]:
    """Dropout lets all through and norms keep their statistics; after, each part has the mode that it had."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training

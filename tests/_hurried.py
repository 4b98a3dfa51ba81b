"""Measuring latencies in a hurry: the real parts, processes too, and a patience that a busy machine cannot draw out.

For tests of what is made of a latency. That one is told by undisturbed calls is for those of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE_S = 0.05


@contextmanager
def hurried_latencies() -> Iterator[None]:
    """Until the block is left."""
    from skerry.device.bench.quiet import Pace, quiet_latency
    from skerry.device.compression import candidates, figures

    def soon(*arguments: Any, patience_s: float, **more: Any) -> Any:
        return quiet_latency(*arguments, patience_s=min(patience_s, PATIENCE_S), **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "quiet_latency", soon)
        patch.setattr(figures, "quiet_latency", soon)
        patch.setattr(Pace, "looked_for", classmethod(lambda cls, seconds=2.0: cls()))
        yield

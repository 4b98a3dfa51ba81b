"""Which networks are worth training: measured untrained, what passes the limits is dropped before it costs anything.

A network's size and latency hardly depend on what its weights are, so both are measured on files with random weights.
For each input size widths are tried from the widest down. A network that passes the limits in no form is tried pruned,
from the mildest on. What keeps the limits with the most multiply-accumulates comes first: within one family and at one
cost the larger network is the more accurate one, more often than not; training decides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skerry.config.fit import FitConfig, LimitsConfig
from skerry.device.bench.quiet import Pace, Timing, quiet_latency, timed_block
from skerry.device.compression.bits import uniform_bits
from skerry.device.compression.graph import Graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.prune import prune
from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.task import Task
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.wording import size as bytes_in_words

__all__ = ["Candidate", "allowed_ms", "excess", "require_limits", "screen"]

Form = Literal["fp32", "int8", "bits"]
_PER_SIZE = 2
_PATIENCE_S = 2.0
_HOPELESS = 4.0  # a network that is so much too slow is not pruned to see whether it fits then
_CALIBRATION = 8
_FEWEST_BITS = 0.4  # of the bytes at eight bits: what adaptive bits bear without loss (docs/compression.md)


@dataclass(frozen=True)
class Candidate:
    """A network that was measured untrained.

    Attributes:
        width: factor on the channels.
        size: pixels of its input.
        keep: share of the work to which it is pruned; None where it is not.
        form: how it is stored and run.
        macs: multiply-accumulates.
        latency_ms: median of one call, in this process; the least that was seen where the machine was too busy: what
            might fit is trained, and timed again.
        bytes: of the file that devices store.
    """

    width: float
    size: int
    keep: float | None
    form: Form
    macs: int
    latency_ms: float
    bytes: int

    @property
    def name(self) -> str:
        """Short, unique in a search, and fit for a folder."""
        pruned = "" if self.keep is None else f"-keep{round(100 * self.keep)}"
        return f"w{self.width:g}-{self.size}px{pruned}-{self.form}"

    @property
    def told(self) -> str:
        """In words."""
        pruned = "" if self.keep is None else f", pruned to {self.keep:.0%} of the work"
        return f"width {self.width:g} at {self.size} px{pruned}, {self.form}"


def require_limits(limits: LimitsConfig) -> None:
    """Refuse a search without a limit: the answer would be the largest network.

    Raises:
        InputError: there is none.
    """
    if limits.latency_ms is None and limits.size_mb is None:
        raise InputError("no limit is given", where="model fit", mend="give --latency-ms or --size-mb, or both")


def allowed_ms(limits: LimitsConfig) -> float:
    """The latency limit less its margin; ∞ where there is none."""
    return np.inf if limits.latency_ms is None else limits.latency_ms * (1 - limits.margin)


def excess(limits: LimitsConfig, latency_ms: float, stored: int) -> float:
    """How far latency, with its margin, and bytes are beyond the limits, relatively; ≤ 0 when both are kept."""
    parts = [latency_ms / allowed_ms(limits) - 1]
    if limits.size_mb is not None:
        parts.append(stored / (1e6 * limits.size_mb) - 1)
    return max(parts)


def screen(
    config: FitConfig, task: Callable[[int], Task], progress: Callable[[str], None] = lambda _: None
) -> tuple[Candidate, ...]:
    """The networks to train, the largest first.

    Args:
        config: what is searched.
        task: the task at an input size.
        progress: is told what is measured.

    Raises:
        InputError: nothing keeps the limits: says what is the closest.
    """
    require_limits(config.limits)
    pace = Pace.looked_for()
    found: list[Candidate] = []
    seen: list[Candidate] = []
    shapes: set[tuple[int, int, int]] = set()
    for size in sorted(config.sizes, reverse=True):
        at = task(size)
        if at.input_shape in shapes:
            continue  # a window has its own length, whatever the size
        shapes.add(at.input_shape)
        fitting: list[Candidate] = []
        for width in sorted(config.widths, reverse=True):
            if len(fitting) == _PER_SIZE:
                break
            progress(f"width {width:g} at {size} px")
            made = list(_forms(config, at, width, size, pace))
            seen += made
            fitting += [c for c in made if excess(config.limits, c.latency_ms, c.bytes) <= 0][:1]
        found += fitting
    if not found:
        raise _nothing(config.limits, seen)
    found.sort(key=lambda c: c.macs, reverse=True)
    return tuple(found[: config.candidates])


def _forms(config: FitConfig, task: Task, width: float, size: int, pace: Pace) -> Iterator[Candidate]:
    """The network in each form until one keeps the limits, then pruned, while there is hope."""
    try:
        network = build_network(
            config.architecture, inputs=task.input_shape, classes=len(task.classes), width=width, seed=config.seed
        )
    except InputError as error:
        if error.where == "input size":
            return  # too small for this network's strides
        raise
    whole = trace(network.eval(), task.input_shape, task.classes)
    for keep in (None, *sorted(config.keep, reverse=True)):
        try:
            graph = whole if keep is None else prune(whole, keep_macs=keep).graph
        except InputError:
            return  # so little is left that no channel can go
        best = np.inf
        for form in config.forms:
            if form == "bits" and config.limits.size_mb is None:
                continue  # it is float32 where bytes do not count
            file = _file(graph, form)
            timing = _timed(file, graph, pace)
            stored = _packed(graph, config.limits) if form == "bits" else len(file)
            latency_ms = timing.median_ms if timing.quiet else timing.least_ms
            candidate = Candidate(width, size, keep, form, graph.macs(), latency_ms, stored)
            yield candidate
            over = excess(config.limits, candidate.latency_ms, candidate.bytes)
            if over <= 0:
                return
            best = min(best, over)
        if best > _HOPELESS:
            return


def _file(graph: Graph, form: Form) -> bytes:
    """What onnxruntime runs."""
    file: bytes = to_onnx(graph, quantize(graph, _noise(graph)) if form == "int8" else None).SerializeToString()
    return file


def _noise(graph: Graph) -> Float32Array:
    return np.random.default_rng(0).standard_normal((_CALIBRATION, *graph.input_shape), np.float32)


def _timed(file: bytes, graph: Graph, pace: Pace) -> Timing:
    """In this process: a hundred starts of another one would take longer than all else here."""
    model, one = OnnxModel(file), _noise(graph)[:1]
    model.run(one)  # the first call allocates
    return quiet_latency(lambda calls: timed_block(lambda: model.run(one), calls), pace, patience_s=_PATIENCE_S)


def _packed(graph: Graph, limits: LimitsConfig) -> int:
    """Bytes to which its weights may be packed: the limit, if that leaves them bits enough."""
    assert limits.size_mb is not None
    whole = uniform_bits(graph, 8).bytes
    return min(whole, max(round(_FEWEST_BITS * whole), int(1e6 * limits.size_mb)))


def _nothing(limits: LimitsConfig, seen: list[Candidate]) -> InputError:
    if not seen:
        return InputError("no network can be made for these input sizes", where="model fit", mend="add larger sizes")
    closest = min(seen, key=lambda c: excess(limits, c.latency_ms, c.bytes))
    needed = [f"{closest.latency_ms:.3f} ms", bytes_in_words(closest.bytes)]
    return InputError(
        f"none of {len(seen)} networks keeps the limits; the closest, {closest.told}, takes {' and '.join(needed)}",
        where="model fit",
        mend="allow more, or search smaller ones: --set widths=[0.1] --set sizes=[20] --set keep=[0.2]",
    )

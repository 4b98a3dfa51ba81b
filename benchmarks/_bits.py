"""Adaptive bits against four bits for every weight: files read back and run in onnxruntime on all held-out examples.

"Four bits for every weight" is said of four things, and the promise is measured against each:

* ``same_rounding``: rounded like the adaptive ones, each error taken up by later weights. What is won is then
  won by choosing bits for each layer, and by nothing else;
* ``nearest``: each weight to its nearest value, symmetric, one scale for each output channel, −7 … 7;
* ``stock_channel``: what onnxruntime's quantizer makes of each channel at INT4 (−8 … 7, its largest weight at 7.5
  steps; ``torch.ao``'s per-channel symmetric observer chooses the same scales);
* ``stock_tensor``: the same, one scale for a whole layer: what ``quantize_static`` does unless it is told otherwise.

The harder measure needs no opponent's weakness: the bytes of three bits for every weight, the same rounding for both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _checkpoints import Checkpoint, checkpoint
from _harness import Claim, Peer, progress, versions
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import quantize_data

from skerry.device.compression.bits import (
    BitAllocation,
    Sensitivities,
    allocate_bits,
    apply_bits,
    sensitivities,
    uniform_bits,
)
from skerry.device.compression.graph import Graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.packing import load_packed, save_packed
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError

TRAINED = (
    ("efficientnet_lite0", "fashion"),
    ("efficientnet_lite0", "digits"),
    ("mobilenet_v2", "fashion"),
    ("mobilenet_v2", "digits"),
    ("mobilenet_v3_small", "fashion"),
    ("ds_cnn", "watch"),
)
SHARES = (0.5, 0.45, 0.4, 0.35, 0.32)
"""Of the bytes of the packed file with eight bits everywhere."""
ALLOWED, MARGIN = 0.02, 0.03
_ONNXRUNTIME = versions("onnxruntime")["onnxruntime"]


def bits(folder: Path) -> Iterator[Claim]:
    """The claims for each network and the task that it was trained for."""
    for network, task in TRAINED:
        yield from compared(checkpoint(network, task, progress), folder)


def compared(made: Checkpoint, folder: Path) -> Iterator[Claim]:
    """The claims for one checkpoint."""
    graph, four = made.graph, uniform_bits(made.graph, 4)
    floating = _found(made, graph)["accuracy"]
    whole = uniform_bits(graph, 8)
    progress(f"{_said(made)}: float {floating:.4f}; sensitivity of each layer")
    measured = sensitivities(graph, made.calibration)
    adaptive = {}
    for share in SHARES:
        chosen = _allocated(made, int(share * whole.bytes), measured)
        if chosen is not None:
            adaptive[share] = _filed(f"adaptive {share}", made, chosen, folder, whole)
    half = adaptive[SHARES[0]]
    same = _filed("four bits, same rounding", made, four, folder, whole)
    eight = _filed("eight bits", made, whole, folder, whole)
    others = {
        "same_rounding": same,
        "nearest": _filed("four bits, nearest", made, four, folder, whole, compensate=False),
        "stock_channel": _found(made, _stock(graph, TensorProto.INT4, each_channel=True)),
        "stock_tensor": _found(made, _stock(graph, TensorProto.INT4, each_channel=False)),
    }
    progress("four bits: " + ", ".join(f"{name} {found['accuracy']:.4f}" for name, found in others.items()))
    plain = allocate_bits(graph, made.calibration, int(SHARES[0] * whole.bytes), measured=measured)
    detail = {
        "adaptive": adaptive,
        "adaptive_nearest": _filed("adaptive 0.5, nearest", made, plain, folder, whole, compensate=False),
        "eight": eight,
        "four": same,
    }
    yield from _at_half(made, floating, half, others, detail)
    kept = [share for share, found in adaptive.items() if floating - found["accuracy"] <= ALLOWED]
    yield Claim(
        id=f"bits_least_{_short(made)}",
        text=f"{_said(made)}: least of {', '.join(map(str, SHARES))} of the bytes of eight bits at which adaptive bits "
        "lose at most two points",
        value=min(kept, default=1.0),
        unit="of the bytes",
        op="<=",
        bar=SHARES[0],
        peer=Peer("four bits for every weight", same["share"]),
    )
    yield from _at_three_bits(made, measured, folder, whole)


def _at_half(
    made: Checkpoint,
    floating: float,
    half: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    detail: Mapping[str, Any],
) -> Iterator[Claim]:
    """The promise: at most two points lost at half of the bytes, at least three more than four bits everywhere."""
    yield Claim(
        id=f"bits_lost_{_short(made)}",
        text=f"{_said(made)}: accuracy lost to adaptive bits at half of the bytes of eight bits",
        value=floating - half["accuracy"],
        unit="of examples",
        op="<=",
        bar=ALLOWED,
        peer=Peer("float32", floating),
        detail={"float": floating, **detail},
    )
    how = {
        "same_rounding": ("with the same error-compensated rounding", None),
        "nearest": ("each to its nearest value, symmetric, a scale for each channel, −7 … 7", None),
        "stock_channel": ("as onnxruntime and torch.ao round INT4, symmetric, a scale for each channel", _ONNXRUNTIME),
        "stock_tensor": ("as onnxruntime rounds INT4 by default, symmetric, a scale for each layer", _ONNXRUNTIME),
    }
    for name, (rounded, version) in how.items():
        yield Claim(
            id=f"bits_gain_{name}_{_short(made)}",
            text=f"{_said(made)}: accuracy won by adaptive bits at half of the bytes of eight bits over four bits for "
            f"every weight, {rounded}",
            value=half["accuracy"] - others[name]["accuracy"],
            unit="of examples",
            op=">=",
            bar=MARGIN,
            peer=Peer("four bits for every weight", others[name]["accuracy"], version),
            detail={"adaptive": half, "uniform": others[name]},
        )


def _at_three_bits(made: Checkpoint, measured: Sensitivities, folder: Path, whole: BitAllocation) -> Iterator[Claim]:
    """Adaptive bits in the bytes that three bits for every weight would take; those are rounded, but not filed."""
    three = {node.name: 3 for node in made.graph.nodes if node.weight is not None}
    # Two bits and four differ by two for each weight: halfway lies the file with three.
    room = (uniform_bits(made.graph, 2).bytes + uniform_bits(made.graph, 4).bytes) // 2
    uniform = _found(made, apply_bits(made.graph, BitAllocation(three, room), made.calibration).graph)
    progress(f"three bits, same rounding: {uniform['accuracy']:.4f}, {uniform['changed']:.4f} changed")
    chosen = _allocated(made, room, measured)
    assert chosen is not None  # it has more room than two bits everywhere
    found = _filed("adaptive in three bits' bytes", made, chosen, folder, whole)
    said = (
        f"over three bits for every weight in the same bytes ({room / whole.bytes:.2f} of eight bits), the same "
        "rounding for both"
    )
    detail = {"adaptive": found, "uniform": uniform}
    yield Claim(
        id=f"bits_gain_three_{_short(made)}",
        text=f"{_said(made)}: accuracy won by adaptive bits {said}",
        value=found["accuracy"] - uniform["accuracy"],
        unit="of examples",
        op=">=",
        bar=0.0,
        peer=Peer("three bits for every weight", uniform["accuracy"]),
        detail=detail,
    )
    yield Claim(
        id=f"bits_changed_three_{_short(made)}",
        text=f"{_said(made)}: examples whose class is not that of float32, adaptive bits {said}",
        value=found["changed"] / max(uniform["changed"], 1 / len(made.all_held_out[1])),
        unit="ratio",
        op="<=",
        bar=1.0,
        peer=Peer("three bits for every weight, share changed", uniform["changed"]),
        detail=detail,
    )


def _allocated(made: Checkpoint, budget: int, measured: Sensitivities) -> BitAllocation | None:
    """None where even two bits for every weight take more."""
    try:
        return allocate_bits(made.graph, made.calibration, budget, measured=measured)
    except InputError:
        return None


def _stock(graph: Graph, kind: int, *, each_channel: bool) -> Graph:
    """The network with every weight rounded by onnxruntime's quantizer, symmetric; biases as they are."""
    return replace(graph, nodes=tuple(replace(n, weight=_rounded(n.weight, kind, each_channel)) for n in graph.nodes))


def _rounded(weight: np.ndarray | None, kind: int, each_channel: bool) -> np.ndarray | None:
    if weight is None:
        return None
    parts = []
    for part in weight if each_channel else [weight]:
        zero, scale, values = quantize_data(part, kind, True)
        parts.append((values.astype(np.float32) - np.float32(zero)) * np.float32(scale))
    return np.stack(parts) if each_channel else parts[0]


def _filed(
    name: str, made: Checkpoint, chosen: BitAllocation, folder: Path, whole: BitAllocation, *, compensate: bool = True
) -> dict[str, Any]:
    """The allocation's file, written and read back: its share of the bytes and what it gets right."""
    file = folder / "bits.safetensors"
    size = save_packed(apply_bits(made.graph, chosen, made.calibration, compensate=compensate), file)
    found = {**_found(made, load_packed(file).graph), "bytes": size, "share": size / whole.bytes}
    progress(
        f"{name}: {found['accuracy']:.4f}, {found['changed']:.4f} changed, in {size:,} bytes, {found['share']:.3f} of "
        "eight bits"
    )
    return found


def _found(made: Checkpoint, graph: Graph) -> dict[str, Any]:
    """Of all held-out examples: what a network gets right, and to what it gives another class than float32."""
    given = OnnxModel(to_onnx(graph).SerializeToString()).run(made.all_held_out[0]).argmax(1)
    right, changed = (given == made.all_held_out[1]).mean(), (given != made.float_classes).mean()
    return {"accuracy": float(right), "changed": float(changed)}


def _short(made: Checkpoint) -> str:
    return f"{made.settings.network}_{made.settings.task}".replace("efficientnet_", "")


def _said(made: Checkpoint) -> str:
    return f"{made.settings.network} trained on {made.settings.task}, {len(made.all_held_out[1]):,} held-out examples"

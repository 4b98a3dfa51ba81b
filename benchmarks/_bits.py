"""Adaptive bits against uniform ones: MobileNetV2 trained on fashion, files read back and run in onnxruntime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _checkpoints import Checkpoint, checkpoint
from _harness import Claim, Peer, progress

from skerry.device.compression.bits import BitAllocation, allocate_bits, apply_bits, sensitivities, uniform_bits
from skerry.device.compression.graph import Graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.packing import load_packed, save_packed
from skerry.device.runtime import OnnxModel

SHARES = (0.5, 0.45, 0.4, 0.35, 0.32)
"""Of the bytes of the packed file with eight bits everywhere."""
ALLOWED = 0.02


def bits(folder: Path) -> Iterator[Claim]:
    """What adaptive bits lose, and what uniform ones do, with the same rounding and with plain rounding."""
    yield from compared(checkpoint("mobilenet_v2", "fashion", progress), folder)


def compared(made: Checkpoint, folder: Path) -> Iterator[Claim]:
    """The claims for one checkpoint."""
    floating = _accuracy(made, made.graph)
    whole = uniform_bits(made.graph, 8)
    adaptive: dict[float, dict[str, Any]] = {}
    progress("sensitivity of each layer")
    measured = sensitivities(made.graph, made.calibration)
    for share in SHARES:
        chosen = allocate_bits(made.graph, made.calibration, int(share * whole.bytes), measured=measured)
        adaptive[share] = _filed(f"adaptive {share}", made, chosen, folder, whole)
    half = adaptive[SHARES[0]]
    uniform = {b: _filed(f"uniform {b}", made, uniform_bits(made.graph, b), folder, whole) for b in (8, 4, 2)}
    nearest = _filed("uniform 4, nearest", made, uniform_bits(made.graph, 4), folder, whole, compensate=False)
    said = f"mobilenet_v2 trained on fashion ({made.settings.size} px), {len(made.held_out[1])} held-out examples"
    detail = {"float": floating, "adaptive": adaptive, "uniform": uniform, "uniform_4_nearest": nearest}
    yield Claim(
        id="bits_lost",
        text=f"{said}: accuracy lost to adaptive bits at half of the bytes of eight bits",
        value=floating - half["accuracy"],
        unit="of examples",
        op="<=",
        bar=ALLOWED,
        peer=Peer("float32", floating),
        detail=detail,
    )
    for name, how, other in (
        ("same_rounding", "with the same rounding", uniform[4]),
        ("nearest", "each weight to its nearest value", nearest),
    ):
        yield Claim(
            id=f"bits_gain_{name}",
            text=f"{said}: accuracy won over four bits for every weight, {how} ({other['share']:.2f} of the bytes)",
            value=half["accuracy"] - other["accuracy"],
            unit="of examples",
            op=">=",
            bar=0.03,
            peer=Peer("uniform 4 bits", other["accuracy"]),
        )
    kept = [share for share, found in adaptive.items() if floating - found["accuracy"] <= ALLOWED]
    yield Claim(
        id="bits_least",
        text=f"{said}: least of {', '.join(map(str, SHARES))} of the bytes of eight bits that loses at most two points",
        value=min(kept, default=1.0),
        unit="of the bytes",
        op="<=",
        bar=SHARES[0],
        peer=Peer("uniform 2 bits, accuracy", uniform[2]["accuracy"]),
    )


def _filed(
    name: str, made: Checkpoint, chosen: BitAllocation, folder: Path, whole: BitAllocation, *, compensate: bool = True
) -> dict[str, Any]:
    """The allocation's file, written and read back: its share of the bytes and what it gets right."""
    file = folder / "bits.safetensors"
    size = save_packed(apply_bits(made.graph, chosen, made.calibration, compensate=compensate), file)
    found = {"accuracy": _accuracy(made, load_packed(file).graph), "bytes": size, "share": size / whole.bytes}
    progress(f"{name}: {found['accuracy']:.4f} in {size:,} bytes, {found['share']:.3f} of eight bits")
    return found


def _accuracy(made: Checkpoint, graph: Graph) -> float:
    x, y = made.held_out
    return float((OnnxModel(to_onnx(graph).SerializeToString()).run(x).argmax(1) == y).mean())

"""Half of the work pruned away: MobileNetV2 trained on fashion, pruned and taught by its unpruned self."""

from collections.abc import Iterator
from pathlib import Path

from _checkpoints import checkpoint
from _harness import Claim, Peer, progress

from skerry.config import TaskConfig
from skerry.config.recipe import DistilStep, PruneStep, Recipe, SourceConfig
from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.kept import Stage
from skerry.device.compression.pipeline import compress
from skerry.device.training.central import TrainingProgress

KEEP, EPOCHS, RATE = 0.5, 10, 0.1


class Said:
    """Says what a compression does, on standard error."""

    def begin(self, number: int, of: int, kind: str) -> None:
        progress(f"step {number} of {of}: {kind}")

    def training(self, told: TrainingProgress) -> None:
        pass

    def measuring(self) -> None:
        pass

    def end(self, stage: Stage) -> None:
        f = stage.figures
        progress(f"{stage.kind}: {f.accuracy:.4f}, {f.macs / 1e6:.2f} M MACs, {f.bytes:,} bytes, {f.latency_ms:.3f} ms")


def pruning(folder: Path) -> Iterator[Claim]:
    """What pruning half of the multiply-accumulates costs after it was made up for."""
    made = checkpoint("mobilenet_v2", "fashion", progress)
    file = folder / "whole.safetensors"
    save_graph(made.graph, file)
    recipe = Recipe(
        name="pruning",
        task=TaskConfig(name="fashion"),
        model=SourceConfig(file=file),
        steps=(PruneStep(keep_macs=KEEP), DistilStep(epochs=EPOCHS, batch_size=64, learning_rate=RATE)),
    )
    done = compress(recipe, folder / "out", Said(), task=made.task)
    assert done.uncompressed is not None
    whole, small = done.uncompressed.figures, done.stages[-1].figures
    one_shot = done.stages[0].figures
    said = f"mobilenet_v2 trained on fashion ({made.settings.size} px), {EPOCHS} epochs after pruning"
    yield Claim(
        id="pruning_macs",
        text=f"{said}: multiply-accumulates left",
        value=small.macs / whole.macs,
        unit="of the unpruned network's",
        op="<=",
        bar=KEEP,
        peer=Peer("unpruned, multiply-accumulates", whole.macs),
    )
    yield Claim(
        id="pruning_lost",
        text=f"{said}: accuracy lost on held-out examples",
        value=whole.accuracy - small.accuracy,
        unit="of examples",
        op="<=",
        bar=0.02,
        peer=Peer("unpruned, accuracy", whole.accuracy),
        detail={
            "accuracy": small.accuracy,
            "accuracy_untrained": one_shot.accuracy,
            "bytes": small.bytes / whole.bytes,
            "latency": small.latency_ms / whole.latency_ms,
        },
    )

"""Publishing a log for witnesses and auditors: its tiles, then the checkpoint that speaks of them."""

from dataclasses import dataclass
from pathlib import Path

from skerry.fsio import write_atomic
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import Tree
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.tiles import write_tiles

__all__ = ["CHECKPOINT", "Publisher"]

CHECKPOINT = "checkpoint"
"""The file that holds the signed note, in the log's folder."""


@dataclass
class Publisher:
    """Writes into one folder; one thread at a time.

    Attributes:
        folder: where to.
        since: number of leaves whose tiles are there; 0 writes every tile again.
    """

    folder: Path
    since: int = 0

    def publish(self, tree: Tree, checkpoint: Checkpoint, signer: NoteSigner) -> None:
        """Publish the state that the checkpoint names; the tree may have grown beyond it. Waits for no disk.

        Raises:
            DiskFullError: no room; the checkpoint before stays.
        """
        write_tiles(tree, checkpoint.size, self.folder, since=self.since)
        write_atomic(self.folder / CHECKPOINT, checkpoint.sign(signer).encode(), durable=False)
        self.since = checkpoint.size

"""Publishing a log for witnesses and auditors: its tiles, then the checkpoint that speaks of them."""

from dataclasses import dataclass, field
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
    """Writes into one folder; one thread at a time. The first publication of a process writes every tile again."""

    folder: Path
    _published: int = field(default=0, init=False)

    def publish(self, tree: Tree, checkpoint: Checkpoint, signer: NoteSigner) -> None:
        """Publish the state that the checkpoint names; the tree may have grown beyond it. Waits for no disk.

        Raises:
            DiskFullError: no room; the checkpoint before stays.
        """
        write_tiles(tree, checkpoint.size, self.folder, since=self._published)
        write_atomic(self.folder / CHECKPOINT, checkpoint.sign(signer).encode(), durable=False)
        self._published = checkpoint.size

"""What the console shows of releases: each version, and how far it is on its way to the devices.

The federation's log says what was released; which blobs a version consists of is in its manifest, where the repository
has it; which devices were handed these to the end is in the inbox. A release in a run's own folder has no roll-out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry.security.delivery.manifest import Manifest
from skerry.server.console.lines import WhenChanged
from skerry.server.federation_home import FederationHome
from skerry.server.service.inbox import Inbox

__all__ = ["ReleaseFacts"]

_NEWEST = 12  # that are shown

Fact = Mapping[str, Any]


class ReleaseFacts:
    """Read again where a file has changed.

    Args:
        runs: folder of runs.
    """

    def __init__(self, runs: Path) -> None:
        inbox = FederationHome(runs).inbox
        wal = inbox.with_name(f"{inbox.name}-wal")
        self._handed = WhenChanged(lambda: _handed(inbox), inbox, wal)
        self._ways: dict[str, tuple[frozenset[str], ...]] = {}

    def look(
        self, releases: Iterable[Mapping[str, Any]], repository: Path, enrolled: Collection[str] | None
    ) -> Iterator[tuple[str, Fact]]:
        """Facts by key.

        Args:
            releases: bodies of the log's entries about them, with ``seq`` and ``at``.
            repository: that the servers serve.
            enrolled: names of the devices that are counted, if they are known.
        """
        (receipts, downloads), _ = self._handed.look()
        for kind, count in receipts.items():
            yield f"receipts/{kind}", {"kind": kind, "devices": count}
        for one in list(releases)[-_NEWEST:]:
            ways = self._of(one, repository)
            having = None
            if ways and enrolled is not None:
                handed = (blobs for name, blobs in downloads.items() if name in enrolled)
                having = sum(all(way & blobs for way in ways) for blobs in handed)
            yield f"release/{one['seq']}", {**one, "fetched": having}

    def _of(self, release: Mapping[str, Any], repository: Path) -> tuple[frozenset[str], ...]:
        """For each file of a version the blobs one of which makes it; nothing where the repository has no manifest."""
        digest = release["manifest"]
        if digest not in self._ways:
            folder = repository / "targets" / str(release["name"]) / str(release["version"])
            for manifest in [Manifest.from_bytes(path.read_bytes()) for path in folder.glob("*.manifest.cbor")]:
                if manifest.digest == digest:
                    self._ways[digest] = tuple(
                        frozenset({file.blob, *(one.blob for one in manifest.deltas if one.file == file.name)})
                        for file in manifest.files
                    )
        return self._ways.get(digest, ())


def _handed(path: Path) -> tuple[dict[str, int], dict[str, frozenset[str]]]:
    """Receipts by kind, and which blobs each device was handed."""
    if not path.exists():
        return {}, {}
    inbox = Inbox(path, most=0)
    return inbox.kinds(), inbox.downloads()

"""What the console shows of the federation itself: its servers, the log's tail, and what was released."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry.security.transparency.events import EventKind
from skerry.security.transparency.log import ENTRIES
from skerry.server.console.lines import GrowingLines, WhenChanged
from skerry.server.console.release_facts import ReleaseFacts
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import FOLDER
from skerry.server.running import RunningServer

__all__ = ["FederationFacts"]

_TAIL = 40  # entries of the log

Fact = Mapping[str, Any]


class FederationFacts:
    """Read again where a file has changed.

    Args:
        runs: folder of runs.
    """

    def __init__(self, runs: Path) -> None:
        home = FederationHome(runs)
        self._repository = runs / "repository"
        self._log = GrowingLines(runs / FOLDER / ENTRIES)
        self._released: dict[int, Fact] = {}
        self._releases = ReleaseFacts(runs)
        self._server = WhenChanged(lambda: RunningServer.read(home.server), home.server)

    def look(self, enrolled: Collection[str] | None) -> Iterator[tuple[str, Fact]]:
        """Facts by key.

        Args:
            enrolled: names of the devices that are enrolled now, if they are known.
        """
        server, _ = self._server.look()
        if server is not None:
            self._repository = Path(server.repository)
            yield (
                "server",
                {
                    "federation": server.federation,
                    "since": server.since,
                    "certificate_until": server.certificate_until,
                    "repository": server.repository,
                },
            )
        if self._log.look():
            for line in self._log.records:
                if line["kind"] == EventKind.RELEASE and "body" in line:
                    self._released[line["seq"]] = {"seq": line["seq"], "at": line["at"], **line["body"]}
            del self._log.records[:-_TAIL]
        for line in self._log.records:
            yield f"log/{line['seq']}", {name: line.get(name) for name in ("seq", "at", "kind", "body")}
        yield from self._releases.look(self._released.values(), self._repository, enrolled)

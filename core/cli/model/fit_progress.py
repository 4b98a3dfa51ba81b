"""How a search is watched: a bar for the network under way on a terminal, one line a network elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from skerry.device.compression.candidates import Candidate
    from skerry.device.compression.fit import Tried
    from skerry.device.compression.kept import Stage
    from skerry.device.training.central import TrainingProgress

__all__ = ["SearchView", "watching"]


class SearchView:
    """Shows screening, rungs, and each network's steps; remembers what is known so far."""

    def __init__(self, console: Console, bar: Progress | None, *, quiet: bool) -> None:
        self.known: Sequence[Tried] = ()
        self._console, self._bar, self._quiet = console, bar, quiet
        self._task = None if bar is None else bar.add_task("", total=None)
        self._name = self._rung = ""
        self._alive = 0

    def screening(self, what: str) -> None:
        """A network is measured untrained."""
        self._show(f"measuring untrained: {what}", 0, None)

    def screened(self, candidates: "Sequence[Candidate]") -> None:
        """These will be trained."""
        self._line(f"{len(candidates)} networks keep the limits untrained")

    def rung(self, number: int, of: int, epochs: int, alive: int) -> None:
        """A rung begins."""
        self._rung, self._alive = f"rung {number} of {of}", alive
        what = f"{alive} networks" if number < of else "the winner, on all public data"
        self._line(f"{self._rung}: {what}, {epochs} epochs")

    def network(self, candidate: "Candidate", number: int) -> "SearchView":
        """A network's turn."""
        self._name = f"{self._rung}  {number} of {max(number, self._alive)}  {candidate.name}"
        return self

    def tried(self, tried: "Sequence[Tried]") -> None:
        """What is known so far."""
        self.known = tried

    def begin(self, number: int, of: int, kind: str) -> None:
        """A step of a network begins."""
        self._kind = kind
        self._last = number == of
        self._show(f"{self._name}  {kind}", 0, None)

    def training(self, progress: "TrainingProgress") -> None:
        """A training step is done."""
        self._show(f"{self._name}  {self._kind}  loss {progress.loss:.3f}", progress.done, progress.of)

    def measuring(self) -> None:
        """A file is measured."""
        self._show(f"{self._name}  measuring", 0, None)

    def end(self, stage: "Stage") -> None:
        """A step of a network is done; the last one is worth a line."""
        from skerry.wording import percent, size

        if self._last:
            f = stage.figures
            found = "  (found)" if stage.reused else ""
            self._line(f"{self._name}  {percent(f.accuracy)}, {f.latency_ms:.3f} ms, {size(f.bytes)}{found}")

    def _line(self, said: str) -> None:
        if not self._quiet:
            (self._bar.console if self._bar else self._console).print(said, style="dim")

    def _show(self, said: str, done: int, of: int | None) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=said, completed=done, total=of)


@contextmanager
def watching(console: Console, *, quiet: bool) -> Iterator[SearchView]:
    """A view for this console; taken away at the end."""
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        yield SearchView(console, bar if live else None, quiet=quiet)

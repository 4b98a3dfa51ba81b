"""Every network of the zoo at its published input: size, work, and what it costs to run; the table of docs/models.md.

Usage: ``python zoo_table.py [--write] [NAME…]``. Standard output is one JSON object; ``--write`` also puts the table
into docs/models.md, where it stands between two comments and is never edited by hand. Weights are random, as times do
not depend on them: the norms are set on noise, on which int8 is calibrated too.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from _harness import ROOT, document, machine, progress, versions
from torch import nn

from skerry.device.bench.artefacts import prepare
from skerry.device.bench.conditions import parse_conditions
from skerry.device.bench.measuring import measure, plan
from skerry.device.bench.records import Measurement, Settings
from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.trace import trace
from skerry.device.model_source import ModelSource
from skerry.device.models import ARCHITECTURES, Architecture, build_network
from skerry.fsio import write_atomic
from skerry.wording import size

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- zoo table: written by `make bench-models` -->", "<!-- end of zoo table -->"
CONDITIONS = ("idle", "burn", "quota50", "quota25")
USED = ("onnxruntime", "torch", "onnx", "numpy")


@dataclass(frozen=True)
class Row:
    """One network: what it is, and what was measured of it."""

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    macs: int
    measurements: tuple[Measurement, ...]

    def one(self, precision: str, condition: str) -> Measurement:
        """What was measured of it in this precision under this condition."""
        return next(m for m in self.measurements if (m.precision, m.condition) == (precision, condition))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES), metavar="NAME")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in ARCHITECTURES]:
        parser.error(f"no such network: {unknown[0]}; there are: {', '.join(ARCHITECTURES)}")
    torch.set_num_threads(1)
    rows = [_row(ARCHITECTURES[name]) for name in asked.names]
    if asked.write:
        write_atomic(PAGE, replaced(PAGE.read_text(encoding="utf-8"), "\n".join(table(rows))).encode())
        progress(f"wrote {PAGE}")
    made: dict[str, Any] = {**document("zoo_table", [], versions(*USED)), "networks": [asdict(row) for row in rows]}
    json.dump(made, sys.stdout, ensure_ascii=False, indent=2)
    print()


def _row(declared: Architecture) -> Row:
    graph = _graph(declared)
    with tempfile.TemporaryDirectory(prefix="skerry-zoo-") as text:
        folder = Path(text)
        save_graph(graph, folder / "graph.safetensors")
        source = ModelSource(declared.name, "graph", graph_file=folder / "graph.safetensors")
        progress(f"{declared.name}: exporting and quantizing")
        prepared = prepare(source, folder, runtimes=("onnxruntime",))
        settings = Settings(cold_starts=1)
        cells = plan(prepared.artefacts, parse_conditions(CONDITIONS), settings)
        measured = tuple(measure(cells, settings, lambda cell: progress(f"{declared.name}: {cell.name}")))
    return Row(declared.name, graph.input_shape, declared.classes, graph.parameters(), graph.macs(), measured)


def _graph(declared: Architecture) -> Graph:
    network = build_network(declared.name, inputs=declared.published_inputs, classes=declared.classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        network.train()(torch.randn(4, *declared.published_inputs, generator=noise))
    return trace(network.eval(), declared.published_inputs)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The table in Markdown, and what it was measured with."""
    yield "| network | input | classes | weights | MACs | | file | " + " | ".join(CONDITIONS) + " | memory |"
    yield "|-|-|-|-|-|-|-|" + "-|" * len(CONDITIONS) + "-|"
    for row in rows:
        shape = "×".join(map(str, row.input_shape))
        facts = f"`{row.name}` | {shape} | {row.classes:,} | {_count(row.parameters)} | {_count(row.macs)}"
        for precision, head in (("fp32", facts), ("int8", " | | | | ")):
            idle = row.one(precision, "idle")
            cells = " | ".join(_latency(row.one(precision, condition)) for condition in CONDITIONS)
            yield f"| {head} | {precision} | {size(idle.file_bytes)} | {cells} | {_memory(idle)} |"
    here, used = machine(), versions(*USED)
    quiet = max(m.elsewhere_cores or 0.0 for row in rows for m in row.measurements)
    calls = min(m.latency.n for row in rows for m in row.measurements if m.latency)
    yield ""
    yield f"Latency of one call in ms, p50 / p95 of at least {calls} calls; memory is the largest resident one, idle."
    yield f"onnxruntime {used['onnxruntime']}, one thread, {here['cpu']}, {here['cores']} cores, {_today()}; up to"
    yield f"{quiet:.1f} cores were busy with something else meanwhile."


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _latency(measured: Measurement) -> str:
    latency = measured.latency
    return f"{latency.p50_ms:.3g} / {latency.p95_ms:.3g}" if latency else measured.skipped or "-"


def _memory(measured: Measurement) -> str:
    return f"{measured.peak_rss_mb:.0f} MB" if measured.peak_rss_mb else "-"


def _count(number: int) -> str:
    """Three digits: 4.63 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)


def replaced(page: str, text: str) -> str:
    """The page with the text between its two comments."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE} has lost its comments {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


if __name__ == "__main__":
    main()

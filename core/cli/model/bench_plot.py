"""The plot of ``skerry model bench``: one SVG file that needs nothing else, light or dark as its reader is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from skerry.device.bench.profile import Profile
    from skerry.device.bench.records import Measurement

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 900, 230, 130
ROW, TOP, PANEL = 22, 64, 160

STYLE = """
svg { background: #fff; color: #1d2733; font: 12px system-ui, sans-serif }
text { fill: currentColor } .dim { opacity: .65 } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: currentColor; opacity: .15 } .whisker { stroke: currentColor; opacity: .7; fill: none }
.fp32 { fill: #8aa4c8; stroke: #8aa4c8 } .int8 { fill: #1f6f8b; stroke: #1f6f8b }
polyline.fp32, polyline.int8 { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  svg { background: #12181f; color: #dbe4ee } .int8 { fill: #4fb3d1; stroke: #4fb3d1 }
}
"""


def draw(profile: "Profile") -> str:
    """Medians as bars with a line to the 95th and a tick at the 99th percentile; sustained runs over time below."""
    rows = [m for m in profile.measurements if m.latency]
    order = [m.condition for m in rows]
    rows.sort(key=lambda m: order.index(m.condition))
    running = [m for m in rows if m.series]
    bars_end = TOP + ROW * len(rows)
    height = bars_end + 40 + (PANEL + 60 if running else 0)
    body = [*_head(profile), *_bars(rows, bars_end)]
    if running:
        body += _lines(running, bars_end + 64)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    )
    return "\n".join([f'{opening} role="img">', f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _head(profile: "Profile") -> Iterator[str]:
    machine = profile.machine
    shape = "×".join(map(str, profile.model.input_shape))
    yield f"<title>{escape(profile.model.name)}: latency by condition</title>"
    yield _text(16, 24, f"{profile.model.name} ({shape}): latency of one call, ms", "title")
    where = f"{machine.processor or machine.architecture}, {machine.cores} cores; bar: median, line: to p95, tick: p99"
    yield _text(16, 44, where, "dim")


def _bars(rows: "list[Measurement]", end: int) -> Iterator[str]:
    most = max((m.latency.p99_ms for m in rows if m.latency), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / most
    yield from _axis(most, scale, TOP, end)
    for i, m in enumerate(rows):
        assert m.latency is not None
        y = TOP + ROW * i
        middle, high, top = (LEFT + value * scale for value in (m.latency.p50_ms, m.latency.p95_ms, m.latency.p99_ms))
        threads = f" ×{m.threads}" if m.threads > 1 else ""
        yield _text(LEFT - 8, y + 15, f"{m.condition} · {m.runtime} {m.precision}{threads}", "", "end")
        yield f'<rect class="{m.precision}" x="{LEFT}" y="{y + 4}" width="{middle - LEFT:.1f}" height="14"/>'
        line = f"M{middle:.1f},{y + 11}H{high:.1f}M{top:.1f},{y + 7}V{y + 15}"
        yield f'<path class="whisker" d="{line}"/>'
        yield _text(int(top) + 6, y + 15, f"{m.latency.p50_ms:.2f}", "")


def _lines(rows: "list[Measurement]", top: int) -> Iterator[str]:
    until = max(m.series[-1][0] for m in rows)
    most = 1.1 * max(ms for m in rows for _, ms in m.series)
    yield _text(16, top - 12, f"sustained: median latency, ms, over {until:.0f} s without a pause", "title")
    for part in range(5):
        y = top + PANEL * (1 - part / 4)
        yield f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(LEFT - 8, int(y) + 4, f"{most * part / 4:.2f}", "dim", "end")
    x_scale = (WIDTH - LEFT - RIGHT) / until
    free = float(top)  # labels keep a distance, from the slowest down to the quickest
    for m in sorted(rows, key=lambda m: -m.series[-1][1]):
        points = " ".join(f"{LEFT + t * x_scale:.1f},{top + PANEL * (1 - ms / most):.1f}" for t, ms in m.series)
        yield f'<polyline class="{m.precision}" points="{points}"><title>{m.runtime} {m.precision}</title></polyline>'
        free = max(free, top + PANEL * (1 - m.series[-1][1] / most))
        yield _text(WIDTH - RIGHT + 4, int(free) + 4, f"{m.runtime} {m.precision}", "")
        free += 13


def _axis(most: float, scale: float, top: int, end: int) -> Iterator[str]:
    from skerry.server.report.plots import nice_ticks

    for tick in nice_ticks(0.0, most):
        if tick > most:
            continue
        x = LEFT + tick * scale
        yield f'<path class="grid" d="M{x:.1f},{top}V{end}"/>'
        yield _text(int(x), end + 16, f"{tick:g}", "dim", "middle")


def _text(x: int, y: int, said: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(said)}</text>'

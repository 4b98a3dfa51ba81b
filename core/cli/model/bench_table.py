"""What ``skerry model bench`` shows on a terminal: a table with a bar for each latency, and what needs words."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from skerry.cli.console import facts, out, table

if TYPE_CHECKING:
    from rich.text import Text

    from skerry.device.bench.profile import Comparison, Profile
    from skerry.device.bench.records import Measurement

__all__ = ["bar", "tell"]

BAR_WIDTH = 24


def tell(profile: "Profile", compared: "Sequence[Comparison]", other: "Profile | None", *, saved: str | None) -> None:
    """Print the measurements, then the comparison with another profile."""
    from rich.text import Text

    console = out()
    machine = profile.machine
    shape = "×".join(map(str, profile.model.input_shape))
    figures = ["p50 ms", "p95 ms", "p99 ms", "per s", "CPU", "elsewhere", "cold ms", "RSS MB"]
    title = f"{profile.model.name} ({shape}) on {machine.processor or machine.architecture}, {machine.cores} cores"
    shown = table(
        title, ["runtime", "", "threads", "condition", *figures, "p50 █ to p95 ─"], right=["threads", *figures]
    )
    most = max((m.latency.p95_ms for m in profile.measurements if m.latency), default=1.0)
    for m in profile.measurements:
        head = (m.runtime, m.precision, str(m.threads), m.condition)
        if m.skipped:
            shown.add_row(*head, *[""] * len(figures), Text(m.skipped, style="dim"))
        else:
            shown.add_row(*head, *_figures(m), _last(m, most))
    console.print(shown)
    console.print()
    console.print(facts(list(_words(profile, saved))))
    if other is not None:
        console.print()
        _tell_comparison(compared, profile, other)


def bar(middle: float, high: float, most: float) -> str:
    """A bar to the median, and a line on to the 95th percentile; ``most`` fills the width."""
    full = max(1, round(BAR_WIDTH * middle / most))
    return "█" * full + "─" * max(0, round(BAR_WIDTH * high / most) - full)


def _figures(m: "Measurement") -> list[str]:
    latency, cold = m.latency, m.cold
    return [
        f"{latency.p50_ms:.2f}" if latency else "",
        f"{latency.p95_ms:.2f}" if latency else "",
        f"{latency.p99_ms:.2f}" if latency else "",
        f"{m.throughput:.1f}" if m.throughput else "",
        f"{m.cpu_share:.2f}" if m.cpu_share is not None else "",
        f"{m.elsewhere_cores:.2f}" if m.elsewhere_cores is not None else "",
        f"{cold.total_ms:.0f}" if cold else "",
        f"{m.peak_rss_mb:.0f}" if m.peak_rss_mb else "",
    ]


def _last(m: "Measurement", most: float) -> "Text":
    from rich.text import Text

    if m.memory and m.memory.least_mb:
        return Text(f"least that works: {m.memory.least_mb} MB", style="yellow")
    if m.memory and not m.memory.works:
        return Text(f"does not work: {m.memory.why}", style="red")
    assert m.latency is not None
    return Text(bar(m.latency.p50_ms, m.latency.p95_ms, most), style="cyan" if m.precision == "int8" else "blue")


def _words(profile: "Profile", saved: str | None) -> Iterator[tuple[str, str]]:
    from skerry.wording import size

    sizes = {f"{m.runtime} {m.precision}": size(m.file_bytes) for m in profile.measurements}
    yield "files", ", ".join(f"{name} {said}" for name, said in sizes.items())
    for m in profile.measurements:
        if m.condition == "idle" and m.cold:
            c = m.cold
            parts = f"interpreter {c.start_ms:.0f}, runtime {c.import_ms:.0f}, model {c.load_ms:.0f}, first call"
            threads = f", {m.threads} threads" if m.threads > 1 else ""
            said = f"{c.total_ms:.0f} ms, of {c.n}: {parts} {c.first_ms:.0f}"
            yield f"cold start, {m.runtime} {m.precision}{threads}", said
    for m in profile.measurements:
        if m.drift:
            d = m.drift
            said = f"{d.first_ms:.2f} → {d.last_ms:.2f} ms, {d.slope_percent_per_minute:+.1f} % a minute"
            verdict = "drifts" if d.drifts else "does not drift"
            heat = f", {m.heat.before:.0f} → {m.heat.after:.0f} °C" if m.heat else ""
            between = f"({d.low:+.1f} to {d.high:+.1f})"
            yield f"sustained, {m.runtime} {m.precision}", f"{verdict}: {said} {between}{heat}"
    for how, conditions in _ways(profile).items():
        yield ", ".join(conditions), how
    for name, why in profile.absent.items():
        yield f"{name} not measured", why
    if profile.model.note:
        yield "note", profile.model.note
    if saved:
        yield "saved", saved


def _ways(profile: "Profile") -> dict[str, list[str]]:
    """How conditions were brought about, and which in this way."""
    ways: dict[str, list[str]] = {}
    for m in profile.measurements:
        if m.how and m.condition not in ways.setdefault(m.how, []):
            ways[m.how].append(m.condition)
    return ways


def _tell_comparison(compared: "Sequence[Comparison]", profile: "Profile", other: "Profile") -> None:
    from skerry.wording import UNKNOWN

    def ratio(value: float | None) -> str:
        return UNKNOWN if value is None else f"{value:.2f}"

    figures = ["here ms", "there ms", "p50", "p95", "cold", "RSS"]
    there = other.machine.processor or other.machine.architecture
    shown = table(
        f"against {other.model.name} on {there}", ["runtime", "", "threads", "condition", *figures], right=figures
    )
    for c in compared:
        runtime, precision, threads, condition = c.key
        here_ms, there_ms = (f"{value:.2f}" for value in c.p50_ms) if c.p50_ms else ("", "")
        ratios = [ratio(value) for value in (c.p50, c.p95, c.cold, c.peak_rss)]
        shown.add_row(runtime, precision, str(threads), condition, here_ms, there_ms, *ratios)
    console = out()
    console.print(shown)
    if not compared:
        console.print("the two have no measurement in common", style="yellow")
    same = profile.model.files.items() & other.model.files.items()
    if not same:
        console.print("the measured files are not the same: this compares models, not machines alone", style="yellow")

"""``skerry fleet plan``: how long a round would take on a fleet of phones, and who would be left out."""

import math
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, emit, note, out, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.server.engines.virtual import PolicyFigures
    from skerry.server.fleet_plan import PlannedPolicy, Wish

__all__ = ["plan"]


class Data(StrEnum):
    """What simulated phones may learn from."""

    FASHION = "fashion"
    SYNTHETIC = "synthetic"


def plan(
    *,
    phones: Annotated[int, typer.Option(min=10, max=1_000_000, help="Phones in the fleet.")] = 10_000,
    profile: Annotated[
        Path | None, typer.Option(help="TOML file of your fleet \\[default: phones as documented].")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Rounds; a buffer takes as many answers.")] = 50,
    goal: Annotated[int, typer.Option(min=1, help="Answers that end a round.")] = 100,
    over_selection: Annotated[float, typer.Option(min=0, max=10, help="Share of phones asked beyond the goal.")] = 0.3,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds until a round ends without the others.")] = 600.0,
    buffer: Annotated[int, typer.Option(min=1, help="Answers with which a buffered run makes a step.")] = 10,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Phones at work together in a buffered run \\[default: as in a round].")
    ] = None,
    down_mb: Annotated[float, typer.Option(min=0, help="Bytes of an instruction, in 10^6.")] = 14.0,
    up_mb: Annotated[float, typer.Option(min=0, help="Bytes of an answer, in 10^6.")] = 14.0,
    example_gflop: Annotated[
        float, typer.Option(min=0, help="Forward and backward pass of one example, in 10^9 operations.")
    ] = 1.8,
    examples: Annotated[int, typer.Option(min=1, help="Examples on a phone, median.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 1,
    start: Annotated[float, typer.Option(min=0, max=24, help="Hour of the day at which the run begins.")] = 20.0,
    train: Annotated[
        Data | None, typer.Option(help="Train a small network on these data, and tell how it learns.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of phones and chance.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a plot as an SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try rounds and a buffer on thousands of simulated phones, in virtual time.

    Phones differ in speed, network, hours of charging and in what interrupts them. The defaults are those of a whole
    MobileNetV2 at 224 pixels, fine-tuned on a hundred pictures. Nothing is asked of real devices.
    """
    from skerry.errors import InputError
    from skerry.fsio import write_atomic
    from skerry.server.engines.virtual import PHONES, Buffer, Rounds, Work, load_profile
    from skerry.server.fleet_plan import Wish, planned

    numbers = {
        "--over-selection": over_selection,
        "--deadline": deadline,
        "--down-mb": down_mb,
        "--up-mb": up_mb,
        "--example-gflop": example_gflop,
        "--start": start,
    }
    for option, value in numbers.items():
        if not math.isfinite(value):  # NaN passes every range
            raise InputError(f"{value} is no finite number", where=option, mend="give one")
    wish = Wish(
        profile=PHONES if profile is None else load_profile(profile),
        phones=phones,
        rounds=Rounds(goal=goal, over_selection=over_selection, deadline_s=deadline),
        buffer=Buffer(
            size=buffer,
            concurrency=concurrency or max(buffer, round(goal * (1 + over_selection))),
            timeout_s=deadline,
        ),
        work=Work(bytes_down=round(down_mb * 1e6), bytes_up=round(up_mb * 1e6), gflop=example_gflop, epochs=epochs),
        answers=rounds * goal,
        examples=examples,
        start_h=start,
        data=None if train is None else train.value,
        seed=seed,
    )
    with note().status("simulating") as status:
        found = planned(wish, lambda said: status.update(f"simulating: {said}"))
    if plot is not None:
        from skerry.cli.fleet.plan_plot import draw

        write_atomic(plot, draw(wish, found).encode(), durable=False)
    if as_json:
        emit(_document(wish, found, plot))
        return
    _tell(wish, found)


def _document(wish: "Wish", found: "Sequence[PlannedPolicy]", plot: Path | None) -> dict[str, Any]:
    return {
        "profile": asdict(wish.profile),
        "phones": wish.phones,
        "work": asdict(wish.work) | {"examples": wish.examples},
        "start_h": wish.start_h,
        "seed": wish.seed,
        "data": wish.data,
        "policies": [
            {key: value for key, value in asdict(one.figures).items() if key != "durations"}
            | {"learning": [asdict(point) for point in one.points]}
            for one in found
        ],
        "plot": str(plot) if plot else None,
    }


def _tell(wish: "Wish", found: "Sequence[PlannedPolicy]") -> None:
    from rich.text import Text

    console = out()
    durations, staleness = ["step p50", "p90", "p99"], ["stale p50", "p99"]
    costs = [*durations, "answers/h", "late", "lost", *staleness, "J/answer", "MB/answer", "fairness"]
    title = f"{wish.phones:,} {wish.profile.name}, {wish.answers:,} answers, from {wish.start_h:g} o'clock"
    shown = table(title, ["policy", *costs], right=costs)
    for one in found:
        shown.add_row(Text(one.figures.name), *_row(one.figures))
    console.print(shown)
    said = (
        "late, lost: of those asked; stale: steps made meanwhile; J: of all phones, for each answer that counted; "
        "fairness: 1 when all phones have as many answers"
    )
    console.print(Text(said, style="dim"))
    columns = [column for one in found for column in (f"answers: {one.figures.name}", "left out", "never")]
    classes = table("", ["class", "of fleet", *columns], right=["of fleet", *columns])
    for number, kind in enumerate(wish.profile.classes):
        rows = [one.figures.classes[number] for one in found]
        cells = [f"{100 * share:.0f} %" for row in rows for share in (row.of_answers, row.left_out, row.never)]
        classes.add_row(Text(kind.name), f"{100 * rows[0].of_fleet:.0f} %", *cells)
    console.print(classes)
    said = "left out: of those asked, answers that did not count; never: phones without an answer that counted"
    console.print(Text(said, style="dim"))
    for one in found:
        if one.points:
            best = max(point.accuracy for point in one.points)
            hours = one.points[-1].seconds / 3600
            said = f"{one.figures.name}: {100 * best:.1f} % of held-out examples right within {hours:.1f} h"
            console.print(Text(said))


def _row(figures: "PolicyFigures") -> list[str]:
    asked = max(figures.asked, 1)
    answers = max(figures.answers, 1)
    return [
        *(f"{value:.0f} s" for value in figures.step_s),
        f"{figures.answers / figures.hours:,.0f}",
        f"{100 * figures.late / asked:.1f} %",
        f"{100 * figures.lost / asked:.1f} %",
        f"{figures.staleness[0]:.0f}",
        f"{figures.staleness[2]:.0f}",
        f"{figures.joules:.0f}",
        f"{(figures.megabytes_down + figures.megabytes_up) / answers:.1f}",
        f"{figures.fairness:.2f}",
    ]

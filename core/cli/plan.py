"""``skerry privacy plan``: from a wish to noise, clip and settings, and what they cost in accuracy."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, emit, note, out, table

if TYPE_CHECKING:
    from skerry.config import Scenario
    from skerry.security.privacy.planning import Option, Wish
    from skerry.server.pilot import Point

__all__ = ["plan"]


class Unit(StrEnum):
    """What is protected."""

    EXAMPLE = "example"
    DEVICE = "device"


def plan(
    *,
    devices: Annotated[int, typer.Option(metavar="N", help="Devices that there are.")],
    examples: Annotated[int, typer.Option(metavar="N", help="Examples on a device.")] = 100,
    epsilon: Annotated[float, typer.Option(metavar="ε", help="Budget of the whole run.")] = 8.0,
    delta: Annotated[float, typer.Option(metavar="δ", help="Well below 1 over the number of units.")] = 1e-5,
    rounds: Annotated[int, typer.Option(metavar="T", help="Rounds of the run.")] = 20,
    participation: Annotated[float, typer.Option(metavar="Q", help="Share of the devices in a round.")] = 1.0,
    steps: Annotated[
        int, typer.Option(metavar="K", help="Unit example: passes over a device's examples in a round.")
    ] = 1,
    unit: Annotated[Unit, typer.Option(help="What is protected: an example of a device, or a whole device.")] = (
        Unit.EXAMPLE
    ),
    pilot: Annotated[
        str | None,
        typer.Option(metavar="SCENARIO", help="Measure accuracy on this scenario's public data (a minute or more)."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the utility curve into an SVG file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let δ be 1/n or more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plan the noise for a number of devices, examples and rounds, and compare the ways to keep the budget.

    Every ε is printed with its δ, unit, neighbouring relation, and the sampling that it assumes. With --pilot a head is
    trained on public data under the plan's noise, at several clips and several ε; the plan then counts the
    steps that the scenario's training takes (each replay of `free` is one).
    """
    from skerry.errors import InputError
    from skerry.fsio import write_atomic
    from skerry.security.privacy.planning import Wish, options

    wish = Wish(
        unit=unit.value,
        devices=devices,
        examples=examples,
        epsilon=epsilon,
        delta=delta,
        rounds=rounds,
        participation=participation,
        steps=steps,
        force=force,
    )
    if plot is not None and pilot is None:
        raise InputError("a plot shows what a pilot measured", where="--plot", mend="name a scenario with --pilot")
    points: list[Point] = []
    if pilot is None:
        found = options(wish)
    else:
        from skerry.config import load_scenario
        from skerry.server.pilot import paid_by

        scenario = load_scenario(Path(pilot), [])
        wish = paid_by(scenario, wish)
        found = options(wish)
        points = _measure(scenario, wish)
    if plot is not None:
        from skerry.cli.plan_plot import draw

        write_atomic(plot, draw(wish, points).encode(), durable=False)
    document = _document(wish, found, points, plot)
    if as_json:
        emit(document)
        return
    _tell(wish, found, points, document)


def _measure(scenario: "Scenario", wish: "Wish") -> "list[Point]":
    from skerry.server.pilot import pilot

    console = note()
    with console.status("pilot") as status:
        return pilot(scenario, wish, lambda said: status.update(f"pilot: {said}"))


def _document(wish: "Wish", found: "list[Option]", points: "list[Point]", plot: Path | None) -> dict[str, Any]:
    private = [point for point in points if point.epsilon == wish.epsilon]
    best = max(private, key=lambda point: point.accuracy, default=None)
    return {
        "wish": vars(wish) | {"cohort": wish.cohort, "separation": wish.separation},
        "recommended": found[0].name,
        "clip": best.clip if best else None,
        "options": [
            {
                "name": option.name,
                "words": option.words,
                "noise_multiplier": option.noise_multiplier,
                "round_noise": option.round_noise,
                "model_noise": option.model_noise,
                "cohort": option.cohort,
                "guarantees": [vars(guarantee) for guarantee in option.guarantees],
                "settings": dict(option.settings),
            }
            for option in found
        ],
        "pilot": [vars(point) for point in points],
        "plot": str(plot) if plot else None,
    }


def _tell(wish: "Wish", found: "list[Option]", points: "list[Point]", document: dict[str, Any]) -> None:
    from rich.text import Text

    console = out()
    figures = ["σ", "noise of a round", "noise in the model"]
    title = f"{wish.rounds} rounds, {wish.devices} devices, {wish.cohort} in a round, ε = {wish.epsilon:g}"
    shown = table(title, ["way", *figures, "what it is"], right=figures)
    for option in found:
        shown.add_row(
            Text(option.name, "bold" if option.name == document["recommended"] else ""),
            f"{option.noise_multiplier:.3f}",
            f"{option.round_noise:.2e}",
            f"{option.model_noise:.2e}",
            Text(option.words),
        )
    console.print(shown)
    console.print(Text("noise: standard deviation in each coordinate of the mean, in clips", style="dim"))
    for option in found:
        for guarantee in option.guarantees:
            console.print(Text(f"{option.name}: {guarantee}"))
    if points:
        curve = table("pilot on public data", ["ε", "clip", "accuracy"], right=["ε", "clip", "accuracy"])
        for point in points:
            curve.add_row(
                "no noise" if point.epsilon is None else f"{point.epsilon:g}",
                "-" if point.clip is None else f"{point.clip:.3g}",
                f"{100 * point.accuracy:.1f} %",
            )
        console.print(curve)
        console.print(Text("a head from nothing, on public data: look at the shape, not at the height", style="dim"))
    unknown = "privacy.clip: unknown without --pilot; the median norm is a good one"
    clip = unknown if document["clip"] is None else f"privacy.clip = {document['clip']:.3g}"
    console.print(Text("settings of the recommended way:"))
    for key, value in found[0].settings.items():
        console.print(Text(f"  {key} = {_toml(value)}"))
    console.print(Text(f"  {clip}"))
    if wish.unit == "device":
        console.print(Text('  defence.screen = ["finite", "shape", "fresh"]'))


def _toml(value: str | float) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value}"

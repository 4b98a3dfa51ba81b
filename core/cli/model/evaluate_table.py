"""What ``skerry model evaluate`` tells a person: models side by side, corruptions by severity."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.console import facts, out, table

if TYPE_CHECKING:
    from rich.table import Table

    from skerry.device.evaluation import Evaluation, ModelEvaluation

__all__ = ["figures", "tell"]


def tell(evaluation: "Evaluation", name: str, *, html: Path | None) -> None:
    """Print the evaluation."""
    from skerry.wording import percent

    console = out()
    titles = [one.name for one in evaluation.models]
    shown = table(
        f"{name} on {evaluation.examples:,} held-out examples of {evaluation.task}", ["", *titles], right=titles
    )
    for row in figures(evaluation):
        shown.add_row(*row)
    console.print(shown)
    if evaluation.models[0].corruptions:
        console.print()
        console.print(_corruptions(evaluation))
    rows = [(device, percent(accuracy)) for device, accuracy in list(evaluation.models[0].devices.items())[:_MOST]]
    if len(evaluation.models[0].devices) > _MOST:
        rows.append(("…", f"{len(evaluation.models[0].devices) - _MOST} more with --json"))
    if evaluation.agreement is not None:
        rows.append(("the first two agree", percent(evaluation.agreement)))
    if html:
        rows.append(("page", str(html)))
    console.print()
    console.print(facts(rows))


_MOST = 8


def figures(evaluation: "Evaluation") -> Iterator[tuple[str, ...]]:
    """Rows of the table of models: what, and each model's figure."""
    from skerry.wording import percent

    models = evaluation.models
    yield "accuracy", *(percent(one.quality.accuracy) for one in models)
    yield "loss (NLL, nats)", *(f"{one.quality.loss:.3f}" for one in models)
    yield "calibration error (ECE)", *(percent(one.quality.ece) for one in models)
    yield (
        f"temperature, fitted on {models[0].calibrated.fitted_on}",
        *(f"{one.calibrated.temperature:.2f}" for one in models),
    )
    yield "loss, scaled", *(f"{one.calibrated.loss:.3f}" for one in models)
    yield "calibration error, scaled", *(percent(one.calibrated.ece) for one in models)
    for name in ("p10", "p50", "p90"):
        yield f"accuracy by device, {name}", *(percent(getattr(one.per_device, name)) for one in models)
    if models[0].corruptions:
        yield f"accuracy on the sample of {evaluation.sample:,}", *(percent(one.clean) for one in models)
        yield "accuracy under corruption, mean", *(percent(one.corrupted) for one in models)
    yield from _robust(models)
    for score, name in (("msp", "MSP"), ("energy", "energy")):
        if models[0].strangers:
            apart = [one.strangers[score] for one in models]
            yield f"{evaluation.strangers} told apart by {name}, AUROC", *(f"{one.auroc:.3f}" for one in apart)
            yield f"{evaluation.strangers} let in at 95 % by {name}", *(percent(one.fpr95) for one in apart)


def _robust(models: "tuple[ModelEvaluation, ...]") -> Iterator[tuple[str, ...]]:
    from skerry.wording import percent

    found = [one.robustness for one in models if one.robustness is not None]
    if not found:
        return
    yield f"accuracy before attacks, of {found[0].examples:,}", *(percent(one.clean) for one in found)
    for name in found[0].attacks:
        yield f"accuracy under {name}", *(percent(one.attacks[name]) for one in found)
    yield "accuracy under all attacks together", *(percent(one.worst) for one in found)


def _corruptions(evaluation: "Evaluation") -> "Table":
    first, *others = evaluation.models
    columns = [*(f"{severity}" for severity in range(1, 6)), "mean", *(f"mean, {one.name}" for one in others)]
    shown = table(f"accuracy under corruption by severity, {first.name}", ["", *columns], right=columns)
    for name, curve in first.corruptions.items():
        means = [_mean(one, name) for one in (first, *others)]
        shown.add_row(name.replace("_", " "), *(f"{100 * value:.0f}" for value in curve), *means)
    return shown


def _mean(model: "ModelEvaluation", corruption: str) -> str:
    curve = model.corruptions[corruption]
    return f"{100 * sum(curve) / len(curve):.1f} %"

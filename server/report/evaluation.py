"""The page of an evaluation: models side by side, reliability diagrams, corruption curves; it loads nothing."""

import base64
import hashlib

from skerry import __version__
from skerry.device.evaluation import Evaluation, ModelEvaluation
from skerry.device.evaluation.reliability import ReliabilityBin
from skerry.server.report.plots import Line, Plot, line_plot
from skerry.server.report.templates import environment, part
from skerry.wording import percent

__all__ = ["corruption_plot", "reliability_plot", "render_evaluation"]

_ENOUGH = 5


def render_evaluation(evaluation: Evaluation, name: str) -> str:
    """The page as HTML text; names are escaped, and a content security policy forbids it to load or run anything else.

    Args:
        evaluation: what was measured.
        name: of the run or file.
    """
    script = part("report.js")
    kinds = [one.kind for one in evaluation.models]
    named = [(one, one.kind if kinds.count(one.kind) == 1 else one.name) for one in evaluation.models]
    templates = environment(("evaluation.html.j2", "parts.html.j2"), {"percent": percent})
    return templates.get_template("evaluation.html.j2").render(
        name=name,
        evaluation=evaluation,
        version=__version__,
        enough=_ENOUGH,
        reliability=[reliability_plot(one, short, i) for i, (one, short) in enumerate(named)],
        corruptions=[corruption_plot(one, short, i) for i, (one, short) in enumerate(named) if one.corruptions],
        style=part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def reliability_plot(model: ModelEvaluation, name: str, number: int) -> Plot:
    """Accuracy by confidence, before and after temperature scaling; who means what it says lies on the line."""
    centres = [0, *(round(50 * (one.low + one.high)) for one in model.reliability), 100]
    ideal = tuple(centre / 100 for centre in centres)
    lines = [
        Line("as confident as right", "base", ideal, "the ideal"),
        Line("as it is", "bare", _accuracies(model.reliability), f"ECE {percent(model.quality.ece)}"),
        Line("scaled", "final", _accuracies(model.calibrated.reliability), f"ECE {percent(model.calibrated.ece)}"),
    ]
    return line_plot(
        f"reliability-{number}",
        f"{name}: accuracy by confidence",
        centres,
        lines,
        percent,
        tick=_whole_percent,
        from_zero=True,
        x_name="confidence in %",
        marked=range(0, 101, 20),
    )


def corruption_plot(model: ModelEvaluation, name: str, number: int) -> Plot:
    """Accuracy by severity, 0 for the clean sample: a thin line for each corruption, a thick one for their mean."""
    curves = {name: (model.clean, *curve) for name, curve in model.corruptions.items()}
    mean = (model.clean, *(sum(values) / len(values) for values in zip(*model.corruptions.values(), strict=True)))
    lines = [Line(name.replace("_", " "), "device", curve) for name, curve in curves.items()]
    lines.append(Line("mean of ten", "final", mean, percent(model.corrupted)))
    return line_plot(
        f"corruptions-{number}",
        f"{name}: accuracy by severity",
        range(6),
        lines,
        percent,
        tick=_whole_percent,
        from_zero=True,
        x_name="severity",
    )


def _accuracies(bins: tuple[ReliabilityBin, ...]) -> tuple[float | None, ...]:
    """Of the bins with enough examples to say something, and nothing at the ends of the axis."""
    return (None, *(one.accuracy if one.count >= _ENOUGH else None for one in bins), None)


def _whole_percent(value: float) -> str:
    return f"{100 * value:.0f} %"

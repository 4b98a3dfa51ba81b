"""Stages *validate* and *screen*: which of the authentic updates may enter the average, and why the others may not."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from skerry.finite import finite_rows
from skerry.records import Action, Float32Array, Reason, Score, Verdict
from skerry.security.anomaly.clipping import clipped
from skerry.security.anomaly.validate import check_form
from skerry.security.privacy.receipt import SignedReceipt
from skerry.server.collect import Opened
from skerry.server.federation import Federation

__all__ = ["Judged", "Valid", "screen", "validate"]


@dataclass(frozen=True)
class Valid:
    """Well-formed deltas, row by row in device order, and the devices dropped so far."""

    devices: tuple[str, ...]
    deltas: Float32Array
    receipts: dict[str, SignedReceipt]
    dropped: dict[str, Reason]


@dataclass(frozen=True)
class Judged:
    """The accepted rows, clipped where their verdicts say so, and every device's verdict."""

    devices: tuple[str, ...]
    deltas: Float32Array
    verdicts: tuple[Verdict, ...]

    @property
    def flagged(self) -> tuple[str, ...]:
        """Devices that a statistical detector dropped or that were quarantined now."""
        return tuple(v.device for v in self.verdicts if not v.kept and v.scores)

    @property
    def dropped(self) -> dict[str, str]:
        """First reason of each device that is not accepted."""
        return {v.device: v.reasons[0].value for v in self.verdicts if not v.kept}


def validate(federation: Federation, opened: Opened) -> Valid:
    """Length, layout and finiteness, for every rule and whatever is screened for; and a loss where one is asked for."""
    layout = federation.model.layout
    fitting = {
        device: update.delta
        for device, update in opened.updates.items()
        if update.layout == layout.digest and check_form(update.delta, layout.size) is None
    }
    deltas = np.stack(list(fitting.values())) if fitting else np.empty((0, layout.size), np.float32)
    finite = dict(zip(fitting, finite_rows(deltas).tolist(), strict=True))
    faults: dict[str, Reason] = {}
    for device, update in opened.updates.items():
        reason = None if finite.get(device) else Reason.NOT_FINITE if device in fitting else Reason.SHAPE
        if reason is None and federation.scenario.training.fairness:
            reason = _check_loss(update.loss)
        if reason is not None:
            faults[device] = reason
    rows = tuple(device for device in fitting if device not in faults)
    if len(rows) < len(fitting):
        deltas = deltas[[device not in faults for device in fitting]]
    return Valid(rows, deltas, opened.receipts, opened.dropped | faults)


def _check_loss(loss: float | None) -> Reason | None:
    if loss is None or loss < 0:
        return Reason.SHAPE
    return None if isfinite(loss) else Reason.NOT_FINITE


def screen(federation: Federation, number: int, valid: Valid, vector: Float32Array) -> Judged:
    """Ask the detectors; rows of dropped and quarantined devices leave the matrix, those that are too long are clipped.

    A device whose update was malformed is struck too; one whose answer was missing or not authentic is not: somebody
    else may have caused that.

    Args:
        federation: the run.
        number: of the round.
        valid: its well-formed updates.
        vector: ``(d,)`` what the round started from.
    """
    context = federation.screen_context(number, vector)
    early = [_early(federation, number, device, reason) for device, reason in valid.dropped.items()]
    found = federation.screener.screen(valid.deltas, valid.devices, context)
    keep = [i for i, verdict in enumerate(found) if verdict.kept]
    rows = valid.deltas if len(keep) == len(found) else valid.deltas[keep]  # of many devices a copy is large
    return Judged(
        devices=tuple(valid.devices[i] for i in keep),
        deltas=clipped(rows, [found[i] for i in keep]),
        verdicts=tuple(sorted([*early, *found], key=lambda v: v.device)),
    )


def _early(federation: Federation, number: int, device: str, reason: Reason) -> Verdict:
    """The verdict on a device that has no row."""
    if reason not in _SENTENCES:
        return Verdict(number, device, Action.DROP, (reason,))
    score = Score(reason.value, 1.0, None, None, _SENTENCES[reason])
    return federation.screener.reject(device, reason, federation.screen_context(number), score)


_SENTENCES = {
    Reason.NOT_FINITE: "The update holds NaN or infinite values; one of them would destroy the average.",
    Reason.SHAPE: "The update does not have this model's layout, or says no loss where one is asked for.",
}

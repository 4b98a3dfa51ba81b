"""Stages *validate* and *screen*: which of the authentic updates may enter the average, and why the others may not."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Action, Float32Array, Reason, Score, Verdict
from skerry.security.anomaly.validate import check_update
from skerry.server.collect import Opened
from skerry.server.federation import Federation

__all__ = ["Judged", "Valid", "screen", "validate"]


@dataclass(frozen=True)
class Valid:
    """Well-formed deltas, row by row in device order, and the devices dropped so far."""

    devices: tuple[str, ...]
    deltas: Float32Array
    heads: dict[str, str]
    dropped: dict[str, Reason]


@dataclass(frozen=True)
class Judged:
    """The accepted rows and every device's verdict."""

    devices: tuple[str, ...]
    deltas: Float32Array
    verdicts: tuple[Verdict, ...]

    @property
    def flagged(self) -> tuple[str, ...]:
        """Devices that a statistical detector dropped or that were quarantined now."""
        return tuple(v.device for v in self.verdicts if v.action is not Action.ACCEPT and v.scores)

    @property
    def dropped(self) -> dict[str, str]:
        """First reason of each device that is not accepted."""
        return {v.device: v.reasons[0].value for v in self.verdicts if v.action is not Action.ACCEPT}


def validate(federation: Federation, opened: Opened) -> Valid:
    """Length, layout and finiteness, for every rule and whatever is screened for."""
    layout = federation.model.layout
    dropped = dict(opened.dropped)
    rows: dict[str, Float32Array] = {}
    for device, update in opened.updates.items():
        reason = Reason.SHAPE if update.layout != layout.digest else check_update(update.delta, layout.size)
        if reason is None:
            rows[device] = update.delta
        else:
            dropped[device] = reason
    deltas = np.stack(list(rows.values())) if rows else np.empty((0, layout.size), np.float32)
    heads = {device: opened.updates[device].ledger_head for device in opened.updates}
    return Valid(tuple(rows), deltas, heads, dropped)


def screen(federation: Federation, number: int, valid: Valid) -> Judged:
    """Ask the detectors; the rows of dropped and quarantined devices leave the matrix."""
    found = federation.screener.screen(valid.deltas, valid.devices, federation.screen_context(number))
    verdicts = [
        *found,
        *(
            Verdict(number, device, Action.DROP, (reason,), _evidence(reason))
            for device, reason in valid.dropped.items()
        ),
    ]
    keep = [i for i, verdict in enumerate(found) if verdict.action is Action.ACCEPT]
    return Judged(
        devices=tuple(valid.devices[i] for i in keep),
        deltas=valid.deltas[keep],
        verdicts=tuple(sorted(verdicts, key=lambda v: v.device)),
    )


def _evidence(reason: Reason) -> tuple[Score, ...]:
    sentences = {
        Reason.NOT_FINITE: "The update holds NaN or infinite values; one of them would destroy the average.",
        Reason.SHAPE: "The update does not have this model's layout.",
    }
    if reason not in sentences:
        return ()
    return (Score(reason.value, float(reason in sentences), None, None, sentences[reason]),)

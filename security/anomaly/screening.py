"""The screen: what is done about each update of a round, and why.

1. A device in quarantine stays out.
2. A row that is not finite is dropped.
3. Detectors run in order, each comparing with the rows that no earlier one flagged.
4. A breach, that is a finding that rests on public constants alone, drops its row whatever ``tolerate`` says: it
   needs no majority to be true. Only when more than half of the round's rows breach are the constants believed
   to be wrong, and the breaches drop nobody.
5. A comparison of devices with each other can at best tell a minority apart. At most ``tolerate`` minus the devices
   in quarantine or dropped by steps 2 and 4 are dropped for one, the farthest out first, and none when fewer than
   twice that number plus two rows are there to compare. So when the declared number of hostile devices is out, no
   comparison can cost an honest one its place.
6. A row that is kept although it is too long for the others is clipped to the longest that passes. Length alone is
   worth no more: few examples explain it (:mod:`skerry.security.anomaly.norm`).
7. A drop for a breach, or for something at least six robust standard deviations out, is a strike; what is nearer only
   costs the update its place, unless it goes on for rounds, and what an honest device unlike the others may send costs
   it no more than that in however many. Enough strikes put the device into quarantine for the rest
   of the run (:mod:`skerry.security.anomaly.strikes`). Where as many of them were breaches as would have been enough
   alone, its revocation is proposed (:mod:`skerry.security.anomaly.consequences`).

With ``false_alarms`` the limits of comparisons are learned from earlier updates
(:mod:`skerry.security.anomaly.calibration`). A row that only a learned limit flags, nearer than the fixed one of five
robust standard deviations, is dropped without a strike: a rate over all devices says nothing about one whose data are
unlike the others'. Such rows are acted on only while their number stays within the rate of all that were judged
(:mod:`skerry.security.anomaly.allowance`), the farthest out first; the others are accepted.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan
from typing import Any

import numpy as np

from skerry.errors import InputError
from skerry.finite import finite_rows
from skerry.records import Float32Array, Reason, Score, Verdict
from skerry.security.anomaly.allowance import Allowance
from skerry.security.anomaly.calibration import Calibration
from skerry.security.anomaly.case import Case
from skerry.security.anomaly.consequences import FAULTS, Consequences
from skerry.security.anomaly.detectors import detectors_for
from skerry.security.anomaly.evidence import FAR, Rows, ScreenContext
from skerry.security.anomaly.validate import describe_fault

__all__ = ["ScreenContext", "Screener"]


class Screener:
    """Judges the updates of every round and remembers who was dropped.

    **What is promised** with fixed limits (no ``false_alarms``) and no detectors but ``norm``, ``similarity``,
    ``novelty``, ``foreign`` (which noise makes mute) and ``cosine`` (with its history), about an honest device whose
    update is x = s + N, with noise N of the stated std, ‖s‖ within the stated bound, and s not opposed to what the
    others agree on: in R rounds it is dropped at all with probability at most R·(3·10⁻⁹ (norm, similarity, novelty) +
    10⁻⁶ (cosine) + 5·10⁻⁶ (history)) < R·10⁻⁵; quarantine takes ``patience`` drops, though one by the history makes
    the next likelier. The relative limit on norms adds to this only if honest norms differ by more than three times.

    **No such figure** is stated without noise, where step 5 of the module's text limits the harm; for ``spectral``,
    ``clustering`` and ``root_set``, whose comparisons have no stated error; and with ``false_alarms``, where the rate
    of :class:`~skerry.security.anomaly.calibration.Calibration` holds as far as its assumptions do.

    **What it cannot see**: an update of ordinary length that points across the common direction, or against it while
    the common signal is small against the noise; label flips and backdoors that look like honest training; more
    than ``tolerate`` devices that agree with each other. There the aggregation rule is the defence.

    Args:
        detectors: names as in ``defence.screen``; finite rows are required whether or not it is named.
        tolerate: f, devices that may be hostile. With 0 only breaches (steps 2 and 4) are dropped.
        patience: drops after which a device is quarantined, counted over the whole run.
        false_alarms: rate at which comparisons may flag an honest update, per device and round; None for fixed limits.

    Raises:
        ScenarioError: unknown detector.
        InputError: ``tolerate``, ``patience`` or ``false_alarms`` out of range.

    >>> import numpy as np
    >>> from skerry.records import Action
    >>> noise = np.random.default_rng(0).normal(size=(6, 400)).astype(np.float32)
    >>> noise[2] *= -4
    >>> screener = Screener(["norm", "cosine"], tolerate=1)
    >>> verdicts = screener.screen(noise, list("abcdef"), ScreenContext(1, noise_std=1.0, signal_bound=10.0))
    >>> [verdict.device for verdict in verdicts if verdict.action is Action.DROP]
    ['c']
    """

    def __init__(
        self, detectors: Sequence[str], tolerate: int, patience: int = 3, *, false_alarms: float | None = None
    ) -> None:
        if tolerate < 0 or patience < 1:
            raise InputError(f"tolerate must be ≥ 0 and patience ≥ 1, got {tolerate} and {patience}")
        self._detectors = detectors_for(detectors)
        self._tolerate = tolerate
        self._consequences = Consequences(tolerate, patience, false_alarms)
        names = [detector.name for detector in self._detectors]
        self._calibration = None if false_alarms is None else Calibration(false_alarms, names)
        self._allowance = None if false_alarms is None else Allowance(false_alarms)
        self._waiting: dict[str, list[dict[str, float]]] = {}  # strangeness of dropped rows, until a device is cleared
        self._rejected: dict[str, int] = {}  # the last round in which a device's reply never became a row

    @property
    def quarantined(self) -> frozenset[str]:
        """Devices that are out for the rest of the run."""
        return self._consequences.quarantined

    def exclude(self, devices: Iterable[str]) -> None:
        """Treat devices as in quarantine from the beginning: they were put there before this run."""
        self._consequences.exclude(devices)

    def screen(self, deltas: Float32Array, devices: Sequence[str], context: ScreenContext) -> list[Verdict]:
        """One verdict a device, in the order given; the order has no influence on what they say.

        Args:
            deltas: ``(n, d)`` float32, one row a device; not changed.
            devices: n different names.
            context: what is public about the round. Screen each round once: the history counts every call.

        Raises:
            InputError: rows and names do not fit together, or the context is not usable.
        """
        _check_input(deltas, devices, context)
        verdicts: dict[str, Verdict] = {}
        usable: list[int] = []
        after, number, excluded, finite = self._consequences, context.round, self.quarantined, finite_rows(deltas)
        for index in sorted(range(len(devices)), key=devices.__getitem__):
            device = devices[index]
            if device in excluded:
                verdicts[device] = after.out(device, number)
            elif not finite[index]:
                score = describe_fault(deltas[index], deltas.shape[1])
                verdicts[device] = after.fault(device, number, Reason.NOT_FINITE, score)
            else:
                usable.append(index)
        # Rows that are all usable and already in order are not copied.
        rows = deltas if usable == list(range(len(devices))) else deltas[usable]
        cases = self._examine(Rows(rows), [devices[index] for index in usable], context)
        self._excuse(cases)
        self._choose(cases, out=set(verdicts) | {d for d, last in self._rejected.items() if last == number})
        unflagged = np.array([not case.flagged for case in cases], np.bool_)  # so neither dropped nor clipped
        for detector in self._detectors:
            detector.learn(rows, unflagged, context)
        if self._allowance is not None:
            self._allowance.pay(sum(case.limited for case in cases))
        verdicts.update((case.device, after.verdict(case, number)) for case in cases)
        self._calibrate(cases)
        return [verdicts[device] for device in devices]

    def reject(self, device: str, reason: Reason, context: ScreenContext, score: Score | None = None) -> Verdict:
        """Count a fault that was found before there was a row, and say what is done about the device.

        Call it before :meth:`screen` of the same round, so that step 5 counts the device. Only for faults of an
        authentic reply: a forged or replayed message says nothing about the device that it names.

        Args:
            device: who sent it.
            reason: ``SHAPE`` or ``NOT_FINITE``.
            context: the round.
            score: see :func:`~skerry.security.anomaly.validate.describe_fault`.

        Raises:
            InputError: another reason.
        """
        if reason not in FAULTS:
            raise InputError(f"{reason.value!r} is no fault of the update itself and counts against nobody")
        if device in self.quarantined:
            return self._consequences.out(device, context.round)
        self._rejected[device] = context.round
        return self._consequences.fault(device, context.round, reason, score)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on after a restart, as JSON values."""
        return {
            "schema": 5,
            "consequences": self._consequences.state(),
            "calibration": None if self._calibration is None else self._calibration.state(),
            "allowance": None if self._allowance is None else self._allowance.state(),
            "waiting": {device: [dict(row) for row in rows] for device, rows in self._waiting.items()},
            "detectors": {detector.name: detector.state() for detector in self._detectors},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: later verdicts are those of an uninterrupted run.

        Raises:
            InputError: the state is of another schema or of other detectors.
        """
        names = {detector.name for detector in self._detectors}
        calibrated = state.get("calibration") is not None
        fits = state.get("schema") == 5 and calibrated == (self._calibration is not None)
        if not fits or set(state["detectors"]) != names:
            raise InputError(
                "the saved state of the screen does not fit", mend="resume with the defence that the run started with"
            )
        self._consequences.restore(state["consequences"])
        if self._calibration is not None:
            self._calibration.restore(state["calibration"])
        if self._allowance is not None:
            self._allowance.restore(state["allowance"])
        self._waiting = {str(device): [dict(row) for row in rows] for device, rows in state["waiting"].items()}
        for detector in self._detectors:
            detector.restore(state["detectors"][detector.name])

    def _examine(self, rows: Rows, names: list[str], context: ScreenContext) -> list[Case]:
        cases = [Case(name) for name in names]
        for detector in self._detectors:
            trusted = np.array([not case.flagged for case in cases], np.bool_)
            far = FAR if self._calibration is None else self._calibration.limit(detector.name)
            findings = detector.examine(rows, names, trusted, context, far)
            rows.clip(findings)
            for case, finding in zip(cases, findings, strict=True):
                case.findings.append((detector, finding))
        return cases

    def _excuse(self, cases: list[Case]) -> None:
        """Mark the cases for which the rate of false alarms has no room; only learned limits speak against them."""
        if self._allowance is None:
            return
        self._allowance.earn(len(cases))
        near = sorted((case for case in cases if case.near), key=lambda case: (-case.distance, case.device))
        for case in near[self._allowance.room :]:
            case.excused = True

    def _choose(self, cases: list[Case], *, out: set[str]) -> None:
        """Steps 4 and 5: mark the cases that are dropped."""
        breaches = [case for case in cases if case.certain]
        if len(cases) < 3 or 2 * len(breaches) <= len(cases):
            for case in breaches:
                case.dropped = True
        out = out | self.quarantined | {case.device for case in cases if case.dropped}
        allowed = max(self._tolerate - len(out), 0)
        rest = [case for case in cases if not case.dropped]
        if len(rest) < 2 * allowed + 2:
            return
        against = (case for case in rest if case.against > 0 and not case.excused)
        suspects = sorted(against, key=lambda case: (-case.against, case.device))
        for case in suspects[:allowed]:
            case.dropped = True

    def _calibrate(self, cases: Sequence[Case]) -> None:
        """Learn from all rows; those dropped for lying far out wait until unflagged ones clear their device."""
        if self._calibration is None:
            return
        honest: list[dict[str, float]] = []
        for case in cases:
            if case.device in self.quarantined:
                self._waiting.pop(case.device, None)
            elif case.dropped and case.far:
                self._waiting.setdefault(case.device, []).append(case.strangeness)
            else:
                if not case.flagged and self._consequences.cleared(case.device):
                    honest += self._waiting.pop(case.device, [])
                honest.append(case.strangeness)
        for detector in self._detectors:
            self._calibration.learn(detector.name, [row[detector.name] for row in honest if detector.name in row])


def _check_input(deltas: Float32Array, devices: Sequence[str], context: ScreenContext) -> None:
    if deltas.ndim != 2 or deltas.dtype != np.float32 or len(deltas) != len(devices):
        raise InputError(
            f"the screen takes one float32 row a device, got {deltas.dtype} of shape {deltas.shape} "
            f"for {len(devices)} devices"
        )
    if len(set(devices)) != len(devices):
        raise InputError("a device has more than one row in this round", mend="keep its first valid reply only")
    if not (isfinite(context.noise_std) and context.noise_std >= 0):
        raise InputError(f"the noise std must be a finite number ≥ 0, got {context.noise_std}")
    if isnan(context.signal_bound) or context.signal_bound < 0 or context.steps < 1:
        raise InputError(f"signal_bound must be ≥ 0 and steps ≥ 1, got {context.signal_bound} and {context.steps}")

"""What follows for a device: its verdict of the round, its strikes and its quarantine."""

from collections.abc import Iterable, Mapping
from typing import Any

from skerry.records import Action, Reason, Score, Verdict
from skerry.security.anomaly.case import Case
from skerry.security.anomaly.strikes import Strikes

__all__ = ["FAULTS", "Consequences"]

FAULTS = frozenset({Reason.SHAPE, Reason.NOT_FINITE})
"""Reasons that are faults of an authentic update itself."""


class Consequences:
    """Turns judged cases into verdicts, and remembers who was struck and who is out.

    A drop is a strike when a finding of it is grave: certain, or at least
    :data:`~skerry.security.anomaly.evidence.GRAVE` robust standard deviations out. What is nearer is one only while
    it is sustained, and what a learned limit alone flags, or an honest device unlike the others may send, never is.

    Args:
        tolerate: f, for the sentences.
        patience: strikes after which a device is quarantined.
        false_alarms: the rate of false alarms, or None; see :class:`~skerry.security.anomaly.strikes.Strikes`.
    """

    def __init__(self, tolerate: int, patience: int, false_alarms: float | None) -> None:
        self._tolerate = tolerate
        self._strikes = Strikes(patience, false_alarms)
        self._quarantine: dict[str, int] = {}

    @property
    def quarantined(self) -> frozenset[str]:
        """Devices that are out for the rest of the run."""
        return frozenset(self._quarantine)

    def exclude(self, devices: Iterable[str]) -> None:
        """Treat devices as in quarantine from the beginning."""
        self._quarantine.update(dict.fromkeys(devices, 0))

    def cleared(self, device: str) -> bool:
        """Whether nothing is held against the device any more."""
        return self._strikes.cleared(device)

    def fault(self, device: str, round_: int, reason: Reason, score: Score | None) -> Verdict:
        """Strike a device whose update was none."""
        return self._strike(Case(device, dropped=True), round_, (reason,), (score,) if score else ())

    def out(self, device: str, round_: int) -> Verdict:
        """The verdict on a device in quarantine."""
        sentence = f"In quarantine since round {self._quarantine[device]}."
        score = Score("strikes", float(self._strikes.count(device)), None, float(self._strikes.patience), sentence)
        proven = self._strikes.proven(device)
        return Verdict(round_, device, Action.QUARANTINE, (Reason.QUARANTINED,), (score,), propose_revocation=proven)

    def verdict(self, case: Case, round_: int) -> Verdict:
        """The verdict on a judged case, and its strike where it is one."""
        scores = tuple(score for _, finding in case.findings for score in finding.scores)
        reasons = tuple(detector.reason for detector, finding in case.findings if finding.flagged)
        if case.dropped and not case.blamed:
            return Verdict(round_, case.device, Action.DROP, reasons, scores)
        if case.dropped:
            return self._strike(case, round_, reasons, scores)
        if not case.flagged:
            self._strikes.spare(case.device)
            return Verdict(round_, case.device, Action.ACCEPT, (), scores)
        if case.scale < 1:
            sentence = f"Too long, but not dropped: enters the average at {case.scale:.3g} of its length."
            score = Score("screen", case.distance, None, None, sentence)
            return Verdict(round_, case.device, Action.CLIP, reasons, (*scores, score), case.scale)
        score = Score("screen", case.distance, None, None, self._why_kept(case))
        return Verdict(round_, case.device, Action.ACCEPT, (), (*scores, score))

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"strikes": self._strikes.state(), "quarantine": dict(self._quarantine)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._strikes.restore(state["strikes"])
        self._quarantine = {str(device): int(since) for device, since in state["quarantine"].items()}

    def _why_kept(self, case: Case) -> str:
        if case.certain:
            return "Flagged, but kept: most updates of this round breach the public limits, so the limits are in doubt."
        if case.excused:
            return "Flagged by a learned limit, but kept: as many were dropped as defence.false_alarms allows so far."
        return (
            f"Flagged, but kept: defence.tolerate = {self._tolerate} and the number of updates allow no "
            "further device to be dropped for being unlike the others."
        )

    def _strike(self, case: Case, round_: int, reasons: tuple[Reason, ...], scores: tuple[Score, ...]) -> Verdict:
        device = case.device
        fault = not FAULTS.isdisjoint(reasons)
        near = not (fault or case.grave)
        if not self._strikes.strike(device, near=near, certain=case.certain, fault=fault):
            return Verdict(round_, device, Action.DROP, reasons, scores)
        self._quarantine[device] = round_
        count, proven = self._strikes.count(device), self._strikes.proven(device)
        advice = " Its breaches need no comparison: its key should be revoked." if proven else ""
        sentence = f"Dropped {count} times: out for the rest of the run.{advice}"
        score = Score("strikes", float(count), None, float(self._strikes.patience), sentence)
        return Verdict(round_, device, Action.QUARANTINE, reasons, (*scores, score), propose_revocation=proven)

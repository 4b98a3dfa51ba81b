"""One usable row of a round while it is judged."""

from dataclasses import dataclass, field

from skerry.security.anomaly.evidence import Detector, Finding

__all__ = ["Case"]


@dataclass
class Case:
    """What is known about one usable row while a round is judged.

    Attributes:
        device: who sent it.
        findings: of each detector that examined it.
        dropped: it does not enter the average.
        excused: only learned limits speak against it, and the rate of false alarms has no room left.
    """

    device: str
    findings: list[tuple[Detector, Finding]] = field(default_factory=list)
    dropped: bool = False
    excused: bool = False

    @property
    def flagged(self) -> bool:
        """A detector speaks against the row."""
        return any(finding.flagged for _, finding in self.findings)

    @property
    def certain(self) -> bool:
        """It breaches a public constant."""
        return any(finding.certain for _, finding in self.findings)

    @property
    def far(self) -> bool:
        """Could be dropped for more than a learned limit that is nearer than the fixed one."""
        return any(found.flagged and not (found.learned or found.clips) for _, found in self.findings)

    @property
    def blamed(self) -> bool:
        """Could be dropped for something that may count against its device."""
        return any(f.flagged and not (f.learned or f.clips or f.excusable) for _, f in self.findings)

    @property
    def grave(self) -> bool:
        """Speaks for a hostile device, so far out or so certain that its drop counts towards quarantine."""
        return any(found.grave for _, found in self.findings)

    @property
    def distance(self) -> float:
        """The largest of its findings'."""
        return max((finding.distance for _, finding in self.findings), default=0.0)

    @property
    def against(self) -> float:
        """The largest distance of those findings for which it could be dropped."""
        return max((found.distance for _, found in self.findings if not found.clips), default=0.0)

    @property
    def near(self) -> bool:
        """Learned limits speak against it, and nothing else could drop it."""
        return not self.far and any(found.learned for _, found in self.findings)

    @property
    def limited(self) -> bool:
        """Dropped or clipped for a learned limit alone."""
        if self.dropped or self.excused:
            return self.dropped and not self.far
        return any(found.learned and found.scale < 1 for _, found in self.findings)

    @property
    def scale(self) -> float:
        """Below 1 when the row is too long for the others; learned limits do not count where it is excused."""
        return min((f.scale for _, f in self.findings if not (self.excused and f.learned)), default=1.0)

    @property
    def strangeness(self) -> dict[str, float]:
        """By detector, where the row was compared."""
        return {d.name: found.strangeness for d, found in self.findings if found.strangeness is not None}

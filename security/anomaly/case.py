"""One usable row of a round while it is judged."""

from dataclasses import dataclass, field

from skerry.security.anomaly.evidence import FAR, Detector, Finding

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
        """Flagged by more than a learned limit that is nearer than the fixed one."""
        return any(finding.certain or finding.distance >= FAR for _, finding in self.findings)

    @property
    def distance(self) -> float:
        """The largest of its findings'."""
        return max((finding.distance for _, finding in self.findings), default=0.0)

    @property
    def limited(self) -> bool:
        """Dropped or clipped for a learned limit alone."""
        return not self.far and not self.excused and (self.dropped or self.scale < 1)

    @property
    def scale(self) -> float:
        """Below 1 when the row is too long for the others."""
        return min((finding.scale for _, finding in self.findings), default=1.0)

    @property
    def strangeness(self) -> dict[str, float]:
        """By detector, where the row was compared."""
        return {d.name: found.strangeness for d, found in self.findings if found.strangeness is not None}

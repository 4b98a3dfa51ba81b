"""The one error tree: every error says what happened, where, and how to mend it.

The command line prints :meth:`SkerryError.diagnostics` in one box and exits with :attr:`SkerryError.exit_code`;
a traceback appears only with ``--debug``.
"""

from dataclasses import dataclass

__all__ = [
    "AggregationError",
    "BudgetExceededError",
    "Diagnostics",
    "DiskFullError",
    "EnvelopeRefusedError",
    "InputError",
    "InterruptedRunError",
    "LedgerCorruptError",
    "MissingDependencyError",
    "NotPublishedError",
    "NotTrackedError",
    "PortTakenError",
    "RefusedError",
    "RegistryError",
    "ReleaseRefusedError",
    "RunFailedError",
    "ScenarioError",
    "SkerryError",
    "TaskError",
]


@dataclass(frozen=True)
class Diagnostics:
    """What a person needs in order to go on."""

    what: str
    where: str | None
    mend: str | None


class SkerryError(Exception):
    """Root of all errors that skerry raises on purpose.

    Args:
        what: one sentence that states the fault.
        where: the file, key, device or round concerned.
        mend: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def diagnostics(self) -> Diagnostics:
        """The three parts of the message."""
        return Diagnostics(self.what, self.where, self.mend)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"[{self.where}]")
        if self.mend:
            parts.append(f"-> {self.mend}")
        return " ".join(parts)


class RunFailedError(SkerryError):
    """The thing asked for was tried and failed (exit code 1)."""


class InterruptedRunError(RunFailedError):
    """A person or the system stopped the run; what was finished is kept."""


class AggregationError(RunFailedError):
    """A round cannot be aggregated: too few valid updates for the rule's assumption."""


class ServerLostError(RunFailedError):
    """The servers that a run went over do not answer any more, or do not know it; it can go on over others."""


class DiskFullError(RunFailedError):
    """The file system has no room; nothing half-written is left."""


class NotPublishedError(RunFailedError):
    """It is entered in a log for good; those who watch the log are not told of it yet."""


class NotTrackedError(RunFailedError):
    """A tracking server does not hold all of a run that lies whole in its folder."""


class PortTakenError(RunFailedError):
    """A port that we must listen on belongs to somebody else."""


class RegistryError(RunFailedError):
    """The fleet's registry cannot be read or written: damaged, busy, or of a newer skerry."""


class InputError(SkerryError):
    """What the person gave us cannot be used (exit code 2)."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario has an unknown key, a wrong type, a value out of range, or names a missing file."""


class TaskError(InputError):
    """The data of a task cannot be used: corrupt picture, single class, empty device."""


class MissingDependencyError(InputError):
    """A package that this work needs is not installed."""


class RefusedError(SkerryError):
    """A policy forbids it: budget, signature, freshness, revocation (exit code 3).

    ``reason`` is a stable machine-readable code; ``what`` is for people.
    """

    exit_code = 3

    def __init__(self, reason: str, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(what, where=where, mend=mend)
        self.reason = reason


class BudgetExceededError(RefusedError):
    """Training would spend more privacy than the device's policy allows."""


class EnvelopeRefusedError(RefusedError):
    """A message is not authentic, not for us, not fresh, or was seen before."""


class LedgerCorruptError(RefusedError):
    """A ledger's chain does not hold: an entry was changed, dropped or reordered."""


class ReleaseRefusedError(RefusedError):
    """A release is not signed by the trusted publisher, was altered, or would roll back."""

"""A run and the registry of its folder of runs: whom it does not ask, and what is taken in after each round.

The registry is written by a thread of its own, which may leave it to another process
(:mod:`skerry.server.run_clerk`), after the round is on disk, while the run goes on. What cannot be
recorded is tried again after each later round, and when the run ends, however it ends. Whatever is wrong with the
registry costs the run nothing but a notice: its verdicts are in its own folder too.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from skerry.errors import DiskFullError, RefusedError, RegistryError
from skerry.records import Verdict
from skerry.runfolder import RunFolder
from skerry.server.run_registry import Judged, registry_of
from skerry.server.tolerance import rule_for
from skerry.syncer import Job, Syncer
from skerry.wording import listing

__all__ = ["FleetMemory", "check_enough"]

_BATCH = 32  # rounds in one transaction: others who write the registry wait ten seconds for its end


class FleetMemory:
    """The registry, as one run uses it for the time of a block."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._registry = registry_of(folder)
        self._syncer = Syncer()
        self._waiting: deque[tuple[Job, int, int, tuple[Verdict, ...]]] = deque()
        self._missing: Judged | None = None  # the first round that could not be recorded, and why it could not
        self._fault: RegistryError | DiskFullError | None = None
        self._told = False

    def excluded(self, devices: Iterable[str]) -> tuple[str, ...]:
        """Those of the devices that this run does not ask: the ones in standing quarantine, if the scenario remembers.

        It is settled once: a run that goes on leaves out whom it left out before, whatever was decided in between.

        Raises:
            RegistryError: the scenario remembers, and the registry cannot be read.
        """
        settled = self._folder.status.get("excluded")
        if settled is None:
            settled = sorted(self._quarantined(devices)) if self._folder.scenario.defence.remember else []
            self._folder.mark("preparing", stage=self._folder.status["stage"], extra={"excluded": settled})
        if settled:
            self._folder.notify(
                f"not asked, in quarantine from earlier runs: {listing(settled)} (`skerry fleet show` says why)"
            )
        elif not self._folder.scenario.defence.remember:
            self._syncer.begin(self._say_who_is_asked_all_the_same, tuple(devices))
        return tuple(settled)

    def take(self, stored: Job, number: int, at: int, verdicts: Iterable[Verdict]) -> None:
        """Record a round once ``stored``, the writing of its own files, is over; not waited for.

        Args:
            stored: a round that the disk did not take is not recorded.
            number: of the round.
            at: when it ended, milliseconds since the epoch.
            verdicts: of all its devices.
        """
        self._waiting.append((stored, number, at, tuple(verdicts)))
        self._syncer.begin(self._take)

    def catch_up(self) -> None:
        """Record all finished rounds of the run's folder that are not recorded yet; not waited for."""
        self._syncer.begin(self._catch_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._syncer.begin(self._end)
        self._syncer.close()
        if kind is None:
            self._syncer.settle()

    def _quarantined(self, devices: Iterable[str]) -> set[str]:
        return set(devices) & self._registry.quarantined()

    def _say_who_is_asked_all_the_same(self, devices: tuple[str, ...]) -> None:
        try:
            asked = sorted(self._quarantined(devices))
        except (RegistryError, DiskFullError) as error:
            self._say(error)
            return
        if asked:
            self._notify(
                f"in quarantine from earlier runs, and asked all the same: {listing(asked)} (defence.remember is false)"
            )

    def _take(self) -> None:
        """Record the rounds that are waiting, all in one transaction: quick ones may come faster than the disk is."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        rounds = [
            Judged(number, at, verdicts)
            for stored, number, at, verdicts in waiting
            if stored.failure() is None  # waits
        ]
        if self._missing is None:
            self._try(rounds)
        elif rounds:
            self._try_again(self._missing)

    def _try(self, rounds: Sequence[Judged]) -> bool:
        """Record rounds in order, in transactions short enough for others to get between; whether all of them are."""
        for start in range(0, len(rounds), _BATCH):
            batch = rounds[start : start + _BATCH]
            try:
                self._registry.record(batch)
            except (RegistryError, DiskFullError) as error:
                self._missing, self._fault = batch[0], error
                return False
        self._missing = None
        return True

    def _try_again(self, first: Judged) -> None:
        """Record the first round that is missing, and if that can be done again all after it, from the run's folder."""
        if self._try([first]):
            self._try(self._finished(after=first.number))

    def _catch_up(self) -> None:
        self._try(self._finished(after=0))

    def _finished(self, *, after: int) -> list[Judged]:
        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        for line in self._folder.lines("verdicts.jsonl"):
            if line["round"] > after:
                verdicts[line["round"]].append(Verdict.from_json(line))
        rounds = (record for record in self._folder.rounds() if record.round > after)
        return [Judged(record.round, record.finished_ms, tuple(verdicts[record.round])) for record in rounds]

    def _end(self) -> None:
        if self._missing is not None:
            self._try_again(self._missing)
        if self._missing is not None and self._fault is not None:
            self._say(self._fault)

    def _say(self, error: RegistryError | DiskFullError) -> None:
        if not self._told:
            self._told = True
            self._notify(
                f"the fleet's registry does not learn of this run: {error.what} [{error.where}]; "
                f"its own folder has all of it. To mend it, {error.mend}"
            )

    def _notify(self, sentence: str) -> None:
        with suppress(DiskFullError):  # no room for this word either: it is no reason to fail
            self._folder.notify(sentence)


def check_enough(folder: RunFolder, devices: int, excluded: int) -> None:
    """Say before anything runs that too few devices are left for the rule.

    Args:
        folder: the run.
        devices: of the task.
        excluded: how many of them are not asked.

    Raises:
        RefusedError: ``too_few_left``.
    """
    scenario = folder.scenario
    able = (devices - excluded) // scenario.privacy.min_separation
    asked = min(able, scenario.cohort.size or scenario.cohort.buffer or able)
    defence = scenario.defence
    rule = rule_for(defence.aggregator, tolerate=defence.tolerate, out=excluded, rows=asked, seed=0)
    if excluded and asked < rule.minimum():
        raise RefusedError(
            "too_few_left",
            f"{excluded} of {devices} devices are in quarantine from earlier runs: a round has {asked} updates left, "
            f"and {defence.aggregator} needs {rule.minimum()}",
            where=folder.id,
            mend="hear their appeals (`skerry fleet appeal`), or set defence.remember = false",
        )

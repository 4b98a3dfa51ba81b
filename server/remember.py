"""A run and the registry of its folder of runs: whom it does not ask, and what is taken in after each round.

The registry is written by a thread of its own, after the round is on disk, while the run goes on. Whatever is wrong
with it costs the run nothing but a notice: its verdicts are in its own folder too.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from skerry.errors import DiskFullError, RefusedError, RegistryError
from skerry.records import Verdict
from skerry.runfolder import RunFolder
from skerry.server.tolerance import rule_for
from skerry.syncer import Job, Syncer
from skerry.wording import listing

if TYPE_CHECKING:
    from skerry.server.registry import JudgedRound, Registry, Scope

__all__ = ["FleetMemory", "check_enough"]


class FleetMemory:
    """The registry, as one run uses it for the time of a block."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._syncer = Syncer()
        self._waiting: deque[tuple[Job, int, int, tuple[Verdict, ...]]] = deque()
        self._behind = False
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
        if kind is None:
            self._syncer.begin(self._try_again)
        self._syncer.close()
        if kind is None:
            self._syncer.settle()

    def _quarantined(self, devices: Iterable[str]) -> set[str]:
        return set(devices) & self._registry.quarantined(self._scope).keys()

    def _record(self, rounds: "list[JudgedRound]") -> None:
        self._registry.record(self._scope, self._folder.id, rounds)

    def _say_who_is_asked_all_the_same(self, devices: tuple[str, ...]) -> None:
        try:
            asked = sorted(self._quarantined(devices))
        except RegistryError as error:
            self._say(error)
            return
        if asked:
            self._folder.notify(
                f"in quarantine from earlier runs, and asked all the same: {listing(asked)} (defence.remember is false)"
            )

    def _take(self) -> None:
        """Record the rounds that are waiting, all in one transaction: quick ones may come faster than the disk is."""
        from skerry.server.registry import JudgedRound

        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        rounds = [
            JudgedRound(number, at, verdicts)
            for stored, number, at, verdicts in waiting
            if stored.failure() is None  # waits
        ]
        if self._behind or not rounds:
            return
        try:
            self._record(rounds)
        except (RegistryError, DiskFullError):
            self._behind = True  # tried once more when the run is over, and told then

    def _try_again(self) -> None:
        if self._behind:
            self._catch_up()

    def _catch_up(self) -> None:
        from skerry.server.registry import JudgedRound

        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        for line in self._folder.lines("verdicts.jsonl"):
            verdicts[line["round"]].append(Verdict.from_json(line))
        rounds = [JudgedRound(one.round, one.finished_ms, verdicts[one.round]) for one in self._folder.rounds()]
        try:
            self._record(rounds)
            self._behind = False
        except (RegistryError, DiskFullError) as error:
            self._behind = True
            self._say(error)

    def _say(self, error: RegistryError | DiskFullError) -> None:
        if not self._told:
            self._told = True
            self._folder.notify(
                f"the fleet's registry does not learn of this run: {error.what} [{error.where}]; "
                f"its own folder has all of it. To mend it, {error.mend}"
            )

    @cached_property
    def _registry(self) -> "Registry":
        from skerry.server.registry import Registry  # a library that only this thread needs, and not at once

        return Registry(self._folder.path.parent)

    @cached_property
    def _scope(self) -> "Scope":
        from skerry.server.registry import scope_of

        return scope_of(self._folder.scenario)


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
    asked = min(able, scenario.cohort.size or able)
    defence = scenario.defence
    rule = rule_for(defence.aggregator, tolerate=defence.tolerate, quarantined=excluded, rows=asked, seed=0)
    if excluded and asked < rule.minimum():
        raise RefusedError(
            "too_few_left",
            f"{excluded} of {devices} devices are in quarantine from earlier runs: a round has {asked} updates left, "
            f"and {defence.aggregator} needs {rule.minimum()}",
            where=folder.id,
            mend="hear their appeals (`skerry fleet appeal`), or set defence.remember = false",
        )

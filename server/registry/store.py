"""What outlives a run: the devices seen, what was found against them, who is in quarantine, and why.

One registry a folder of runs (:mod:`skerry.server.registry.place`). It only grows: a verdict, a quarantine, an appeal
is a row with its time, its author and its reason, and is never changed or taken back. What stands is computed from the
rows: reputation (:mod:`skerry.server.registry.reputation`) from verdicts and appeals, a quarantine from the decisions.

Simulated devices recur by name in every simulation, so a device is a name *within a scope*: the scenario and the data
set of a simulation. The scope of real devices is their deployment.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from skerry.errors import InputError, RefusedError, RegistryError
from skerry.server.registry.enrolled import State, enrolled
from skerry.server.registry.forgetting import forget
from skerry.server.registry.place import database_of
from skerry.server.registry.records import (
    Decision,
    DecisionKind,
    Device,
    DeviceKind,
    History,
    JudgedRound,
    Scope,
    Standing,
)
from skerry.server.registry.reputation import Observation, Reputation, check_half_life, reputation
from skerry.server.registry.rows import (
    acceptances,
    add_decision,
    add_round,
    decisions_about,
    devices_in,
    events_of,
    judgements_of,
    last_seen,
    quarantines,
)
from skerry.server.registry.words import plain_words

__all__ = ["Registry"]


class Registry:
    """The registry of a folder of runs; each call is a transaction of its own.

    Several processes may use it at once. Nothing is made on disk before something is written. Every call raises
    RegistryError when the file is damaged, of a newer skerry, or held by somebody else for too long.

    Attributes:
        folder: of runs.
        where: what people are told it is.

    Args:
        folder: of runs.
        upgrade: False for who only looks; see :func:`~skerry.server.registry.place.database_of`.
    """

    def __init__(self, folder: Path, *, upgrade: bool = True) -> None:
        self.folder = folder
        self._database = database_of(folder, upgrade=upgrade)
        self.where = self._database.where

    def record(self, scope: Scope, run: str, rounds: Iterable[JudgedRound]) -> None:
        """Take in what was judged; what is known already is left as it is, so a round may be recorded again.

        Plain acceptance is counted. Of every other verdict reasons and scores are kept, and one that imposes a
        quarantine is a decision too.

        Raises:
            DiskFullError: no room.
        """
        self._database.ensure()
        with self._database.writing() as base:
            for judged in rounds:
                add_round(base, scope, run, judged)

    def quarantine(self, device: Device, *, by: str, why: str, now: int) -> Decision:
        """An operator's decision: the device is out until an appeal.

        Raises:
            InputError: no reason is given, or one that is no plain text.
            RefusedError: it is in quarantine already (``in_quarantine``).
        """
        decision = _decision(now, DecisionKind.QUARANTINE, by, why)
        with self._database.writing() as base:
            standing = quarantines(base, device.id).get(device.id)
            if standing is not None:
                raise RefusedError(
                    "in_quarantine",
                    f"{device.name} is in quarantine already, by {standing.by}: {standing.why}",
                    where=self.where,
                    mend=f"see `skerry fleet show {device.name}`",
                )
            add_decision(base, device.id, decision)
        return decision

    def appeal(self, device: Device, *, by: str, why: str, now: int, restore: float) -> Decision:
        """An operator's decision for a device: lifts its quarantine, and takes back a share of what is held against it.

        Raises:
            InputError: no reason is given, or ``restore`` is not in [0, 1].
            RefusedError: nothing is held against the device (``nothing_to_appeal``).
        """
        if not 0 <= restore <= 1:
            mend = "0 lifts a quarantine and restores nothing, 1 restores all"
            raise InputError(f"a share lies between 0 and 1, got {restore:g}", where="restore", mend=mend)
        decision = _decision(now, DecisionKind.APPEAL, by, why, restore)
        with self._database.writing() as base:
            events = events_of(base, device.id, plain=False).get(device.id, [])
            rejected = any(isinstance(event, Observation) for event in events)
            if not rejected and device.id not in quarantines(base, device.id):
                raise RefusedError(
                    "nothing_to_appeal",
                    f"nothing is held against {device.name}",
                    where=self.where,
                    mend=f"see `skerry fleet show {device.name}`",
                )
            add_decision(base, device.id, decision)
        return decision

    def forget(self, device: Device, *, by: str, now: int) -> str:
        """Erase a device's name, wherever it stands here; returns the alias in its place.

        What was judged and decided stays under the alias, as do public keys. A run that goes on records the name anew.

        Raises:
            RefusedError: it is enrolled, or waits to be (``still_enrolled``): a name in use is not forgotten.
        """
        with self._database.writing() as base:
            places = enrolled(base, scope=device.scope, name=device.name)
            if places and places[-1].state in {State.PENDING, State.ENROLLED}:
                raise RefusedError(
                    "still_enrolled",
                    f"{device.name} is {places[-1].state.value}",
                    where=self.where,
                    mend=f"`skerry fleet revoke {device.name}` (or deny) first",
                )
            alias = forget(base, device, by=plain_words(by, "by"), now=now)
        self._database.settle()
        return alias

    def find(self, name: str, scope: str | None = None) -> Device:
        """The device of that name; in the scope of that name, where several have one.

        Raises:
            InputError: there is none, or more than one; says which there are, or which are near.
        """
        known: list[Device] = []
        if self._database.exists():
            known = self._database.read(devices_in)
        named = [one for one in known if one.name == name]
        found = [one for one in named if scope in {None, one.scope.name}]
        if len(found) == 1:
            return found[0]
        scopes = ", ".join(sorted(repr(one.scope.name) for one in named))
        if found:
            raise InputError(
                f"{len(found)} devices have the name {name!r}",
                where=self.where,
                mend=f"say which with --scope: {scopes}",
            )
        if named:
            raise InputError(
                f"there is no device {name!r} in the scope {scope!r}",
                where=self.where,
                mend=f"it is known in {scopes}",
            )
        raise InputError(f"there is no device {name!r}", where=self.where, mend=_near(name, known))

    def standings(self, now: int, half_life_days: float) -> list[Standing]:
        """Where every device stands, in the order of scopes and names.

        Raises:
            InputError: the half-life is not positive.
        """
        check_half_life(half_life_days)
        if not self._database.exists():
            return []
        return self._database.read(lambda base: _standings(base, devices_in(base), now, half_life_days))

    def standing(self, device: Device, now: int, half_life_days: float) -> Standing:
        """Where one device stands; see :meth:`standings`."""
        check_half_life(half_life_days)
        (found,) = self._database.read(lambda base: _standings(base, [device], now, half_life_days, device.id))
        return found

    def history(self, device: Device) -> History:
        """The evidence and the decisions about one device."""
        return self._database.read(self._history_of(device))

    def quarantined(self, scope: Scope) -> dict[str, Decision]:
        """The devices of a scope that are in quarantine, and the decision that keeps each there."""
        if not self._database.exists():
            return {}
        return self._database.read(lambda base: _kept(base, scope))

    def decided(self) -> list[tuple[Device, Decision]]:
        """What people have decided about enrolled devices, in order; what a verdict imposed is left out."""
        return self._database.read(_decided) if self._database.exists() else []

    def _history_of(self, device: Device) -> Callable[[Connection], History]:
        def work(base: Connection) -> History:
            try:
                judgements = tuple(judgements_of(base, device))
            except (ValueError, TypeError) as error:
                raise RegistryError(
                    f"a verdict cannot be read: {error}",
                    where=self.where,
                    mend="use the skerry that wrote it: this one does not know all of its words",
                ) from error
            decisions = tuple(decision for _, decision in decisions_about(base, device.id))
            events = events_of(base, device.id).get(device.id, [])
            return History(tuple(sorted(events, key=lambda event: event.at)), judgements, decisions)

        return work


def _decided(base: Connection) -> list[tuple[Device, Decision]]:
    real = {one.id: one for one in devices_in(base) if one.scope.kind is DeviceKind.REAL}
    return [(real[id_], one) for id_, one in decisions_about(base) if id_ in real and one.run is None]


def _kept(base: Connection, scope: Scope) -> dict[str, Decision]:
    kept = quarantines(base)
    return {one.name: kept[one.id] for one in devices_in(base, scope) if one.id in kept}


def _standings(
    base: Connection, some: Sequence[Device], now: int, half_life_days: float, only: int | None = None
) -> list[Standing]:
    """Of some devices; what is read of ``only`` one is enough for it."""
    kept, seen = quarantines(base, only), last_seen(base, only)
    accepted, events = acceptances(base, now, half_life_days, only), events_of(base, only, plain=False)
    found = []
    for device in some:
        count, weight = accepted.get(device.id, (0, 0.0))
        others = events.get(device.id, [])
        rejected = sum(isinstance(event, Observation) for event in others)  # what was accepted is counted already
        against = reputation(others, now, half_life_days).rejected
        found.append(
            Standing(
                device=device,
                last_seen=seen.get(device.id),
                judged=count + rejected,
                rejected=rejected,
                reputation=Reputation(weight, against),
                quarantine=kept.get(device.id),
            )
        )
    return found


def _decision(now: int, kind: DecisionKind, by: str, why: str, restore: float | None = None) -> Decision:
    """A person's decision."""
    return Decision(now, kind, plain_words(by, "by"), plain_words(why, "reason"), restore)


def _near(name: str, known: Sequence[Device]) -> str:
    if not known:
        return "no device is known here: a run records those that take part in it"
    near = difflib.get_close_matches(name, {one.name for one in known}, n=3)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "`skerry fleet list` names those that are known"

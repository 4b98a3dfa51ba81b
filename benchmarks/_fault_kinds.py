"""What is done to a federation of real processes, by name: a kill, a power cut, a broken line, a full disk."""

import random
import time
from collections import Counter
from collections.abc import Callable

from _fault_fleet import Fleet, Place
from _faulty_line import BROKEN
from _power import lose_power
from _small_disk import full

KINDS = (
    "agent_killed",
    "agent_power_cut",
    "superlink_killed",
    "gateway_killed",
    "run_killed",
    "line_broken",
    "device_disk_full",
    "server_disk_full",
)
GIVEN_UP_S = 300.0  # without a finished round
MET_S = 60.0  # an agent that hears nothing asks again within half of that
LOOK_S = 0.1


class Faults:
    """Puts faults into a fleet; every one is over when its method returns, but for what has to start again.

    Each method says which devices it touched: none where there was nothing to be done to. Where a disk is full it says
    those whose disk it was.
    """

    def __init__(self, made: Fleet, chance: random.Random) -> None:
        self._fleet = made
        self._chance = chance
        self.told: Counter[str] = Counter()
        """How often something of a fault was seen to happen: bytes that a power cut took away, and the like."""

    @property
    def kinds(self) -> dict[str, Callable[[], list[Place]]]:
        """What can go wrong, by name."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def agent_killed(self) -> list[Place]:
        """``kill -9``."""
        place = self._any()
        self._until(lambda: self._fleet.agents[place.name].lives)
        return [place] if self._fleet.agents[place.name].kill() else []

    def agent_power_cut(self) -> list[Place]:
        """The agent is gone, and so is what its ledger had not given to the disk for good."""
        place = self._any()
        self._until(lambda: self._fleet.agents[place.name].lives)
        with self._fleet.held():
            killed = self._fleet.agents[place.name].kill()
            lost = lose_power(place.home, place.record)
        self.told["ledger_bytes_lost"] += lost.ledger
        self.told["file_bytes_lost"] += lost.files
        return [place] if killed else []

    def superlink_killed(self) -> list[Place]:
        """``kill -9``; the servers end with it and are started again."""
        self._until(lambda: self._fleet.superlink() is not None)
        link = self._fleet.superlink()
        if link is None:
            return []
        link.kill()
        return self._all()

    def gateway_killed(self) -> list[Place]:
        """``kill -9`` of the process that serves gateway and devices; its SuperLink ends with it."""
        self._until(lambda: self._fleet.server_is_up)
        return self._all() if self._fleet.server.kill() else []

    def run_killed(self) -> list[Place]:
        """``kill -9``; it is started again with ``--resume``."""
        self._until(lambda: self._fleet.run.lives)
        return self._all() if self._fleet.run.kill() else []

    def line_broken(self) -> list[Place]:
        """The line of one device, or of all, for a while, in one of the ways of ``_faulty_line.py``.

        It stays broken until somebody has met it, a minute at most; who did not meet it was not touched.
        """
        mode = self._chance.choice(BROKEN)
        places = [self._any()] if self._chance.random() < 0.6 else self._all()
        before = {place.name: place.line.met for place in places}

        def touched() -> list[Place]:
            return [place for place in places if place.line.met > before[place.name]]

        for place in places:
            place.line.break_it(mode)
        self._until(lambda: bool(touched()), MET_S)
        time.sleep(self._chance.uniform(1.0, 5.0))
        for place in places:
            place.line.mend()
        met = touched()
        if met:
            self.told[f"line_{mode}"] += 1
        return met

    def device_disk_full(self) -> list[Place]:
        """Not a byte of room, for a while; it is not known whether anybody wrote then, but where the agent says so."""
        place = self._any()
        log = self._fleet.agents[place.name].log
        before = log.stat().st_size
        with full(place.disk):
            time.sleep(self._chance.uniform(1.0, 4.0))
        with log.open("rb") as file:
            file.seek(before)
            self.told["device_disk_full_told"] += b"no space left" in file.read()
        return [place]

    def server_disk_full(self) -> list[Place]:
        """Of the disk with the runs, the registry and the SuperLink's database; who wrote then is not known."""
        with full(self._fleet.disk):
            time.sleep(self._chance.uniform(1.0, 4.0))
        return self._all()

    def _any(self) -> Place:
        return self._chance.choice(self._all())

    def _all(self) -> list[Place]:
        return list(self._fleet.places.values())

    def _until(self, there: Callable[[], bool], most_s: float = GIVEN_UP_S) -> None:
        """Wait for what a fault is to be done to: it may still be on its way back from the last fault."""
        end = time.monotonic() + most_s
        while not there() and not self._fleet.complete and time.monotonic() < end:
            time.sleep(LOOK_S)

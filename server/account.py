"""Stage *account*: what the round spent goes into the population's ledger before anything of it is used further."""

import math
import secrets
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from skerry.errors import RunFailedError
from skerry.security.privacy.accounting import GaussianEvent, epsilon_from_rdp, rdp
from skerry.security.privacy.chain import Entry
from skerry.server.federation import Federation
from skerry.server.judge import Judged, Valid
from skerry.syncer import Syncer

__all__ = ["Spending", "open_round", "release_round"]

_RECEIPTS = 512  # of them in one entry, which holds a mebibyte


class Spending:
    """ε of each device as the coordinator must assume it: a device that was asked has spent, answer or not.

    Add/remove, RDP composition. Example level: a device's own ledger may show less (it never got the message). Device
    level: every round counts for every device, drawn or not.
    """

    def __init__(self, federation: Federation) -> None:
        plan = federation.plan
        self._central = plan.unit == "device"
        self._correlated = plan.separation > 0
        self._rounds = 0
        self._delta = federation.scenario.privacy.delta
        self._asked = dict.fromkeys(federation.members, 0)
        self.last_asked: dict[str, int] = {}
        """The round in which each device was asked last."""
        once = plan.event
        if once is not None and self._central:
            once = replace(once, steps=1)
        self._once = None if once is None else rdp(once)
        self._known: dict[int, float] = {0: 0.0}
        self._before = federation.roster.remaining()
        self._left: dict[tuple[str, int], float] = {}

    def add(self, number: int, cohort: Iterable[str]) -> None:
        """Count a round's instructions."""
        self._rounds += 1
        for device in cohort:
            self._asked[device] = self._asked.get(device, 0) + 1
            self.last_asked[device] = number

    def rounds(self, device: str) -> int:
        """In how many rounds it was asked."""
        return self._asked.get(device, 0)

    def left(self, device: str) -> float:
        """What is left of its budget, as far as it is known here; infinite without privacy, where none is kept.

        Of the devices of a fleet the other runs over it count too; of what a device spends elsewhere only its own
        ledger knows.
        """
        if self._once is None:
            return math.inf
        paid = self._paid if self._central else self.rounds(device)
        known = device if device in self._before.spent else "", paid
        if known not in self._left:
            self._left[known] = self._before.left(device, self._once * paid if paid else None)
        return self._left[known]

    @property
    def _paid(self) -> int:
        """How many releases of the coordinator's every device has paid for."""
        return min(self._rounds, 1) if self._correlated else self._rounds

    def epsilon(self, rounds: int) -> float | None:
        """ε(δ) of a device that was asked ``rounds`` times; None without privacy, where no finite ε holds."""
        if self._once is None:
            return None
        if rounds not in self._known:
            self._known[rounds] = float(epsilon_from_rdp(self._once * rounds, self._delta)[0])
        return self._known[rounds]

    @property
    def maximum(self) -> float | None:
        """The largest ε of any device."""
        if self._central:
            return self.epsilon(self._paid)
        return self.epsilon(max(self._asked.values(), default=0))

    @property
    def median(self) -> float | None:
        """The median ε over devices (the lower one of two)."""
        if self._central:
            return self.maximum
        return self.epsilon(statistics.median_low(self._asked.values()))


@contextmanager
def open_round(
    federation: Federation, number: int, cohort: Sequence[str], syncer: Syncer, debit: GaussianEvent | None = None
) -> Iterator[None]:
    """Record who will be asked to spend what, while the block prepares the instructions; durable when it is left.

    A round that an earlier process opened is open: nothing is recorded or spent twice.

    Args:
        federation: the run.
        number: of the round.
        cohort: who is asked.
        syncer: waits for the disk.
        debit: what the coordinator's own release of this round spends of every device's privacy, if it makes one.

    Raises:
        BudgetExceededError: the population's policy does not allow that.
    """
    if number in federation.past.cohorts:
        yield
        return
    mechanism = {
        "name": federation.scenario.privacy.mechanism if federation.plan.unit != "none" else "none",
        "noise_multiplier": federation.plan.noise_multiplier,
        "clip": federation.plan.clip,
        "steps": federation.plan.steps,
        "sampling_rate": federation.plan.sampling_rate,
        "rounds": federation.scenario.rounds,
        "separation": federation.scenario.privacy.min_separation,
    }
    members = [federation.members[device] for device in cohort]
    event = federation.plan.event
    body = {
        "round": number,
        "mechanism": mechanism,
        "price": None if event is None else dict(vars(event)),
        "unit": federation.plan.unit,
        "cohort": members,
        "weights": "uniform",
    }
    if debit is not None and not federation.ledger.has(federation.run, number):
        nonce = secrets.token_hex(16)
        federation.ledger.debit(federation.run, number, debit, nonce=nonce, now=federation.clock())
    with federation.ledger.recording("round_open", body, federation.clock(), syncer=syncer):
        yield


@contextmanager
def release_round(
    federation: Federation,
    number: int,
    valid: Valid,
    judged: Judged,
    vector_digest: str,
    syncer: Syncer,
    bases: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Entry]:
    """Record the devices' receipts and the vector that the round releases, while the block looks at it.

    ``bases`` has the round in which a device was asked, where that is an earlier one (of a buffer): its receipt is of
    that round, and the release says so.

    Devices are told by the number of the ``member`` entry that names them: erasing that entry makes them nameless.
    Durable when the block is left: nothing of the vector may be published in it. A round that an earlier process
    released is released, if it comes out the same; receipts that it recorded are not recorded twice.

    Raises:
        RunFailedError: it does not.
    """
    earlier = federation.past.released.get(number)
    if earlier is not None:
        if earlier.body["vector"] != vector_digest:
            raise RunFailedError(
                f"round {number} was released before, and comes out otherwise now",
                where=federation.run,
                mend="its data or its model were changed since; run the scenario again",
            )
        yield earlier
        return
    kept: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for device, receipt in sorted(valid.receipts.items()):
        base = bases.get(device, number)
        if device not in federation.past.answered.get(base, frozenset()):
            kept[base].append((federation.members[device], receipt.to_json()))
    events = [
        ("receipts", {"round": base, "receipts": {str(member): receipt for member, receipt in some[i : i + _RECEIPTS]}})
        for base, some in sorted(kept.items())
        for i in range(0, len(some), _RECEIPTS)
    ]
    accepted = [federation.members[device] for device in judged.devices]
    release = {"round": number, "accepted": accepted, "vector": vector_digest}
    earlier_asked = {str(federation.members[device]): bases[device] for device in judged.devices if device in bases}
    if earlier_asked:
        release["asked"] = earlier_asked
    events.append(("release", release))
    with federation.ledger.recording_all(events, federation.clock(), syncer=syncer) as entries:
        yield entries[-1]

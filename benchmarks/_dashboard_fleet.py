"""A fleet of made-up devices whose registry and run are written by the real writers, as a coordinator would."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.canonical import sha256_hex
from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.records import Action, Reason, RoundRecord, Score, Verdict
from skerry.runfolder import RunFolder
from skerry.security.enrolment import apply, ask
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.server.checkpoint import Checkpoint, store_round
from skerry.server.enrolment import Office, local_desk
from skerry.server.federation_home import FederationHome
from skerry.server.journal import Answer, Asked, RoundJournal
from skerry.server.registry import JudgedRound, Registry, run_scope
from skerry.strategies.optimizers import Moments

SIGMA = 2.0


class _Keys:
    """What a device enrols with, in memory."""

    def __init__(self, name: str) -> None:
        self.kem = KemKeys.begin(system_clock(), 14)
        self.identity = Identity(name, Identity.generate(name).signing, self.kem.newest.key)
        self.device_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def epoch(self) -> KemEpoch:
        return self.kem.newest


def enrol_all(runs: Path, names: Sequence[str]) -> None:
    """Let devices of these names in, as an operator's invitation does."""
    authority = FederationHome(runs).authority(now=system_clock())
    office, now = Office(runs), system_clock()
    invited = office.invite(
        authority, device_class="pi", by="benchmark", now=now, life=3_600_000, approve=True, uses=len(names)
    )
    desk = local_desk(runs, lambda: None)
    for name in names:
        keys = _Keys(name)
        ask(apply(invited, keys, desk, now=now), authority.federation, keys, desk, now=now)


class UnderWay:
    """A run over the fleet that this process is at, round by round."""

    def __init__(self, runs: Path, names: Sequence[str], rounds: int) -> None:
        self.names = sorted(names)
        scenario = default_scenario([f"rounds={rounds}", "attack.kind=none", "attack.devices=0"])
        self.folder = RunFolder.create(runs, scenario, engine="fleet")
        self.folder.mark("running", stage="round 0", extra={"federation": "fleet", "base_accuracy": 0.6})
        privacy = scenario.privacy
        policy = Policy(unit=privacy.unit, epsilon=privacy.epsilon, delta=privacy.delta, simulated=False)
        (self.folder.path / "ledger").mkdir()
        self.ledger = Ledger.create(
            self.folder.path / "ledger" / "population.jsonl", scope="population", subject=self.folder.id,
            policy=policy, now=system_clock(),
        )  # fmt: skip
        named = [("member", {"device": name, "signing_key": "00" * 32}) for name in self.names]
        self.members = {entry.body["device"]: entry.seq for entry in self.ledger.record_all(named, system_clock())}
        self.journal, self.registry = RoundJournal(self.folder.path), Registry(runs)

    def open(self, number: int) -> None:
        """Everybody is asked."""
        body = {
            "round": number, "mechanism": {"name": "discrete_gaussian", "noise_multiplier": SIGMA, "steps": 1},
            "price": dict(vars(GaussianEvent(SIGMA))), "unit": "example",
            "cohort": [self.members[name] for name in self.names], "weights": "uniform",
        }  # fmt: skip
        self.ledger.record("round_open", body, now=system_clock())
        self.journal.begin(number, {name: Asked(b"d" * 32, b"n" * 16, 10_000) for name in self.names})
        self.journal.open(number, {})

    def answer(self, number: int, name: str) -> None:
        """A device's answer has come."""
        self.journal.add(number, name, Answer(b"a" * 10_000, system_clock()))

    def finish(self, number: int, flagged: str) -> None:
        """The round's record, its verdicts and what the registry has of them; one device is put into quarantine."""
        accepted = tuple(name for name in self.names if name != flagged)
        score = Score("norm", 9.0, None, 1.0, "The update is nine times as long as any honest one was.")
        out = Verdict(number, flagged, Action.QUARANTINE, (Reason.NORM,), (score,))
        verdicts = [Verdict(number, name, Action.ACCEPT) for name in accepted] + [out]
        record = RoundRecord(
            round=number, accuracy=0.6 + 0.2 * (1 - 0.9**number), loss=1.0, epsilon_max=0.4 * number,
            epsilon_median=0.4 * number, accepted=accepted, flagged=(flagged,), dropped={flagged: "norm"},
            bytes_down=1, bytes_up=1, seconds={"collect": 1.0}, vector_digest=sha256_hex(b"made up"),
            finished_ms=system_clock(), extra={"skipped": None, "quarantined": [flagged]},
        )  # fmt: skip
        empty = np.zeros(1, np.float32)
        store_round(
            self.folder,
            Checkpoint(number, empty, Moments(empty, empty), {}, record.to_json(), [one.to_json() for one in verdicts]),
        )
        judged = JudgedRound(number, record.finished_ms, verdicts)
        self.registry.record(run_scope(self.folder), self.folder.id, [judged])

    def close(self) -> None:
        """The coordinator's process would end here."""
        self.journal.close()
        self.ledger.close()
        self.folder.mark("complete")

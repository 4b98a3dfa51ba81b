"""A realistic run folder, written by the real writers: what a run of the default scenario leaves behind."""

import importlib.metadata
import json
import platform
from pathlib import Path
from unittest.mock import patch

import numpy as np

from skerry.canonical import sha256_hex
from skerry.config import Scenario, default_scenario
from skerry.fsio import append_durably, write_atomic, write_json
from skerry.records import Action, Reason, RoundRecord, Score, Verdict
from skerry.result import (
    Cost,
    Defence,
    Delivery,
    DeviceEpsilon,
    DeviceQuality,
    DevicesEpsilon,
    Evidence,
    Measured,
    Metrics,
    Privacy,
    Quality,
    Reference,
    References,
    Result,
    RunInfo,
    Spread,
    write_result,
)
from skerry.runfolder import RunFolder
from skerry.security.delivery import publish
from skerry.security.identity import Identity
from skerry.security.privacy.accounting import GaussianEvent, calibrate
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.security.privacy.receipt import Receipt, SignedReceipt
from skerry.security.privacy.verification import verify_ledger
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.publisher import Publisher
from skerry.server.provision import published

HELD_OUT = ("writer-03", "writer-09", "writer-12")
BASE = 0.6526
NOW = 1_763_900_000_000


@patch("os.fsync", lambda _: None)  # hundreds of them, and what is tested with this folder is not durability
def build(
    parent: Path,
    overrides: tuple[str, ...] = (),
    *,
    state: str = "complete",
    rounds_done: int | None = None,
    rename: dict[str, str] | None = None,
    release: bool = True,
) -> RunFolder:
    """Write ``runs/<id>``; ``rename`` gives devices other names, ``rounds_done`` stops early."""
    scenario = default_scenario(["rounds=20", "training.epochs=1", *overrides])
    names = rename or {}
    devices = [names.get(f"writer-{i:02d}", f"writer-{i:02d}") for i in range(14) if f"writer-{i:02d}" not in HELD_OUT]
    attackers = sorted({devices[3], devices[7]}) if scenario.attack.devices else []
    folder = RunFolder.create(parent, scenario, engine="inprocess")
    done = scenario.rounds if rounds_done is None else rounds_done
    folder.mark("running", stage="round 0", extra={"base_accuracy": BASE})
    private = scenario.privacy.unit != "none"
    policy = Policy(
        unit=scenario.privacy.unit, epsilon=scenario.privacy.epsilon, delta=scenario.privacy.delta, simulated=True
    )
    sigma = calibrate(policy.epsilon, policy.delta, scenario.rounds) if private else 0.0
    coordinator, fleet = _fleet(folder, devices)
    records = _rounds(folder, scenario, devices, attackers, done, policy, sigma, coordinator, fleet)
    if state != "complete":
        error = {"what": "the disk is full", "where": str(folder.path), "mend": "free some space"}
        folder.mark(state, stage=f"round {done}", error=error if state == "failed" else None)
        return folder
    reports = {d: verify_ledger(folder.path / "ledger" / "devices" / f"{d}.jsonl") for d in devices}
    spent = {
        d: DeviceEpsilon(epsilon_rdp=r.epsilon_rdp, epsilon_pld=r.epsilon_pld, rounds=done, head=r.head)
        for d, r in reports.items()
        if r.epsilon_rdp is not None
    }
    delivery = _release(folder, coordinator, fleet, attackers) if release else None
    population = verify_ledger(folder.path / "ledger" / "population.jsonl", pld=False)
    write_result(
        folder.path / "result.json",
        Result(
            run=RunInfo(
                id=folder.id,
                scenario=scenario.name,
                engine="inprocess",
                seed=scenario.seed,
                versions={
                    "skerry": importlib.metadata.version("skerry"),
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "ray": None,
                },
                state="complete",
                rounds_done=done,
                rounds=scenario.rounds,
                started=folder.status["started"],
                finished=folder.status["updated"],
            ),
            quality=_quality(records, devices, attackers),
            robustness={"sign_flip": records[-1].accuracy} if attackers else {},
            privacy=Privacy(
                unit=scenario.privacy.unit,
                relation="add/remove" if private else None,
                delta=policy.delta if private else None,
                epsilon_budget=policy.epsilon if private else None,
                epsilon_rdp=max((s.epsilon_rdp for s in spent.values()), default=None),
                epsilon_pld=max((s.epsilon_pld for s in spent.values()), default=None),
                noise_multiplier=sigma if private else None,
                mechanism="discrete_gaussian" if private else None,
                sampling="none: every step uses all of a device's data" if private else None,
                min_separation=1 if private else None,
                devices=DevicesEpsilon(
                    max=max(s.epsilon_rdp for s in spent.values()),
                    median=float(np.median([s.epsilon_rdp for s in spent.values()])),
                    per_device=spent,
                )
                if private
                else DevicesEpsilon(),
                assumptions=(
                    "Each device's examples are independent of the other devices' data.",
                    "The noise multiplier and the number of rounds were fixed before the run.",
                ),
                simulated=True,
            ),
            defence=Defence(
                aggregator=scenario.defence.aggregator,
                tolerate=scenario.defence.tolerate,
                screen=scenario.defence.screen,
                attack="sign_flip" if attackers else "none",
                attackers=tuple(attackers),
                flagged=tuple(attackers),
                quarantined=tuple(attackers),
                precision=1.0 if attackers else None,
                recall=1.0 if attackers else None,
                false_quarantines=0,
                note="A device is flagged when it was quarantined, or dropped in most of its rounds.",
            ),
            cost=Cost(
                wall_s=31.4,
                compute_s=29.8,
                bytes_up=sum(r.bytes_up for r in records),
                bytes_down=sum(r.bytes_down for r in records),
                peak_rss_mb=812.0,
                stages={s: sum(r.seconds[s] for r in records) for s in records[0].seconds},
            ),
            delivery=delivery,
            evidence={
                "quality.final": Evidence(
                    leaf=records[-1].extra["ledger_leaf"], checkpoint=population.head, file="rounds.jsonl"
                ),
                "privacy.devices": Evidence(
                    leaf=records[-1].extra["ledger_leaf"], checkpoint=population.head, file="ledger/devices"
                ),
                "defence.verdicts": Evidence(file="verdicts.jsonl"),
                "delivery": Evidence(leaf=population.head, checkpoint=population.head, file="release")
                if delivery
                else Evidence(),
                "cost": Evidence(file="rounds.jsonl"),
            },
        ),
    )
    folder.mark("complete")
    return folder


def _rounds(
    folder: RunFolder,
    scenario: Scenario,
    devices: list[str],
    attackers: list[str],
    done: int,
    policy: Policy,
    sigma: float,
    coordinator: Identity,
    fleet: dict[str, Identity],
) -> list[RoundRecord]:
    rng = np.random.default_rng(scenario.seed)
    ledgers = {
        d: Ledger.create(
            folder.path / "ledger" / "devices" / f"{d}.jsonl", scope="device", subject=d, policy=policy, now=NOW
        )
        for d in devices
    }
    population = Ledger.create(
        folder.path / "ledger" / "population.jsonl", scope="population", subject=folder.id, policy=policy, now=NOW
    )
    named = [("member", {"device": d, "signing_key": fleet[d].public.signing_key.hex()}) for d in sorted(devices)]
    members = {entry.body["device"]: entry.seq for entry in population.record_all(named, NOW)}
    price = dict(vars(GaussianEvent(sigma))) if sigma else None
    mechanism = {"name": "discrete_gaussian" if sigma else "none", "noise_multiplier": sigma, "steps": 1}
    mechanism |= {"rounds": scenario.rounds, "separation": 1}
    records: list[RoundRecord] = []
    for number in range(1, done + 1):
        late = devices[1] if number == 4 else None
        population.record(
            "round_open",
            {
                "round": number,
                "mechanism": mechanism,
                "price": price,
                "unit": policy.unit,
                "cohort": [members[d] for d in sorted(devices)],
                "weights": "uniform",
            },
            now=NOW + number,
        )
        for ledger in ledgers.values():
            event = GaussianEvent(sigma) if sigma else None
            ledger.debit(folder.id, number, event, nonce=f"{number:032x}", now=NOW + number)
        verdicts = [_verdict(rng, number, d, attackers, late) for d in sorted(devices)]
        accepted = tuple(v.device for v in verdicts if v.action is Action.ACCEPT)
        receipts = {str(members[d]): _receipt(folder.id, number, d, ledgers[d], fleet[d]) for d in devices}
        leaf = population.record_all(
            [
                ("receipts", {"round": number, "receipts": receipts}),
                ("release", {"round": number, "accepted": [members[d] for d in accepted], "vector": "00" * 32}),
            ],
            now=NOW + number,
        )[-1]
        spent = [ledger.epsilon() for ledger in ledgers.values()] if sigma else []
        record = RoundRecord(
            round=number,
            accuracy=float(np.clip(BASE + 0.17 * (1 - np.exp(-number / 5)) + rng.normal(0, 0.006), 0, 1)),
            loss=float(1.15 * np.exp(-number / 9) + 0.6),
            epsilon_max=max(spent) if spent else None,
            epsilon_median=float(np.median(spent)) if spent else None,
            accepted=accepted,
            flagged=tuple(v.device for v in verdicts if v.action is not Action.ACCEPT and v.scores),
            dropped={v.device: v.reasons[0].value for v in verdicts if v.action is not Action.ACCEPT},
            bytes_down=len(devices) * 10_612,
            bytes_up=(len(devices) - bool(late)) * 10_498,
            seconds={
                "plan": 0.011,
                "collect": float(0.42 + rng.random() * 0.1),
                "open": 0.013,
                "validate": 0.001,
                "screen": 0.004,
                "aggregate": 0.006,
                "account": 0.009,
                "evaluate": 0.031,
            },
            vector_digest=sha256_hex(f"{number}".encode()),
            finished_ms=NOW + 900 * number,
            extra={
                "ece": 0.05,
                "skipped": None,
                "ledger_leaf": leaf.hash,
                "refusals": {},
                "quarantined": attackers if number >= 3 else [],
            },
        )
        append_durably(folder.path / "verdicts.jsonl", _lines([v.to_json() for v in verdicts]))
        append_durably(folder.path / "rounds.jsonl", _lines([record.to_json()]))
        records.append(record)
    state = population.checkpoint()
    Publisher(published(folder)).publish(population.tree, state, NoteSigner(state.origin, coordinator.signing))
    for ledger in (*ledgers.values(), population):
        ledger.close()
    return records


def _verdict(rng: np.random.Generator, number: int, device: str, attackers: list[str], late: str | None) -> Verdict:
    if device == late:
        return Verdict(number, device, Action.DROP, (Reason.NO_REPLY,))
    if device in attackers and number > 3:
        sentence = "Quarantined after three rounds in which a detector dropped its updates."
        score = Score("quarantine", 3.0, None, 3.0, sentence)
        return Verdict(number, device, Action.QUARANTINE, (Reason.QUARANTINED,), (score,))
    if device in attackers:
        value = float(-0.4 + rng.normal(0, 0.03))
        sentence = f"The update points away from the others: cosine {value:.2f}, at least 0.11 was expected."
        return Verdict(number, device, Action.DROP, (Reason.COSINE,), (Score("cosine", value, 0.11, None, sentence),))
    value = float(0.42 + rng.normal(0, 0.04))
    sentence = f"The update points where the others do: cosine {value:.2f}, at least 0.11."
    return Verdict(number, device, Action.ACCEPT, (), (Score("cosine", value, 0.11, None, sentence),))


def _quality(records: list[RoundRecord], devices: list[str], attackers: list[str]) -> Quality:
    rng = np.random.default_rng(7)
    final = records[-1].accuracy
    curve = tuple(float(BASE + 0.235 * (1 - np.exp(-r.round / 4))) for r in records)
    bare = tuple(float(BASE - 0.28 * (1 - np.exp(-r.round / 6))) for r in records)
    quality = {
        d: DeviceQuality(
            role="held_out" if d in HELD_OUT else "training",
            before=float(np.clip(0.65 + rng.normal(0, 0.07), 0, 1)),
            after=float(np.clip(0.83 + rng.normal(0, 0.05), 0, 1)),
            note="never trains" if d in HELD_OUT else "simulation only: a real device never reports this",
        )
        for d in sorted([*devices, *HELD_OUT])
    }
    quality[devices[5]] = DeviceQuality(role="training", before=0.81, after=0.79)
    return Quality(
        base=Measured(
            accuracy=BASE,
            loss=1.21,
            ece=0.08,
            float=Metrics(accuracy=0.655, loss=1.2, ece=0.079),
            int8=Metrics(accuracy=BASE, loss=1.21, ece=0.08),
            per_device=Spread(p10=0.6, p50=0.66, p90=0.7),
        ),
        final=Measured(
            accuracy=final,
            loss=0.72,
            ece=0.052,
            float=Metrics(accuracy=min(1.0, final + 0.005), loss=0.715, ece=0.05),
            int8=Metrics(accuracy=final, loss=0.72, ece=0.052),
            per_device=Spread(p10=0.77, p50=0.83, p90=0.86),
        ),
        agreement=0.9561,
        references=References(
            non_private=Reference(accuracy=curve[-1], by_round=curve),
            undefended=Reference(accuracy=bare[-1], by_round=bare) if attackers else None,
        ),
        held_out=HELD_OUT,
        devices=quality,
    )


def _fleet(folder: RunFolder, devices: list[str]) -> tuple[Identity, dict[str, Identity]]:
    path = folder.path / "fleet"
    coordinator = Identity.generate("coordinator")
    coordinator.save(path / "coordinator.json")
    fleet = {device: Identity.generate(device) for device in devices}
    for device, identity in fleet.items():
        identity.save(path / device / "identity.json")
    write_json(path / "coordinator.public.json", coordinator.public.to_json())
    write_json(path / "devices.public.json", {d: identity.public.to_json() for d, identity in fleet.items()})
    return coordinator, fleet


def _receipt(run: str, number: int, device: str, ledger: Ledger, identity: Identity) -> dict[str, object]:
    """As the envelope of an update that was sealed by this device would prove it."""
    state = ledger.checkpoint()
    receipt = Receipt(run, number, device, ledger.head, state.size, state.root.hex())
    body = sha256_hex(f"{device} {number}".encode())
    signature = identity.sign(b"skerry/envelope/1/sign", bytes.fromhex(body) + receipt.digest)
    return SignedReceipt(receipt, body, signature.hex()).to_json()


def _release(folder: RunFolder, coordinator: Identity, fleet: dict[str, Identity], attackers: list[str]) -> Delivery:
    recipients = [identity.public for device, identity in fleet.items() if device not in attackers]
    files = {"model.onnx": folder.path / "model" / "model.onnx", "card.json": folder.path / "model" / "card.json"}
    write_atomic(files["model.onnx"], np.random.default_rng(3).bytes(300_000))
    write_atomic(files["card.json"], b"{}")
    info = publish(
        files,
        folder.path / "release",
        name=folder.scenario.name,
        version=1,
        run=folder.id,
        publisher=coordinator,
        recipients=recipients,
        now=NOW,
    )
    return Delivery(
        name=info.manifest.name,
        version=info.manifest.version,
        bytes=info.total_bytes,
        recipients=len(info.recipients),
        manifest_digest=info.manifest.digest,
    )


def _lines(values: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(value, allow_nan=False).encode() + b"\n" for value in values)

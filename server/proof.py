"""Whether a run's ledgers prove what the run claims, read by somebody who trusts none of its writers.

1. each ledger's chain, tree, policy and spending, by two accountants (``security/privacy/verification.py``);
2. the coordinator's signed checkpoint, and every checkpoint that a witness remembers: the ledger extends them;
3. each receipt in the population's ledger: one for a device and round, of a device that was asked then, signed by it,
   included in its ledger, and debited at the price that the round was opened with; of a fleet, whose ledgers lie on
   its devices, that it was signed;
4. each released average: of a round that was opened, made of updates for which there are receipts, none of them nearer
   to its device's last than rounds were opened with and devices debited for;
5. ``result.json``: the ε it claims, their δ, unit and separation are those of the ledgers, its evidence is in them; of
   a fleet the ε of a device is that of the rounds in which it was asked;
6. an audit: its coins were committed to in the population's ledger before the first round, and are opened.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from skerry.errors import InputError, RefusedError
from skerry.result import Result, load_result
from skerry.result_audit import Audit
from skerry.runfolder import RunFolder
from skerry.security.identity import Directory
from skerry.security.privacy.audit import Coins
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.receipt import SignedReceipt
from skerry.security.privacy.spending import replay
from skerry.security.privacy.verification import LedgerReport, verify_ledger
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import verify_inclusion
from skerry.security.transparency.tiles import TiledTree
from skerry.server.asked import Asked, asked_of
from skerry.server.ledgers import POPULATION, Ledgers, device_keys, enrolled, published_checkpoint
from skerry.server.provision import published
from skerry.server.releases import Releases, schema_of

__all__ = ["Failure", "Proof", "check_price", "verify_run"]


@dataclass(frozen=True)
class Failure:
    """One thing that does not hold: in which ledger (empty: in result.json), at which leaf (hex), and what."""

    ledger: str
    leaf: str | None
    what: str


@dataclass(frozen=True)
class Proof:
    """What was found: a report for each ledger by name, the population's first, and everything that does not hold."""

    reports: Mapping[str, LedgerReport]
    failures: tuple[Failure, ...]

    @property
    def holds(self) -> bool:
        """The verdict."""
        return not self.failures


def verify_run(folder: RunFolder, *, remembered: Mapping[str, Checkpoint], pld: bool = True) -> Proof:
    """Everything above, in that order.

    Args:
        folder: the run.
        remembered: for a ledger's name, the state in which a witness saw it last.
        pld: account by privacy loss distributions too.

    Raises:
        InputError: the run has no ledgers.
    """
    ledgers = Ledgers.of(folder)
    failures: list[Failure] = []
    reports: dict[str, LedgerReport] = {}
    seen = {name: [checkpoint] for name, checkpoint in remembered.items()}
    signed: Checkpoint | None = None
    try:
        published = published_checkpoint(folder)
        signed = published[0] if published else None
    except RefusedError as error:
        failures.append(Failure(POPULATION, None, f"its checkpoint: {error.what}"))
    if signed is not None:
        seen.setdefault(POPULATION, []).append(signed)
    if signed is not None:
        failures += _tiles(folder, signed)
    for name, path in ledgers.paths.items():
        report = verify_ledger(path, remembered=seen.get(name, ()), pld=pld)
        reports[name] = report
        failures += [Failure(name, report.head, problem) for problem in report.problems]
    failures += [Failure(name, None, "a witness saw it, and it is gone") for name in sorted(seen.keys() - reports)]
    failures += _receipts(folder, ledgers)
    if (folder.path / "result.json").is_file():
        if signed is None and not any(failure.ledger == POPULATION for failure in failures):
            failures.append(Failure(POPULATION, None, "it has no signed checkpoint, though the run is complete"))
        result = load_result(folder.path)
        failures += _claims(result, ledgers, reports, signed)
        failures += _audit(folder, result.privacy.audit, ledgers)
    return Proof(reports, tuple(failures))


def _tiles(folder: RunFolder, signed: Checkpoint) -> Iterator[Failure]:
    try:
        if TiledTree(published(folder), signed.size).root() == signed.root:
            return
        what = "they are not those of the checkpoint"
    except RefusedError as error:
        what = error.what
    yield Failure(POPULATION, None, f"its published tiles: {what}")


def _receipts(folder: RunFolder, ledgers: Ledgers) -> Iterator[Failure]:
    try:
        known = device_keys(folder) if any(ledgers.of_kind("receipts")) else Directory({})
    except RefusedError as error:
        yield Failure(POPULATION, None, f"no receipt can be checked: {error.what}")
        return
    members = {str(entry.seq): entry for entry in ledgers.of_kind("member")}
    opened: dict[int, Entry] = {}
    given: set[tuple[int, str]] = set()
    releases = Releases()
    for entry in ledgers.entries.get(POPULATION, []):
        if entry.erased or entry.kind not in {"round_open", "receipts", "release"}:
            continue
        try:
            number = entry.body["round"]
            if entry.kind == "round_open":
                opened[number] = entry
                fault = releases.opening_fault(entry.body)
                if fault is not None:
                    yield Failure(POPULATION, entry.hash, fault)
            elif number not in opened:
                yield Failure(POPULATION, entry.hash, f"a {entry.kind} of round {number}, which was never opened")
            elif entry.kind == "receipts":
                now = {(number, member) for member in entry.body["receipts"]}
                twice = sorted(int(member) for _, member in given & now)
                if twice:
                    what = f"receipts of round {number} that it holds already (members {twice})"
                    yield Failure(POPULATION, entry.hash, what)
                given |= now
                yield from _check_receipts(folder.id, entry, opened[number], members, known, ledgers)
            else:
                fault = releases.fault(entry.body, given)
                if fault is not None:
                    yield Failure(POPULATION, entry.hash, fault)
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            yield Failure(POPULATION, entry.hash, f"a {entry.kind} that this program does not write: {error}")


def _check_receipts(
    run: str, entry: Entry, opened: Entry, members: Mapping[str, Entry], known: Directory, ledgers: Ledgers
) -> Iterator[Failure]:
    number = entry.body["round"]
    for member, kept in entry.body["receipts"].items():
        if int(member) not in opened.body["cohort"]:
            yield Failure(POPULATION, entry.hash, f"a receipt of member {member} in round {number}, who was not asked")
        if member not in members:
            continue  # its name was erased, and with it the key
        device = members[member].body["device"]
        if device not in ledgers.paths and not ledgers.elsewhere:
            yield Failure(device, entry.hash, f"it gave a receipt of round {number}, and its ledger is gone")
            continue
        try:
            signer = enrolled(known, members[member])
            receipt = SignedReceipt.from_json(kept, run=run, round=number, device=device)
            receipt.check_signed(signer)
            if device in ledgers.paths:
                receipt.check_against(ledgers.entries[device], ledgers.trees[device])
                check_price(ledgers.entries[device][: receipt.receipt.size], opened)
        except (RefusedError, InputError) as error:
            leaf = kept.get("leaf") if isinstance(kept, dict) else None
            yield Failure(device, leaf or entry.hash, f"receipt of round {number}: {error.what}")


def check_price(entries: Sequence[Entry], opened: Entry) -> None:
    """The last entry, a debit, is at the price that its round was opened with, and for the same rounds and separation.

    Under unit ``device`` one participation pays for the whole run, and later ones of the same run need not pay again.

    Raises:
        RefusedError: it is another (``price``).
    """
    debit, asked = entries[-1].body, opened.body["price"]
    paid = debit["event"]
    free = opened.body["unit"] == "device" and asked is not None and paid == asked | {"steps": 0}
    bought = ((e.body["run"], e.body["event"], e.body.get("promise")) for e in entries[:-1] if e.kind == "debit")
    schema = schema_of(opened.body)
    if opened.body["unit"] == "device" and schema is not None and debit.get("promise") != schema.promise:
        what = f"its debit is for {debit.get('promise')}, the round was opened for {schema.promise}"
        raise RefusedError("price", what)
    if paid != asked and not (free and (debit["run"], asked, debit.get("promise")) in bought):
        raise RefusedError("price", f"its debit of {paid} is not the price that the round was opened with, {asked}")


def _claims(
    result: Result, ledgers: Ledgers, reports: Mapping[str, LedgerReport], signed: Checkpoint | None
) -> Iterator[Failure]:
    """Where result.json says something else than the ledgers did when it was written."""
    privacy = result.privacy
    if privacy.unit != "none":
        yield from _device_claims(result, ledgers, reports)
        promised = {(report.policy.unit, report.policy.delta) for report in reports.values() if report.policy}
        if promised - {(privacy.unit, privacy.delta)}:
            claim = f"{privacy.unit} level at δ = {privacy.delta}"
            yield Failure("", None, f"it claims {claim}; a ledger promises something else")
        apart = _separation(ledgers)
        if apart is not None and privacy.min_separation != apart:
            yield Failure("", None, f"it says rounds {privacy.min_separation} apart of a device, the ledger {apart}")
        claims = [claim.epsilon_rdp for claim in privacy.devices.per_device.values() if claim.epsilon_rdp]
        whole = _whole(ledgers) if privacy.unit == "device" else max(claims, default=0.0)
        said = privacy.epsilon_rdp
        if said is not None and whole is not None and not math.isclose(said, whole, rel_tol=1e-9):
            yield Failure("", None, f"it says ε = {said:.6g} of the run, the ledgers {whole:.6g}")
    yield from _evidence(result, ledgers, signed)


def _device_claims(result: Result, ledgers: Ledgers, reports: Mapping[str, LedgerReport]) -> Iterator[Failure]:
    if ledgers.elsewhere:
        yield from _asked_claims(result, ledgers)
        return
    for device, claim in result.privacy.devices.per_device.items():
        if device not in reports:
            yield Failure("", claim.head, f"it speaks of {device}, which has no ledger")
            continue
        if reports[device].problems:
            continue
        entries = ledgers.entries[device]
        until = next((entry.seq + 1 for entry in entries if entry.hash == claim.head), None)
        if until is None:
            yield Failure("", claim.head, f"it names a head that the ledger of {device} does not contain")
            continue
        account = replay(entries[:until])
        said, spent = claim.epsilon_rdp, account.spending.epsilon(account.policy.delta)
        if said is not None and not math.isclose(said, spent, rel_tol=1e-9):
            yield Failure("", claim.head, f"it says that {device} spent ε = {said:.6g}, its ledger {spent:.6g}")


def _asked_claims(result: Result, ledgers: Ledgers) -> Iterator[Failure]:
    """What a fleet's devices were asked to spend, by the population's ledger, and the receipts that they gave."""
    known = asked_of(ledgers.entries.get(POPULATION, []))
    for device, claim in result.privacy.devices.per_device.items():
        asked = known.get(device, Asked())
        if (claim.rounds, claim.head) != (asked.receipts, asked.head):
            yield Failure("", claim.head, f"it speaks of receipts of {device} that the ledger does not hold")
        if claim.epsilon_rdp is not None and result.privacy.delta is not None:
            spent = asked.epsilon(result.privacy.delta)
            if not math.isclose(claim.epsilon_rdp, spent, rel_tol=1e-9):
                what = f"it says that {device} was asked to spend ε = {claim.epsilon_rdp:.6g}, the ledger {spent:.6g}"
                yield Failure("", claim.head, what)


def _evidence(result: Result, ledgers: Ledgers, signed: Checkpoint | None) -> Iterator[Failure]:
    """Every ledger entry that is named exists, and is included under the signed checkpoint."""
    entries = ledgers.entries.get(POPULATION, [])
    by_hash = {entry.hash: entry for entry in entries}
    for name, evidence in result.evidence.items():
        for leaf in (evidence.leaf, evidence.checkpoint):
            if leaf and leaf not in by_hash:
                yield Failure("", leaf, f"its evidence of {name} is a ledger entry that does not exist")
                break
            if leaf and signed is not None and signed.size <= len(entries):
                try:
                    index = by_hash[leaf].seq
                    proof = ledgers.trees[POPULATION].inclusion_proof(index, signed.size)
                    verify_inclusion(bytes.fromhex(leaf), index, signed.size, proof, signed.root)
                except (InputError, RefusedError) as error:
                    yield Failure(POPULATION, leaf, f"the evidence of {name} is not under the checkpoint: {error.what}")
                    break


def _audit(folder: RunFolder, claimed: Audit | None, ledgers: Ledgers) -> Iterator[Failure]:
    """``audit.json`` opens the commitment that precedes the first round, and holds what ``result.json`` says."""
    entries = ledgers.entries.get(POPULATION, [])
    first = next((entry.seq for entry in entries if entry.kind == "round_open"), len(entries))
    told = [entry for entry in entries if entry.kind == "audit"]
    if claimed is None and not told:
        return
    leaf = told[0].hash if told else None
    if claimed is None:
        yield Failure("", leaf, "it says nothing of the audit that the ledger was told of")
    try:
        value = json.loads((folder.path / "audit.json").read_text(encoding="utf-8"))
        coins = Coins(bytes.fromhex(value["salt"]), value["tosses"])
        opened, found = coins.commitment, Audit.model_validate(value["found"])
    except FileNotFoundError:
        yield Failure("", leaf, "its audit cannot be checked: audit.json is gone")
        return
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        yield Failure("", leaf, f"its audit cannot be checked: audit.json: {error}")
        return
    if opened not in [entry.body.get("commitment") for entry in told if entry.seq < first and not entry.erased]:
        yield Failure("", leaf, "its audit's coins are not those that the ledger was told of before the first round")
    if claimed is not None and found != claimed:
        yield Failure("", leaf, "its figures of the audit are not those of audit.json")


def _separation(ledgers: Ledgers) -> int | None:
    """What the first round was opened for; None where it does not say, or not as this program does (said elsewhere)."""
    try:
        schema = next((schema_of(entry.body) for entry in ledgers.of_kind("round_open")), None)
    except (KeyError, TypeError, AttributeError, InputError):
        return None
    return None if schema is None else schema.separation


def _whole(ledgers: Ledgers) -> float | None:
    """What the population's own ledger has debited; None where its chain does not hold (which is said elsewhere)."""
    try:
        account = replay(ledgers.entries.get(POPULATION, []))
    except RefusedError:
        return None
    return account.spending.epsilon(account.policy.delta)

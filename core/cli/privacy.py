"""``skerry privacy``: what each device spent, whether the ledgers hold, and whether the claim can be refuted."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from skerry.cli.audit import audit, audit_faults
from skerry.cli.console import AsJson, RunName, RunsDir, emit, fail, note, out, table

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.privacy.chain import Entry
    from skerry.security.privacy.verification import LedgerReport

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Show, verify and audit what was spent of each device's privacy budget.")
app.command()(audit)


@app.command()
def show(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Show what each device spent, as its own ledger tells it."""
    from rich.text import Text

    from skerry.wording import UNKNOWN, delta, epsilon

    folder = _open(run, runs_dir)
    rows = [_row(path, report) for path, report in _reports(folder, pld=False) if report.scope != "population"]
    if as_json:
        emit({"run": folder.id, "devices": rows})
        return
    figures = ["rounds", "ε spent (RDP)", "budget", "left"]
    columns = ["device", *figures, "δ", "unit", "relation", ""]
    shown = table(f"privacy spent in {folder.id}", columns, right=figures)
    for row in rows:
        spent, budget = row["epsilon_rdp"], row["epsilon_budget"]
        known = spent is not None and math.isfinite(spent) and budget is not None
        shown.add_row(
            Text(row["subject"]),
            str(row["rounds"]),
            epsilon(spent),
            UNKNOWN if budget is None else f"{budget:g}",
            f"{max(0.0, budget - spent):.2f}" if known else UNKNOWN,
            delta(row["delta"]),
            row["unit"] or UNKNOWN,
            row["relation"] or UNKNOWN,
            Text("; ".join(row["problems"]) or ("simulated noise" if row["simulated"] else "")),
        )
    out().print(shown)


@app.command()
def verify(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Replay every ledger of a run with two accountants, and compare with what the run claims.

    Each hash chain is recomputed from its bytes; each device's ledger must contain the receipts that the population's
    ledger holds for it; the figures and ledger entries named in result.json must be those found.
    """
    from rich.text import Text

    from skerry.errors import LedgerCorruptError
    from skerry.wording import UNKNOWN, delta, epsilon

    folder = _open(run, runs_dir)
    found = _reports(folder, pld=True)
    rows = [_row(path, report) for path, report in found]
    faults = [*_faults(folder, found), *audit_faults(folder)]
    broken = [row["subject"] for row in rows if row["problems"]]
    document = {"run": folder.id, "ok": not broken and not faults, "ledgers": rows, "problems": faults}
    if not as_json:
        figures = ["entries", "ε (RDP)", "ε (PLD)"]
        shown = table(f"ledgers of {folder.id}", ["", "ledger", *figures, "head", "finding"], right=figures)
        for row in rows:
            good = not row["problems"]
            said = "; ".join(row["problems"]) or ("a torn last line was set aside" if row["torn_tail"] else "holds")
            shown.add_row(
                Text("✓", "green") if good else Text("✗", "red"),
                Text(row["subject"]),
                str(row["entries"]),
                UNKNOWN if row["scope"] == "population" else epsilon(row["epsilon_rdp"]),
                UNKNOWN if row["scope"] == "population" else epsilon(row["epsilon_pld"]),
                row["head"][:12],
                Text(said),
            )
        console = out()
        console.print(shown)
        policy = next((report.policy for _, report in found if report.policy is not None), None)
        if policy is not None and policy.unit != "none":
            qualified = f"ε at δ = {delta(policy.delta)}, {policy.unit} level, {policy.relation}"
            console.print(Text(qualified + ("; simulated noise" if policy.simulated else ""), style="dim"))
        for fault in faults:
            note().print(Text(f"✗ {fault}", style="red"))
    if broken or faults:
        what = f"{len(broken)} of {len(rows)} ledgers do not hold" if broken else faults[0]
        mend = "restore the ledgers from a copy; until then count the whole budget of these devices as spent"
        error = LedgerCorruptError("ledgers_do_not_hold", what, where=str(folder.path / "ledger"), mend=mend)
        fail(error, document, as_json=as_json)
    if as_json:
        emit(document)


def _open(run: str, parent: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(run, runs_dir(parent))


def _reports(folder: "RunFolder", *, pld: bool) -> list[tuple[Path, "LedgerReport"]]:
    """Every ledger of the run, the population's first; a device's must contain the newest receipt it gave."""
    from skerry.errors import InputError
    from skerry.security.privacy.verification import verify_ledger

    root = folder.path / "ledger"
    population = [path for path in (root / "population.jsonl",) if path.is_file()]
    devices = sorted((root / "devices").glob("*.jsonl"))
    if not population and not devices:
        raise InputError(
            "this run has no ledgers", where=str(root), mend=f"`skerry runs show {folder.id}` says how far it came"
        )
    receipts = _receipts(population[0]) if population else {}
    found = [(path, verify_ledger(path, pld=False)) for path in population]
    return found + [(path, verify_ledger(path, expected_head=receipts.get(path.stem), pld=pld)) for path in devices]


def _receipts(population: Path) -> dict[str, str]:
    """The newest ledger head that each device gave to the coordinator."""
    return {
        device: head
        for entry in _entries(population)
        if entry.kind == "release"
        for device, head in entry.body.get("receipts", {}).items()
    }


def _entries(path: Path) -> "list[Entry]":
    """The entries as far as the chain holds; what is wrong with the rest is the verifier's to say."""
    from skerry.errors import LedgerCorruptError
    from skerry.security.privacy.chain import split, walk

    found: list[Entry] = []
    try:
        found.extend(walk(split(path.read_bytes())[0]))
    except LedgerCorruptError:
        return found
    return found


def _row(path: Path, report: "LedgerReport") -> dict[str, Any]:
    policy = report.policy
    private = policy is not None and policy.unit != "none"
    return {
        "subject": path.stem,
        "scope": report.scope,
        "entries": report.entries,
        "rounds": sum(entry.kind == "debit" for entry in _entries(path)),
        "head": report.head,
        "unit": policy.unit if policy else None,
        "relation": policy.relation if policy and private else None,
        "delta": policy.delta if policy and private else None,
        "epsilon_budget": policy.epsilon if policy and private else None,
        "epsilon_rdp": report.epsilon_rdp,
        "epsilon_pld": report.epsilon_pld,
        "simulated": policy.simulated if policy else None,
        "torn_tail": report.torn_tail,
        "problems": list(report.problems),
    }


def _faults(folder: "RunFolder", found: list[tuple[Path, "LedgerReport"]]) -> list[str]:
    """Where result.json claims something else than the ledgers say."""
    from skerry.result import load_result

    if not (folder.path / "result.json").is_file():
        return []
    result = load_result(folder.path)
    faults: list[str] = []
    ledgers = {path.stem: report for path, report in found if path.parent.name == "devices"}
    claimed = result.privacy.devices.per_device if result.privacy.unit != "none" else {}
    for device, claim in claimed.items():
        report = ledgers.get(device)
        if report is None:
            faults.append(f"result.json speaks of {device}, which has no ledger")
            continue
        said, spent = claim.epsilon_rdp, report.epsilon_rdp
        if said is not None and spent is not None and not math.isclose(said, spent, rel_tol=1e-9):
            faults.append(f"result.json says that {device} spent ε = {said:.6g}, its ledger {spent:.6g}")
    hashes = {entry.hash for path, _ in found for entry in _entries(path)}
    for claim_name, evidence in result.evidence.items():
        missing = [h for h in (evidence.leaf, evidence.checkpoint) if h and h not in hashes]
        if missing:
            faults.append(f"the evidence of {claim_name} names ledger entry {missing[0][:12]}…, which is in no ledger")
    return faults

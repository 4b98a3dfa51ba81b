"""``skerry privacy``: what each device spent, whether the ledgers hold, and whether the claim can be refuted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from skerry.cli.audit import audit
from skerry.cli.console import AsJson, RunName, RunsDir, emit, fail, out, table
from skerry.cli.forget import forget
from skerry.cli.plan import plan
from skerry.cli.prove import prove
from skerry.cli.spent import show
from skerry.cli.witness import Memory, remembered, witness

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.privacy.verification import LedgerReport
    from skerry.server.proof import Failure

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Plan, show, verify and audit the spending of privacy budgets.")
app.command()(plan)
app.command()(show)
app.command()(audit)
app.command()(witness)
app.command()(prove)
app.command()(forget)


@app.command()
def verify(run: RunName, *, memory: Memory = None, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Replay every ledger of a run with two accountants, and prove what the run claims.

    Each hash chain and tree is recomputed from its bytes; the population's ledger must extend the checkpoint that the
    coordinator signed, and every ledger what `skerry privacy witness` remembers of it; each device's ledger must
    contain, with proof, every debit that the device signed a receipt for; the figures and ledger entries named in
    result.json must be those found; the coins of an audit must be those that the ledger was told of beforehand.
    """
    from rich.text import Text

    from skerry.errors import LedgerCorruptError
    from skerry.server.ledgers import POPULATION
    from skerry.server.proof import verify_run
    from skerry.wording import UNKNOWN, amount, delta, epsilon

    folder = _open(run, runs_dir)
    seen = remembered(folder, memory)
    proof = verify_run(folder, remembered=seen)
    rows = [_row(name, report, proof.failures) for name, report in proof.reports.items()]
    failures = [vars(failure) for failure in proof.failures]
    loose = [_said(failure) for failure in proof.failures if failure.ledger not in proof.reports]
    document = {
        "run": folder.id,
        "ok": proof.holds,
        "witnessed": sorted(seen),
        "ledgers": rows,
        "problems": loose,
        "failures": failures,
    }
    verdict = f"{amount(len(rows), 'ledger')}: " + ("all of it holds" if proof.holds else "NOT proved")
    if not as_json:
        figures = ["entries", "ε (RDP)", "ε (PLD)"]
        shown = table(f"ledgers of {folder.id}", ["", "ledger", *figures, "head", "finding"], right=figures)
        for row in rows:
            good = not row["problems"]
            said = amount(len(row["problems"]), "failure") if not good else ""
            shown.add_row(
                Text("✓", "green") if good else Text("✗", "red"),
                Text(row["subject"]),
                str(row["entries"]),
                epsilon(row["epsilon_rdp"]) if row["rounds"] or row["scope"] != POPULATION else UNKNOWN,
                epsilon(row["epsilon_pld"]) if row["rounds"] or row["scope"] != POPULATION else UNKNOWN,
                row["head"][:12],
                Text(said or ("a torn last line was set aside" if row["torn_tail"] else "holds")),
            )
        console = out()
        console.print(shown)
        policy = next((report.policy for report in proof.reports.values() if report.policy is not None), None)
        if policy is not None and policy.unit != "none":
            qualified = f"ε at δ = {delta(policy.delta)}, {policy.unit} level, {policy.relation}"
            console.print(Text(qualified + ("; simulated noise" if policy.simulated else ""), style="dim"))
        if any(row["epsilon_rdp"] is not None and row["epsilon_pld"] is None for row in rows):
            missing = "ε was replayed by one accountant only: dp-accounting is not installed"
            console.print(Text(missing, style="dim"))
        if not seen:
            unseen = "no witness has seen these ledgers: that they were not rolled back together is not proved"
            console.print(Text(unseen, style="dim"))
        for failure in proof.failures:
            console.print(Text(f"✗ {_said(failure)}", style="red"))
        console.print(Text(verdict, "bold green" if proof.holds else "bold red"))
    if not proof.holds:
        broken = sum(bool(row["problems"]) for row in rows)
        what = f"{broken} of {len(rows)} ledgers do not hold" if broken else loose[0]
        mend = "restore the ledgers from a copy; until then count the whole budget of these devices as spent"
        error = LedgerCorruptError("ledgers_do_not_hold", what, where=str(folder.path / "ledger"), mend=mend)
        fail(error, document, as_json=as_json)
    if as_json:
        emit(document)


def _open(run: str, parent: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(run, runs_dir(parent))


def _said(failure: "Failure") -> str:
    leaf = f", leaf {failure.leaf[:12]}" if failure.leaf else ""
    return f"{failure.ledger or 'result.json'}{leaf}: {failure.what}"


def _row(name: str, report: "LedgerReport", failures: "tuple[Failure, ...]") -> dict[str, Any]:
    policy = report.policy
    private = policy is not None and policy.unit != "none"
    return {
        "subject": name,
        "scope": report.scope,
        "entries": report.entries,
        "rounds": report.debits,
        "head": report.head,
        "root": report.checkpoint.root.hex() if report.checkpoint else None,
        "unit": policy.unit if policy else None,
        "relation": policy.relation if policy and private else None,
        "delta": policy.delta if policy and private else None,
        "epsilon_budget": policy.epsilon if policy and private else None,
        "epsilon_rdp": report.epsilon_rdp,
        "epsilon_pld": report.epsilon_pld,
        "simulated": policy.simulated if policy else None,
        "torn_tail": report.torn_tail,
        "problems": [failure.what for failure in failures if failure.ledger == name],
    }

"""``skerry privacy audit``: try to refute a scenario's privacy claim."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, fail, out, table
from skerry.cli.run import Engine, SetOption, conducted

if TYPE_CHECKING:
    from skerry.result_audit import Audit
    from skerry.runfolder import RunFolder

__all__ = ["audit"]


class Kind(StrEnum):
    """What is planted."""

    CRAFTED = "crafted"
    MISLABELLED = "mislabelled"
    NATURAL = "natural"


def audit(
    scenario: Annotated[
        Path | None,
        typer.Argument(metavar="[SCENARIO]", help="A scenario file, or a shipped one by name \\[default: the demo's]."),
    ] = None,
    *,
    canaries: Annotated[int, typer.Option(min=1, help="Canaries on each device.")] = 90,
    kind: Annotated[
        Kind, typer.Option(help="crafted: shows best; mislabelled, natural: public examples.")
    ] = Kind.CRAFTED,
    overrides: SetOption = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a scenario with planted examples, and try to prove that it leaks more than it claims.

    Each canary is put in by a fair coin; the coins are committed to in the population's ledger before the first round.
    Three attackers then guess them. The largest ε that their success proves is set beside the ε that is claimed; beside
    both stands what could have been proved at best. Simulation only. Ends with exit code 1 when the claim is refuted.
    """
    from skerry.config import default_scenario, load_scenario
    from skerry.errors import RunFailedError
    from skerry.result import load_result

    settings = [*(overrides or ()), f"audit.canaries={canaries}", f"audit.kind={kind.value}"]
    wanted = default_scenario(settings) if scenario is None else load_scenario(scenario, settings)
    folder = conducted(wanted, Engine.INPROCESS, runs_dir, as_json=as_json)
    found = load_result(folder.path).privacy.audit
    if found is None:
        raise RunFailedError("the run wrote no audit", where=folder.id)
    document = {"run": folder.id, **found.model_dump(mode="json")}
    if not as_json:
        _print(found, folder)
    if found.refuted:
        error = RunFailedError(
            f"the claim is refuted: at least ε = {found.epsilon_lower_bound:.2f} was spent, "
            f"{found.epsilon_claimed:.2f} is claimed",
            where=folder.id,
            mend="do not release anything that this build has trained; report it as a fault",
        )
        fail(error, document, as_json=as_json)
    if as_json:
        emit(document)


def _print(found: "Audit", folder: "RunFolder") -> None:
    from rich.text import Text

    from skerry.server.report.audit import audit_rows, audit_sentence, audit_verdict

    figures = ["any mechanism", "Gaussian", "error rates", "AUC", "TPR at 0.1 % FPR", "at 1 %"]
    shown = table(f"ε shown at least, {folder.id}", ["attacker", *figures], right=figures)
    for row in audit_rows(found):
        shown.add_row(*(Text(cell) for cell in row))
    console = out()
    console.print(shown)
    console.print(Text(audit_sentence(found), style="dim"))
    console.print(Text(audit_verdict(found), style="bold red" if found.refuted else "bold"))
    for sentence in found.notes:
        console.print(Text(f"· {sentence}", style="dim"))
    console.print(Text(f"next    skerry runs open {folder.id}\n        skerry privacy verify {folder.id}"))

"""``skerry model build``."""

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, note
from skerry.cli.model.facts import stored_facts, tell

__all__ = ["build"]


def build(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file; the shipped one when left out.")
    ] = None,
    *,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the frozen base of a scenario from published weights and public data, or find the one built before."""
    from rich.text import Text

    from skerry.config import default_scenario, load_scenario
    from skerry.device.local_model import build_local_model
    from skerry.device.store import model_store
    from skerry.device.tasks.registry import load_task
    from skerry.errors import ScenarioError

    chosen = load_scenario(scenario, overrides or ()) if scenario else default_scenario(overrides or ())

    def progress(stage: str) -> None:
        if not as_json:
            note().print(Text(stage, style="dim"))

    digest = build_local_model(chosen.model, load_task(chosen.task, chosen.model), progress)
    if digest is None:
        raise ScenarioError(
            f'model.architecture = "{chosen.model.architecture}" has no base to build', where="model.architecture"
        )
    tell(stored_facts(digest, model_store()), as_json=as_json)

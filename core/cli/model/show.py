"""``skerry model show``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.model.costs import show_costs
from skerry.cli.model.facts import open_run, stored_facts, tell

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder

__all__ = ["show"]


def show(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIGEST|RUN|ARCHITECTURE|SCENARIO]",
            help="A base's digest or its beginning, a run; or a network by name or scenario, to measure its modes.",
        ),
    ] = None,
    *,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key. May be repeated.")
    ] = None,
    mode: Annotated[list[str] | None, typer.Option("--mode", help="Measure this mode only. May be repeated.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Examples of the step that is measured.")] = 16,
    again: Annotated[bool, typer.Option("--again", help="Measure though it was measured before.")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a base, what a run delivered, or what training a network costs on this machine; or all bases.

    Of a network every mode of fine-tuning is measured in a process of its own: numbers that are trained and travel,
    memory that one private step adds, and its time.
    """
    from skerry.config import shipped_scenarios
    from skerry.device.models import ARCHITECTURES
    from skerry.device.store import model_store

    store = model_store()
    digests = sorted(path.parent.name for path in store.glob("*/base.json") if not path.parent.name.startswith("."))
    if model is None:
        _list(digests, store, as_json=as_json)
        return
    if model in ARCHITECTURES or model.endswith(".toml") or model in shipped_scenarios():
        show_costs(model, overrides or (), modes=mode or (), batch=batch, again=again, as_json=as_json)
        return
    found = [digest for digest in digests if len(model) >= 4 and digest.startswith(model)]
    if len(found) == 1:
        tell(stored_facts(found[0], store), as_json=as_json)
        return
    tell(_card(open_run(model, runs_dir)), as_json=as_json)


def _card(folder: "RunFolder") -> dict[str, Any]:
    from skerry.errors import InputError

    path = folder.path / "model" / "card.json"
    if not path.is_file():
        raise InputError(
            "this run has delivered no model", where=str(path), mend=f"`skerry runs show {folder.id}` says why"
        )
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"kind": "delivered", "path": str(folder.path / "model"), **card}


def _list(digests: list[str], store: Path, *, as_json: bool) -> None:
    from skerry.errors import SkerryError
    from skerry.wording import size

    bases: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    for digest in digests:  # one that was altered, or that another version built, does not hide the others
        try:
            bases.append(stored_facts(digest, store))
        except SkerryError as error:
            unreadable[digest] = error.what
    if as_json:
        emit({"store": str(store), "bases": bases, "unreadable": unreadable})
        return
    for digest, what in unreadable.items():
        note().print(f"{digest[:12]} is left out: {what}; its folder can be deleted", soft_wrap=True)
    if not bases:
        note().print(f"there are no bases in {store}; `skerry model build` makes one", soft_wrap=True)
        return
    figures = ["input", "bits", "classes", "int8", "float"]
    shown = table(f"bases in {store}", ["digest", "kind", "architecture", *figures], right=figures)
    for base in bases:
        files = base["files"]
        sizes = [size(files.get(f"base.{kind}.onnx")) for kind in ("int8", "fp32")]
        shape = ["×".join(map(str, base["input_shape"] or "?")), str(base["bits"]), str(len(base["classes"]))]
        shown.add_row(base["digest"][:12], base["kind"], base["architecture"], *shape, *sizes)
    out().print(shown)

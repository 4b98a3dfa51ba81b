"""What the model commands say about a model, and how."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.cli.console import emit, facts, out

if TYPE_CHECKING:
    from skerry.device.basemodel import BaseModel
    from skerry.device.networkbase import NetworkBase
    from skerry.runfolder import RunFolder

__all__ = ["base_facts", "network_facts", "open_run", "plain", "stored_facts", "tell"]


def open_run(run: str, parent: Path | None) -> "RunFolder":
    """The run of that name or path."""
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(run, runs_dir(parent))


def stored_facts(digest: str, store: Path) -> dict[str, Any]:
    """What is said of the base of that digest, of whichever kind."""
    import json

    from skerry.device.basemodel import BaseModel
    from skerry.device.networkbase import NETWORK, NetworkBase
    from skerry.device.store import MANIFEST

    files = json.loads((store / digest / MANIFEST).read_text(encoding="utf-8"))["files"]
    if NETWORK in files:
        return network_facts(NetworkBase.load(digest, store))
    return base_facts(BaseModel.load(digest, store))


def base_facts(base: "BaseModel") -> dict[str, Any]:
    """What is said of a base, as JSON."""
    sizes = {path.name: path.stat().st_size for path in sorted(base.path.glob("*.onnx"))}
    small, large = sizes.get("base.int8.onnx"), sizes.get("base.fp32.onnx")
    return {
        "kind": "head base",
        "digest": base.digest,
        **{key: base.facts.get(key) for key in ("architecture", "input_shape", "bits", "components", "classes")},
        "path": str(base.path),
        "files": sizes,
        "int8_share": small / large if small and large else None,
    }


def network_facts(base: "NetworkBase") -> dict[str, Any]:
    """What is said of a whole network that is trained in part, as JSON."""
    return {
        "kind": "network base",
        "digest": base.digest,
        "architecture": base.facts["head"]["architecture"],
        **{key: base.facts[key] for key in ("input_shape", "bits", "classes", "tail_blocks")},
        "path": str(base.path),
        "files": {name: (base.path / name).stat().st_size for name in sorted(base.facts["files"])},
    }


def tell(document: dict[str, Any], *, as_json: bool) -> None:
    """Print one model's facts, as a table or as JSON."""
    if as_json:
        emit(document)
        return
    from skerry.wording import percent, size

    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        if key == "files":
            rows += [(name, size(kept if isinstance(kept, int) else kept["bytes"])) for name, kept in value.items()]
        elif key == "int8_share":
            rows.append(("int8 size of float", percent(value)))
        elif key != "schema":
            rows.append((key.replace("_", " "), plain(value)))
    out().print(facts(rows))


def plain(value: object) -> str:
    """A JSON value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

"""What a user names when a command wants a model: a file, a base, a run; and what is known of it.

::

    model.onnx               an ONNX file, ours or a stranger's
    network.safetensors      a graph file
    1f3a…                    a base in the store, by the beginning of its digest
    digits-2026…             a run, by id or folder: what it delivered
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skerry.device.basemodel import BaseModel, model_store
from skerry.errors import InputError
from skerry.runfolder import RunFolder

if TYPE_CHECKING:
    from skerry.device.compression.graph import Graph

__all__ = ["ModelSource", "resolve_model"]

Kind = Literal["onnx", "graph", "base", "run"]
_BITS = {"fp32": 32, "int8": 8}


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        name: as the user named it.
        kind: what it is.
        onnx: existing ONNX files by precision, ``fp32`` and ``int8``.
        graph_file: the graph, where there is a file of it.
        facts: what its makers wrote of it: a base's manifest, a run's card.
    """

    name: str
    kind: Kind
    onnx: Mapping[str, Path] = field(default_factory=dict)
    graph_file: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def graph(self) -> "Graph":
        """The float network.

        Raises:
            InputError: it is an ONNX file that skerry did not write.
        """
        if self.graph_file is not None:
            from skerry.device.compression.graph_file import load_graph

            return load_graph(self.graph_file)
        import onnx

        from skerry.device.compression.onnx_import import from_onnx

        path = self.onnx.get("fp32") or self.onnx["int8"]
        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's own exception classes are not part of onnx's interface
            what = "this is no ONNX file, or a part of one"
            raise InputError(what, where=str(path), mend="export it again") from error
        try:
            return from_onnx(model)[0]
        except InputError as error:
            raise InputError(
                f"this ONNX file is not one of skerry's: {error.what} ({error.where})", where=str(path)
            ) from error


def resolve_model(name: str, runs: Path, store: Path | None = None) -> ModelSource:
    """The model of that name; a file comes before a base, a base before a run.

    Args:
        name: as typed by the user.
        runs: where runs lie.
        store: where bases lie; None for the default.

    Raises:
        InputError: nothing has that name, or it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _file(name, path)
    store = store or model_store()
    found = [p.parent.name for p in store.glob(f"{name}*/base.json")] if len(name) >= 4 and name.isalnum() else []
    if len(found) == 1:
        base = BaseModel.load(found[0], store)
        kept = {p: base.file(bits) for p, bits in _BITS.items() if f"base.{p}.onnx" in base.facts["files"]}
        return ModelSource(name, "base", kept, None, base.facts)
    if len(found) > 1:
        raise InputError(f"{len(found)} bases begin with {name!r}", where=str(store), mend="type more of the digest")
    if path.suffix in {".onnx", ".safetensors"}:
        raise InputError("there is no such file", where=name)
    return _run(name, runs)


def _file(name: str, path: Path) -> ModelSource:
    if path.suffix == ".safetensors":
        return ModelSource(name, "graph", graph_file=path)
    data = path.read_bytes()
    if path.suffix != ".onnx":
        raise InputError(
            f"a file of the kind {path.suffix or 'without an ending'} is no model that skerry reads",
            where=name,
            mend="name an .onnx file or a graph's .safetensors file",
        )
    return ModelSource(name, "onnx", {"int8" if b"QuantizeLinear" in data else "fp32": path})


def _run(name: str, runs: Path) -> ModelSource:
    try:
        folder = RunFolder.open(name, runs)
    except InputError as error:
        raise InputError(
            f"no file, base or run is called {name!r}",
            where=name,
            mend="`skerry model show` lists bases, `skerry runs list` runs",
        ) from error
    files = {p: path for p in _BITS if (path := folder.path / "model" / f"model.{p}.onnx").is_file()}
    if not files:
        raise InputError(
            "this run has delivered no ONNX model",
            where=str(folder.path),
            mend=f"`skerry runs show {folder.id}` says why",
        )
    card = json.loads((folder.path / "model" / "card.json").read_text(encoding="utf-8"))
    return ModelSource(folder.id, "run", files, None, card)

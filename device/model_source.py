"""What a user names when a command wants a model: a file, a network of the zoo, a base, a run; and what is known of it.

::

    model.onnx               an ONNX file, ours or a stranger's
    network.safetensors      a graph file
    compressed/              what `skerry model compress` wrote: a graph and its quantization in one folder
    mobilenet_v2             a network of the zoo, with its published weights where they are installed
    1f3a…                    a base in the store, by the beginning of its digest
    digits-2026…             a run, by id or folder: what it delivered
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skerry.device.basemodel import BaseModel
from skerry.device.models import ARCHITECTURES, build_network
from skerry.device.networkbase import NETWORK, QUANTIZATION, NetworkBase
from skerry.device.store import MANIFEST, model_store
from skerry.errors import InputError, MissingDependencyError, SkerryError
from skerry.runfolder import RunFolder

if TYPE_CHECKING:
    from skerry.device.compression.graph import Graph
    from skerry.device.compression.quantize import Quantization

__all__ = ["Kind", "ModelSource", "NetworkOptions", "read_onnx", "resolve_model"]

Kind = Literal["onnx", "graph", "network", "base", "run"]
_GRAPH, _QUANTIZATION = "graph.safetensors", "quantization.safetensors"
_BITS = {"fp32": 32, "int8": 8}


@dataclass(frozen=True)
class NetworkOptions:
    """How a network of the zoo is made.

    Attributes:
        inputs: channels, height, width; None for those it was published for.
        classes: scores; None for the published number.
        width: multiplies its channels.
        seed: of its random weights.
    """

    inputs: tuple[int, int, int] | None = None
    classes: int | None = None
    width: float = 1.0
    seed: int = 0

    @staticmethod
    def shape(text: str) -> tuple[int, int, int]:
        """``3x224x224`` as numbers.

        Raises:
            InputError: it is not of that form.
        """
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})x(\d{1,5})", text)
        if not match or "0" in match.groups():
            raise InputError(f"{text!r} is no input shape", where="--inputs", mend="write 3x224x224, or 6x1x128")
        return (int(match[1]), int(match[2]), int(match[3]))


@dataclass(frozen=True)
class ModelSource:
    """A model that was found.

    Attributes:
        name: as the user named it; a run by its id.
        kind: what it is.
        make_graph: gives the float network from example to output, where that is not in ``graph_file``.
        onnx: existing ONNX files by precision, ``fp32`` and ``int8``.
        graph_file: the graph, where there is a file of it.
        quantization_file: the quantization of that graph, where there is a file of it.
        classes: names of the outputs, where they are known.
        note: what a reader should know of its weights, or "".
        facts: what its makers wrote of it: a base's manifest, a run's card.
        run: the run's folder, where it is one.
    """

    name: str
    kind: Kind
    onnx: Mapping[str, Path] = field(default_factory=dict)
    graph_file: Path | None = None
    quantization_file: Path | None = None
    make_graph: "Callable[[], Graph] | None" = field(default=None, repr=False)
    classes: tuple[str, ...] = ()
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    run: RunFolder | None = None

    def graph(self) -> "Graph":
        """The float network.

        Raises:
            InputError: it is an ONNX file that skerry did not write, or cannot be read.
        """
        if self.make_graph is not None:
            return self.make_graph()
        assert self.graph_file is not None
        from skerry.device.compression.graph_file import load_graph

        return load_graph(self.graph_file)

    def quantized(self) -> "tuple[Graph, Quantization] | None":
        """The int8 network and its integers, where it has been quantized already.

        Raises:
            InputError: they cannot be read.
        """
        if "int8" in self.onnx:
            graph, quantization = read_onnx(self.onnx["int8"], self.classes)
            return None if quantization is None else (graph, quantization)
        if self.quantization_file is None:
            return None
        from skerry.device.compression.quantization_file import load_quantization

        return self.graph(), load_quantization(self.quantization_file)


def resolve_model(
    name: str, runs: Path, options: NetworkOptions | None = None, *, store: Path | None = None
) -> ModelSource:
    """The model of that name; a file comes before a network of the zoo, that before a base, a base before a run.

    Args:
        name: as typed by the user.
        runs: where runs lie.
        options: how a network of the zoo is made; None for as published.
        store: where bases lie; None for the default.

    Raises:
        InputError: nothing has that name, or it cannot be read, or options are given and it is no network of the zoo.
    """
    path = Path(name).expanduser()
    folder = next((place for place in (path, path / "model") if (place / _GRAPH).is_file()), None)
    if folder is not None:
        rounded = folder / _QUANTIZATION
        found = ModelSource(
            name,
            "graph",
            graph_file=folder / _GRAPH,
            quantization_file=rounded if rounded.is_file() else None,
        )
    elif path.is_file() or path.suffix in {".onnx", ".safetensors"}:
        found = _file(name, path)
    elif name in ARCHITECTURES:
        return _network(name, options or NetworkOptions())
    else:
        place = store or model_store()
        found = _base(name, place) or _run(name, runs, place)
    if options is not None and options != NetworkOptions(seed=options.seed):
        raise InputError(
            "input shape, classes and width are those of the model",
            where=name,
            mend="leave --inputs, --classes and --width out: they are for networks of the zoo",
        )
    return found


def read_onnx(path: Path, classes: tuple[str, ...] = ()) -> "tuple[Graph, Quantization | None]":
    """The graph of an ONNX file of skerry's, and its quantization.

    Raises:
        InputError: it is torn, or no file of skerry's.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "reading a model's graph needs onnx", mend="pip install 'skerry[train]'"
        ) from error
    from skerry.device.compression.onnx_import import from_onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's own exception classes are not part of onnx's interface
        what = "this is no ONNX file, or a part of one"
        raise InputError(what, where=str(path), mend="export it again") from error
    try:
        return from_onnx(model, classes)
    except InputError as error:
        what = f"this ONNX file is not one of skerry's: {error.what} ({error.where})"
        raise InputError(what, where=str(path), mend="name a graph file, or a model that skerry wrote") from error


def _file(name: str, path: Path) -> ModelSource:
    if not path.is_file():
        raise InputError("there is no such file", where=name)
    if path.suffix == ".safetensors":
        return ModelSource(name, "graph", graph_file=path)
    if path.suffix != ".onnx":
        raise InputError(
            f"a file of the kind {path.suffix or 'without an ending'} is no model that skerry reads",
            where=name,
            mend="name an .onnx file or a graph's .safetensors file",
        )
    precision = "int8" if b"QuantizeLinear" in path.read_bytes() else "fp32"
    return ModelSource(name, "onnx", {precision: path}, make_graph=lambda: read_onnx(path)[0])


def _network(name: str, options: NetworkOptions) -> ModelSource:
    import importlib.util

    declared = ARCHITECTURES[name]
    inputs = options.inputs or declared.published_inputs
    square = inputs[0] == 3 and inputs[1] == inputs[2]
    as_published = options.classes in {None, declared.classes} and options.width == 1 and square
    package = (declared.package or "").replace("-", "_")
    published = bool(as_published and package and importlib.util.find_spec(package))

    def make() -> "Graph":
        try:
            from skerry.device.compression.trace import trace
            from skerry.device.models.folding import fold_norms
        except ImportError as error:
            raise MissingDependencyError(
                f"a network of the zoo needs {error.name}", where=name, mend="pip install 'skerry[train]'"
            ) from error
        if published:
            network = declared.load(inputs[-1], classifier=True)
        else:
            classes = options.classes or declared.classes
            network = build_network(name, inputs=inputs, classes=classes, width=options.width, seed=options.seed)
        return trace(fold_norms(network.eval()), inputs)

    weights = (
        f"published weights ({declared.package})" if published else f"random weights, seed {options.seed}: untrained"
    )
    facts = {"architecture": name, "published": published, "width": options.width}
    return ModelSource(name, "network", make_graph=make, note=weights, facts=facts)


def _base(name: str, store: Path) -> ModelSource | None:
    found = [p.parent.name for p in store.glob(f"{name}*/base.json")] if len(name) >= 4 and name.isalnum() else []
    if len(found) > 1:
        raise InputError(f"{len(found)} bases begin with {name!r}", where=str(store), mend="type more of the digest")
    if not found:
        return None
    facts = json.loads((store / found[0] / MANIFEST).read_bytes())
    if NETWORK in facts["files"]:
        network = NetworkBase.load(found[0], store)
        rounded = network.file(QUANTIZATION) if QUANTIZATION in facts["files"] else None
        described = {**facts["head"], **facts, "digest": network.digest}
        return ModelSource(name, "base", graph_file=network.file(NETWORK), quantization_file=rounded, facts=described)
    base = BaseModel.load(found[0], store)
    kept = {p: base.file(bits) for p, bits in _BITS.items() if f"base.{p}.onnx" in base.facts["files"]}
    path = kept.get("fp32") or kept["int8"]
    facts = {**base.facts, "digest": base.digest}
    return ModelSource(name, "base", kept, make_graph=lambda: read_onnx(path)[0], facts=facts)


def _run(name: str, runs: Path, store: Path) -> ModelSource:
    try:
        folder = RunFolder.open(name, runs)
    except InputError as error:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        raise InputError(
            f"no file, network, base or run is called {name!r}",
            where=name,
            mend=f"did you mean {near[0]!r}?"
            if near
            else "`skerry model show` lists bases, `skerry runs list` runs; networks are: " + ", ".join(ARCHITECTURES),
        ) from error
    files = {p: path for p in _BITS if (path := folder.path / "model" / f"model.{p}.onnx").is_file()}
    if not files:
        raise InputError(
            "this run has delivered no ONNX model",
            where=str(folder.path),
            mend=f"`skerry runs show {folder.id}` says why",
        )
    card = json.loads((folder.path / "model" / "card.json").read_text(encoding="utf-8"))
    classes = tuple(card["output"]["classes"])

    def make() -> "Graph":
        from skerry.device.trained_graph import trained_graph

        try:
            return trained_graph(folder.scenario, card["base"]["digest"], folder.path / "model", store)
        except SkerryError:  # the base or the data are not here: what was delivered speaks for itself
            return read_onnx(files.get("fp32") or files["int8"], classes)[0]

    return ModelSource(folder.id, "run", files, make_graph=make, classes=classes, facts=card, run=folder)

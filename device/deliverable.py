"""The deliverable: one ONNX file from example to scores, the trained part by itself, and its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from skerry.canonical import sha256_hex
from skerry.device.basemodel import BaseModel
from skerry.device.card import (
    ModelCard,
    federated_data,
    file_entry,
    quantization_recipe,
    task_use,
    write_card,
)
from skerry.fsio import write_atomic
from skerry.records import Float32Array

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

_UNKNOWN = "as the task transforms it"

__all__ = ["ROWS", "assemble_model", "head_layer", "write_deliverable"]

ROWS = ("whiten", "rows")
"""Tensors between pooled features and scores: whitened, and cut to the longest row."""


def assemble_model(base: BaseModel, head: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
    """Append whitening, the cut to the longest row, and the head to the deployed network.

    Args:
        base: the frozen base.
        head: ``(d,)`` float32, laid out as ``(classes, width)``.
        out: folder to write to.
        card: what the model card says beside the facts of the base (run, accuracy, privacy).

    Returns:
        The files by name: the ONNX model (``image`` in, ``scores`` out), ``head.safetensors``, ``card.json``,
        ``card.md``.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(base.file(base.bits)))
    graph = model.graph
    nodes, constants = _head_nodes(base, head, graph.output[0].name)
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(base.classes)]))
    onnx.checker.check_model(model, full_check=True)
    return write_deliverable(
        model.SerializeToString(),
        {"head.weight": head.reshape(len(base.classes), base.width)},
        out,
        part="head",
        bits=base.bits,
        input_shape=base.input_shape,
        classes=base.classes,
        base={"digest": base.digest, **{k: base.facts[k] for k in ("architecture", "bits", "weights", "public")}},
        card=card,
    )


def _head_nodes(base: BaseModel, head: Float32Array, features: str) -> "tuple[list[NodeProto], list[TensorProto]]":
    """From pooled features to scores; the whitening's weight stays int8 in the file."""
    from onnx import helper, numpy_helper

    from skerry.device.compression.onnx_parts import clip_norm_nodes, stored_weight_nodes

    whitened, rows = ROWS
    weight, bias = head_layer(base, head)
    constants: dict[str, npt.NDArray[Any]] = {
        f"{whitened}.values": np.ascontiguousarray(base.whitening.values.T),
        f"{whitened}.scale": base.whitening.scale,
        f"{whitened}.bias": base.whitening.layer[1],
        f"{rows}.bound": np.asarray(base.whitening.bound, np.float32),
        "scores.weight": weight,
        "scores.bias": bias,
    }
    linear = [features, f"{whitened}.weight", f"{whitened}.bias"]
    nodes = [
        *stored_weight_nodes(whitened),
        helper.make_node("Gemm", linear, [whitened], name=whitened, transB=1),
        *clip_norm_nodes(whitened, rows),
        helper.make_node("Gemm", [rows, "scores.weight", "scores.bias"], ["scores"], name="scores", transB=1),
    ]
    return nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()]


def head_layer(base: BaseModel, head: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The head as a layer over rows without their constant: weight ``(classes, k)`` and bias ``(classes,)``.

    Args:
        base: the frozen base.
        head: ``(d,)`` float32, laid out as ``(classes, width)``.
    """
    weight = head.reshape(len(base.classes), base.width)
    return np.ascontiguousarray(weight[:, :-1]), weight[:, -1] * np.float32(base.bias)


def write_deliverable(
    model: bytes,
    tensors: Mapping[str, Float32Array],
    out: Path,
    *,
    part: str,
    bits: int,
    input_shape: tuple[int, int, int],
    classes: tuple[str, ...],
    base: Mapping[str, Any],
    card: Mapping[str, Any],
) -> dict[str, Path]:
    """Write a model that goes to devices, what was trained of it, and its card.

    Args:
        model: the ONNX file, ``image`` in, ``scores`` out.
        tensors: the trained part, by name.
        out: folder to write to.
        part: its file's name without the ending.
        bits: per weight of the model.
        input_shape: channels, height, width.
        classes: names of the scores.
        base: what the card says of the base; with its ``digest``.
        card: what the card says beside: ``run``, ``privacy``, ``quality``, ``normalisation``, and where it comes from.
    """
    network = out / f"model.{'int8' if bits == 8 else 'fp32'}.onnx"
    write_atomic(network, model)
    trained = f"{part}.safetensors"
    write_atomic(out / trained, save(dict(tensors), {"base": base["digest"]}))
    said = dict(card)
    written = write_card(
        out,
        ModelCard(
            name=str(said.get("run", "model")),
            architecture={"name": base["architecture"]},
            digest=sha256_hex(model),
            input={"name": "image", "shape": ["n", *input_shape], "normalisation": said.pop("normalisation", _UNKNOWN)},
            output={"name": "scores", "classes": list(classes)},
            training_data=federated_data(base, said.get("rounds")),
            privacy=said.pop("privacy", "unknown"),
            quality=said.pop("quality", None),
            quantization=quantization_recipe(f"public data {base['public']}") if bits == 8 else None,
            intended_use=task_use(said.get("scenario")),
            files={name: file_entry(out / name, kind) for name, kind in ((network.name, "onnx"), (trained, part))},
            more={**said, "model": network.name, "base": dict(base)},
        ),
    )
    return {network.name: network, trained: out / trained, **written}

"""The deliverable: one ONNX file from example to scores, the trained part by itself, and its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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

_UNKNOWN = "as the task transforms it"

__all__ = ["assemble_model", "head_layer", "write_deliverable"]


def assemble_model(base: BaseModel, head: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
    """Append whitening and head, multiplied into one matrix, to the deployed network.

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
    from onnx import TensorProto, helper, numpy_helper

    matrix, offset = head_layer(base, head)
    model = onnx.load(str(base.file(base.bits)))
    graph = model.graph
    constants = [
        numpy_helper.from_array(matrix, "head.matrix"),
        numpy_helper.from_array(offset, "head.offset"),
    ]
    graph.initializer.extend(constants)
    graph.node.append(helper.make_node("Gemm", [graph.output[0].name, "head.matrix", "head.offset"], ["scores"]))
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


def head_layer(base: BaseModel, head: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Whitening and head as one layer over pooled features: matrix ``(features, classes)`` and offset ``(classes,)``.

    Args:
        base: the frozen base.
        head: ``(d,)`` float32, laid out as ``(classes, width)``.
    """
    weight = head.reshape(len(base.classes), base.width).astype(np.float64)
    matrix = base.projection.astype(np.float64) @ weight[:, :-1].T
    offset = weight[:, -1] * base.bias - base.mean.astype(np.float64) @ matrix
    return matrix.astype(np.float32), offset.astype(np.float32)


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

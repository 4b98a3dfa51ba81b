"""What takes several ONNX operators: a clipped norm, and float weights that are stored as integers. Needs no torch."""

import onnx
from onnx import TensorProto, helper

__all__ = ["clip_norm_nodes", "stored_weight_nodes"]


def clip_norm_nodes(source: str, target: str) -> list[onnx.NodeProto]:
    """From a tensor x ``(n, k)`` to x · (bound / max(‖x‖, bound)), which is exactly x up to the bound.

    They read a constant ``<target>.bound``, a float32 scalar.
    """
    norm, longest, factor, bound = (f"{target}.{part}" for part in ("norm", "longest", "factor", "bound"))
    return [
        helper.make_node("ReduceL2", [source], [norm], name=norm, axes=[1], keepdims=1),
        helper.make_node("Max", [norm, bound], [longest], name=longest),
        helper.make_node("Div", [bound, longest], [factor], name=factor),
        helper.make_node("Mul", [source, factor], [target], name=target),
    ]


def stored_weight_nodes(name: str) -> list[onnx.NodeProto]:
    """``<name>.weight`` from the constants ``<name>.values``, int8 ``(outputs, inputs)``, and ``<name>.scale``.

    A runtime computes it once, when it loads the file. It would compute a DequantizeLinear anew for each example, which
    took as long as the whole network before it.
    """
    values, cast, scale, weight = (f"{name}.{part}" for part in ("values", "float", "scale", "weight"))
    return [
        helper.make_node("Cast", [values], [cast], to=TensorProto.FLOAT),
        helper.make_node("Mul", [cast, scale], [weight]),
    ]

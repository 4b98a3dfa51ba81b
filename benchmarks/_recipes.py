"""The ways in which a network is made int8 here, by name; every claim about int8 is measured for each of them."""

from collections.abc import Callable, Mapping
from functools import partial

from skerry.device.compression.graph import Graph
from skerry.device.compression.quantize import Quantization, QuantizationRecipe, quantize
from skerry.records import Float32Array

Recipe = Callable[[Graph, Float32Array], Quantization]

RECIPES: Mapping[str, Recipe] = {
    "default": quantize,
    "int8_classifier": partial(quantize, recipe=QuantizationRecipe(classifier="int8")),
    "nearest": partial(quantize, recipe=QuantizationRecipe(rounding="nearest", refit=False)),
}
"""The first one is what users get."""

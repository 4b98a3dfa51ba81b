"""Folding batch norms into the convolutions before them: the same function with fewer layers, exact up to rounding.

In inference a batch norm is the affine map y = γ·(x − μ)/√(v + ε) + β per channel, so it can be multiplied into the
kernel and bias of a convolution. Folding keeps the pretrained statistics, which replacing the norm would throw away.
"""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skerry.errors import InputError

__all__ = ["fold_norms", "keeps_statistics"]


def keeps_statistics(module: nn.Module) -> bool:
    """Whether the module is a norm with running statistics: a batch norm, an instance norm, synchronised or not."""
    return isinstance(module, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - torch has no public name for all of them


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of the network in which every batch norm that follows a convolution is folded into it.

    A norm follows a convolution when one module holds both as ``conv`` and ``norm`` and applies them in this order
    (:class:`~skerry.device.models.efficientnet_lite.ConvNorm`).

    Raises:
        InputError: the network is in training mode, or a batch norm remains that cannot be folded.
    """
    if model.training:
        raise InputError("norms are folded in inference mode only", mend="call model.eval() first")
    folded = copy.deepcopy(model)
    for module in folded.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(conv, norm)
            module.norm = nn.Identity()
    left = [name for name, module in folded.named_modules() if keeps_statistics(module)]
    if left:
        raise InputError(f"{len(left)} batch norms do not follow a convolution", where=left[0])
    return folded.requires_grad_(requires_grad=False)

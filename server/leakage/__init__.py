"""What leaves a device under attack by those who see it: gradient inversion and membership inference, of our own runs.

For a privacy officer who wants figures beside ε: how much better a coordinator's reconstruction of a device's examples
is than a guess, and how well it tells members from others. In simulation only; needs torch.
"""

from skerry.server.leakage.inversion import Guess, Seen, infer_label, reconstruct_rows
from skerry.server.leakage.membership import gaussian_tpr, membership_scores
from skerry.server.leakage.pictures import Decoder, matched_psnr, psnr
from skerry.server.leakage.shadows import Shadows, shadow_runs
from skerry.server.leakage.trap import always_wrong_head, reconstruct_trapped, trap_heads
from skerry.server.leakage.watching import Exchange

__all__ = [
    "Decoder",
    "Exchange",
    "Guess",
    "Seen",
    "Shadows",
    "always_wrong_head",
    "gaussian_tpr",
    "infer_label",
    "matched_psnr",
    "membership_scores",
    "psnr",
    "reconstruct_rows",
    "reconstruct_trapped",
    "shadow_runs",
    "trap_heads",
]

"""Integer noise from fixed-point tables, the discrete Gaussian and the Skellam distribution, and rounding for it."""

from skerry.security.privacy.mechanisms.discrete_gaussian import DiscreteGaussian
from skerry.security.privacy.mechanisms.inversion import MAX_SCALE, IntegerNoise, sampling_delta
from skerry.security.privacy.mechanisms.rounding import RandomRounding
from skerry.security.privacy.mechanisms.skellam import Skellam, skellam_rdp
from skerry.security.privacy.mechanisms.wide_gaussian import MAX_WIDE_SCALE, WideGaussian, gaussian_noise

__all__ = [
    "MAX_SCALE",
    "MAX_WIDE_SCALE",
    "DiscreteGaussian",
    "IntegerNoise",
    "RandomRounding",
    "Skellam",
    "WideGaussian",
    "gaussian_noise",
    "sampling_delta",
    "skellam_rdp",
]

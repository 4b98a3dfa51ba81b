"""Integer noise from a fixed-point table: the discrete Gaussian and the Skellam distribution."""

from skerry.security.privacy.mechanisms.discrete_gaussian import DiscreteGaussian
from skerry.security.privacy.mechanisms.inversion import MAX_SCALE, IntegerNoise, sampling_delta
from skerry.security.privacy.mechanisms.skellam import Skellam, skellam_rdp

__all__ = ["MAX_SCALE", "DiscreteGaussian", "IntegerNoise", "Skellam", "sampling_delta", "skellam_rdp"]

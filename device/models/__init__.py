"""Networks that can serve as a base. Importing this package imports no torch; making or loading a network does."""

from skerry.device.models.architecture import ARCHITECTURES, Architecture, architecture, build_network

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "build_network"]

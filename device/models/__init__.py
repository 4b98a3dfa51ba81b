"""Networks that can serve as a frozen base. Importing this package imports no torch; loading a network does."""

from skerry.device.models.architecture import ARCHITECTURES, Architecture, architecture

__all__ = ["ARCHITECTURES", "Architecture", "architecture"]

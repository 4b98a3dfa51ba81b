"""The options by which a command takes a network of the zoo."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skerry.device.model_source import NetworkOptions

__all__ = ["ClassesOption", "InputsOption", "WidthOption", "network_options"]

InputsOption = Annotated[
    str | None, typer.Option(metavar="CxHxW", help="A network of the zoo: its input (default: as published).")
]
ClassesOption = Annotated[
    int | None, typer.Option(min=1, help="A network of the zoo: its number of classes (default: as published).")
]
WidthOption = Annotated[float, typer.Option(help="A network of the zoo: multiplies its channels.")]


def network_options(inputs: str | None, classes: int | None, width: float, seed: int) -> "NetworkOptions":
    """The options as one record."""
    from skerry.device.model_source import NetworkOptions

    return NetworkOptions(NetworkOptions.shape(inputs) if inputs else None, classes, width, seed)

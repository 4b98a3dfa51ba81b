"""The Flower app bundle: configuration only, no code.

A node runs what is installed on it; the bundle names the two objects and declares the keys of the run
configuration. With ``dependencies = []`` there is nothing for Flower to install on a node either. The text below is
also the file ``deploy/app/pyproject.toml`` of the source tree (a test holds them equal), so that
``flwr run deploy/app`` and the superlink engine submit the same app, and the engine works from an installed wheel.
"""

from pathlib import Path

from skerry import __version__
from skerry.fsio import write_atomic
from skerry.server.engines.engine import Components

__all__ = ["bundle_text", "write_bundle"]

_TEXT = """\
# The thin Flower app: it names what is installed and carries no code. `flwr run deploy/app`
[project]
name = "skerry"
version = "{version}"
description = "Secure federated on-device learning: runs the skerry that is installed on each node"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "skerry"

[tool.flwr.app.components]
serverapp = "{server}"
clientapp = "{client}"

[tool.flwr.app.config]
scenario = ""   # path of a scenario file; empty: the default scenario
overrides = ""  # "key=value;key=value", as with --set
run = ""        # absolute path of a prepared run folder; empty: make a new one
runs-dir = ""   # where new run folders lie; empty: $SKERRY_RUNS_DIR, else ./runs
"""


def bundle_text(components: Components) -> str:
    """The ``pyproject.toml`` of the app."""
    return _TEXT.format(version=__version__, server=components.server, client=components.client)


def write_bundle(folder: Path, components: Components) -> Path:
    """Write the app into ``folder`` and return it."""
    write_atomic(folder / "pyproject.toml", bundle_text(components).encode(), durable=False)
    return folder

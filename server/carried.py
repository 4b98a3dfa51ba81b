"""What a run carries from one step to the next beside its checkpoint: written before the checkpoint of the step that it
is of, so that whoever goes on from a checkpoint finds what belongs to it.

::

    <run>/round/<name>-<step>     readable by nobody else; goes with the round under way when the run is over
"""

from pathlib import Path

from skerry.errors import InputError
from skerry.fsio import disk_errors, write_atomic

__all__ = ["carried", "carry"]


def carry(run: Path, name: str, step: int, data: bytes, keep: int) -> None:
    """Write durably what is carried after a step, and let go of what was ``keep`` steps before it.

    Raises:
        DiskFullError: no room.
    """
    folder = run / "round"
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{name}-{step}", data, mode=0o600)
    (folder / f"{name}-{step - keep}").unlink(missing_ok=True)


def carried(run: Path, name: str, step: int) -> bytes:
    """What was carried after a step.

    Raises:
        InputError: it is not there.
    """
    path = run / "round" / f"{name}-{step}"
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"what the run carried after step {step} is not there, so it cannot go on",
            where=str(path),
            mend="run the scenario again",
        ) from error

"""The control variate that a device keeps for SCAFFOLD, in its home, from one of its rounds to the next.

A device does not know whether its last update was counted: it may have come too late, or have been dropped. A variate
that moved on where the server's did not would pull every later round aside. So two are kept, the one before the last
round and the one after it, and each instruction says after which round the server counts on it. A device that has
neither (its home was put back from a copy, or another run came between) refuses: from zero it would leave its old
variate in the server's mean for good.

One run's variates are kept, in the place of the last run's. They are functions of what was sent, and lie readable by
the owner alone all the same: without privacy what was sent tells of the data.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skerry.device.protocol import Instruction
from skerry.device.training.scaffold import next_variate
from skerry.errors import RefusedError
from skerry.fsio import write_atomic
from skerry.records import Float32Array
from skerry.security.envelope import Header

__all__ = ["FILE", "move_variate", "own_variate"]

FILE = "control-variates.safetensors"
"""Their name in a device's home."""


def own_variate(home: Path, run: str, base: str, instruction: Instruction) -> Float32Array | None:
    """The device's variate ``(d,)`` in a round of SCAFFOLD, zero before the first that counted; None in other rounds.

    Raises:
        RefusedError: it is not here (``variate_lost``), or the server's is not finite; before anything is debited.
    """
    common = instruction.variate
    if common is None:
        return None
    if not np.isfinite(common.vector).all():
        raise RefusedError("not_finite", "no step can be corrected by what is not finite", where=base)
    if common.counted == 0:
        return np.zeros_like(common.vector)
    found = _kept(home).get((run, base, instruction.plan.unit, common.counted))
    if found is None or found.shape != common.vector.shape:
        raise RefusedError(
            "variate_lost", f"this device does not have its control variate after round {common.counted}",
            where=str(home), mend="it takes part again in the next run",
        )  # fmt: skip
    return found


def move_variate(home: Path, header: Header, instruction: Instruction, own: Float32Array, sent: Float32Array) -> None:
    """Keep durably what a round makes of the device's variate: the same each time, as a function of what is sent.

    Args:
        home: of the device.
        header: of the instruction.
        instruction: of a round of SCAFFOLD.
        own: ``(d,)`` of :func:`own_variate`.
        sent: ``(d,)`` the update.

    Raises:
        DiskFullError: no room; nothing may be sent.
    """
    common, plan = instruction.variate, instruction.plan
    assert common is not None
    after = next_variate(own, common.vector, sent, plan)
    facts = {"run": header.run, "base": header.model, "unit": plan.unit, "rounds": f"{common.counted} {header.round}"}
    write_atomic(home / FILE, save({"before": own, "after": after}, facts), mode=0o600)


def _kept(home: Path) -> dict[tuple[str, str, str, int], Float32Array]:
    """What is kept, by run, base, unit and round; nothing where the file is not whole."""
    try:
        with safe_open(home / FILE, framework="numpy") as file:
            facts = file.metadata()
            named = (facts["run"], facts["base"], facts["unit"])
            before, after = (int(number) for number in facts["rounds"].split())
            return {(*named, before): file.get_tensor("before"), (*named, after): file.get_tensor("after")}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return {}

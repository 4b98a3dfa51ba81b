"""Which number formats this processor computes in, and what to take where it has no bfloat16.

Without bfloat16 instructions torch still computes in bfloat16, by converting to and from float32 at every operation:
slower than float32 and less exact. So it is refused there, never emulated in silence.
"""

import platform
from pathlib import Path
from typing import Literal

from skerry.errors import InputError

__all__ = ["Precision", "bfloat16_instructions", "chosen_precision"]

Precision = Literal["float32", "bfloat16", "auto"]

_CPUINFO = Path("/proc/cpuinfo")
# Linux's names: x86 lists them under "flags", aarch64 under "Features".
_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


def bfloat16_instructions(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """The processor's bfloat16 extensions, sorted; empty where it has none or where nothing tells.

    Args:
        cpuinfo: the kernel's description of the processor.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return tuple(sorted(_FLAGS.intersection(*words))) if words else ()


def chosen_precision(asked: Precision, cpuinfo: Path = _CPUINFO) -> Literal["float32", "bfloat16"]:
    """The format to train in: ``auto`` is bfloat16 where the processor has it, and float32 elsewhere.

    Raises:
        InputError: bfloat16 is asked for and the processor does not have it.
    """
    if asked == "float32":
        return "float32"
    if bfloat16_instructions(cpuinfo):
        return "bfloat16"
    if asked == "auto":
        return "float32"
    raise InputError(
        f"this processor ({platform.machine()}) has no bfloat16 instructions",
        where="precision",
        mend='take precision = "float32", or "auto" for bfloat16 only where it is there',
    )

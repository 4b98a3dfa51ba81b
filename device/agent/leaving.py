"""Erasing a device's place in a federation from its folder.

The ledger stays unless the owner says otherwise: ε was spent by the data, and as long as they are there what was given
away of them is so too. A device that is enrolled again in the same folder goes on with it.
"""

import shutil
from pathlib import Path

from skerry.device.agent.alone import alone
from skerry.device.agent.eligibility import PAUSE_FILE
from skerry.device.agent.enrolled import LEDGER, agent_folder
from skerry.device.membership import Folder
from skerry.device.personal import FILE as HEAD
from skerry.errors import InputError
from skerry.fsio import sync_folder
from skerry.security.identity import backend_of

__all__ = ["forget_device"]

_KEYS = ("keys", "keys.lock")
_PLACE = ("application", "attempt", "desk", "membership.json", PAUSE_FILE, HEAD, "checkpoint", "peaks.json")
_FOLDERS = ("repository",)
_STEM = Path(LEDGER).stem
_ANSWER = f"{_STEM}.answer.cbor"


def forget_device(home: Path, *, ledger: bool = False) -> tuple[list[str], list[str]]:
    """Erase keys, place, caches, answers and what was under way; whatever else lies in the folder is left alone.

    Keys go first: what a crash leaves behind cannot be used. A file is deleted, not overwritten: a memory card keeps
    old blocks; keys are encrypted in them.

    Args:
        home: of the device.
        ledger: erase the ledger too: right only where the data are gone as well.

    Returns:
        What was erased, and what of the device was kept, as paths within the folder.

    Raises:
        InputError: this is not the folder of a device.
        RefusedError: an agent runs with it (``agent_running``).
    """
    if not any((home / name).exists() for name in ("keys", "membership.json", LEDGER)):
        raise InputError("this is not the folder of a device", where=str(home), mend="name it with --home")
    private = agent_folder(home)
    with alone(private):
        if Folder(home).keys.exists():
            _lock_again(home)
        spent = sorted(path.name for path in home.glob(f"{_STEM}.*") if path.name != _ANSWER)
        doomed = [*_KEYS, *_PLACE, _ANSWER, *(spent if ledger else ())]
        erased = []
        for name in doomed:
            if (home / name).exists():
                (home / name).unlink()
                erased.append(name)
        for folder in (*(home / name for name in _FOLDERS), private):
            if folder.exists():
                shutil.rmtree(folder)
                erased.append(folder.name)
        sync_folder(home)
    kept = [] if ledger else spent
    return erased, kept


def _lock_again(home: Path) -> None:
    """Keys that lie open in the kernel's memory are forgotten there."""
    backend, _ = backend_of(Folder(home).keys)
    if backend == "keyring":
        from skerry.security.identity.kernel_keyring import KeyringLock

        KeyringLock(str(home.resolve())).forget()

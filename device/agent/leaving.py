"""Erasing a device's place in a federation from its folder.

The ledger stays unless the owner says otherwise: ε was spent by the data, and as long as they are there what was given
away of them is so too. A device that is enrolled again in the same folder goes on with it.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from skerry.device.agent.alone import alone
from skerry.device.agent.eligibility import PAUSE_FILE
from skerry.device.agent.enrolled import LEDGER, agent_folder
from skerry.device.answers import answer_beside, forget_answer
from skerry.device.membership import Folder
from skerry.device.personal import FILE as HEAD
from skerry.device.variates import FILE as VARIATES
from skerry.errors import InputError
from skerry.fsio import sync_folder
from skerry.security.identity import backend_of

__all__ = ["forget_device", "require_ours"]

_KEYS = ("keys", "keys.lock")
_RENEWAL = ("attempt", "membership.json.lock")
_PLACE = (PAUSE_FILE, HEAD, VARIATES, "checkpoint", "peaks.json", *_RENEWAL, "application", "desk", "membership.json")
_FOLDERS = ("repository",)
_ANSWER = answer_beside(Path(LEDGER)).name
_MARKS = (*_KEYS, "application", "desk", "membership.json", "agent/lock", LEDGER, _ANSWER)


def require_ours(home: Path) -> None:
    """Return when this is a device's folder and no agent runs with it, so that somebody may be asked whether to erase.

    Raises:
        InputError, RefusedError: see :func:`forget_device`.
    """
    if not any((home / name).exists() for name in _MARKS):
        raise InputError("this is not the folder of a device", where=str(home), mend="name it with --home")
    if agent_folder(home).exists():
        with alone(agent_folder(home)):
            pass


def forget_device(home: Path, *, ledger: bool = False) -> tuple[list[str], list[str]]:
    """Erase keys, place, caches, answers and what was under way; whatever else lies in the folder is left alone.

    Keys go first: what a crash leaves behind cannot be used, and another call ends what this one began. A file is
    deleted, not overwritten: a memory card keeps old blocks; keys are encrypted in them.

    Of the last answer nothing is kept but what it answered, as long as the ledger stays: no second one, with other
    noise, is ever given under its debit.

    Args:
        home: of the device.
        ledger: erase the ledger too: right only where the data are gone as well.

    Returns:
        What was erased, and what of the device was kept, as paths within the folder.

    Raises:
        InputError: this is not the folder of a device.
        RefusedError: an agent runs with it (``agent_running``).
        DiskFullError: no room for what is kept of the last answer; keys and all the rest are gone.
    """
    require_ours(home)
    with alone(agent_folder(home)):
        if Folder(home).keys.exists():
            _lock_again(home)
        erased = _erase(home, [name for key in _KEYS for name in (*_cut_short(home, key), key)])
        for name in (*_FOLDERS, agent_folder(home).name):
            if (home / name).exists():
                shutil.rmtree(home / name)
                erased.append(name)
        erased += _erase(home, [name for place in _PLACE for name in (*_cut_short(home, place), place)])
        erased += _erase(home, _cut_short(home, _ANSWER))
        answered = forget_answer(home / LEDGER)
        spent = sorted(path.name for path in home.glob(f"{Path(LEDGER).stem}.*") if path.name != _ANSWER)
        if answered:
            spent.append(_ANSWER)  # last: a debit without its answer would be answered again
        if ledger:
            erased += _erase(home, spent)
        sync_folder(home)
    return erased, [] if ledger else spent


def _erase(home: Path, names: Iterable[str]) -> list[str]:
    """Those that are there."""
    there = [name for name in dict.fromkeys(names) if (home / name).exists()]
    for name in there:
        (home / name).unlink()
    return there


def _cut_short(home: Path, name: str) -> list[str]:
    """What a process that was killed while it wrote that file left of it (``write_atomic``)."""
    return sorted(path.name for path in home.glob(f".{name}.*"))


def _lock_again(home: Path) -> None:
    """Keys that lie open in the kernel's memory are forgotten there."""
    backend, _ = backend_of(Folder(home).keys)
    if backend == "keyring":
        from skerry.security.identity.kernel_keyring import KeyringLock

        KeyringLock(str(home.resolve())).forget()

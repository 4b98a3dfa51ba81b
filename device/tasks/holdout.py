"""Which devices never train: a share of them, some by name, or one of five folds."""

import difflib

import numpy as np

from skerry.errors import TaskError

__all__ = ["FOLDS", "held_out"]

FOLDS = 5


def held_out(holders: list[str], holdout: str | float | tuple[str, ...], where: str) -> tuple[str, ...]:
    """The holders that are kept for evaluation, sorted.

    Args:
        holders: all names, sorted.
        holdout: a share (float): the first in a fixed shuffled order, at least one; a name or several; the number
            of a fold (int, 0 to 4): the names in order, cut in five parts as even as can be; or no name at all, where
            nothing is evaluated, as on a device that has its own data only.
        where: what an error names.

    Raises:
        TaskError: no such holder, or nobody would be left to train.
    """
    if isinstance(holdout, str):
        holdout = (holdout,)
    if holdout == ():
        return ()
    if isinstance(holdout, tuple):
        chosen = {_known(name, holders, where) for name in holdout}
    elif len(holders) < 2:
        raise TaskError("at least two devices are needed, one of them held out", where=where)
    elif isinstance(holdout, int):
        if len(holders) < FOLDS:
            raise TaskError(
                f"{len(holders)} devices cannot be cut in {FOLDS} folds",
                where=where,
                mend="hold out a share (task.holdout = 0.2) or names",
            )
        chosen = {name for i, name in enumerate(holders) if i * FOLDS // len(holders) == holdout}
    else:
        order = np.random.default_rng(0).permutation(len(holders))
        chosen = {holders[i] for i in order[: max(1, round(holdout * len(holders)))]}
    if len(chosen) == len(holders):
        raise TaskError("no device is left to train", where=where, mend="lower task.holdout")
    return tuple(sorted(chosen))


def _known(name: str, holders: list[str], where: str) -> str:
    if name in holders:
        return name
    near = difflib.get_close_matches(name, holders, n=1, cutoff=0.4)
    raise TaskError(
        f"there is no device {name!r} to hold out",
        where=where,
        mend=f"did you mean {near[0]!r}? Check task.holdout" if near else "check task.holdout",
    )

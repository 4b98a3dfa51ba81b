"""Catastrophic overfitting: a network that misleads attacks of one step, and falls to those of several."""

__all__ = ["overfitted", "suspicious"]

_GAP = 0.2


def overfitted(one_step: float, many_steps: float) -> bool:
    """Whether robustness is only seeming: attacks of many steps leave less than half of what one step leaves.

    Where it happens, accuracy under one step goes towards all and under many steps towards nothing within an epoch
    (Wong, Rice & Kolter, arXiv:2001.03994, section 5); in honest training the two are a few points apart.

    Args:
        one_step: accuracy under FGSM, a share.
        many_steps: accuracy under PGD on the same examples; a gap of up to 0.2 may be chance on 64 of them.
    """
    return one_step - many_steps > _GAP and many_steps < one_step / 2


def suspicious(one_step: float, many_steps: float) -> bool:
    """Whether a few examples are reason to look at more: half of the way to :func:`overfitted`.

    Of a network that has overfitted nearly every example withstands one step and hardly any withstands many. Were the
    latter a half, the most that counts, sixteen examples would pass for honest in one check of 26; were it a fifth, in
    one of 300,000 (binomial).

    Args:
        one_step: accuracy under FGSM, a share.
        many_steps: accuracy under PGD on the same examples.
    """
    return one_step - many_steps > _GAP / 2 and many_steps < 0.75 * one_step

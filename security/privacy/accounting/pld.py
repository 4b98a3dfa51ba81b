"""ε by privacy loss distributions: the tightest figure, for reports."""

from collections.abc import Iterable
from functools import lru_cache

from skerry.errors import MissingDependencyError
from skerry.security.privacy.accounting.events import GaussianEvent, merge
from skerry.security.privacy.accounting.guarantee import usable

__all__ = ["epsilon_pld"]


def epsilon_pld(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε at this δ by privacy loss distributions (``dp-accounting``, pessimistic discretisation), add/remove.

    The figure is that of the *continuous* Gaussian with the same σ, a very close stand-in for the discrete one
    at the scales used here; the figure proved for the discrete mechanism is :func:`epsilon_from_rdp`.

    Raises:
        MissingDependencyError: ``dp-accounting`` is not installed.
        InputError: δ is not between 0 and 1.
    """
    spent = tuple(e for e in merge(events) if e.steps and e.sampling_rate)
    return _pld(spent, usable(delta)) if spent else 0.0


@lru_cache(maxsize=64)  # half a second each, and the devices of one run have the same history
def _pld(events: tuple[GaussianEvent, ...], delta: float) -> float:
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError as error:
        raise MissingDependencyError(
            "ε by privacy loss distributions needs dp-accounting", mend="pip install 'skerry[server]'"
        ) from error
    accountant = PLDAccountant()
    for event in events:
        gaussian = GaussianDpEvent(event.noise_multiplier)
        sampled = gaussian if event.sampling_rate == 1 else PoissonSampledDpEvent(event.sampling_rate, gaussian)
        accountant.compose(sampled, event.steps)
    return float(accountant.get_epsilon(delta))

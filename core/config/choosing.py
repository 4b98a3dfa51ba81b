"""Which settings of who is asked go together, and why the others would break a guarantee or mean nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_choosing"]


def check_choosing(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change."""
    cohort, privacy = scenario.cohort, scenario.privacy
    if cohort.over_select != 1 and cohort.sampling != "fixed":
        raise ValueError(
            'cohort.over_select asks more devices than cohort.size: it belongs to cohort.sampling = "fixed". All are '
            "asked anyway, and under Poisson sampling whose answers count must not depend on whose come first"
        )
    if cohort.where is not None and privacy.mechanism == "matrix_factorization":
        raise ValueError(
            'under privacy.mechanism = "matrix_factorization" who takes part when is settled before the run: leave '
            "cohort.where out"
        )
    if cohort.where is not None and cohort.mode == "buffered":
        raise ValueError(
            'in a buffered run whoever is free may be asked: leave cohort.where out, or cohort.mode = "rounds"'
        )
    if cohort.spread_s and cohort.spread_s >= cohort.deadline_s:
        raise ValueError(
            f"cohort.spread_s = {cohort.spread_s:g} leaves who is asked last no time: set it well below "
            f"cohort.deadline_s = {cohort.deadline_s:g}"
        )
    if cohort.spread_s and cohort.mode == "buffered":
        raise ValueError("in a buffered run devices are asked one by one anyway: leave cohort.spread_s out")
    if cohort.deadline_least_s is None:
        return
    if cohort.spread_s:
        raise ValueError(
            "how long devices need cannot be learned from rounds that ask them one after another: leave "
            "cohort.spread_s or cohort.deadline_least_s out"
        )
    if privacy.unit == "device":
        raise ValueError(
            'under privacy.unit = "device" how long one device needs must not decide whether others are waited for: '
            "leave cohort.deadline_least_s out"
        )
    if cohort.mode == "buffered":
        raise ValueError("a buffer has no round to wait for: leave cohort.deadline_least_s out")
    if cohort.deadline_least_s > cohort.deadline_s:
        raise ValueError(
            f"cohort.deadline_least_s = {cohort.deadline_least_s:g} is more than cohort.deadline_s = "
            f"{cohort.deadline_s:g}, which a round never exceeds"
        )

"""Which settings go together with buffered rounds, and why the others do not."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_buffered"]


def check_buffered(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change, where a setting has no meaning or would break a guarantee."""
    cohort = scenario.cohort
    if cohort.mode != "buffered":
        if cohort.buffer is not None or cohort.concurrency is not None:
            raise ValueError('cohort.buffer and cohort.concurrency belong to cohort.mode = "buffered"')
        for name in ("staleness", "max_staleness"):
            if getattr(cohort, name) != type(cohort).model_fields[name].default:
                raise ValueError(f'cohort.{name} belongs to cohort.mode = "buffered": in a round no answer is stale')
        return
    if cohort.buffer is None or cohort.concurrency is None:
        raise ValueError('cohort.mode = "buffered" needs cohort.buffer and cohort.concurrency')
    if cohort.buffer > cohort.concurrency:
        raise ValueError(
            f"{cohort.concurrency} devices at work never fill a buffer of {cohort.buffer}: "
            "set cohort.concurrency to cohort.buffer or more"
        )
    if cohort.sampling != "all":
        raise ValueError(
            'in a buffered run whoever is free may be asked, and no draw amplifies privacy: set cohort.sampling = "all"'
        )
    if "root_set" in scenario.defence.screen:
        raise ValueError(
            "the detector root_set compares updates with the server's own from the same vector, and a buffer holds "
            "updates from several: leave root_set out of defence.screen"
        )
    if scenario.audit.canaries:
        raise ValueError(
            'an audit follows what each round did to one vector: set audit.canaries = 0, or cohort.mode = "rounds"'
        )
    if scenario.training.schedule != "constant":
        raise ValueError('in a buffer updates of several learning rates would meet: set training.schedule = "constant"')
    if scenario.privacy.unit == "device" and scenario.privacy.clip_quantile is not None:
        raise ValueError("a clip that follows a quantile counts devices of one round: leave privacy.clip_quantile out")

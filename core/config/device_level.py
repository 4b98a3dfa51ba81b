"""Which settings go together with privacy of whole devices, and why the others do not."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_device_level"]

_BY_ITSELF = {"finite", "shape", "fresh"}


def check_device_level(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change, where a setting would break the guarantee or could not be kept."""
    privacy, cohort = scenario.privacy, scenario.cohort
    if privacy.unit != "device":
        _belongs_to_devices(scenario)
        return
    defence = scenario.defence
    if defence.aggregator != "mean" or defence.tolerate:
        raise ValueError(
            'under privacy.unit = "device" the noise is measured for a sum of clipped updates; a robust rule lets one '
            'device move which others count, by more than its own clip: set defence.aggregator = "mean" and '
            "defence.tolerate = 0 (clipping bounds what one device can do)"
        )
    if others := sorted(set(defence.screen) - _BY_ITSELF):
        raise ValueError(
            f'under privacy.unit = "device" a detector that compares devices ({", ".join(others)}) lets one of them '
            f"decide over others: set defence.screen to some of {sorted(_BY_ITSELF)}"
        )
    if scenario.audit.canaries:
        raise ValueError('audit.canaries are single examples: set privacy.unit = "example", or audit.canaries = 0')
    if scenario.model.personal_head:
        raise ValueError('model.personal_head is not offered under privacy.unit = "device": set it to false')
    if privacy.engine != "skerry":
        raise ValueError('privacy.engine clips examples: set privacy.engine = "skerry" under privacy.unit = "device"')
    if privacy.mechanism == "matrix_factorization":
        if cohort.sampling != "all":
            raise ValueError(
                'privacy.mechanism = "matrix_factorization" rests on privacy.min_separation, not on draws, and who '
                'takes part must not depend on what others do: set cohort.sampling = "all" (devices are asked in turns)'
            )
        if privacy.clip_quantile is not None:
            raise ValueError("correlated noise needs one clip for the whole run: leave privacy.clip_quantile out")
        return
    if cohort.sampling == "fixed":
        raise ValueError(
            "a cohort of fixed size has no figure under add/remove, which ledgers account by: set cohort.sampling = "
            '"poisson" with cohort.rate, or "all"'
        )
    if privacy.min_separation != 1:
        raise ValueError(
            'under privacy.unit = "device" privacy.min_separation needs privacy.mechanism = "matrix_factorization": '
            "draws that leave out who has just taken part are not independent"
        )


def _belongs_to_devices(scenario: "Scenario") -> None:
    privacy = scenario.privacy
    if privacy.mechanism == "matrix_factorization" or privacy.clip_quantile is not None:
        raise ValueError(
            'privacy.mechanism = "matrix_factorization" and privacy.clip_quantile belong to privacy.unit = "device"'
        )
    if scenario.cohort.sampling == "poisson" and privacy.unit == "example":
        raise ValueError(
            'cohort.sampling = "poisson" gives nothing to privacy.unit = "example", whose noise comes from the device: '
            'set privacy.unit = "device", or another cohort.sampling'
        )

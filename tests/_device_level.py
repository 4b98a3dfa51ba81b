"""Settings of a run that protects whole devices, for tests."""

DEVICE = (
    'privacy.unit="device"',
    "privacy.clip=1.0",
    'defence.aggregator="mean"',
    "defence.tolerate=0",
    'defence.screen=["finite", "shape", "fresh"]',
    "attack.devices=0",
)
POISSON = (*DEVICE, 'cohort.sampling="poisson"', "cohort.rate=0.5", "privacy.denominator=6")

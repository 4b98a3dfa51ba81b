"""The digits task with a few of its writers: real data, and quick enough to run on every engine."""

from skerry.device.tasks.digits import DigitsTask


class FewWriters(DigitsTask):
    """Found as ``few_writers:FewWriters`` by whoever has this folder on its path."""

    def devices(self) -> tuple[str, ...]:
        return super().devices()[:2]


class ThreeWriters(DigitsTask):
    """Found as ``few_writers:ThreeWriters``."""

    def devices(self) -> tuple[str, ...]:
        return super().devices()[:3]

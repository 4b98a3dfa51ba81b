"""A fleet of any size whose identities exist only while they are asked for, with the keys of a few taking turns."""

from collections.abc import Iterator, Sequence

from skerry.security import PublicIdentity


class Recipients:
    """``count`` names; made without checking each key anew, which is done when a device is enrolled."""

    def __init__(self, count: int, some: Sequence[PublicIdentity]) -> None:
        self._count, self._some = count, some

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PublicIdentity]:
        for number in range(self._count):
            known = self._some[number % len(self._some)]
            identity = object.__new__(PublicIdentity)
            identity.__dict__.update(
                known.__dict__, name=f"device-{number:06d}", encapsulation_key=known.encapsulation_key
            )
            yield identity

    def __contains__(self, item: object) -> bool:
        return any(item == identity for identity in self)

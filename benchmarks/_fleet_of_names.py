"""A fleet of any size whose identities exist only while they are asked for, with the keys of a few taking turns."""

from collections.abc import Iterator, Sequence

from skerry.security import PublicIdentity


class Recipients:
    """``count`` names; each key is loaded and checked anew, as it is when a release is sealed for who is enrolled."""

    def __init__(self, count: int, some: Sequence[PublicIdentity]) -> None:
        self._count, self._some = count, some

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PublicIdentity]:
        for number in range(self._count):
            key = self._some[number % len(self._some)]
            yield PublicIdentity(f"device-{number:06d}", key.signing_key, key.kem_key, key.suite)

    def __contains__(self, item: object) -> bool:
        return any(item == identity for identity in self)

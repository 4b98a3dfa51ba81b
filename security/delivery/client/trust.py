"""Which manifest a device believes: python-tuf's client decides first, and the device's own memory after it.

1. *root*: start from the newest root in memory (at first: the one given at enrolment) and follow the chain of roots.
2. *timestamp, snapshot, targets, the model's role*: python-tuf checks signatures, expiry, versions and hashes against
   its cache, by the clock of the system.
3. *in bounds*: versions and time of issue are such that the memory, which they become part of, can be read back.
4. *not back*: no role's version is lower than the one in memory, unless the keys of that role were changed by the role
   above it. That exception is how a device recovers when a thief had signed an absurdly high version.
5. *not late*: nothing has expired by the later of clock and time floor.
6. *remembered*: root, versions and floor are on stable storage before anybody sees the manifest.

Step 2 alone would forget everything with its cache; 3 to 6 hold also after the cache was wiped.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Role, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from skerry.errors import InputError, ReleaseRefusedError, RunFailedError
from skerry.security.delivery.client.memory import Memory, Seen
from skerry.security.delivery.client.sources import Source
from skerry.security.delivery.manifest import MAX_MANIFEST_BYTES
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.repository.roles import ISSUED
from skerry.security.strict import MAX_INTEGER

__all__ = ["Believed", "Trust"]

_ROLES = ("timestamp", "snapshot", "targets")
_LATEST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1000


@dataclass(frozen=True)
class Believed:
    """The newest manifest of a model, as signed, and a digest of the keys that may sign it."""

    manifest: bytes
    keys: str


class Trust:
    """A device's trust in one repository.

    Args:
        home: folder of the device's memory of it (``trust.json``) and of python-tuf's cache (``cache``).
        anchor: root metadata that the device was given when it was enrolled.
        clock: ms since the epoch; need not be right, see the time floor.
    """

    def __init__(self, home: Path, anchor: bytes, clock: Callable[[], int]) -> None:
        self._home, self._anchor, self._clock = home, anchor, clock

    @property
    def _cache(self) -> Path:
        return self._home / "cache"

    def models(self, source: Source) -> tuple[str, ...]:
        """Models that have a role of their own, as the targets role signed them; nothing is remembered.

        Raises:
            ReleaseRefusedError, RunFailedError: as :meth:`newest`.
        """
        with self._visit(source, Memory.load(self._home / "trust.json")):
            targets: Metadata[Targets] = Metadata.from_file(str(self._cache / "targets.json"))
        delegations = targets.signed.delegations
        return tuple(delegations.roles or ()) if delegations else ()

    def newest(self, source: Source, model: str) -> Believed:
        """The newest manifest of a model.

        Raises:
            ReleaseRefusedError: ``rollback``, ``expired``, ``mix_and_match``, ``endless_data``, ``wrong_hash``,
                ``under_signed``, ``malformed`` or ``version_state``.
            RunFailedError: the repository cannot be reached.
            InputError: it has no such model.
        """
        path = self._home / "trust.json"
        memory = Memory.load(path)
        with self._visit(source, memory) as updater:
            target = updater.get_targetinfo(f"{model}/manifest.cbor")
            if target is None:
                raise InputError(f"the repository has no model {model!r}", where=source.url)
            if target.length > MAX_MANIFEST_BYTES:
                raise ReleaseRefusedError(ReleaseRefusal.TOO_LARGE, "the manifest is too large", where=source.url)
            manifest = Path(updater.download_target(target)).read_bytes()
        metadata: dict[str, Metadata[Any]] = {
            role: Metadata.from_file(str(self._cache / f"{role}.json")) for role in ("root", *_ROLES)
        }
        delegations = metadata["targets"].signed.delegations
        if delegations is None or model not in delegations.roles:
            raise ReleaseRefusedError(
                ReleaseRefusal.MALFORMED, f"the manifest of {model!r} is signed by no role of its own", where=source.url
            )
        metadata[model] = Metadata.from_file(str(self._cache / f"{model}.json"))
        _check_bounds(metadata, source.url)
        self._check(memory, metadata, model, source.url)
        self._remember(memory, metadata, model, (self._cache / "root.json").read_bytes()).save(path)
        return Believed(manifest, dict(_keys(metadata, model))[model])

    @contextmanager
    def _visit(self, source: Source, memory: Memory) -> Iterator[Updater]:
        """python-tuf's client with the newest top-level metadata; its errors become ours."""
        self._cache.mkdir(parents=True, exist_ok=True)
        fetcher, cache = _Noting(source.fetcher), str(self._cache)
        try:
            updater = Updater(
                cache,
                f"{source.url}metadata/",
                cache,
                f"{source.url}targets/",
                fetcher=fetcher,
                config=UpdaterConfig(max_root_rotations=1024),
                bootstrap=memory.root or self._anchor,
            )
            updater.refresh()
            yield updater
        except (exceptions.RepositoryError, exceptions.DownloadError) as error:
            raise _refusal(error, fetcher.last, source.url) from error

    def _check(self, memory: Memory, metadata: Mapping[str, Metadata[Any]], model: str, where: str) -> None:
        now_ms = min(max(self._clock(), _floor(memory, metadata)), _LATEST_MS)
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        for role, signed in ((role, file.signed) for role, file in metadata.items()):
            if signed.is_expired(now):
                raise ReleaseRefusedError(
                    ReleaseRefusal.EXPIRED,
                    f"the {role} metadata expired {signed.expires:%Y-%m-%d %H:%M} UTC",
                    where=where,
                    mend="ask the publisher to renew the repository, and check this device's clock",
                )
        for role, keys in _keys(metadata, model):
            known = memory.roles.get(role)
            if known and known.keys == keys and metadata[role].signed.version < known.version:
                raise ReleaseRefusedError(
                    ReleaseRefusal.ROLLBACK,
                    f"{role} is version {metadata[role].signed.version}, and this device has seen {known.version}",
                    where=where,
                    mend="whoever serves the repository holds back what is newer",
                )

    @staticmethod
    def _remember(memory: Memory, metadata: Mapping[str, Metadata[Any]], model: str, root: bytes) -> Memory:
        seen = {role: Seen(metadata[role].signed.version, keys) for role, keys in _keys(metadata, model)}
        floor = max(_floor(memory, metadata), _issued(metadata["timestamp"].signed))
        return Memory(root, floor, {**memory.roles, **seen})


def _check_bounds(metadata: Mapping[str, Metadata[Any]], where: str) -> None:
    """Refuse what a thief of an online key signed so that no device would ever accept anything again."""
    for role, file in metadata.items():
        if file.signed.version > MAX_INTEGER:
            raise ReleaseRefusedError(
                ReleaseRefusal.MALFORMED, f"the {role} metadata has a version above {MAX_INTEGER}", where=where
            )
    timestamp = metadata["timestamp"].signed
    if _issued(timestamp) > timestamp.expires.timestamp() * 1000:
        raise ReleaseRefusedError(
            ReleaseRefusal.MALFORMED, "the timestamp says that it was made after its own end", where=where
        )


def _issued(timestamp: Timestamp) -> int:
    """When the timestamp was made, ms since the epoch; 0 when another publisher's does not say."""
    issued = timestamp.unrecognized_fields.get(ISSUED)
    return issued if type(issued) is int else 0


def _floor(memory: Memory, metadata: Mapping[str, Metadata[Any]]) -> int:
    """The floor in memory, which a timestamp signed: it falls with the keys of that role, like versions."""
    known = memory.roles.get("timestamp")
    return memory.floor_ms if known and known.keys == _digest(metadata["root"].signed.roles["timestamp"]) else 0


def _keys(metadata: Mapping[str, Metadata[Any]], model: str) -> Iterator[tuple[str, str]]:
    for role in _ROLES:
        yield role, _digest(metadata["root"].signed.roles[role])
    yield model, _digest(metadata["targets"].signed.delegations.roles[model])


def _digest(role: Role) -> str:
    return hashlib.sha256(" ".join(sorted(role.keyids)).encode()).hexdigest()


class _Noting(FetcherInterface):
    """Passes everything on, and notes what was asked for last: the file that an error speaks of."""

    def __init__(self, inner: FetcherInterface) -> None:
        self._inner, self.last = inner, ""

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last = url
        return self._inner.fetch(url)


def _lists_older(error: exceptions.BadVersionNumberError) -> bool:
    """Whether a snapshot is the right one, and names versions lower than one before it did: only the text tells."""
    return ".json version" in str(error)


def _refusal(error: Exception, url: str, where: str) -> ReleaseRefusedError | RunFailedError:
    metadata = "/metadata/" in url
    role = url.rpartition("/")[2].removesuffix(".json").rpartition(".")[2]
    match error:
        case exceptions.DownloadLengthMismatchError():
            reason, what = ReleaseRefusal.ENDLESS_DATA, "it is longer than what was signed, or than anything allowed"
        case exceptions.DownloadError():
            return RunFailedError(f"the repository cannot be read: {error}", where=url or where, mend="try again later")
        case exceptions.ExpiredMetadataError():
            reason, what = ReleaseRefusal.EXPIRED, "it has expired: newer metadata is held back, or was not made"
        case exceptions.UnsignedMetadataError():
            reason, what = ReleaseRefusal.UNDER_SIGNED, "too few of the keys that may sign it have signed it"
        case exceptions.BadVersionNumberError() if role == "timestamp" or _lists_older(error):
            reason, what = ReleaseRefusal.ROLLBACK, "its version is lower than one this device has seen"
        case exceptions.BadVersionNumberError():
            reason, what = ReleaseRefusal.MIX_AND_MATCH, "its version is not the one that the others name"
        case exceptions.LengthOrHashMismatchError() if not metadata:
            reason, what = ReleaseRefusal.WRONG_HASH, "its content is not what was signed"
        case _:
            reason, what = ReleaseRefusal.MALFORMED, f"it cannot be used: {error}"
    return ReleaseRefusedError(
        reason,
        f"{role if metadata else 'the manifest'} is refused: {what}",
        where=url or where,
        mend="try another source of the repository",
    )

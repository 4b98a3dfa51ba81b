"""Vectors of trust in a repository: what a device believes of files that are served to it, and what it refuses."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from skerry.errors import ReleaseRefusedError
from skerry.security.delivery.client.memory import Memory, Seen
from skerry.security.delivery.client.sources import FolderSource
from skerry.security.delivery.client.trust import Trust
from skerry.security.delivery.repository import Repository, RoleKeys

__all__ = ["make"]

_BEGIN = 4_102_444_800_000  # 2100: python-tuf goes by the system's clock, by which none of this ever expires
_HOUR, _DAY = 3_600_000, 86_400_000
_MODEL = "digits"
Files = Mapping[str, bytes]


class _Seeded:
    """Makes the same keys every time."""

    def __init__(self) -> None:
        self._numbers = count()

    def generate(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"role key {next(self._numbers)}".encode()).digest())


class _Publisher:
    """A repository that is changed step by step, each state of it kept."""

    def __init__(self, root: Path) -> None:
        self.now = _BEGIN
        self.folder = root / "repository"
        self.keys = RoleKeys(root / "online", root / "offline")
        self.repository = Repository.create(self.folder, self.keys, lambda: self.now)
        self.anchor = self.repository.root_bytes

    def add(self, content: bytes) -> Files:
        self.now += _HOUR
        self.repository.add(_MODEL, {"manifest.cbor": content})
        return self.files()

    def rotate(self, *roles: str) -> Files:
        self.now += _HOUR
        self.repository.rotate(list(roles))
        return self.files()

    def files(self) -> Files:
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


@dataclass
class _Vectors:
    """Cases, and the files that they share."""

    files: dict[str, str] = field(default_factory=dict)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def accept(self, why: str, served: Files, memory: Memory, now: int) -> Memory:
        believed, after, read = _visit(served, memory, now)
        self.accepted.append(
            {
                "why": why,
                "served": self._named({path: served[path] for path in read}),
                "given": {"memory": self._described(memory), "now": now},
                "manifest": believed.manifest.decode(),
                "keys": believed.keys,
                "after": self._described(after),
            }
        )
        return after

    def refuse(self, why: str, served: Files, memory: Memory, now: int, reason: str) -> None:
        try:
            _visit(served, memory, now)
            got = ""
        except ReleaseRefusedError as error:
            got = str(error.reason)
        assert got == reason, (why, got)
        given = {"memory": self._described(memory), "now": now, "served": self._named(served)}
        self.refused.append({"why": why, "given": given, "reason": reason})

    def _named(self, served: Files) -> dict[str, str]:
        return {path: self._name(data) for path, data in served.items()}

    def _name(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()[:12]
        self.files[name] = data.decode()
        return name

    def _described(self, memory: Memory) -> dict[str, Any]:
        assert memory.root is not None
        roles = {role: [seen.version, seen.keys] for role, seen in memory.roles.items()}
        return {"root": self._name(memory.root), "floor": memory.floor_ms, "roles": roles}


def make() -> dict[str, Any]:
    """The file's content."""
    with tempfile.TemporaryDirectory() as folder, _seeded_keys():
        made = _cases(_Publisher(Path(folder)))
    weighs = {name for one in made.accepted for name in (*one["served"].values(), one["after"]["root"])}
    return {
        "source": "security/delivery/client/trust.py",
        "files": {name: text for name, text in made.files.items() if name in weighs},
        "given": {name: text for name, text in made.files.items() if name not in weighs},
        "accepted": made.accepted,
        "refused": made.refused,
    }


@contextmanager
def _seeded_keys() -> Iterator[None]:
    with mock.patch("skerry.security.delivery.repository.keys.Ed25519PrivateKey", _Seeded()):
        yield


def _cases(publisher: _Publisher) -> _Vectors:
    cases, anchor = _Vectors(), Memory(publisher.anchor)
    first = publisher.add(b"one")
    publisher.add(b"two")
    third = publisher.add(b"three")
    seen = cases.accept("a first visit", third, anchor, publisher.now)
    cases.accept("the same again", third, seen, publisher.now + _HOUR)
    fourth = publisher.add(b"four")
    after = cases.accept("a new version, by a clock that is years behind", fourth, seen, 0)
    now = publisher.now
    _refusals(cases, (first, third, fourth), (seen, after), publisher)
    rotated = publisher.rotate("root", "snapshot", "timestamp")
    cases.accept("other keys, by a chain of roots", rotated, after, publisher.now)
    ahead = Memory(
        after.root, now + 90 * _DAY, {**after.roles, "timestamp": Seen(2**31, after.roles["timestamp"].keys)}
    )
    cases.accept(
        "a version and a floor that a thief had set count no more after a rotation", rotated, ahead, publisher.now
    )
    cases.refuse("they count before it", fourth, Memory(after.root, 0, ahead.roles), now, "rollback")
    return cases


def _refusals(
    cases: _Vectors, states: tuple[Files, Files, Files], memories: tuple[Memory, Memory], publisher: _Publisher
) -> None:
    (first, third, fourth), (seen, after), now = states, memories, publisher.now
    names = {
        role: max((p for p in fourth if p.endswith(f".{role}.json")), key=_number) for role in (_MODEL, "snapshot")
    }
    timestamp, root = "metadata/timestamp.json", "metadata/1.root.json"
    manifest = f"targets/{_MODEL}/{hashlib.sha256(b'four').hexdigest()}.manifest.cbor"

    def case(why: str, reason: str, *, memory: Memory = seen, at: int = now, **changed: bytes) -> None:
        paths = {"timestamp": timestamp, "manifest": manifest, "next_root": "metadata/2.root.json", **names}
        cases.refuse(why, {**fourth, **{paths[name]: data for name, data in changed.items()}}, memory, at, reason)

    cases.refuse("an older state of all of it", third, after, now, "rollback")
    cases.refuse("the oldest state of all of it", first, after, now, "rollback")
    case("the last good state for ever", "expired", at=now + _DAY)
    case("a clock that is behind, and a floor", "expired", memory=Memory(seen.root, now + _DAY, seen.roles), at=0)
    case("a model's file of another version", "mix_and_match", digits=third[_before(names[_MODEL])])
    case("a snapshot of another version", "mix_and_match", snapshot=third[_before(names["snapshot"])])
    case("a timestamp that does not end", "endless_data", timestamp=fourth[timestamp] + b" " * 16_384)
    case("a manifest that does not end", "endless_data", manifest=b"four and more")
    case("another manifest", "wrong_hash", manifest=b"evil")
    case("a manifest that was cut off", "wrong_hash", manifest=b"fou")
    case("no JSON", "malformed", timestamp=b"{")
    case("a snapshot for a timestamp", "malformed", timestamp=fourth[names["snapshot"]])
    case("a changed byte", "under_signed", timestamp=fourth[timestamp].replace(b"2100-01-02T", b"2100-01-03T"))

    def signed(path: str, by: list[CryptoSigner], change: Callable[[Any], None]) -> bytes:
        file = Metadata.from_bytes(fourth[path])
        change(file.signed)
        file.signatures.clear()
        for signer in by:
            file.sign(signer, append=True)
        return file.to_bytes()

    def second(root: Any) -> None:
        root.version = 2

    held = publisher.keys.of("root", Metadata.from_bytes(fourth[root]).signed.roles["root"].keyids)
    online = {role: publisher.keys.of(role, _keyids(fourth, role)) for role in ("timestamp", "snapshot")}
    thief = CryptoSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"thief").digest()))
    case("a root by one key of two", "under_signed", next_root=signed(root, held[:1], second))
    case("a root by one key, twice", "under_signed", next_root=_doubled(signed(root, held[:1], second)))
    case("a root of its own making", "under_signed", next_root=signed(root, [thief], lambda r: _own(r, thief)))
    case(
        "a root that is not the next", "mix_and_match", next_root=signed(root, held, lambda r: setattr(r, "version", 3))
    )
    case(
        "a model's file by the timestamp's key",
        "under_signed",
        digits=signed(names[_MODEL], online["timestamp"], _same),
    )
    case("a version past all bounds", "malformed", timestamp=signed(timestamp, online["timestamp"], _huge))
    case("a time of issue after its end", "malformed", timestamp=signed(timestamp, online["timestamp"], _late))


def _visit(served: Files, memory: Memory, now: int) -> tuple[Any, Memory, list[str]]:
    """What is believed, what is remembered after it, and which files that took."""
    with tempfile.TemporaryDirectory() as folder:
        place, home = Path(folder) / "served", Path(folder) / "home"
        for path, data in served.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
        home.mkdir()
        memory.save(home / "trust.json")
        source = _Noting(place)
        believed = Trust(home, b"", lambda: now).newest(source, _MODEL)
        return believed, Memory.load(home / "trust.json"), [path for path in served if path in source.read_of]


class _Noting(FolderSource):
    """A folder that notes what was read of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read_of: set[str] = set()
        inner = self.fetcher.fetch

        def fetch(url: str) -> Iterator[bytes]:
            self.read_of.add(url.removeprefix(self.url))
            return inner(url)

        self.fetcher.fetch = fetch  # type: ignore[method-assign]  # of this one fetcher


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


def _before(path: str) -> str:
    """The file of the version before."""
    return path.replace(f"/{_number(path)}.", f"/{_number(path) - 1}.")


def _keyids(files: Files, role: str) -> list[str]:
    ids: list[str] = Metadata.from_bytes(files["metadata/1.root.json"]).signed.roles[role].keyids
    return ids


def _doubled(data: bytes) -> bytes:
    """The same signature once more, under the name of another key of the role."""
    file = json.loads(data)
    (signature,) = file["signatures"]
    other = next(one for one in file["signed"]["roles"]["root"]["keyids"] if one != signature["keyid"])
    return json.dumps({**file, "signatures": [signature, {**signature, "keyid": other}]}).encode()


def _own(root: Any, thief: CryptoSigner) -> None:
    root.version = 2
    root.roles["root"].threshold, root.roles["root"].keyids = 1, []
    root.add_key(thief.public_key, "root")


def _same(_: Any) -> None:
    pass


def _huge(signed: Any) -> None:
    signed.version = 2**53


def _late(signed: Any) -> None:
    signed.unrecognized_fields["skerry_issued_ms"] = int(signed.expires.timestamp() * 1000) + 1

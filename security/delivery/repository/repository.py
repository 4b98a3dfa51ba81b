"""A TUF repository on disk: made, added to, renewed, and its keys rotated.

Every change writes new files first and ``timestamp.json`` last, by rename: a client sees the state before or after,
also when the publisher is killed in between. The exception is a rotation of root, targets, snapshot or timestamp, whose
new root is seen as soon as it is there: it is written next to last. A client that comes between the two files refuses
the repository, and takes it again once the timestamp is written; after a kill just there, by the next :meth:`renew`.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.delivery.repository.describing import sign_anew
from skerry.security.delivery.repository.files import metadata_path, read_metadata, target_path
from skerry.security.delivery.repository.keys import RoleKeys
from skerry.security.delivery.repository.roles import (
    ISSUED,
    ONLINE,
    ROOT_KEYS,
    ROOT_THRESHOLD,
    TOP_LEVEL,
    check_model,
    lifetime,
)
from skerry.security.locking import exclusive

__all__ = ["Renewal", "Repository"]

_BASES = "bases"  # of runs over the fleet: they lie beside what is signed, and are known by their digests


@dataclass(frozen=True)
class Renewal:
    """What :meth:`Repository.renew` did for one role; ``due`` says that it was needed and its key was not at hand."""

    role: str
    expires: datetime
    renewed: bool
    due: bool


class Repository:
    """The folder described in :mod:`skerry.security.delivery.repository`, and the keys to change it.

    Args:
        folder: of the repository.
        keys: private keys; an operation that lacks one says which.
        clock: ms since the epoch.
    """

    def __init__(self, folder: Path, keys: RoleKeys, clock: Callable[[], int]) -> None:
        self.folder, self._keys, self._clock = folder, keys, clock
        self._metadata: dict[str, Metadata[Any]] = {}

    @staticmethod
    def create(folder: Path, keys: RoleKeys, clock: Callable[[], int]) -> "Repository":
        """A new repository without models, with fresh keys.

        Raises:
            InputError: the folder is not empty.
        """
        if folder.exists() and any(one.name != _BASES for one in folder.iterdir()):
            mend = "name another, or use what is there: `skerry release list --repository`"
            raise InputError("the folder for the repository is not empty", where=str(folder), mend=mend)
        new = Repository(folder, keys, clock)
        root = Root(consistent_snapshot=True)
        for role in TOP_LEVEL:
            for _ in range(ROOT_KEYS if role == "root" else 1):
                root.add_key(keys.make(role).public_key, role)
        root.roles["root"].threshold = ROOT_THRESHOLD
        with exclusive(keys.lock):
            new._write_root(Metadata(root))
            new._metadata |= {
                "targets": Metadata(Targets()),
                "snapshot": Metadata(Snapshot()),
                "timestamp": Metadata(Timestamp()),
            }
            new._publish({"targets": new._metadata["targets"]}, first=True)
        return new

    @staticmethod
    def open(folder: Path, keys: RoleKeys, clock: Callable[[], int]) -> "Repository":
        """The repository that lies there.

        Raises:
            InputError: there is none.
        """
        found = Repository(folder, keys, clock)
        found._load()
        return found

    @property
    def root_bytes(self) -> bytes:
        """The newest root, which a device is given when it is enrolled."""
        return metadata_path(self.folder, "root", self._root.version).read_bytes()

    @property
    def models(self) -> tuple[str, ...]:
        """Models that have a role, in order of their making."""
        return tuple(self._delegations.roles or ())

    def targets(self, model: str) -> Mapping[str, TargetFile]:
        """Path → target, of one model; empty before its first release."""
        return self._metadata[model].signed.targets if model in self._metadata else {}

    def read_target(self, model: str, path: str) -> bytes:
        """A target's content, which is what was signed.

        Raises:
            InputError: there is no such target, or its file is not what was signed.
        """
        target = self.targets(model).get(path)
        if target is None:
            raise InputError(f"the repository has no {path}", where=str(self.folder))
        data = target_path(self.folder, path, target.hashes["sha256"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != target.hashes["sha256"]:
            raise InputError(f"{path} is not what was signed", where=str(self.folder), mend="restore it from a copy")
        return data

    def add(self, model: str, files: Mapping[str, bytes]) -> None:
        """Sign these targets (path below the model → content) together with those that are there, and publish.

        A model that is new is given a role first (:meth:`delegate`).

        Raises:
            InputError: the model's name cannot be used, or a key is not at hand.
        """
        self.delegate(model)
        with self.changing():
            for name, content in files.items():
                self._put(model, f"{model}/{name}", content)
            self._publish({model: self._metadata[model]})

    def drop(self, model: str, paths: Collection[str]) -> None:
        """Name these targets of a model no more; their files stay until they are swept (``pruning``).

        Raises:
            InputError: a key is not at hand.
        """
        with self.changing():
            for path in paths:
                self._metadata[model].signed.targets.pop(path, None)
            self._publish({model: self._metadata[model]})

    def delegate(self, model: str) -> None:
        """Give a model a role and a key of its own, unless it has them.

        Raises:
            InputError: the model's name cannot be used, or the targets key is not at hand.
        """
        check_model(model)
        with self.changing():
            if model in self.models:
                return
            self._signers("targets", self._root.roles["targets"])  # before a key is made
            targets = self._metadata["targets"].signed
            if targets.delegations is None:
                targets.delegations = Delegations({}, {})
            paths = [f"{model}/*", f"{model}/*/*"]
            targets.delegations.roles[model] = DelegatedRole(model, [], 1, terminating=True, paths=paths)
            targets.add_key(self._keys.make(model).public_key, model)
            self._metadata[model] = Metadata(Targets())
            self._publish({"targets": self._metadata["targets"], model: self._metadata[model]})

    def one_at_a_time(self) -> AbstractContextManager[None]:
        """Held by who makes a version, from finding its number to its publication."""
        return exclusive(self._keys.lock.with_name("release"))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One publisher at a time, who starts from what is on disk, and forgets what could not be finished.

        Whoever holds :meth:`one_at_a_time` too takes that first.
        """
        with exclusive(self._keys.lock):
            self._load()
            try:
                yield
            except BaseException:
                self._load()
                raise

    def signer(self, model: str) -> CryptoSigner:
        """The key of a model, for what else is signed in its name.

        Raises:
            InputError: it is not at hand.
        """
        return self._signers(model, self._role(model))[0]

    def public_keys(self, model: str) -> list[Key]:
        """The keys that may sign for a model."""
        return [self._delegations.keys[keyid] for keyid in self._role(model).keyids]

    def renew(self) -> tuple[Renewal, ...]:
        """Sign the timestamp anew, and what has less than half of its life left, as far as keys are at hand."""
        with self.changing():
            now = self._now()
            roles = ["root", "targets", *self.models]
            old = {role: self._metadata[role].signed.expires for role in roles}
            due = {role for role in roles if old[role] - now < lifetime(role) / 2}
            due |= {role for role in roles if role != "root" and self._rekeyed(role)}  # a rotation was killed
            able = {role for role in due if len(self._at_hand(role)) >= self._role(role).threshold}
            if "root" in able:
                self._write_root(self._metadata["root"])
            self._publish({role: self._metadata[role] for role in roles if role in able - {"root"}})
            return tuple(
                Renewal(role, self._metadata[role].signed.expires, role in able, role in due - able)
                for role in (*roles, "snapshot", "timestamp")
                if role in self._metadata
            )

    def rotate(self, roles: Sequence[str]) -> None:
        """Give the roles fresh keys; what the old ones signed counts no more, unless the new ones sign it again.

        A model's new key signs what is published of the model, with the statements of all its versions.

        A client that had accepted too high a version from a stolen key takes the true ones again once the key is
        rotated (after the theft of a snapshot or timestamp key, rotate both).

        Raises:
            InputError: an unknown role, or a key that has to sign is not at hand.
        """
        for role in roles:
            if role not in TOP_LEVEL and role not in self.models:
                raise InputError(f"the repository has no role {role!r}", where=str(self.folder))
        with self.one_at_a_time(), self.changing():  # who makes a version has signed its statement with the old key
            retired = {role: list(self._role(role).keyids) for role in roles}
            top = [role for role in roles if role in TOP_LEVEL]
            models = [role for role in roles if role not in TOP_LEVEL]
            for role in {*(("root",) if top else ()), *(("targets",) if models else ()), *(set(ONLINE) - set(top))}:
                self._signers(role, self._role(role))  # before anything is made
            old_root = Role(list(self._role("root").keyids), self._role("root").threshold)
            for role in top:
                self._fresh_keys(self._root, role, count=ROOT_KEYS if role == "root" else 1)
            for model in models:
                self._fresh_model_key(model)
            changed = {*models, *({"targets"} if models or "targets" in roles else ())}
            self._publish(
                {role: self._metadata[role] for role in ("targets", *self.models) if role in changed},
                old_root=old_root if top else None,
            )
            for role, keyids in retired.items():
                self._keys.discard(role, keyids)

    def _fresh_model_key(self, model: str) -> None:
        """Also for the statements: who goes back to an old version holds its statement to the newest key."""
        paths = [path for path in self.targets(model) if path.endswith("/statement.json")]
        statements = {path: self.read_target(model, path) for path in paths}
        before = self.public_keys(model)
        self._fresh_keys(self._metadata["targets"].signed, model)
        for path, data in statements.items():
            self._put(model, path, sign_anew(data, before, self.signer(model)))

    def _put(self, model: str, path: str, content: bytes) -> None:
        """Write a target and name it; the model's metadata is signed when that is published."""
        target = TargetFile.from_data(path, content, ["sha256"])
        write_atomic(target_path(self.folder, path, target.hashes["sha256"]), content)
        self._metadata[model].signed.targets[path] = target

    def _fresh_keys(self, above: Root | Targets, role: str, *, count: int = 1) -> None:
        """Let the metadata above a role name new keys in place of the old ones."""
        for keyid in list(self._role(role).keyids):
            above.revoke_key(keyid, role)
        for _ in range(count):
            above.add_key(self._keys.make(role).public_key, role)

    def _publish(
        self, changed: Mapping[str, Metadata[Any]], *, first: bool = False, old_root: Role | None = None
    ) -> None:
        """Sign and write these, then a snapshot of all, then the timestamp that makes them seen.

        ``old_root`` says that the root names other keys than before, and which ones sign the step beside its own.
        """
        snapshot, timestamp = self._metadata["snapshot"].signed, self._metadata["timestamp"].signed
        for role, metadata in changed.items():
            if metadata_path(self.folder, role, metadata.signed.version).exists():
                metadata.signed.version += 1
            self._write(role, metadata, self._role(role))
            snapshot.meta[f"{role}.json"] = MetaFile(metadata.signed.version)
        if changed or snapshot.expires - self._now() < lifetime("snapshot") / 2 or self._rekeyed("snapshot"):
            snapshot.version += not first
            self._write("snapshot", self._metadata["snapshot"], self._role("snapshot"))
        timestamp.version += not first
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        timestamp.unrecognized_fields[ISSUED] = self._clock()
        if old_root:
            self._write_root(self._metadata["root"], also=old_root)
        self._write("timestamp", self._metadata["timestamp"], self._role("timestamp"))

    def _write_root(self, metadata: Metadata[Any], *, also: Role | None = None) -> None:
        if "root" in self._metadata:
            metadata.signed.version += 1
        self._metadata["root"] = metadata
        self._write("root", metadata, metadata.signed.roles["root"], also=also)

    def _write(self, name: str, metadata: Metadata[Any], role: Role, *, also: Role | None = None) -> None:
        metadata.signed.expires = self._now() + lifetime(name)
        metadata.signatures.clear()
        for signer in [*self._signers(name, role), *(self._signers(name, also) if also else ())]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        write_atomic(metadata_path(self.folder, name, metadata.signed.version), data)

    def _signers(self, name: str, role: Role) -> list[CryptoSigner]:
        signers = self._keys.of(name, role.keyids)
        if len(signers) < role.threshold:
            raise InputError(
                f"signing for {name} needs {role.threshold} of its {len(role.keyids)} keys; {len(signers)} are here",
                where=str(self.folder),
                mend="bring the key files, or the medium they are on",
            )
        return signers

    def _rekeyed(self, role: str) -> bool:
        """Whether the newest file of the role was signed by keys that are its own no more."""
        return not set(self._metadata[role].signatures) <= set(self._role(role).keyids)

    def _at_hand(self, role: str) -> list[CryptoSigner]:
        return self._keys.of(role, self._role(role).keyids)

    def _role(self, name: str) -> Role:
        if name in TOP_LEVEL:
            role: Role = self._root.roles[name]
            return role
        return (self._delegations.roles or {})[name]

    @property
    def _root(self) -> Root:
        root: Root = self._metadata["root"].signed
        return root

    @property
    def _delegations(self) -> Delegations:
        return self._metadata["targets"].signed.delegations or Delegations({}, {})

    def _load(self) -> None:
        self._metadata = read_metadata(self.folder)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC).replace(microsecond=0)

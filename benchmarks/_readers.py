"""Readers of what comes from a network or a repository: envelopes, payloads, what a log is made of, and releases.

Each is a :class:`~_fuzzing.Target`. A reader that takes what a known signer did sign, in its one form, is not wrong: it
says ``as_signed``, or ``as_said`` where nothing is signed.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from _fuzzing import ACCEPTED, Target, reason_of
from _release_readers import (
    blobs,
    chunks,
    deltas,
    manifests,
    sealed_deltas,
    statements,
    wrapped_keys,
    wraps,
)

from skerry.canonical import encode
from skerry.device.protocol import Instruction, Update
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError
from skerry.security import Directory, Expected, Header, Identity, Kind, Refusal, open_envelope, seal
from skerry.security.envelope import _PREFIX, _SEALING, _SIGNING
from skerry.security.hpke import KemSuite
from skerry.security.transparency import Checkpoint, NoteSigner, sign_note
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.instructions import InstructionTree
from skerry.security.transparency.log import Log
from skerry.security.transparency.proof import LogProof

NOW = 1_800_000_000_000


def envelopes(kind: Kind, suite: KemSuite = KemSuite.X25519) -> Target:
    """Envelopes of that kind, to a coordinator or a device; inside: any header and any sealed bytes, rightly signed."""
    sender, me = Identity.generate("ann"), Identity.generate("coordinator", suite)
    known = Directory({"ann": sender.public})
    expected = Expected(kind=frozenset({kind}), receiver="coordinator")

    def good(number: int, payload: bytes) -> bytes:
        header = Header(
            suite=suite, kind=kind, run="run", round=number, sender="ann", receiver="coordinator", model="ab" * 32,
            nonce=bytes([number]) * 16, in_reply_to=b"\7" * 32, receipt=b"\1" * 32, issued=NOW, expires=NOW + 1000,
        )  # fmt: skip
        return seal(header, payload, sender=sender, receiver=me.public)

    def read(data: bytes) -> str:
        def call() -> str:
            open_envelope(data, me=me, directory=known, expected=expected, now=NOW, replay=None)
            return ACCEPTED

        return reason_of(call)

    def sign(body: bytes) -> bytes:
        return body + sender.sign(_SIGNING, hashlib.sha256(body).digest() + b"\1" * 32)

    seeds = [good(number, b"payload" * 30 * number) for number in (1, 2, 3)]
    return Target(f"{kind}, {suite}", seeds, [one[:-64] for one in seeds], sign, read, frozenset(Refusal))


def sealed_headers() -> Target:
    """Headers that somebody known made up, signed and sealed for them: nothing but the header's form is wrong."""
    base = envelopes(Kind.UPDATE)
    me, sender = Identity.generate("coordinator"), Identity.generate("ann")
    known = Directory({"ann": sender.public})
    expected = Expected(kind=frozenset({Kind.UPDATE}), receiver="coordinator")
    length = _PREFIX.unpack_from(base.seeds[0])[2]
    heads = [one[_PREFIX.size : _PREFIX.size + length] for one in base.seeds]

    def sign(fields: bytes) -> bytes:
        fields = fields[:0xFFFF]
        head = _PREFIX.pack(b"SKEV", 1, len(fields)) + fields
        body = head + me.public.encapsulation_key.seal(b"payload", _SEALING + head)
        receipt = b"\1" * 32
        return body + sender.sign(_SIGNING, hashlib.sha256(body).digest() + receipt)

    def read(data: bytes) -> str:
        def call() -> str:
            opened = open_envelope(data, me=me, directory=known, expected=expected, now=NOW, replay=None)
            # Its sender may say another round or nonce: it is what it signed, in its one form.
            fields = data[_PREFIX.size : _PREFIX.size + _PREFIX.unpack_from(data)[2]]
            said = {**opened.header.__dict__}
            said.pop("version")
            return "as_signed" if encode({**said, "kind": "update", "suite": "x25519"}) == fields else ACCEPTED

        return reason_of(call)

    return Target("headers", [sign(one) for one in heads], heads, sign, read, frozenset({*Refusal, "as_signed"}))


def payloads() -> Target:
    """What is inside an envelope: an instruction or an update reads as what it says in its one form, or not at all."""
    plan = TrainPlan(
        epochs=1, learning_rate=1.0, batch_size=0, momentum=0.0, unit="example", clip=1.0, noise_multiplier=1.0,
        denominator=64,
    )  # fmt: skip
    vector = np.linspace(-1, 1, 50, dtype=np.float32)
    seeds = [
        Instruction(vector, "ab" * 32, plan, None).to_bytes(),
        Instruction(vector, "ab" * 32, plan, 3).to_bytes(),
        Update(vector, "ab" * 32, "cd" * 32, 7, "ef" * 32).to_bytes(),
    ]

    def read(data: bytes) -> str:
        for form in (Instruction, Update):
            try:
                again = form.from_bytes(data).to_bytes()
            except InputError:
                continue
            return "as_said" if again == data else ACCEPTED
        return "malformed"

    return Target("payloads", seeds, seeds, lambda data: data, read, frozenset({"as_said", "malformed"}))


def checkpoints() -> Target:
    """A log's signed checkpoint; inside: any text that the log signed."""
    signer = NoteSigner("skerry/ledger/a", Identity.generate("a").signing)
    origin = "skerry/ledger/a"
    seeds = [Checkpoint(origin, size, bytes([size]) * 32).sign(signer) for size in (0, 7, 99)]
    texts = [one.rpartition("\n\n")[0] + "\n" for one in seeds]
    genuine = [Checkpoint.open(one, [signer.key], origin=origin) for one in seeds]

    def text(data: bytes) -> str:
        return data.decode("utf-8", "surrogateescape")

    def sign(data: bytes) -> bytes:
        try:
            return sign_note(text(data), signer).encode("utf-8", "surrogateescape")
        except (InputError, UnicodeError):
            return data  # what the signer itself does not sign comes as it is

    def read(data: bytes) -> str:
        def call() -> str:
            note = text(data)
            seen = Checkpoint.open(note, [signer.key], origin=origin)
            said = note.startswith(seen.sign(signer).rpartition("\n\n")[0])
            # The same statement with lines of unknown signers beside it, or another one that the log did sign.
            return "as_signed" if seen in genuine or (said and _signed(note)) else ACCEPTED

        return reason_of(call)

    def _signed(note: str) -> bool:
        body = note.rpartition("\n\n")[0] + "\n"
        return sign_note(body, signer).rpartition("\n\n")[2].strip() in note

    return Target(
        "checkpoints",
        [one.encode() for one in seeds],
        [one.encode() for one in texts],
        sign,
        read,
        frozenset({"signature", "origin", "malformed", "as_signed"}),
    )


def log_proofs(folder: Path) -> Target:
    """A proof that an entry is in a federation's log, as somebody hands it over: what it proves is what was entered."""
    log = Log(folder / "log", NoteSigner("skerry/log/a", Identity.generate("a").signing))
    log.append([Event(EventKind.LEDGER_HEAD, {"ledger": "l", "size": n, "root": "0" * 64}) for n in range(5)], NOW)
    tree = InstructionTree.of({"a": bytes(32), "b": bytes(32), "c": bytes(32)})
    log.append([Event(EventKind.INSTRUCTIONS, {"run": "r", "round": 1, "root": tree.root().hex()})], NOW)
    entered = {(one.seq, one.hash) for one in log.entries()}
    sent = {(device, digest) for device, (digest, _) in tree.sent.items()}
    proofs = [*map(log.prove, range(5)), *(replace(log.prove(5), opening=tree.open(device)) for device in tree.sent)]
    seeds = [json.dumps(proof.to_json()).encode() for proof in proofs]

    def read(data: bytes) -> str:
        def call() -> str:
            try:
                proof = LogProof.from_json(json.loads(data))
            except (InputError, ValueError, RecursionError):
                return "malformed"
            proof.verify(log.key)
            shown = proof.opening is None or (proof.opening.device, proof.opening.digest) in sent
            return "as_signed" if (proof.entry.seq, proof.entry.hash) in entered and shown else ACCEPTED

        return reason_of(call)

    codes = frozenset({"malformed", "signature", "origin", "inclusion", "chain_broken", "old_format", "as_signed"})
    return Target("log proofs", seeds, seeds, lambda data: data, read, codes)


def targets(folder: Path) -> list[Target]:
    """All readers."""
    return [
        envelopes(Kind.UPDATE),
        envelopes(Kind.INSTRUCTION, KemSuite.P256),
        envelopes(Kind.UPDATE, KemSuite.XWING),
        sealed_headers(),
        payloads(),
        manifests(folder),
        checkpoints(),
        log_proofs(folder),
        wraps(folder),
        wrapped_keys(),
        blobs(),
        chunks(),
        deltas(folder),
        sealed_deltas(folder),
        statements(),
    ]

"""Sealed messages: what an update costs, and what becomes of mutated and random bytes.

``SKERRY_BENCH_FUZZ`` sets how many inputs each reader gets, and the device service (100,000).
"""

import importlib.util
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from _frames import frames
from _fuzzing import fuzz
from _harness import HERE, QUIET, Claim, NotMeasuredError, Peer, Samples, main, progress, versions
from _readers import targets
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.security import Directory, Expected, Header, Identity, Kind, open_envelope, seal
from skerry.security.hpke import KemSuite

NOW = 1_800_000_000_000
UPDATE = 1_000_000
TURNS = 300
INPUTS = int(os.environ.get("SKERRY_BENCH_FUZZ", "100000"))
GROWTH_MB = 64.0


def cost(_: Path) -> Iterator[Claim]:
    """A message of 1 MB sealed, signed, checked and opened, for each suite in turn, and the bare cipher beside it."""
    payload = secrets.token_bytes(UPDATE)
    sender = Identity.generate("device")
    known = Directory({"device": sender.public})
    expected = Expected(kind=frozenset({Kind.UPDATE}), receiver="coordinator", sender="device", run="run", round=1)
    receivers = {suite: Identity.generate("coordinator", suite) for suite in KemSuite}
    spent: dict[str, list[float]] = {name: [] for name in (*KemSuite, "cipher")}
    busy_ms: dict[str, list[float]] = {suite: [] for suite in KemSuite}
    alone: dict[str, list[float]] = {suite: [] for suite in KemSuite}  # turns in which nobody else was given the core
    for _turn in range(TURNS):
        for suite, me in receivers.items():
            header = Header(
                suite=suite, kind=Kind.UPDATE, run="run", round=1, sender="device", receiver="coordinator", model="",
                nonce=secrets.token_bytes(16), in_reply_to=b"", issued=NOW, expires=NOW + 1000,
            )  # fmt: skip
            switched = _switches()
            begin, busy = time.perf_counter(), time.process_time()
            envelope = seal(header, payload, sender=sender, receiver=me.public)
            opened = open_envelope(envelope, me=me, directory=known, expected=expected, now=NOW, replay=None)
            spent[suite].append(1000 * (time.perf_counter() - begin))
            busy_ms[suite].append(1000 * (time.process_time() - busy))
            if _switches() == switched:
                alone[suite].append(spent[suite][-1])
            assert opened.payload == payload
            del envelope, opened  # who seals a message does not hold another
        cipher, nonce = AESGCM(secrets.token_bytes(32)), secrets.token_bytes(12)
        begin = time.perf_counter()
        cipher.decrypt(nonce, cipher.encrypt(nonce, payload, None), None)
        spent["cipher"].append(1000 * (time.perf_counter() - begin))
    bare = Samples(spent["cipher"])
    for suite in KemSuite:
        total = Samples(spent[suite])
        busy = Samples(busy_ms[suite])
        progress(f"{suite}: {total.median:.2f} ms ({busy.median:.2f} of processor), the cipher alone {bare.median:.2f}")
        yield Claim(
            id=f"update_ms_{suite}",
            text=f"an update of 1 MB sealed and opened, signature and digest with it, {suite}",
            value=total.median,
            unit="ms",
            op="<=",
            bar=10,
            peer=Peer("AES-256-GCM alone, both ways, ms", bare.median, versions("cryptography")["cryptography"]),
            spread=total.spread,
            detail={
                "p95_ms": round(total.quantile(0.95), 2),
                "processor_ms": round(busy.median, 2),
                "processor_p95_ms": round(busy.quantile(0.95), 2),
                "undisturbed_ms": round(Samples(alone[suite]).median, 2) if alone[suite] else None,
                "undisturbed_turns": len(alone[suite]),
            },
        )


def _switches() -> int:
    """How often the core was taken from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def random_inputs(_: Path) -> Iterator[Claim]:
    """Mutated and random inputs for each reader; peak memory is that of this process, which reads them all."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        readers = targets(Path(folder))
        for reader in readers:
            fuzz(reader, 200, seed=0)  # whatever is loaded once is loaded now
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        made, wrong = 0, []
        reasons: dict[str, dict[str, int]] = {}
        for reader in readers:
            tally = fuzz(reader, INPUTS, seed=1)
            made += tally.inputs
            wrong += tally.wrong
            reasons[reader.name] = dict(tally.reasons)
            progress(f"{reader.name}: {tally.inputs} inputs, {len(tally.wrong)} wrong, {dict(tally.reasons)}")
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    for one in wrong[:10]:
        progress(f"WRONG: {one[:400]}")
    yield Claim(
        id="fuzz_wrong",
        text=f"of {made} mutated and random inputs, {INPUTS} for each of {len(readers)} readers: accepted though "
        "nobody sent them, exceptions that are no refusal, refusals without a reason code",
        value=float(len(wrong)),
        unit="inputs",
        op="<=",
        bar=0,
        detail=reasons,
    )
    yield Claim(
        id="fuzz_memory",
        text=f"growth of the process's largest resident memory over {made} inputs",
        value=growth,
        unit="MB",
        op="<=",
        bar=GROWTH_MB,
    )


def frames_to_a_server(scratch: Path) -> Iterator[Claim]:
    """Mutated and random frames of gRPC; memory is that of the server's process."""
    yield from frames(scratch, INPUTS, seed=1)


def guided_inputs(scratch: Path) -> Iterator[Claim]:
    """Inputs that atheris searches for, to reach lines of ours that others did not; a process for each reader."""
    text = f"the same, {INPUTS} inputs of each reader that a search for new lines of our code makes"
    if importlib.util.find_spec("atheris") is None:
        absent = Peer("atheris", None, absent="not installed")
        yield Claim(id="guided_wrong", text=text, value=None, unit="inputs", op="<=", bar=0, peer=absent)
        return
    wrong: list[str] = []
    reasons: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        for number, reader in enumerate(targets(scratch)):
            report = Path(folder) / f"{number}.json"
            command = [sys.executable, str(HERE / "_guided.py"), str(number), str(INPUTS), "1", str(report)]
            ended = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, **QUIET},
                timeout=3600,
                cwd=folder,
            )
            if not report.is_file():
                raise NotMeasuredError(f"{reader.name} under atheris: {ended.stderr[-500:]}")
            told = json.loads(report.read_text(encoding="utf-8"))
            wrong += told["wrong"]
            reasons[reader.name] = told["reasons"]
            progress(
                f"{reader.name}: {told['inputs']} inputs, {len(told['wrong'])} wrong, peak {told['peak_mb']:.0f} MB"
            )
    for one in wrong[:10]:
        progress(f"WRONG: {one[:400]}")
    yield Claim(
        id="guided_wrong",
        text=text,
        value=float(len(wrong)),
        unit="inputs",
        op="<=",
        bar=0,
        peer=Peer("atheris", float(INPUTS), versions("atheris")["atheris"]),
        detail=reasons,
    )


def _memory() -> str | None:
    """A folder in memory, where there is one: a manifest is read from a file each time."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - no file is made in it: it is where TemporaryDirectory makes a fresh, private folder


if __name__ == "__main__":
    main(
        "envelope",
        {"cost": cost, "fuzz": random_inputs, "frames": frames_to_a_server, "guided": guided_inputs},
        versions("skerry", "cryptography", "cbor2", "grpcio", "atheris"),
    )

"""Fifty devices that download 20 MB each through the gateway, against a plain file server in the same run."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from _harness import HERE, PYTHON, Claim, Peer, Samples, machine, progress, run
from _serving import serving
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DOWNLOADS = 50
BYTES = 20_000_000
ROUNDS = 5
KINDS = ("gateway", "plain", "clear")


def downloads(folder: Path) -> Iterator[Claim]:
    for kind in KINDS:
        home = folder / kind
        (home / "repository" / "blobs").mkdir(parents=True)
        (home / "repository" / "blobs" / ("ab" * 32)).write_bytes(os.urandom(BYTES))
        key = ec.generate_private_key(ec.SECP256R1())
        (home / "device.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with ExitStack() as servers:
        for kind in KINDS:
            server = serving("_download_server.py", kind, folder / kind, ready=folder / kind / "ready.json")
            servers.enter_context(server)
        for number in range(ROUNDS + 1):  # the first warms up, and does not count
            for kind in KINDS:
                command = [PYTHON, HERE / "_download_client.py", kind, folder / kind, str(DOWNLOADS)]
                rate = run(command, timeout_s=120).document["mb_per_s"]
                progress(f"{kind}: {rate:.0f} MB/s")
                if number:
                    rates[kind].append(rate)
    served = Samples(rates["gateway"])
    python = machine()["python"]
    for name, kind, text in (
        ("downloads_rate", "plain", "the same over TLS"),
        ("downloads_rate_to_clear", "clear", "the same without TLS"),
    ):
        peer = Samples(rates[kind])
        yield Claim(
            id=name,
            text=f"{DOWNLOADS} downloads of {BYTES // 10**6} MB at once through the gateway, as a share of the rate of "
            f"Python's own file server, {text}",
            value=served.median / peer.median,
            unit="ratio",
            op=">=",
            bar=0.6,
            peer=Peer(f"http.server, {text}", peer.median, python),
            spread=served.spread,
            detail={"gateway_mb_per_s": served.median, "peer_spread": peer.spread},
        )

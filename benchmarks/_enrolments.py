"""Five hundred devices that enrol one after the other's heels through the gateway, over TLS."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from _harness import HERE, PYTHON, QUIET, Claim, NotMeasuredError, progress, run

DEVICES = 500
AT_ONCE = 8


def through_gateway(folder: Path) -> Iterator[Claim]:
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [PYTHON, HERE / "_enrolment_server.py", folder, str(DEVICES)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **QUIET},
        )
        try:
            deadline = time.monotonic() + 60
            while not (folder / "invitation.txt").exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise NotMeasuredError((folder / "server.log").read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            progress(f"{DEVICES} devices enrol, {AT_ONCE} at once")
            done = run(
                [PYTHON, HERE / "_enrolment_client.py", folder, str(DEVICES), str(AT_ONCE)], timeout_s=600
            ).document
        finally:
            server.stdin.close()
            server.wait(30)
    yield Claim(
        id="enrolment_through_gateway",
        text=f"{DEVICES} devices enrol through the gateway: challenge, signed request, checked certificate; "
        f"{AT_ONCE} at once, each over a TLS connection of its own, devices on the same machine",
        value=done["wall_s"],
        unit="s",
        op="<=",
        bar=60.0,
        detail={"devices_keys_s": done["keys_s"]},
    )

"""Five hundred devices that enrol one after the other's heels through the gateway, over TLS."""

from collections.abc import Iterator
from pathlib import Path

from _harness import HERE, PYTHON, Claim, progress, run
from _serving import serving

DEVICES = 500
AT_ONCE = 8


def through_gateway(folder: Path) -> Iterator[Claim]:
    with serving("_enrolment_server.py", folder, str(DEVICES), ready=folder / "invitation.txt"):
        progress(f"{DEVICES} devices enrol, {AT_ONCE} at once")
        client = [PYTHON, HERE / "_enrolment_client.py", folder, str(DEVICES), str(AT_ONCE)]
        done = run(client, timeout_s=600).document
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

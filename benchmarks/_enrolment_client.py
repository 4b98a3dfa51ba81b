"""Devices that enrol by one invitation: ``python _enrolment_client.py FOLDER DEVICES AT_ONCE``; prints seconds.

Keys are made before the clock starts. Each device opens connections of its own, waits when it is told to, and checks
what it gets.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from skerry.clock import system_clock
from skerry.device.service import HttpsEnrolment
from skerry.errors import RunFailedError
from skerry.security.enrolment import Invitation, apply, ask
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemKeys


class Agent:
    def __init__(self, name: str) -> None:
        self.epoch = KemKeys.begin(system_clock(), 14).newest
        self.identity = Identity(name, Identity.generate(name).signing, self.epoch.key)
        self.device_key = ec.generate_private_key(ec.SECP256R1())


def enrol(invitation: Invitation, agent: Agent) -> None:
    for _ in range(100):
        try:
            with HttpsEnrolment(invitation) as transport:
                asked = apply(invitation, agent, transport, now=system_clock())
                if ask(asked, invitation.federation, agent, transport, now=system_clock()) is None:
                    sys.exit("a device has to wait for approval")
        except RunFailedError as error:
            if error.mend != "try again later":
                raise
            time.sleep(0.2)
        else:
            return
    sys.exit("a device was told to wait a hundred times")


def main(folder: Path, devices: int, at_once: int) -> None:
    invitation = Invitation.parse((folder / "invitation.txt").read_text(encoding="ascii"))
    begin = time.perf_counter()
    agents = [Agent(f"device-{index}") for index in range(devices)]
    keys = time.perf_counter() - begin
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda agent: enrol(invitation, agent), agents))
    print(json.dumps({"wall_s": time.perf_counter() - begin, "keys_s": keys}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

"""A coordinator that conducts rounds over a fleet: ``python _agent_rounds.py RUNS DEVICES BYTES DEADLINE_S PLAN``.

It is skerry's coordinator but for what it makes of the answers: the run is claimed from the SuperLink, devices are
found by challenge, each gets an envelope sealed to it, and answers are opened. PLAN is a list of words parted by
commas, one a round: ``-``, or a fault and the device that is to commit it (``stall:pi-1``), see ``_agent_process.py``.
Prints what each round took, when the last answer but the faulty device's came, and who answered.
"""

import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from _round_split import COLLECTED, OPENED, PUSHED, SEALED, TIMELINE, Diary, Servers, split
from flwr.app import Message

from skerry.clock import system_clock
from skerry.security.envelope import Expected, Header, Kind, open_envelope, seal_named
from skerry.security.identity.private_file import read_private
from skerry.server.discover import RollCall, wait_for
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.engine import Components
from skerry.server.engines.flwr_grid import DrivenGrid
from skerry.server.engines.flwr_run import driven_run
from skerry.server.federation_home import FederationHome
from skerry.server.fleet import good_standing
from skerry.server.mailbox import NETWORK_POLL_S, exchange
from skerry.server.running import RunningServer

RUN = "benchmark"
PATIENCE_S = 120.0
MODEL = "0" * 64


class Rounds:
    def __init__(self, runs: Path, grid: DrivenGrid, devices: int, size: int, deadline_s: float) -> None:
        self.grid, self.size, self.deadline_s = grid, size, deadline_s
        self.coordinator = FederationHome(runs).coordinator()
        self.directory = good_standing(runs, system_clock()).devices
        call = RollCall(grid, RUN, self.coordinator, system_clock)
        wait_for(call, self.directory, self.directory, patience_s=PATIENCE_S)
        self.nodes = call.found
        if len(self.nodes) != devices:
            raise SystemExit(f"{len(self.nodes)} devices instead of {devices}")

    def round(self, number: int, fault: str, faulty: str) -> dict:
        begin, marks = time.perf_counter(), {"begin": time.time()}
        payload = f"{fault} {faulty}\n".encode() + os.urandom(self.size)
        sent, digests = {}, {}
        for device in sorted(self.nodes):
            now = system_clock()
            receiver = self.directory.get(device)
            header = Header(
                suite=receiver.suite,
                kind=Kind.INSTRUCTION,
                run=RUN,
                round=number,
                sender=self.coordinator.name,
                receiver=device,
                model=MODEL,
                nonce=secrets.token_bytes(16),
                in_reply_to=b"",
                issued=now,
                expires=now + 600_000,
            )
            sent[device], digests[device] = seal_named(header, payload, sender=self.coordinator, receiver=receiver)
        marks[SEALED] = time.time()
        self.grid.push_messages = self._marking(self.grid.__class__.push_messages, marks)
        answered: dict[str, float] = {}
        contents = {device: (self.nodes[device], {"envelope": envelope}) for device, envelope in sent.items()}
        deadline_s = self.deadline_s
        paces = {"deadline_s": deadline_s, "again_s": deadline_s / 3, "first_poll_s": NETWORK_POLL_S}
        for device, record in exchange(self.grid, contents, "train", **paces):
            if record is None:
                continue
            marks[COLLECTED] = time.time()
            open_envelope(
                record["envelope"],
                me=self.coordinator,
                directory=self.directory,
                expected=Expected(
                    kind=frozenset({Kind.UPDATE}),
                    receiver=self.coordinator.name,
                    run=RUN,
                    round=number,
                    sender=device,
                    in_reply_to=digests[device],
                ),
                now=system_clock(),
                replay=None,
            )
            answered[device] = time.perf_counter() - begin
        marks[OPENED] = time.time()
        others = [at for device, at in answered.items() if device != faulty]
        return {
            "seconds": time.perf_counter() - begin,
            "others_s": max(others, default=None),
            "answered": sorted(answered),
            "fault": fault,
            "marks": marks,
        }

    def _marking(self, push: Callable[..., list[str]], marks: dict[str, float]) -> Callable[..., list[str]]:
        def pushed(messages: Iterable[Message]) -> list[str]:
            identifiers = push(self.grid, messages)
            marks.setdefault(PUSHED, time.time())
            return identifiers

        return pushed


def main(runs: Path, devices: int, size: int, deadline_s: float, plan: list[str]) -> None:
    server = RunningServer.read(FederationHome(runs).server)
    if server is None:
        raise SystemExit("no server is up")
    begin = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as private,
        driven_run(
            server.addresses["superlink"],
            Path(server.superlink_authority).read_bytes(),
            read_private(Path(server.superlink_secret)),
            write_bundle(Path(private), Components()),
            largest=size + (64 << 10),
            bells=FederationHome(runs).bells,
        ) as (grid, _),
    ):
        claimed = time.perf_counter() - begin
        rounds = Rounds(runs, grid, devices, size, deadline_s)
        servers = Servers(server.pid)
        done, used = [], servers.cpu() | {"coordinator": time.process_time()}
        for number, word in enumerate(plan, start=1):
            if number == 2:  # the first one is not counted
                used = servers.cpu() | {"coordinator": time.process_time()}
            fault, _, faulty = word.partition(":")
            done.append(rounds.round(number, fault, faulty))
        after = servers.cpu() | {"coordinator": time.process_time()}
    lines = [Diary.read(runs.parent / device / TIMELINE) for device in sorted(rounds.nodes)]
    counted = max(1, len(done) - 1)
    cpu = {name: after[name] - used[name] for name in after}
    cpu["agents"] = sum(one[-1]["cpu"] - one[-len(done)]["cpu"] for one in lines if len(one) >= len(done))
    told = {
        "stages_ms": split([one["marks"] for one in done[1:]], lines),
        "cpu_ms": {name: round(1000 * seconds / counted, 1) for name, seconds in cpu.items()},
    }
    print(json.dumps({"claim_s": claimed, "rounds": done, "split": told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5].split(","))

"""Five hundred devices at the desk itself, in one process and one thread: what enrolment costs without any network."""

import time
from collections.abc import Iterator
from pathlib import Path

from _enrolment_client import Agent
from _harness import Claim, Samples, progress

from skerry.clock import system_clock
from skerry.security.certificates import Authority
from skerry.security.enrolment import apply, ask, renew
from skerry.server.enrolment import Desk, Office

DEVICES = 500
TAIL = 50
HOUR_MS = 3_600_000


def at_the_desk(folder: Path) -> Iterator[Claim]:
    """Each device: challenge, request signed by both keys, certificate entered on disk and checked; then a renewal."""
    authority = Authority.create(folder / "authority", "bench", now=system_clock())
    office = Office(folder)
    desk = Desk(office.registry, authority, secret=bytes(32), clock=system_clock)
    invitation = office.invite(
        authority, device_class="pi", by="bench", now=system_clock(), life=HOUR_MS, uses=DEVICES, approve=True
    )
    agents = [Agent(f"device-{index}") for index in range(DEVICES)]
    progress(f"{DEVICES} devices enrol at the desk, one after the other")
    members, each = [], []
    for agent in agents:
        begin = time.perf_counter()
        asked = apply(invitation, agent, desk, now=system_clock())
        members.append(ask(asked, "bench", agent, desk, now=system_clock()))
        each.append(time.perf_counter() - begin)
    renewed = []
    for agent, member in zip(agents, members, strict=True):
        begin = time.perf_counter()
        renew(member, agent, desk, attempt=agent.identity.name.encode().ljust(16, b"-"), now=system_clock())
        renewed.append(time.perf_counter() - begin)
    yield Claim(
        id="enrolment_at_the_desk",
        text=f"{DEVICES} devices enrol at the desk in one process and thread, each entered on stable storage",
        value=sum(each),
        unit="s",
        op="<=",
        bar=60.0,
        spread=Samples(each).spread,
        detail={"renewals_s": sum(renewed)},
    )
    yield Claim(
        id="enrolment_does_not_slow_down",
        text=f"median of the last {TAIL} enrolments over that of the first {TAIL}",
        value=Samples(each[-TAIL:]).median / Samples(each[:TAIL]).median,
        unit="ratio",
        op="<=",
        bar=1.5,
    )

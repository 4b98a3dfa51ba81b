"""The agent of a device's folder, put together from what lies there."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.serialization import Encoding

from skerry.clock import Clock
from skerry.device.agent.agent import Agent
from skerry.device.agent.alone import alone
from skerry.device.agent.bases import BaseFetcher
from skerry.device.agent.bell import Bell
from skerry.device.agent.care import DeviceCare
from skerry.device.agent.checkpoint import FileCheckpoints
from skerry.device.agent.conditions import Conditions
from skerry.device.agent.diary import Diary, Entry
from skerry.device.agent.eligibility import DeviceConditions
from skerry.device.agent.enrolled import agent_folder, check_data, device_home, open_ledger
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.device.agent.host import Host
from skerry.device.agent.journal import Journal
from skerry.device.agent.line import GatewayLine
from skerry.device.agent.lookout import Lookout
from skerry.device.agent.pace import Pace
from skerry.device.agent.peaks import Peaks
from skerry.device.agent.remembered import RememberedNode
from skerry.device.agent.standing import Standing, over_https
from skerry.device.agent.terms import read_terms
from skerry.device.agent.watch import Watch
from skerry.device.agent.watchdog import Watchdog
from skerry.device.membership import Folder
from skerry.device.service import GatewaySource
from skerry.device.worker import process_worker
from skerry.security.identity import SealedKeyStore

__all__ = ["started"]


@contextmanager
def started(
    path: Path,
    open_keys: Callable[[], SealedKeyStore],
    bell: Bell,
    *,
    clock: Clock,
    random: Random,
    say: Callable[[Entry], None],
    conditions: Conditions | None = None,
    pace: Pace | None = None,
    heartbeat_s: float = 30.0,
) -> Iterator[Agent]:
    """The agent of an enrolled device, ready to run, and the only one of its home.

    Args:
        path: the device's folder.
        open_keys: opens its key store.
        bell: rung to end it.
        clock: of the device.
        random: gives jitter, no secret.
        say: hears what happens.
        conditions: of the device; None for what the owner set and this machine says.
        pace: of its questions; None for the usual one.
        heartbeat_s: seconds between two signs of life, at most.

    Raises:
        InputError: the device is not enrolled, was not told what it may do, or has no such data.
        RefusedError: another agent runs with this home (``agent_running``), or the ledger keeps another promise.
    """
    path = path.resolve()
    folder, private = Folder(path), agent_folder(path)
    terms = read_terms(path)
    with ExitStack() as stack:
        stack.enter_context(alone(private))
        store = open_keys()
        desk = folder.desk()
        standing = Standing(folder, store, clock, over_https(desk, bell.wait))
        assert desk is not None  # over_https refuses a device without one
        home = device_home(path, store.identity.name, terms)
        worker = process_worker()
        check_data(home, worker.task(home.task, home.model))
        open_ledger(home, now=clock())
        roots = standing.member.root.public_bytes(Encoding.PEM)
        line = stack.enter_context(
            GatewayLine(desk.address, roots=roots, name=home.device, key=store.device_key, clock=clock)
        )
        from skerry.device.app import app

        repository = partial(
            GatewaySource,
            desk.address,
            roots=roots,
            name=home.device,
            sign=lambda message: line.spoken().sign(message),
            clock=lambda: line.spoken().now,
        )
        worker.fetch = BaseFetcher(repository).fetch
        host = Host()
        peaks = Peaks(private, host)
        own = DeviceConditions(terms.conditions, path, host, memory_needed=peaks.needed)
        lookout = Lookout(conditions or own)
        yield Agent(
            home=home,
            standing=standing,
            fleet=FleetCalls(line, heartbeat_s=heartbeat_s),
            app=app,
            worker=worker,
            journal=Journal(private),
            remembered=RememberedNode(private / "node"),
            diary=Diary(private / "diary.json", clock, say),
            watch=Watch(path, lookout, bell),
            care=DeviceCare(
                lookout, FileCheckpoints(private, store), clock, watching=lookout.watching, peaks=peaks, sleep=bell.wait
            ),
            watchdog=Watchdog(os.environ, os.getpid()),
            bell=bell,
            random=random,
            pace=pace or Pace(),
        )

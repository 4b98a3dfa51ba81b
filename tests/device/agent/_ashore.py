"""An agent's loop over a SuperLink in memory, turned by hand."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

from flwr.app import ConfigRecord, Context, Message, RecordDict

from skerry.clock import system_clock
from skerry.device.agent.agent import Agent
from skerry.device.agent.bell import Bell
from skerry.device.agent.conditions import AlwaysFit, Conditions
from skerry.device.agent.diary import Diary, Event
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.device.agent.journal import Journal
from skerry.device.agent.pace import Pace
from skerry.device.agent.remembered import RememberedNode
from skerry.device.agent.watch import Watch
from skerry.device.agent.watchdog import Watchdog
from skerry.device.care import Care, Unattended
from skerry.device.worker import Worker

from ._superlink import Superlink

QUICK = Pace(fast=0.0, slow=0.0, idle=0.0)


class Ashore:
    """An agent over a SuperLink in memory, turned by hand; what the app was given is in ``worked``."""

    def __init__(
        self,
        folder: Path,
        link: Superlink,
        app: Callable[[bytes], bytes] = lambda text: text,
        *,
        conditions: Conditions | None = None,
        care: Care | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link, self.app, self.worked, self.told = link, app, [], []
        self.bell = Bell()

        def by_app(message: Message, context: Context) -> Message:
            text = message.content["skerry"]["envelope"]
            self.worked.append(text)
            return Message(RecordDict({"skerry": ConfigRecord({"envelope": self.app(text)})}), reply_to=message)

        member = SimpleNamespace(coordinator=None, subject=SimpleNamespace(federation="harbour"))
        standing = SimpleNamespace(member=member, keep_up=lambda doubtful=False: False, store=None)
        self.agent = Agent(
            home=SimpleNamespace(path=folder, device="pi"),
            standing=standing,
            fleet=FleetCalls(link, sleep=lambda _: None),
            app=by_app,
            worker=Worker(),
            journal=Journal(folder),
            remembered=RememberedNode(folder / "node"),
            diary=Diary(folder / "diary.json", system_clock, self.told.append),
            watch=Watch(folder, conditions or AlwaysFit(), self.bell, itertools.count(0, 60).__next__),
            care=care or Unattended(),
            watchdog=Watchdog({}, 0),
            bell=self.bell,
            random=Random(0),
            pace=QUICK,
            monotonic=monotonic,
        )
        member.coordinator = SimpleNamespace(name="coordinator")

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.agent._turn_or_trouble()

    def events(self) -> list[Event]:
        return [entry.event for entry in self.told]

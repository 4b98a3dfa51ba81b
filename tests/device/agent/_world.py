"""A device on a machine made of files, whose conditions a test changes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from skerry.clock import system_clock
from skerry.device.agent.care import DeviceCare
from skerry.device.agent.checkpoint import Checkpoints, FileCheckpoints
from skerry.device.agent.conditions import Lapse
from skerry.device.agent.eligibility import DeviceConditions
from skerry.device.agent.lookout import Lookout
from skerry.device.agent.settings import Limits
from skerry.device.care import Undertaking
from skerry.security.identity import PassphraseLock, SealedKeyStore
from tests.device.agent.machines import Machine, calm


@dataclass
class World:
    """A device on a machine made of files; what happens while it waits is a list of events."""

    machine: Machine
    home: Path
    checkpoints: Checkpoints
    store: SealedKeyStore
    now: Callable[[], int] = system_clock
    whenever_it_waits: list[Callable[["World"], None]] = field(default_factory=list)
    told: list[tuple[Lapse, ...]] = field(default_factory=list)
    lookout: Lookout = field(init=False)

    def care(self) -> DeviceCare:
        self.lookout = Lookout(DeviceConditions(Limits(), self.home, self.machine.host))
        watching = self.lookout.watching
        return DeviceCare(
            self.lookout, self.checkpoints, self.now, watching=watching, told=self.told.append, sleep=self._sleep
        )

    def restarted(self) -> FileCheckpoints:
        """The checkpoints as the next process has them."""
        return FileCheckpoints(self.home / "agent", self.store)

    def _sleep(self, _: float) -> None:
        self.whenever_it_waits.pop(0)(self)

    def reasons(self) -> list[list[str]]:
        return [[lapse.reason.value for lapse in lapses] for lapses in self.told]


def make_world(folder: Path) -> World:
    """A home with keys, on a machine that is cool, charged and on a free network."""
    home = folder / "home"
    home.mkdir()
    store = SealedKeyStore.create(home / "keys", "device", PassphraseLock(b"passphrase"), now=system_clock())
    return World(calm(folder / "machine"), home, FileCheckpoints(home / "agent", store), store)


def undertaking(asked: str = "a", until: int = 100) -> Undertaking:
    return Undertaking(asked, "model", until, resumable=True)

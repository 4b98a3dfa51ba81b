"""A machine made of files: whatever the kernel, a command or a clock would say is set by a test."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from skerry.device.agent.host import Host

NETWORK_MANAGER = "org.freedesktop.NetworkManager"


@dataclass
class Machine:
    """Changed by a test while others look at it."""

    root: Path
    commands: dict[str, str] = field(default_factory=dict)  # the last word of a command: what it prints
    disk: int = 10**10
    own_cpu: float = 0.0
    seconds: float = 1000.0
    local: datetime = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(f"{text}\n")
        beside.replace(file)

    @property
    def host(self) -> Host:
        return Host(
            root=self.root,
            run=lambda *words: self.commands.get(words[-1]),
            disk=lambda _: (self.disk, 10**11),
            own_cpu_s=lambda: self.own_cpu,
            monotonic=lambda: self.seconds,
            local=lambda: self.local,
        )

    def heat(self, celsius: float) -> None:
        self.write("sys/class/thermal/thermal_zone0/temp", round(1000 * celsius))

    def battery(self, percent: int, status: str) -> None:
        for name, value in (("type", "Battery"), ("capacity", percent), ("status", status)):
            self.write(f"sys/class/power_supply/BAT0/{name}", value)

    def network(self, code: int) -> None:
        """NMMetered: 0 unknown, 1 yes, 2 no, 3 guess-yes, 4 guess-no."""
        self.commands["Metered"] = f"u {code}\n"

    def memory(self, available_mb: int) -> None:
        self.write("proc/meminfo", f"MemTotal: 8000000 kB\nMemAvailable: {available_mb * 1000} kB")

    def processor(self, busy_s: float, cores: int = 4, ticks: int = 100) -> None:
        lines = [f"cpu {round(busy_s * ticks)} 0 0 0 0 0 0 0 0 0", *(f"cpu{i} 0 0 0 0 0 0 0 0" for i in range(cores))]
        self.write("proc/stat", "\n".join(lines))


def calm(root: Path) -> Machine:
    """Cool, on mains, unmetered, idle, with room: nothing lapses."""
    machine = Machine(root)
    machine.heat(45)
    machine.network(2)
    machine.memory(4000)
    machine.processor(0)
    return machine

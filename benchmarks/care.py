"""How a device looks after itself while it trains: what the looking costs, and how soon training has stopped.

A head of ten classes on 256 features, trained privately, one thread. ``cost`` looks at this machine as it is, ``stop``
at a machine made of files in which heat, power, network and the owner's pause change while it trains.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from _harness import Claim, NotMeasuredError, Samples, main, progress, versions

from skerry.clock import system_clock
from skerry.device.agent.care import DeviceCare
from skerry.device.agent.checkpoint import FILE, FileCheckpoints, MemoryCheckpoints
from skerry.device.agent.eligibility import PAUSE_FILE, DeviceConditions
from skerry.device.agent.host import Host
from skerry.device.agent.lookout import Lookout
from skerry.device.agent.settings import Limits
from skerry.device.care import Undertaking
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan
from skerry.device.yielding import YieldedError
from skerry.security.identity import PassphraseLock, SealedKeyStore
from skerry.security.privacy import os_stream

CLASSES, FEATURES = 10, 257
TURNS, STEPS, EXAMPLES = 31, 40, 500
STOPS, MANY = 5, 20_000
MOST_STEPS = 100


def cost(scratch: Path) -> Iterator[Claim]:
    """Trainings by turns, with nobody looking and with the agent's watch beside them; nothing lapses."""
    train = _training(EXAMPLES, STEPS)
    limits = Limits(metered="no", busy_percent=100, temperature_c=110, free_memory_mb=0, free_disk_mb=0)
    lookout = Lookout(DeviceConditions(limits, scratch, Host()))
    care = DeviceCare(lookout, MemoryCheckpoints(), system_clock, watching=lookout.watching)
    train()
    spent: dict[str, list[float]] = {"alone": [], "watched": []}
    for turn in range(TURNS):
        for way in ("alone", "watched") if turn % 2 else ("watched", "alone"):
            begin = time.process_time()
            with nullcontext() if way == "alone" else care.training(_work(str(turn))):
                train()
            spent[way].append(time.process_time() - begin)
    alone = Samples(spent["alone"])
    ratios = Samples([watched / bare for watched, bare in zip(spent["watched"], spent["alone"], strict=True)])
    looks = [_seconds(lookout.lapses) for _ in range(20)]
    progress(f"{1000 * alone.median / STEPS:.2f} ms a step, a look {1000 * float(np.median(looks)):.2f} ms")
    yield Claim(
        id="step_watched_to_alone",
        text="processor time of private head steps, the watch's own included, over that of unwatched ones beside them",
        value=ratios.median,
        unit="ratio",
        op="<=",
        bar=1.01,
        spread=ratios.spread,
        detail={
            "alone_ms_a_step": round(1000 * alone.median / STEPS, 3),
            "look_ms": round(1000 * float(np.median(looks)), 3),
        },
    )


def stop(scratch: Path) -> Iterator[Claim]:
    """From the change to the written checkpoint."""
    train = _training(MANY, MOST_STEPS)
    store = SealedKeyStore.create(scratch / "keys", "device", PassphraseLock(b"nobody knows these"), now=system_clock())
    for name, (lapse, mend) in _changes(scratch).items():
        taken = [_stopped(scratch, store, train, lapse, mend, number) for number in range(STOPS)]
        samples = Samples(taken)
        progress(f"{name}: stopped after {samples.median:.2f} s")
        yield Claim(
            id=f"stop_{name}",
            text=f"{name} lapses while a head is trained on {MANY} examples: worst time to the sealed checkpoint",
            value=max(taken),
            unit="s",
            op="<=",
            bar=2.0,
            spread=samples.spread,
        )


def _changes(scratch: Path) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    heat = scratch / "machine/sys/class/thermal/thermal_zone0/temp"
    power = scratch / "machine/sys/class/power_supply/BAT0/status"
    network, pause = scratch / "network", scratch / PAUSE_FILE
    for file, text in ((heat, "50000"), (power, "Charging"), (network, "u 2")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (power.parent / "type").write_text("Battery")
    (power.parent / "capacity").write_text("20")
    return {
        "heat": (lambda: heat.write_text("90000"), lambda: heat.write_text("50000")),
        "power": (lambda: power.write_text("Discharging"), lambda: power.write_text("Charging")),
        "network": (lambda: network.write_text("u 1"), lambda: network.write_text("u 2")),
        "pause": (pause.touch, pause.unlink),
    }


def _stopped(
    scratch: Path,
    store: SealedKeyStore,
    train: Callable[[], object],
    lapse: Callable[[], object],
    mend: Callable[[], object],
    number: int,
) -> float:
    """Seconds; the changes come at different places of a step and of the watch's half second."""
    host = Host(root=scratch / "machine", run=lambda *words: _told(scratch, words), own_cpu_s=time.process_time)
    lookout = Lookout(DeviceConditions(Limits(), scratch, host))
    care = DeviceCare(lookout, FileCheckpoints(scratch, store), system_clock, watching=lookout.watching)
    changed: list[float] = []

    def change() -> None:
        lapse()
        changed.append(time.monotonic())

    timer = threading.Timer(1 + 0.37 * number, change)
    work = _work(str(number))
    care.admit(work)
    timer.start()
    try:
        with care.training(work):
            train()
    except YieldedError:
        stopped = time.monotonic()
    else:
        raise NotMeasuredError("the training ended before it was stopped")
    finally:
        timer.join()
        mend()
    if not (scratch / FILE).exists():
        raise NotMeasuredError("no checkpoint was written")
    care.finished()
    return stopped - changed[0]


def _told(scratch: Path, words: tuple[str, ...]) -> str | None:
    return (scratch / "network").read_text() if words[-1] == "Metered" else None


def _training(examples: int, steps: int) -> Callable[[], object]:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(examples, FEATURES)).astype(np.float32)
    y = generator.integers(0, CLASSES, examples)
    trainer = HeadTrainer(CLASSES, FEATURES)
    plan = TrainPlan(epochs=steps, learning_rate=0.1, unit="example", clip=1.0, noise_multiplier=1.0)
    start = np.zeros(trainer.layout.size, np.float32)
    return lambda: trainer.train(start, rows, y, plan, os_stream())


def _work(asked: str) -> Undertaking:
    return Undertaking(asked, "model", system_clock() + 3_600_000, resumable=True)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main("care", {"cost": cost, "stop": stop}, versions("skerry", "numpy", "cryptography"))

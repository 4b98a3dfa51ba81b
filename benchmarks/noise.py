"""Integer noise: how fast, how near to the distribution that is accounted, and what its low bits give away.

One thread, the secret stream that devices use. Tables are built before the clock starts; that time is in ``detail``.
"""

import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Claim, Peer, Samples, main, progress, versions

from skerry.device.training import Grid
from skerry.security.privacy import DiscreteGaussian, IntegerNoise, Skellam, WideGaussian, derive_generator, os_stream

VALUES = 1_000_000
TURNS = 11
SCALES = {"usual": Fraction(2**14), "largest": Fraction(2**16)}
KINDS: dict[str, type[IntegerNoise]] = {"discrete_gaussian": DiscreteGaussian, "skellam": Skellam}
WORDS = {"discrete_gaussian": "discrete Gaussian", "skellam": "Skellam"}


def speed(_scratch: Path) -> Iterator[Claim]:
    """A million values of each kind, taking turns with numpy's floating-point ones."""
    ready: dict[str, tuple[IntegerNoise | WideGaussian, float]] = {}
    for kind, made in KINDS.items():
        for size, scale in SCALES.items():
            ready[f"{kind}_{size}"] = _ready(made(scale))
    ready["discrete_gaussian_wide"] = _ready(WideGaussian(2**24))
    generator = np.random.default_rng()
    taken: dict[str, list[float]] = {name: [] for name in (*ready, "numpy")}
    for _ in range(TURNS):
        for name, (noise, _built) in ready.items():
            stream = os_stream()
            taken[name].append(_seconds(lambda n=noise, s=stream: n.sample(VALUES, s)))
        taken["numpy"].append(_seconds(lambda: generator.normal(size=VALUES)))
    floating = Samples(taken["numpy"])
    for name, (noise, built) in ready.items():
        kind, _, size = name.rpartition("_")
        samples = Samples(taken[name])
        progress(f"{name}: {samples.median * 1000:.0f} ms")
        yield Claim(
            id=f"seconds_{name}",
            text=f"a million {WORDS[kind]} values of standard deviation {noise.scale}",
            value=samples.median,
            unit="s",
            op="<=",
            bar=0.25,
            peer=Peer("numpy's floating-point normal, s", floating.median, versions("numpy")["numpy"]),
            spread=samples.spread,
            detail={"table_s": round(built, 2), "scale": size},
        )


def exactness(_scratch: Path) -> Iterator[Claim]:
    """The proven distance, and a χ² test of secret samples against probabilities computed by scipy."""
    for kind, made in KINDS.items():
        noise = made(SCALES["usual"])
        yield Claim(
            id=f"distance_{kind}",
            text=f"{WORDS[kind]}: log2 of the proven total variation distance of one value to the exact distribution",
            value=math.log2(noise.tv_bound),
            unit="log2",
            op="<=",
            bar=-60,
        )
        yield Claim(
            id=f"chi2_{kind}",
            text=f"{WORDS[kind]}: p-value (χ²) of four million values of standard deviation 20",
            value=_chi2(kind, made(20)),
            unit="p-value",
            op=">=",
            bar=1e-4,
        )


def low_bits(_scratch: Path) -> Iterator[Claim]:
    """Whether the low bits of a released number tell which of two neighbouring sums it came from."""
    grid = Grid(1.0, 1.0, 1 << 21)
    without = grid.release(np.zeros(grid.size, np.int64), os_stream())
    with_one = grid.release(np.full(grid.size, grid.bound), os_stream())
    generator = derive_generator(0, "low bits")
    floating = _told_apart(generator.normal(size=grid.size), generator.normal(size=grid.size) + 1.0)
    yield Claim(
        id="told_apart",
        text="share of outputs near 0 whose low bits tell the two neighbours apart (chance: below 0.005)",
        value=_told_apart(without, with_one),
        unit="share",
        op="<=",
        bar=0.005,
        peer=Peer("floating-point Gaussian noise (numpy, float64)", floating, versions("numpy")["numpy"]),
    )


def _ready(noise: IntegerNoise | WideGaussian) -> tuple[IntegerNoise | WideGaussian, float]:
    """The noise with its tables built, and how long that took."""
    return noise, _seconds(lambda: noise.sample(1, os_stream()))


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _chi2(kind: str, noise: IntegerNoise) -> float:
    from scipy.stats import chisquare, skellam

    n, scale = 4_000_000, float(noise.scale)
    found = noise.sample(n, os_stream())
    values = np.arange(-4 * int(scale), 4 * int(scale) + 1)
    if kind == "skellam":
        expected = n * skellam.pmf(values, scale**2 / 2, scale**2 / 2)
    else:
        everything = np.arange(-40 * int(scale), 40 * int(scale) + 1)
        expected = n * np.exp(-(values**2) / (2 * scale**2)) / np.exp(-(everything**2) / (2 * scale**2)).sum()
    observed = np.array([np.count_nonzero(found == x) for x in values])
    rest = n - observed.sum()
    return float(chisquare(np.append(observed, rest), np.append(expected, n - expected.sum())).pvalue)


def _told_apart(without: Any, with_one: Any) -> float:
    """Difference of the shares of values that are multiples of float64's spacing between 1/2 and 1."""
    shares = []
    for values in (without, with_one):
        near = values[np.abs(values) < 0.25]
        shares.append(float(np.mean(np.mod(near / (np.finfo(np.float64).eps / 2), 1.0) == 0)))
    return abs(shares[0] - shares[1])


if __name__ == "__main__":
    groups = {"speed": speed, "exactness": exactness, "low_bits": low_bits}
    main("noise", groups, versions("skerry", "numpy", "scipy", "cryptography"))

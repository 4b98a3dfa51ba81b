"""Vectors of the integer noise: streams, tables of the discrete Gaussian, and the integers that given bits become."""

import hashlib
from fractions import Fraction
from typing import Any

from skerry.device.training.descent import draw_examples
from skerry.security.privacy.mechanisms import gaussian_noise
from skerry.security.privacy.mechanisms.discrete_gaussian import gaussian_table
from skerry.security.privacy.mechanisms.inversion import Table
from skerry.security.privacy.stream import seeded_stream

from ._numbers import Words, stream

__all__ = ["make"]

_SCALES = (
    Fraction(1, 16),
    Fraction(1),
    Fraction(3.7) * 5,
    Fraction(12.345) * 100,
    Fraction(2**20) + Fraction(1, 3),
)


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "security/privacy/stream.py, security/privacy/mechanisms, device/training/descent.py",
        "streams": [_stream(label) for label in ("a", "b")],
        "seeded": [_seeded(7, "train", "writer-00", 3), _seeded(-1), _seeded(2**70, "x")],
        "tables": [_table(scale**2) for scale in _SCALES[:4]],
        "samples": [_samples(scale) for scale in _SCALES],
        "edges": _edges(Fraction(5)),
        "drawn": [_drawn(rate) for rate in (0.5, 0.1, 0.9)],
        "drawn_by_words": _at_threshold(0.3),
        "all_drawn": [{"count": 50, "given": _everybody(rate)} for rate in (1 - 2.0**-53, 1.0)],
    }


def _stream(label: str) -> dict[str, Any]:
    key, source = stream(label)
    words = [hex(word) for count in (1, 7, 8, 3, 0, 21) for word in source.uint64(count).tolist()]
    return {"key": key, "counts": [1, 7, 8, 3, 0, 21], "words": words}


def _seeded(seed: int, *labels: str | int) -> dict[str, Any]:
    source = seeded_stream(seed, *labels)
    return {"seed": str(seed), "labels": list(labels), "words": [hex(word) for word in source.uint64(3).tolist()]}


def _table(variance: Fraction) -> dict[str, Any]:
    table = gaussian_table(variance)
    entries = table.high[:-1].astype(">u8").tobytes() + table.low.astype(">u8").tobytes()
    return {"variance": str(variance), "entries": len(table.low), "sha256": hashlib.sha256(entries).hexdigest()}


def _samples(scale: Fraction) -> dict[str, Any]:
    key, source = stream(f"noise {scale}")
    return {"scale": str(scale), "key": key, "samples": gaussian_noise(scale).sample(40, source).tolist()}


def _edges(scale: Fraction) -> dict[str, Any]:
    """Words that are an entry's own, whose second half decides, and the ends of the table."""
    table = gaussian_table(scale**2)
    words: list[int] = [0, 1, 2, 2**64 - 1, 2**64 - 2]
    seconds: list[int] = [2**64 - 1, 0]  # the last entries begin like the largest word
    for k in (0, 1, 17, len(table.low) - 1):
        for low in (int(table.low[k]) - 1, int(table.low[k]), int(table.low[k]) + 1):
            words.append(int(table.high[k]) << 1 | k & 1)
            seconds.append(low % 2**64)
    return {"scale": str(scale), **_resolved(table, words, seconds)}


def _resolved(table: Table, words: list[int], seconds: list[int]) -> dict[str, Any]:
    source = Words([*words, *seconds])
    samples = table.sample(len(words), source).tolist()
    assert source.drawn == len(words) + len(seconds)
    return {"words": [hex(word) for word in [*words, *seconds]], "count": len(words), "samples": samples}


def _at_threshold(rate: float) -> dict[str, Any]:
    threshold = int(Fraction(rate) * 2**64)
    words = [threshold - 1, threshold, threshold + 1, 0]
    chosen = draw_examples(len(words), rate, Words(words)).tolist()
    return {"rate": repr(rate), "words": [hex(word) for word in words], "chosen": chosen}


def _everybody(rate: float) -> dict[str, Any]:
    case = _drawn(rate)
    assert case["chosen"] == list(range(50))
    return {"rate": case["rate"], "key": case["key"]}


def _drawn(rate: float) -> dict[str, Any]:
    key, source = stream(f"rate {rate}")
    return {"rate": repr(rate), "key": key, "count": 50, "chosen": draw_examples(50, rate, source).tolist()}

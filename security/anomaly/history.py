"""Evidence over many rounds that a device points against the course of the others."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.security.anomaly.evidence import Mask
from skerry.security.anomaly.peers import median

__all__ = ["EVIDENCE", "CourseHistory"]

Float64Array = npt.NDArray[np.float64]

EVIDENCE = 2e5
"""Factor by which the rounds together must favour "points against": at most 5 false alarms in 10⁶ device-rounds."""

_MEMORY = 0.9  # of the course from round to round: about ten rounds count
_ADAPT = 0.3  # how fast the expected alignment follows the cohort's
_FIRST_BET = 1.0
_LARGEST_BET = 3.0  # standard deviations of the noise; with more a single round would decide
_BLOCK = 4096  # columns converted to float64 at a time


class CourseHistory:
    """A sequential test whose false alarms are bounded however long the run; it needs the noise to be known.

    The course ``c ← 0.9·c + mean of the accepted rows`` sums up recent rounds (accepted: flagged by no detector): a
    signal that a single round's noise hides adds up in it, the noise does not. In each round device i is measured by
    its alignment

        z = ⟨x_i, u⟩ / (ν·‖u‖),   u = 0.9·c + m_i,

    m_i the mean of the other rows of ordinary norm. The course is past and m_i is of others, so u is independent of
    the fresh noise in x_i = s_i + N_i, and z is N(a, 1) with a = ⟨s_i, u⟩/(ν·‖u‖). **Assumption**: a ≥ 0 for honest
    devices. Then for every bet b ≥ 0 that earlier rounds fixed, ``exp(-b·z - b²/2)`` has mean ≤ 1, and
    ``M ← max(M, 1)·exp(-b·z - b²/2)`` reaches ``EVIDENCE`` within R rounds with probability ≤ R/EVIDENCE.

    The bet is the median alignment of the cohort in earlier rounds, within 0 … 3. While most devices do not agree
    with the course (it is noise, training has converged, or hostile devices steer it) the bet goes to zero and
    nobody is accused. A mean rather than a median makes the course, because it has π/2 times less noise; rows of
    extraordinary norm are out of it, and the others can turn it only as far as their norm reaches.

    A flipped update is found after about ``2·ln(EVIDENCE)/a²`` rounds: 3 at a = 3, 270 at a = 0.3.

    Reference: Shin, Ramdas and Rinaldo 2022, "E-detectors: a nonparametric framework for sequential change
    detection" (arXiv:2203.03532), the CUSUM form with predictable bets.
    """

    def __init__(self) -> None:
        self._course: Float32Array | None = None
        self._expected = _FIRST_BET
        self._evidence: dict[str, float] = {}

    def weigh(self, rows: Float32Array, devices: Sequence[str], trusted: Mask, noise: float) -> list[float]:
        """The natural logarithm of each device's evidence after this round; rows that are not trusted keep theirs.

        Args:
            rows: ``(n, d)`` float32, finite; not changed.
            devices: n names.
            trusted: ``(n,)`` rows of ordinary norm, at least two.
            noise: ν, positive.
        """
        z = self._alignments(rows, trusted) / noise
        bet = min(max(self._expected, 0.0), _LARGEST_BET)  # fixed before this round's numbers are looked at
        for device, one, counted in zip(devices, z, trusted, strict=True):
            if counted:
                before = max(self._evidence.get(device, 0.0), 0.0)
                self._evidence[device] = before - bet * float(one) - bet * bet / 2
        self._expected += _ADAPT * (float(median(np.sort(z[trusted]))) - self._expected)
        return [self._evidence.get(device, 0.0) for device in devices]

    def learn(self, rows: Float32Array, accepted: Mask) -> None:
        """Carry the course on by the mean of the accepted rows; ``accepted`` are those that no detector flagged."""
        if not accepted.any():
            return
        size = rows.shape[1]
        course = self._past(size).copy()
        for start in range(0, size, _BLOCK):
            part = slice(start, start + _BLOCK)
            course[part] = _MEMORY * course[part] + rows[accepted, part].mean(axis=0, dtype=np.float64)
        self._course = course

    def state(self) -> dict[str, Any]:
        """Course (base64 of little-endian float32), expectation and evidence, as JSON values."""
        course = self._course
        return {
            "course": None if course is None else b64encode(course.astype("<f4").tobytes()).decode(),
            "expected": self._expected,
            "evidence": dict(self._evidence),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, bit for bit."""
        text = state["course"]
        self._course = None if text is None else np.frombuffer(b64decode(text), "<f4").astype(np.float32)
        self._expected = float(state["expected"])
        self._evidence = {str(device): float(value) for device, value in state["evidence"].items()}

    def _past(self, size: int) -> Float32Array:
        """The course of earlier rounds; zero before the first."""
        if self._course is None or len(self._course) != size:
            return np.zeros(size, np.float32)
        return self._course

    def _alignments(self, rows: Float32Array, trusted: Mask) -> Float64Array:
        """``(n,)`` components ⟨x_i, u_i⟩/‖u_i‖; every u_i follows from the course and the trusted rows' sum."""
        n, size = rows.shape
        course = self._past(size)
        with_sum, with_course, square = np.zeros(n), np.zeros(n), np.zeros(n)
        sum_square = sum_course = course_square = 0.0
        for start in range(0, size, _BLOCK):
            block = rows[:, start : start + _BLOCK].astype(np.float64)
            past = _MEMORY * course[start : start + _BLOCK].astype(np.float64)
            total = block[trusted].sum(axis=0)
            with_sum += block @ total
            with_course += block @ past
            square += np.einsum("ij,ij->i", block, block)
            sum_square += float(total @ total)
            sum_course += float(total @ past)
            course_square += float(past @ past)
        others = trusted.sum() - trusted  # how many rows make m_i
        product = with_course + (with_sum - trusted * square) / others
        mean_square = (sum_square - trusted * (2 * with_sum - square)) / others**2
        mean_course = (sum_course - trusted * with_course) / others
        length = np.sqrt(np.maximum(course_square + 2 * mean_course + mean_square, 0.0))
        aligned: Float64Array = np.divide(product, length, out=np.zeros(n), where=length > 0)
        return aligned

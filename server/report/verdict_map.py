"""The verdicts of a run as a map, device by round, and in words: who was dropped, when and why."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Cell", "Finding", "VerdictMap", "verdict_map"]

MOST_CELLS = 2500  # a larger map would be slow on a phone and nobody would read it
MOST_COLUMNS = 60
ORDER = {"": 0, "accept": 1, "clip": 2, "out": 3, "drop": 4, "quarantine": 5}
WORDS = {
    "accept": "accepted",
    "clip": "clipped",
    "drop": "dropped",
    "quarantine": "put in quarantine",
    "out": "kept out",
}
_TOLD = {"clip", "drop", "quarantine"}


@dataclass(frozen=True)
class Cell:
    """What was decided about a device in a round, or, in a long run, the worst of a few rounds."""

    action: str
    mark: str
    tip: str


@dataclass(frozen=True)
class Finding:
    """One device that was not always accepted, in words."""

    device: str
    role: str
    times: str
    reasons: str
    sentence: str


@dataclass(frozen=True)
class VerdictMap:
    """Rows of ``(device, role, cells)``; ``counts`` of ``(action, words, times)``; ``others`` counts devices left
    out because every update was accepted.
    """

    columns: tuple[str, ...]
    counts: tuple[tuple[str, str, int], ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    others: int
    findings: tuple[Finding, ...]
    log: tuple[tuple[str, str, str, str], ...]


def verdict_map(
    verdicts: Sequence[Mapping[str, Any]],
    rounds: int,
    *,
    kept_out: Mapping[int, Collection[str]],
    attackers: Sequence[str] | None,
) -> VerdictMap | None:
    """The map of the first ``rounds`` rounds; None when nobody was judged.

    Args:
        verdicts: lines of ``verdicts.jsonl``.
        rounds: finished rounds.
        kept_out: by round, devices in quarantine after it; in later rounds they are not even asked.
        attackers: who was hostile, when the simulation told; None while it has not.
    """
    found = {(v["device"], v["round"]): v for v in verdicts}
    for number, absent in kept_out.items():
        for device in absent:
            found.setdefault((device, number), _kept_out(device, number))
    if not found or not rounds:
        return None
    devices = sorted({device for device, _ in found})
    judged = {device for (device, _), v in found.items() if v["action"] in _TOLD}
    trouble = Counter(device for (device, _), v in found.items() if v["action"] != "accept")
    times = Counter(v["action"] for v in found.values())
    devices.sort(key=lambda device: (-trouble[device], device))
    every = -(-rounds // MOST_COLUMNS)
    spans = [range(start, min(start + every, rounds + 1)) for start in range(1, rounds + 1, every)]
    most_rows = max(len(trouble), MOST_CELLS // len(spans))
    shown = devices[:most_rows]
    return VerdictMap(
        columns=tuple(str(span[0]) if _labelled(i, len(spans)) else "" for i, span in enumerate(spans)),
        counts=tuple((action, words, times[action]) for action, words in WORDS.items() if times[action]),
        rows=tuple(
            (device, _role(device, attackers), tuple(_cell(device, span, found) for span in spans)) for device in shown
        ),
        others=len(devices) - len(shown),
        findings=tuple(_finding(device, found, attackers) for device in devices if device in judged),
        log=tuple(
            (str(v["round"]), v["device"], WORDS[v["action"]], _sentences(v))
            for _, v in sorted(found.items(), key=lambda item: (item[1]["round"], item[0][0]))
            if v["action"] in _TOLD
        )[:MOST_CELLS],
    )


def _labelled(index: int, count: int) -> bool:
    step = 5 if count > 8 else 1
    return index == 0 or ((index + 1) % step == 0 and index + 1 >= step)


def _cell(device: str, span: range, found: Mapping[tuple[str, int], Mapping[str, Any]]) -> Cell:
    here = [found[device, number] for number in span if (device, number) in found]
    if not here:
        return Cell("", "", f"Round {span[0]}, {device}: not asked")
    worst = max(here, key=lambda v: ORDER[v["action"]])
    tip = f"Round {worst['round']}, {device}: {WORDS[worst['action']]}\n{_sentences(worst)}".rstrip()
    return Cell(worst["action"], "×" if worst["action"] == "drop" else "", tip)


def _role(device: str, attackers: Sequence[str] | None) -> str:
    return "attacker" if attackers and device in attackers else ""


def _finding(
    device: str, found: Mapping[tuple[str, int], Mapping[str, Any]], attackers: Sequence[str] | None
) -> Finding:
    own = [v for (name, _), v in sorted(found.items(), key=lambda item: item[0][1]) if name == device]
    own = [v for v in own if v["action"] != "out"]
    bad = [v for v in own if v["action"] != "accept"]
    reasons = Counter(reason for v in bad for reason in v["reasons"])
    role = "unknown" if attackers is None else ("attacker" if device in attackers else "honest")
    telling = next((v for v in bad if v["scores"]), bad[0])
    return Finding(
        device=device,
        role=role,
        times=f"{len(bad)} of {len(own)}, first in round {bad[0]['round']}",
        reasons=", ".join(f"{reason.replace('_', ' ')} ×{count}" for reason, count in reasons.most_common()),
        sentence=_sentences(telling, telling_only=True).replace("\n", " "),
    )


def _kept_out(device: str, number: int) -> dict[str, Any]:
    return {"device": device, "round": number, "action": "out", "reasons": ["in quarantine, not asked"], "scores": []}


def _sentences(verdict: Mapping[str, Any], *, telling_only: bool = False) -> str:
    """What the detectors said, those that decided first, or only those."""
    scores = sorted(verdict["scores"], key=lambda score: score["detector"] not in verdict["reasons"])
    deciding = [score for score in scores if score["detector"] in verdict["reasons"]]
    said = [score["sentence"] for score in (deciding or scores if telling_only else scores) if score["sentence"]]
    return "\n".join(said or [reason.replace("_", " ") for reason in verdict["reasons"]])

"""Vectors of ledgers: entries with hashes, roots, receipts and ε; files that are refused; debits that are refused."""

import json
from collections.abc import Iterator
from typing import Any

from skerry.errors import LedgerCorruptError, RefusedError
from skerry.security.privacy import chain
from skerry.security.privacy.accounting import GaussianEvent, epsilon_from_rdp, rdp
from skerry.security.privacy.chain import GENESIS, Entry, erased, line, walk
from skerry.security.privacy.filter import check_clock, check_debit
from skerry.security.privacy.receipt import Receipt
from skerry.security.privacy.spending import CLOCK_SLACK_MS, Policy, debit_body, policy_body, replay
from skerry.security.privacy.verification import tree_of

__all__ = ["make"]

_AT = 1_800_000_000_000
_DEVICE = "writer-00"
_POLICY = Policy(
    unit="example", epsilon=8.0, delta=1e-5, simulated=False, min_separation=2, max_participations=5, data="ab"
)
_NOISE = GaussianEvent(12.345, 1.0, 20)

_AWKWARD: dict[str, Any] = {
    "floats": [
        0.0,
        -0.0,
        1.0,
        0.1,
        1e-4,
        1e-5,
        123456789012345680.0,
        1e15,
        1e16,
        1e22,
        1.5e300,
        5e-324,
        -2.5e-7,
        1e100,
    ],
    "integers": [0, -1, 2**53, 2**64, -(2**70)],
    "texts": ["ü€𝄞", '"\\/\b\f\n\r\t\u0001\u007f\u2028', ""],
    "": None,
    "nested": {"b": [True, False, {}], "a": [], "Z": {"10": 1, "9": 2}},
    "\ue000": "sorts before",
    "\U0001f600": "and after",
}


def make() -> dict[str, Any]:
    """The file's content."""
    ledger = _ledger()
    tree = tree_of(ledger)
    debits = [entry for entry in ledger if entry.kind == "debit"]
    return {
        "source": "security/privacy/{chain,spending,filter,receipt}.py, security/transparency/merkle.py",
        "subject": _DEVICE,
        "lines": [line(entry).decode() for entry in ledger],
        "entries": [
            {
                "seq": entry.seq,
                "kind": entry.kind,
                "hash": entry.hash,
                "commitment": entry.commitment,
                "root": tree.root(entry.seq + 1).hex(),
            }
            for entry in ledger
        ],
        "receipts": [_receipt(entry, tree.root(entry.seq + 1).hex()) for entry in debits],
        "epsilon": _shown(replay(ledger).spending.epsilon(_POLICY.delta)),
        "broken": _broken(ledger),
        "prices": [_price(events) for events in _SEQUENCES],
        "free": [{"given": _price(events)["events"]} for events in _FREE if _free(events)],
        "asked": [_asked(*case) for case in _debits()],
    }


def _ledger() -> list[Entry]:
    """A ledger of every kind of entry, with salts that are known."""
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("policy", policy_body("device", _DEVICE, _POLICY)),
        ("debit", debit_body("digits-1", 1, _NOISE, "0a" * 32, "")),
        ("awkward", _AWKWARD),
        ("debit", debit_body("digits-1", 3, GaussianEvent(10.0), "0b" * 32, "")),
        ("member", {"name": "somebody"}),
        ("erasure", {"entries": [4]}),
        ("debit", debit_body("digits-2", 1, GaussianEvent(3.0, 0.25, 4), "0c" * 32, "5 rounds, 1 apart")),
    ]
    made: list[Entry] = []
    for seq, (kind, body) in enumerate(bodies):
        prev = made[-1].hash if made else GENESIS
        plain = json.loads(json.dumps(body))
        made.append(chain._whole(seq, prev, kind, _AT + seq, plain, bytes([seq] * 16).hex()))
    made[4] = erased(made[4])
    return made


def _receipt(entry: Entry, root: str) -> dict[str, Any]:
    kept = Receipt(entry.body["run"], entry.body["round"], _DEVICE, entry.hash, entry.seq + 1, root)
    return {"seq": entry.seq, "digest": kept.digest.hex()}


def _broken(ledger: list[Entry]) -> list[dict[str, Any]]:
    lines = [line(entry).decode() for entry in ledger]
    one = lines[1]
    first_format = json.loads(one)
    del first_format["salt"]
    changed: dict[str, list[str]] = {
        "nothing is wrong": lines,
        "a figure in a body": [lines[0], one.replace("12.345", "12.346")],
        "a date": [lines[0], one.replace(f'"at":{_AT + 1}', f'"at":{_AT + 2}')],
        "an entry left out": [lines[0], *lines[2:]],
        "two entries in each other's place": [lines[0], lines[2], one],
        "the first entry missing": lines[1:],
        "a space": [lines[0], one.replace(",", ", ", 1)],
        "a float written otherwise": [lines[0], one.replace("12.345", "12.3450")],
        "an integer where a float was": [lines[0], one.replace('"sampling_rate":1.0', '"sampling_rate":1')],
        "a salt in capitals": [lines[0], one.replace("01" * 16, "0A" * 16)],
        "a field more": [lines[0], one.replace("{", '{"a":1,', 1)],
        "a key twice": [lines[0], one.replace("{", f'{{"at":{_AT + 1},', 1)],
        "a character that need not be escaped": [*lines[:2], lines[2].replace('"Z"', '"\\u005a"')],
        "a character that must be escaped": [*lines[:2], lines[2].replace("\\u00fc", "ü")],
        "no JSON": [lines[0], "{\n"],
        "a list": [lines[0], "[]\n"],
        "not a number": [lines[0], one.replace("12.345", "NaN")],
        "a number beyond all": [lines[0], one.replace("12.345", "1e999")],
        "a debit that was erased": [lines[0], _erased_line(ledger[1])],
        "another commitment of an erased entry": [*lines[:4], lines[4].replace(ledger[4].commitment, "00" * 32)],
        "a number that is true": [lines[0], one.replace('"seq":1', '"seq":true')],
        "the first format": [lines[0], json.dumps(first_format, sort_keys=True, separators=(",", ":")) + "\n"],
    }
    policy, debit = policy_body("device", _DEVICE, _POLICY), debit_body("r", 1, _NOISE, "", "")
    changed |= {
        "no entries": [],
        "no policy": _chained(("debit", debit)),
        "two policies": _chained(("policy", policy), ("policy", policy)),
        "a policy that is none": _chained(("policy", policy | {"epsilon": 0})),
        "a policy of another accountant": _chained(("policy", policy | {"accountant": "moments"})),
        "a debit without a round": _chained(("policy", policy), ("debit", {"run": "r", "event": None})),
        "noise that is none": _chained(("policy", policy), ("debit", debit | {"event": {"noise_multiplier": 0.0}})),
        "an erasure of what is to come": _chained(("policy", policy), ("erasure", {"entries": [1]})),
        "an erasure": _chained(("policy", policy), ("erasure", {"entries": [0]})),
    }
    wrong_policies: dict[str, dict[str, Any]] = {
        "another scope": {"scope": "person"},
        "a scope that is a list": {"scope": []},
        "a subject that is a number": {"subject": 0},
        "a unit that is a list": {"unit": []},
        "data that are null": {"data": None},
        "a simulation that is a number": {"simulated": 5},
        "an ε that is true": {"epsilon": True},
        "a δ that is a text": {"delta": "1e-5"},
        "a separation that is a float": {"min_separation": 2.0},
        "a separation of 2^53": {"min_separation": 2**53},
        "participations that are true": {"max_participations": True},
    }
    wrong_debits: dict[str, dict[str, Any]] = {
        "a run that is a number": {"run": 0},
        "a round that is a float": {"round": 2.5},
        "a round that is a whole float": {"round": 2.0},
        "a round that is true": {"round": True},
        "a round before all": {"round": -1},
        "a round of 2^53": {"round": 2**53},
        "an event that is a list": {"event": []},
        "an event that is false": {"event": False},
    }
    wrong_events: dict[str, dict[str, Any]] = {
        "steps and a half": {"steps": 2.5},
        "steps that are a whole float": {"steps": 2.0},
        "steps without number": {"steps": 1e300},
        "steps that are true": {"steps": True},
        "2^53 steps": {"steps": 2**53},
        "noise that is true": {"noise_multiplier": True},
        "noise that is a text": {"noise_multiplier": "3"},
        "noise of four hundred digits": {"noise_multiplier": 10**400},
        "a rate that is true": {"sampling_rate": True},
        "a rate that is null": {"sampling_rate": None},
        "another field": {"delta": 0.1},
    }
    changed |= {
        f"a policy without {left_out}": _chained(("policy", {k: v for k, v in policy.items() if k != left_out}))
        for left_out in policy
    }
    changed |= {why: _chained(("policy", policy | wrong)) for why, wrong in wrong_policies.items()}
    changed |= {why: _chained(("policy", policy), ("debit", debit | wrong)) for why, wrong in wrong_debits.items()}
    changed |= {
        why: _chained(("policy", policy), ("debit", debit | {"event": debit["event"] | wrong}))
        for why, wrong in wrong_events.items()
    }
    return [{"why": why, "given": given, "reason": _reason(given)} for why, given in changed.items()]


def _chained(*bodies: tuple[str, dict[str, Any]]) -> list[str]:
    made: list[Entry] = []
    for seq, (kind, body) in enumerate(bodies):
        made.append(chain._whole(seq, made[-1].hash if made else GENESIS, kind, _AT, body, bytes(16).hex()))
    return [line(entry).decode() for entry in made]


def _erased_line(entry: Entry) -> str:
    fields = {
        "at": entry.at,
        "commitment": entry.commitment,
        "hash": entry.hash,
        "kind": entry.kind,
        "prev": entry.prev,
        "seq": entry.seq,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n"


def _reason(lines: list[str]) -> str:
    try:
        replay(walk("".join(lines).encode()))
    except LedgerCorruptError as error:
        return error.reason
    return ""


_SEQUENCES: list[list[GaussianEvent]] = [
    [GaussianEvent(1.0)],
    [GaussianEvent(5.0, 1.0, 20), GaussianEvent(12.5, 1.0, 100)],
    [GaussianEvent(0.3, 1.0, 1)],
    [GaussianEvent(10_000.0, 1.0, 1)],
    [GaussianEvent(1.1, 0.01, 1000)],
    [GaussianEvent(2.0, 0.5, 10), GaussianEvent(4.0, 1.0, 3)],
]
_FREE = [[GaussianEvent(1.0, 0.0, 5)], [GaussianEvent(1.0, 0.001, 0)], [GaussianEvent(1e6)]]


def _price(events: list[GaussianEvent]) -> dict[str, Any]:
    epsilons = {f"{delta:g}": _shown(epsilon_from_rdp(sum(map(rdp, events)), delta)[0]) for delta in (1e-5, 1e-8, 0.5)}
    return {
        "events": [[event.noise_multiplier, event.sampling_rate, event.steps] for event in events],
        "epsilons": epsilons,
    }


def _free(events: list[GaussianEvent]) -> bool:
    assert epsilon_from_rdp(sum(map(rdp, events)), 0.01)[0] == 0
    return True


def _shown(value: float) -> str:
    """To nine digits: logarithms differ in the last ones between machines."""
    return f"{value:.8e}"


def _debits() -> Iterator[tuple[str, str, int, GaussianEvent | None, int]]:
    quiet, loud = GaussianEvent(50.0, 1.0, 1), GaussianEvent(0.5, 1.0, 1)
    yield "let through", "digits-1", 5, quiet, 0
    yield "the round again", "digits-1", 3, quiet, 0
    yield "the round after", "digits-1", 4, quiet, 0
    yield "the round before", "digits-1", 2, quiet, 0
    yield "the same number in another run", "digits-3", 3, quiet, 0
    yield "without noise", "digits-1", 9, None, 0
    yield "more than is left", "digits-1", 9, loud, 0
    yield "a clock that is a little slow", "digits-1", 9, quiet, CLOCK_SLACK_MS
    yield "a clock that was set back", "digits-1", 9, quiet, CLOCK_SLACK_MS + 1


def _asked(why: str, run: str, round_: int, event: GaussianEvent | None, back: int) -> dict[str, Any]:
    account = replay(_ledger())
    now = account.last.at - back
    try:
        check_debit(account, run, round_, event)
        check_clock(account, now)
        reason = ""
    except RefusedError as error:
        reason = str(error.reason)
    given = None if event is None else [event.noise_multiplier, event.sampling_rate, event.steps]
    return {"why": why, "given": {"run": run, "round": round_, "event": given, "now": now}, "reason": reason}

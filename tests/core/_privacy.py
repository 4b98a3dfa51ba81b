"""A run whose ledgers were rewritten, and what verifying it says."""

import json
from pathlib import Path


def verify(skerry) -> tuple[int, dict]:
    result = skerry("privacy", "verify", "latest", "--json")
    return result.exit_code, json.loads(result.stdout)


def rewrite(path: Path, change) -> None:
    """A chain whose hashes fit, written by somebody who knows the format."""
    from skerry.security.privacy.chain import GENESIS, entry, line, walk

    prev, lines = GENESIS, []
    for old in walk(path.read_bytes()):
        made = entry(old.seq, prev, old.kind, old.at, change(old.kind, json.loads(json.dumps(old.body))))
        prev = made.hash
        lines.append(line(made))
    path.write_bytes(b"".join(lines))


def resign(run: Path) -> None:
    """What a coordinator does who lies: it has the key."""
    from skerry.security.identity import Identity
    from skerry.security.privacy.verification import read_entries, tree_of, verify_ledger
    from skerry.security.transparency.note import NoteSigner
    from skerry.security.transparency.publisher import Publisher

    population = run / "ledger" / "population.jsonl"
    state = verify_ledger(population, pld=False).checkpoint
    signer = NoteSigner(state.origin, Identity.load(run / "fleet" / "coordinator.json").signing)
    Publisher(run / "ledger" / "published").publish(tree_of(read_entries(population)[0]), state, signer)

"""One target of :mod:`_readers` under atheris, which searches for inputs that reach new lines of our code.

``python _guided.py TARGET RUNS SEED REPORT`` feeds RUNS inputs and writes what came of them to REPORT: atheris ends the
process by itself. The bytes that it makes are signed as a known sender would, so that the search goes on behind it.
"""

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["skerry.security", "skerry.device.protocol", "skerry.canonical"]):
    from _fuzzing import ACCEPTED, Tally, feed
    from _readers import targets


def main(number: str, runs: str, seed: str, report: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="skerry-guided-", dir=Path(report).parent))
    target, tally = targets(folder)[int(number)], Tally()
    genuine = set(target.seeds)

    def one(data: bytes) -> None:
        signed = target.sign(data)
        if signed not in genuine:
            tally.inputs += 1
            feed(target, signed, tally, counted=False)
        if tally.inputs >= int(runs):
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            told = {"inputs": tally.inputs, "reasons": tally.reasons, "wrong": tally.wrong[:20], "peak_mb": peak_mb}
            Path(report).write_text(json.dumps(told), encoding="utf-8")
            os._exit(0)  # an ordinary exit inside of a target is a finding to atheris

    corpus = folder / "corpus"
    corpus.mkdir()
    for index, inside in enumerate(target.inside):
        (corpus / str(index)).write_bytes(inside)
    assert target.read(target.seeds[0]) in {ACCEPTED, "as_signed", "as_said"}
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-seed={seed}", "-max_len=4096", "-rss_limit_mb=1024", "-verbosity=0"],
        one,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

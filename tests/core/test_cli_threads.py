"""A command computes in one thread, unless whoever starts it wants more."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from skerry.cli import main
assert "numpy" not in sys.modules
sys.argv = ["skerry", "--help"]
try:
    main()
except SystemExit:
    pass
import numpy
from threadpoolctl import threadpool_info
print("threads", *{pool["num_threads"] for pool in threadpool_info()})
"""
NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has one thread anyway")
@pytest.mark.parametrize(("wanted", "found"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_blas_has_one_thread_unless_more_are_asked_for(wanted: dict[str, str], found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | wanted
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert told.stdout.splitlines()[-1] == f"threads {found}"

"""Commands whose streams were closed before they began, as a service's may be."""

import subprocess
import sys
from pathlib import Path

import pytest

OPENING = """
import os, sys
from skerry.cli import main
sys.argv = ["skerry", "runs", "list", "--runs-dir", sys.argv[1]]
try:
    main()
except SystemExit as end:
    found = os.open(os.path.join(sys.argv[-1], "number"), os.O_WRONLY | os.O_CREAT)
    os.write(found, b"%d %d" % (found, end.code))
"""


def without(closed: str, folder: Path) -> str:
    """What a command and its program wrote with some streams closed: the first number for a file, and the code."""
    called = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, OPENING, str(folder)]
    subprocess.run(called, check=False, timeout=180, capture_output=True)
    return (folder / "number").read_text()


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_does_its_work_and_no_file_gets_the_number_of_a_stream(closed: str, tmp_path: Path) -> None:
    number, code = map(int, without(closed, tmp_path).split())
    assert number > 2
    assert code == 0

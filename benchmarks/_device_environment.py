"""An environment of its own with `.[device]`, as a device has it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from _harness import ROOT, NotMeasuredError, progress


def device_environment(folder: Path) -> Path:
    """A fresh environment with ``.[device]``, built from a copy of the sources: pip writes beside what it builds."""
    source, home = folder / "source", folder / "venv"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        raise NotMeasuredError("the sources are not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    progress("pip install .[device] in a fresh environment")
    commands: Sequence[Sequence[str | Path]] = (
        [sys.executable, "-m", "venv", home],
        [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", f"{source}[device]"],
    )
    for command in commands:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasuredError(f"{command[0]} failed: {done.stderr.strip()[-1000:]}")
    return home / "bin" / "python"


def site_packages(python: Path) -> Path:
    """Where an environment's packages lie."""
    return next((python.parents[1] / "lib").glob("python*/site-packages"))


def bytes_in(folder: Path) -> int:
    """Of all files of a site-packages folder but those of pip, setuptools and compiled caches."""
    skipped = ("pip", "setuptools", "_distutils_hack", "distutils-precedence", "pkg_resources")
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.relative_to(folder).parts[0].startswith(skipped)
    )

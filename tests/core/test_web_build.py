"""Who has no fitting node is told so and works on; continuous integration does not pass without it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(tmp_path, *, node="", npm=True, ci="", target="web-check"):
    """``make target`` on a machine whose node says that version, without node where it says none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("make", "sh", "sed", "dirname"):
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    programs = {"node": f"#!/bin/sh\necho {node}\n"} if node else {}
    programs |= {"npm": "#!/bin/sh\nexit 1\n"} if npm else {}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"PATH": str(folder), "CI": ci}
    done = subprocess.run(
        ["make", "-f", "Makefile", target],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return done.returncode, done.stdout + done.stderr


UNFIT = [
    ("", False, "node with npm is not installed"),
    ("v22.13.0", False, "node with npm is not installed"),
    ("", True, "node with npm is not installed"),
    *((node, True, f"node {node} is installed") for node in ("v18.20.4", "v20.18.3", "v21.7.0", "v22.12.0", "v23.5.0")),
]


@pytest.mark.parametrize(("node", "npm", "said"), UNFIT)
@pytest.mark.parametrize("target", ["web-check", "web-test"])
def test_where_no_node_fits_the_rest_goes_on_and_it_is_said(tmp_path, target, node, npm, said):
    code, output = make(tmp_path, node=node, npm=npm, target=target)
    assert (code, "neither checked nor tested" in output, said in output) == (0, True, True)


@pytest.mark.parametrize(("node", "npm", "said"), UNFIT)
def test_continuous_integration_does_not_pass_without_a_node_that_fits(tmp_path, node, npm, said):
    code, output = make(tmp_path, node=node, npm=npm, ci="1")
    assert code != 0
    assert said in output


@pytest.mark.parametrize("node", ["v20.19.0", "v20.20.2", "v22.13.0", "v24.0.0", "v26.1.0"])
def test_where_a_node_fits_it_is_used(tmp_path, node):
    code, output = make(tmp_path, node=node)
    assert code != 0  # this npm does nothing but fail
    assert "npm" in output
    assert "neither checked nor tested" not in output

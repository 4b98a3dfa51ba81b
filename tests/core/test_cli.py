"""The command line's edges: help at once, one boxed message, the right exit code, one JSON document."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.cli import boundary
from skerry.errors import BudgetExceededError, InterruptedRunError, RunFailedError
from skerry.runfolder import RunFolder

COMMANDS = {
    "demo", "device", "run", "runs", "report", "fleet", "model", "privacy", "release", "security", "server", "top",
    "doctor",
}  # fmt: skip
SKERRY = Path(sys.executable).parent / "skerry"


def _box(text: str) -> str:
    """The one box of an error, as its lines without the frame."""
    lines = text.strip().splitlines()
    tops = [i for i, line in enumerate(lines) if line.startswith("╭")]
    ends = [i for i, line in enumerate(lines) if line.startswith("╰")]
    assert len(tops) == len(ends) == 1, text
    return lines[tops[0]] + "\n" + "\n".join(line.strip("│ ").rstrip() for line in lines[tops[0] + 1 : ends[0]])


def test_only_commands_that_work_are_registered() -> None:
    from typer.main import get_command

    from skerry.cli import app

    root = get_command(app)
    assert set(root.commands) == COMMANDS
    assert set(root.commands["runs"].commands) == {"list", "show", "open", "compare", "pause", "resume", "log-mlflow"}
    assert set(root.commands["privacy"].commands) == {"audit", "forget", "plan", "prove", "show", "verify", "witness"}
    served = {"up", "status", "stop", "backup", "restore", "metrics", "console", "registry"}
    assert set(root.commands["server"].commands) == served
    assert set(root.commands["server"].commands["registry"].commands) == {"show", "move", "downgrade"}
    released = {"init", "publish", "list", "verify", "fetch", "rollback", "renew", "rotate", "prune"}
    assert set(root.commands["release"].commands) == released
    assert set(root.commands["security"].commands) == {"attack", "keys", "log", "scan"}
    assert set(root.commands["security"].commands["log"].commands) == {"list", "prove", "verify", "copy"}
    assert set(root.commands["security"].commands["keys"].commands) == {"status", "rotate", "unlock"}
    assert set(root.commands["fleet"].commands) == {
        "list", "show", "quarantine", "appeal", "invite", "approve", "deny", "revoke", "forget", "tag", "plan",
        "console",
    }  # fmt: skip
    assert set(root.commands["device"].commands) == {
        "enrol", "run", "status", "pause", "leave", "forget", "doctor", "tell",
    }  # fmt: skip
    assert set(root.commands["model"].commands) == {"bench", "build", "compress", "evaluate", "export", "fit", "show"}


def test_help_loads_nothing_heavy() -> None:
    heavy = "torch numpy pydantic flwr jinja2 onnxruntime scipy dp_accounting cryptography sqlalchemy"
    code = f"import sys, skerry.cli; found = set('{heavy}'.split()) & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_command_has_help(skerry) -> None:
    for command in sorted(COMMANDS):
        result = skerry(command, "--help")
        assert result.exit_code == 0
        assert "Usage: skerry" in result.stdout


def test_version(skerry) -> None:
    from skerry import __version__

    assert skerry("--version").stdout == f"skerry {__version__}\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["demo", "--set", "privacy.epsilonn=3"], "did you mean 'privacy.epsilon'?"),
        (["demo", "--set", "rounds=0"], "rounds"),
        (["demo", "--set", "seed=zero"], "seed"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["demo", "--engine", "cloud"], "inprocess"),
        (["runs", "show", "nothing"], "skerry demo"),
        (["demo", "surplus"], "see `skerry demo --help`"),
        (["rusn"], "see `skerry --help`"),
    ],
)
def test_bad_input_is_one_box_and_exit_code_2(args: list[str], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [SKERRY, *args], cwd=tmp_path, capture_output=True, text=True, check=False, env={"SKERRY_RUNS_DIR": "runs"}
    )
    assert done.returncode == 2
    assert done.stdout == ""
    box = _box(done.stderr)
    assert box.startswith("╭─ bad input")
    assert "where" in box
    assert "mend" in box
    assert told in box
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_as_json_is_one_document_on_stdout_and_a_box_on_stderr(skerry) -> None:
    result = skerry("demo", "--json", "--set", "rouns=3")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": {
            "kind": "scenario",
            "reason": None,
            "what": "unknown key 'rouns'",
            "where": "the default scenario",
            "mend": "did you mean 'rounds'?",
            "exit_code": 2,
        }
    }
    assert "rouns" in _box(result.stderr)


@pytest.mark.parametrize(
    ("error", "code", "title"),
    [
        (RunFailedError("a round failed", where="round 3", mend="look there"), 1, "failed"),
        (BudgetExceededError("budget_exceeded", "too much", where="writer-00", mend="fewer rounds"), 3, "refused"),
        (PermissionError(13, "Permission denied", "/somewhere"), 1, "failed"),
        (ZeroDivisionError("by zero"), 1, "fault in skerry"),
        (ModuleNotFoundError("No module", name="sqlalchemy.orm"), 2, "bad input"),
        (ModuleNotFoundError("No module", name="skerry.nothing"), 1, "fault in skerry"),
    ],
)
def test_what_a_run_raises_ends_in_one_box(skerry, monkeypatch, error: Exception, code: int, title: str) -> None:
    def launch(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("skerry.server.launch.launch", launch)
    quiet, debug, as_json = skerry("demo"), skerry("demo", "--debug"), skerry("demo", "--json")
    assert quiet.exit_code == debug.exit_code == as_json.exit_code == code
    assert _box(quiet.stderr).startswith(f"╭─ {title}")
    assert "Traceback" not in quiet.output
    assert "Traceback" in debug.stderr
    told = json.loads(as_json.stdout)["error"]
    assert told["exit_code"] == code
    assert told["reason"] == getattr(error, "reason", None)


def test_an_interrupted_run_says_what_is_kept_and_how_to_see_it(sample, skerry, monkeypatch, tmp_path: Path) -> None:
    kept: list[RunFolder] = []

    def launch(scenario: object, *, engine: str, parent: Path, on_folder, processes: int = 1) -> RunFolder:
        kept.append(sample.build(parent, state="interrupted", rounds_done=3))
        on_folder(kept[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("skerry.server.launch.launch", launch)
    result = skerry("demo", "--runs-dir", tmp_path)
    assert result.exit_code == 1
    box = _box(result.stderr)
    assert "3 of 20 rounds" in box
    assert f"skerry runs show {kept[0].id}" in box
    assert skerry("runs", "show", kept[0].id, "--runs-dir", tmp_path).exit_code == 0


def test_ctrl_c_before_the_run_is_an_error_like_any_other(skerry, monkeypatch) -> None:
    def launch(*args: object, **kwargs: object) -> None:
        raise InterruptedRunError("interrupted")

    monkeypatch.setattr("skerry.server.launch.launch", launch)
    result = skerry("demo")
    assert result.exit_code == 1
    assert "nothing was written" in _box(result.stderr)


def test_ctrl_c_in_any_other_command_is_one_box_too(skerry, monkeypatch, run: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skerry.server.report.write_report", interrupt)
    result = skerry("report", run.name)
    assert result.exit_code == 1
    assert "Ctrl-C" in _box(result.stderr)


def test_who_presses_ctrl_c_while_it_is_told_gets_an_exit_code_and_no_traceback(skerry, monkeypatch, run: Path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "open", interrupt)
    monkeypatch.setattr(boundary, "note", interrupt)
    result = skerry("runs", "show", str(run))
    assert (result.exit_code, result.stderr) == (1, "")
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_who_has_no_room_for_words_gets_the_exit_code_all_the_same(stream: str, tmp_path: Path) -> None:
    number = {"stdout": 1, "stderr": 2}[stream]
    command = f"{SKERRY} runs show nothing --json --runs-dir {tmp_path} {number}>/dev/full"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "there is no run 'nothing'" in (result.stderr if stream == "stdout" else result.stdout)


def test_a_full_disk_says_so_where_the_answer_goes(tmp_path: Path) -> None:
    command = f"{SKERRY} runs list --json --runs-dir {tmp_path} >/dev/full"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "free some space" in _box(result.stderr)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "."],
        ["run", "binary"],
        ["release", "init", "."],
        ["device", "status", "--home", "none"],
        ["server", "restore", "none"],
        ["server", "restore", "binary", "--check"],
    ],
)
def test_what_names_the_wrong_file_is_told_which_to_name(skerry, monkeypatch, tmp_path: Path, command) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKERRY_BACKUP_PASSPHRASE", "correct horse battery")
    (tmp_path / "binary").write_bytes(b"\xff" * 100)
    result = skerry(*command, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["where"]
    assert error["mend"]


def test_a_finished_run_ends_with_its_figures_and_where_to_go_on(skerry, monkeypatch, run: Path) -> None:
    def launch(scenario: object, *, engine: str, parent: Path, on_folder, processes: int = 1) -> RunFolder:
        assert engine == "inprocess"
        folder = RunFolder(run)
        on_folder(folder)
        return folder

    monkeypatch.setattr("skerry.server.launch.launch", launch)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    shown, as_json = skerry("demo"), skerry("demo", "--json", "--open")
    assert shown.exit_code == as_json.exit_code == 0
    for told in ("65.3 % → 82.4 %", "without privacy", "δ = 1e-5, example level, add/remove", "2 of 2 attackers"):
        assert told in shown.stdout
    assert f"skerry privacy verify {run.name}" in shown.stdout
    assert (run / "report.html").is_file()
    assert json.loads(as_json.stdout) == json.loads((run / "result.json").read_text())
    assert as_json.stderr.strip() == str(run / "report.html")


def _all_commands(command, name: str = "skerry"):
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from _all_commands(below, f"{name} {word}")


def test_help_says_all_of_its_words_and_takes_none_for_markup() -> None:
    from rich.text import Text
    from typer.main import get_command

    from skerry.cli import app

    seen = 0
    for name, command in _all_commands(get_command(app)):
        for said in [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]:
            if said:
                seen += "[" in said
                assert Text.from_markup(said).plain == said.replace("\\[", "["), name
    assert seen > 10  # words in brackets, of which Rich shows nothing unless they are escaped

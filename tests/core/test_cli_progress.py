"""Live progress reads what the run writes, and can never stop it."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from skerry.cli.follow import Follower, RunWatch, Snapshot
from skerry.cli.progress import LiveView, NoticesView, PlainView, dashboard, view_for
from skerry.runfolder import RunFolder


def _text(renderable: object, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def _now(sample) -> int:
    return sample.NOW + 900 * 3 + 100


def test_a_look_reads_only_what_is_new_and_waits_for_a_torn_line(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=3)
    path = folder.path / "rounds.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:50])
    watch = RunWatch(folder, lambda: _now(sample))
    assert [r.round for r in watch.look().rounds] == [1]
    assert [r.round for r in watch.look().rounds] == [1]
    with path.open("ab") as file:
        file.write(lines[1][50:] + lines[2])
    snapshot = watch.look()
    assert [r.round for r in snapshot.rounds] == [1, 2, 3]
    assert snapshot.base_accuracy == sample.BASE
    assert snapshot.flagged == ("writer-04", "writer-08")


def test_the_time_left_follows_the_pace_of_the_last_rounds(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=3)
    assert RunWatch(folder, lambda: _now(sample)).look().left_s == pytest.approx(0.9 * 17 - 0.1)
    folder.mark("finishing")
    assert RunWatch(folder, lambda: _now(sample)).look().left_s is None


def test_the_dashboard_tells_round_accuracy_budget_flags_and_bytes(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=3)
    shown = _text(dashboard(RunWatch(folder, lambda: _now(sample)).look()))
    qualified = "of 8 at δ = 1e-5, example level, add/remove"
    for told in ("3 of 20", "about 0:15 left", "base 65.3 %", qualified, "up 346 kB"):
        assert told in shown
    assert "writer-04 and writer-08" in shown


def test_the_dashboard_stands_before_the_first_round_and_without_privacy(sample, tmp_path: Path) -> None:
    empty = sample.build(tmp_path, state="running", rounds_done=0)
    assert "0 of 20" in _text(dashboard(RunWatch(empty, lambda: sample.NOW).look()))
    open_ = sample.build(tmp_path, ('privacy.unit="none"',), state="running", rounds_done=1)
    shown = _text(dashboard(RunWatch(open_, lambda: sample.NOW).look()))
    assert "no guarantee asked for" in shown
    assert "ε" not in shown


def test_plain_progress_is_one_line_a_round(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=3)
    console = Console(file=io.StringIO(), width=40)
    view, snapshot = PlainView(console), RunWatch(folder, lambda: _now(sample)).look()
    view.show(snapshot)
    view.show(snapshot)
    lines = console.file.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("round")]) == 3
    assert "accuracy" in lines[-1]
    assert "/8" in lines[-1]


def test_the_view_suits_the_place(tmp_path: Path) -> None:
    plain = Console(file=io.StringIO())
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    assert isinstance(view_for(plain, as_json=False), PlainView)
    assert isinstance(view_for(plain, as_json=True), NoticesView)
    live = view_for(terminal, as_json=True)
    assert isinstance(live, LiveView)
    live.close()


@pytest.mark.parametrize("view", [LiveView, NoticesView, PlainView])
def test_every_display_tells_each_notice_once(sample, tmp_path: Path, view: type) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=1)
    console = Console(file=io.StringIO(), width=200)
    shown, watch = view(console), RunWatch(folder, lambda: _now(sample))
    for sentence in ("not asked: writer-05", "not asked: writer-05", "the registry is damaged"):
        shown.show(watch.look())
        folder.notify(sentence)
    shown.show(watch.look())
    shown.show(watch.look())
    shown.close()
    text = console.file.getvalue()
    assert text.count("not asked: writer-05") == text.count("the registry is damaged") == 1


def test_a_follower_shows_the_last_round_and_outlives_a_broken_display(sample, tmp_path: Path) -> None:
    class Seen(NoticesView):
        snapshots: list[Snapshot] = []  # noqa: RUF012 - one view, one test

        def show(self, snapshot: Snapshot) -> None:
            self.snapshots.append(snapshot)

    class Broken(NoticesView):
        def show(self, snapshot: Snapshot) -> None:
            raise RuntimeError("no terminal")

    folder = sample.build(tmp_path, state="running", rounds_done=2)
    seen = Seen(Console(file=io.StringIO()))
    with Follower(seen, lambda: _now(sample), every_s=30) as follower:
        follower.watch(folder)
    assert [len(s.rounds) for s in seen.snapshots] == [2]
    with Follower(Broken(Console(file=io.StringIO())), lambda: _now(sample), every_s=0.001) as follower:
        follower.watch(folder)
        time.sleep(0.05)
    assert "no terminal" in str(follower.fault)


def test_progress_ends_quietly_when_the_folder_is_taken_away(sample, tmp_path: Path) -> None:
    import shutil

    folder = sample.build(tmp_path, state="running", rounds_done=1)
    with Follower(NoticesView(Console(file=io.StringIO())), lambda: _now(sample), every_s=0.001) as follower:
        follower.watch(RunFolder(folder.path))
        shutil.rmtree(folder.path)
        time.sleep(0.05)
    assert isinstance(follower.fault, FileNotFoundError)

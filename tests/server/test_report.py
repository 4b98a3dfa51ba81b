"""The report stands alone, is well formed, escapes every name, shows every plot, and never claims without evidence."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from skerry.cli.summary import defence_words
from skerry.errors import InputError, LedgerCorruptError
from skerry.result import load_result, write_result
from skerry.runfolder import RunFolder
from skerry.server.report import write_report
from skerry.server.report.facts import gather
from skerry.server.report.page import render

VOID = {"meta", "br", "hr", "img", "input", "link"}
LOADING = {"src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background", "ping"}


class Page(HTMLParser):
    """The page as elements; checks that every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def ids(self) -> list[str]:
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]

    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text)).replace("\u2011", "-")


@pytest.fixture(scope="module")
def text(finished: Path) -> str:
    return write_report(RunFolder(finished)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_is_well_formed_with_unique_ids_and_labels_that_exist(page: Page) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
        if str(attrs.get("href", "")).startswith("#"):
            assert attrs["href"][1:] in ids


def test_it_loads_nothing(text: str, page: Page) -> None:
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "img", "base", "form", "audio", "video"}
        for name in LOADING & attrs.keys():
            assert attrs[name].startswith("#"), (tag, name, attrs[name])
        assert not [name for name in attrs if name.startswith("on")]
        assert "url(" not in (attrs.get("style") or "")
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"https?://", text)
    assert "fetch(" not in text


def test_its_policy_lets_only_its_own_script_run(text: str, page: Page) -> None:
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_every_plot_is_there_with_its_figures_as_a_table(page: Page) -> None:
    ids = set(page.ids())
    assert {"accuracy-plot", "epsilon-plot", "bytes-plot", "devices", "verdicts", "cost", "evidence"} <= ids
    words = page.words()
    for legend in ("This run", "Base, public data only", "Without privacy", "Without defence", "Budget", "Up, from"):
        assert legend in words
    assert words.count("As a table") == 3
    keys = [attrs["class"].removeprefix("key k-") for _, attrs in page.elements if "key " in (attrs.get("class") or "")]
    assert keys == ["final", "base", "open", "bare", "final", "open", "budget", "final", "open"]
    lines = [attrs["class"] for _, attrs in page.elements if (attrs.get("class") or "").startswith("line s-")]
    assert lines.count("line s-device") == 11
    assert lines.count("line s-budget") == 1
    hits = [attrs["aria-label"] for tag, attrs in page.elements if attrs.get("class") == "hit"]
    assert len(hits) == 21 + 21 + 20
    assert "Without defence" in hits[5]


def test_epsilon_is_always_qualified(page: Page) -> None:
    words = page.words()
    assert "δ = 1e-5, example level, add/remove" in words.replace("\u00a0", " ")
    for name in ("What the guarantee says", "What it assumes", "What was simulated", "Noise came from a stream"):
        assert name in words


def test_each_device_is_shown_before_and_after_and_attackers_are_named(page: Page) -> None:
    rows = [attrs for tag, attrs in page.elements if tag == "li" and attrs.get("class") in {"held_out", "training"}]
    assert len(rows) == 14
    assert [row["class"] for row in rows[:3]] == ["held_out"] * 3
    assert page.words().count("attacker") >= 4


def test_it_says_of_how_many_training_devices_the_accuracy_was_measured(page: Page, finished: Path) -> None:
    assert "were measured" not in page.words()
    facts = gather(RunFolder(finished))
    quality = facts.result.quality
    some = {device: q for i, (device, q) in enumerate(quality.devices.items()) if q.role == "held_out" or i % 2}
    fewer = facts.result.model_copy(update={"quality": quality.model_copy(update={"devices": some})})
    assert f"Of 11 training devices {len(some) - 3} were measured" in Page(render(replace(facts, result=fewer))).words()


def test_the_map_has_a_cell_for_each_device_and_round_with_the_reason(page: Page) -> None:
    cells = [a for tag, a in page.elements if tag == "td" and (a.get("class") or "").startswith("cell ")]
    assert len(cells) == 11 * 20
    dropped = [cell["title"] for cell in cells if cell["class"] == "cell drop"]
    assert len(dropped) == 7
    assert any("points away from the others: cosine" in tip for tip in dropped)
    assert any("no reply" in tip for tip in dropped)


def test_a_figure_without_evidence_says_so(page: Page, finished: Path) -> None:
    words = page.words()
    evidence = json.loads((finished / "result.json").read_text())["evidence"]
    assert evidence["quality.final"]["leaf"][:12] in words
    assert "quality.base" not in evidence
    row = words.split("Accuracy before training")[1][:60]
    assert "no evidence" in row


def test_its_stated_size_is_its_size(text: str) -> None:
    stated = float(re.search(r"This page is ([\d.]+)\u00a0?\s?kB", text)[1])
    assert stated == pytest.approx(len(text.encode()) / 1000, abs=0.51)
    assert stated < 400


def test_every_name_is_escaped(sample, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    folder = sample.build(tmp_path, rename={"writer-05": evil, "writer-04": "<script>alert(2)"}, release=False)
    result = json.loads((folder.path / "result.json").read_text())
    result["defence"]["note"] = result["privacy"]["assumptions"][0] = "<script>alert(3)</script>"
    result["privacy"]["mechanism"] = "<b onmouseover=alert(4)>"
    result["run"]["versions"]["<svg onload=alert(5)>"] = "<u>"
    (folder.path / "result.json").write_text(json.dumps(result))
    verdicts = folder.path / "verdicts.jsonl"
    verdicts.write_text(verdicts.read_text().replace("points away", "<style>*{}</style> points away"))
    text = write_report(folder).read_text()
    page = Page(text)
    assert "<img" not in text
    assert len(re.findall(r"<script", text)) == 1
    assert len(re.findall(r"<style", text)) == 1
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert evil in " ".join(page.text)


@pytest.mark.parametrize(("state", "rounds"), [("interrupted", 4), ("failed", 1), ("interrupted", 0), ("running", 2)])
def test_a_run_that_is_not_complete_has_a_report_that_says_so(sample, tmp_path: Path, state: str, rounds: int) -> None:
    folder = sample.build(tmp_path, state=state, rounds_done=rounds)
    page = Page(write_report(folder).read_text())
    words = page.words()
    assert f"{rounds} of 20 rounds" in words
    assert ("the disk is full" in words.lower()) == (state == "failed")
    assert ("accuracy-plot" in page.ids()) == (rounds > 0)
    assert "evidence" not in page.ids()


def test_without_privacy_it_claims_none(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, ('privacy.unit="none"', "rounds=3"))
    page = Page(write_report(folder).read_text())
    words = page.words()
    assert "epsilon-plot" not in page.ids()
    assert "No privacy was asked for" in words
    assert "What the guarantee says" not in words
    assert "ε" not in words.replace("privacy.epsilon", "")


def test_who_was_not_asked_is_told_on_the_page_and_on_the_terminal(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, ("attack.devices=0", "rounds=3"))
    result = load_result(folder.path)
    out = result.defence.model_copy(update={"excluded": ("writer-05", "writer-06")})
    write_result(folder.path / "result.json", result.model_copy(update={"defence": out}))
    page = Page(write_report(folder).read_text())
    assert "writer-05 and writer-06 were not asked, in quarantine from earlier runs" in page.words()
    assert defence_words(out).endswith("; writer-05 and writer-06 not asked, in quarantine from before")


def test_a_clean_run_says_that_nobody_attacked(sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, ("attack.devices=0", "rounds=3"))
    page = Page(write_report(folder).read_text())
    assert "Nobody attacked" in page.words()
    assert "Without defence" not in page.words()
    assert "A curve without privacy or without defence is a whole run of the same scenario" in page.words()


@pytest.mark.parametrize("missing", ["verdicts.jsonl", "ledger", "release"])
def test_what_is_not_there_is_left_out(finished: Path, tmp_path: Path, missing: str) -> None:
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    target = path / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    Page(write_report(RunFolder(path)).read_text())


def test_a_changed_ledger_or_result_is_refused_and_the_old_report_stays(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    report = write_report(RunFolder(path))
    before = report.read_bytes()
    ledger = path / "ledger" / "devices" / "writer-00.jsonl"
    good = ledger.read_bytes()
    ledger.write_bytes(good.replace(b'"steps":1', b'"steps":0', 1))
    with pytest.raises(LedgerCorruptError):
        write_report(RunFolder(path))
    ledger.write_bytes(good)
    (path / "result.json").write_text("{}")
    with pytest.raises(InputError):
        write_report(RunFolder(path))
    assert report.read_bytes() == before


def test_epsilon_by_round_is_the_ledgers_own(finished: Path) -> None:
    facts = gather(RunFolder(finished))
    assert len(facts.epsilon) == 11
    for curve in facts.epsilon.values():
        assert curve == pytest.approx([record.epsilon_max for record in facts.rounds])


def test_a_large_run_stays_readable(finished: Path) -> None:
    """200 devices over 300 rounds: rows without trouble and lines beyond a bundle are told, not drawn."""
    facts = gather(RunFolder(finished))
    rounds = tuple(replace(facts.rounds[i % 20], round=i + 1) for i in range(300))
    honest = {"action": "accept", "reasons": [], "scores": [], "device": "", "round": 0}
    verdicts = tuple(
        honest | {"round": r.round, "device": f"d{i:03d}"} | ({"action": "drop", "reasons": ["norm"]} if i < 3 else {})
        for r in rounds
        for i in range(200)
    )
    curve = tuple(8 * i / 300 for i in range(1, 301))
    large = replace(facts, rounds=rounds, verdicts=verdicts, epsilon={f"d{i:03d}": curve for i in range(200)})
    text = render(large)
    page = Page(text)
    assert len(text) < 1_500_000
    assert "further devices: every update was accepted" in page.words()
    assert page.words().count("×300") == 3


def test_writing_is_atomic(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Callable[[], None]:
        raise OSError(28, "No space left on device")

    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    before = write_report(RunFolder(path)).read_bytes()
    monkeypatch.setattr("os.replace", fail)
    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(Exception, match="space"):
        write_report(RunFolder(path))
    assert (path / "report.html").read_bytes() == before
    assert not list(path.glob(".report*"))

"""What a run leaves in its federation's log can be checked against the run, and by whoever has the key alone."""

import html
import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app as cli
from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.security.envelope import envelope_digest
from skerry.server.conduct import conduct
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation_log import FOLDER, federation_log
from skerry.server.prepare import prepare
from skerry.server.report import write_report
from skerry.server.run_statements import enter_release, enter_run, instruction_of, round_digest, verdicts_by_round

from ._enrolment import NOW, Agent, Federation


class Watched(InProcessGrid):
    """Keeps what was sent."""

    def push_messages(self, messages):
        messages = list(messages)
        self.sent = getattr(self, "sent", [])
        self.sent += [m.content["skerry"]["envelope"] for m in messages if m.metadata.message_type == "train"]
        return super().push_messages(messages)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scenario = default_scenario(["rounds=2", "attack.devices=0", "report.references=false"])
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), scenario, engine="inprocess")
    prepare(folder, system_clock, process_worker())
    grid = Watched(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
    with task_identity(1):
        conduct(folder, grid, system_clock, flwr_run=1)
    return folder, grid.sent


def _asked(folder, entry):
    """The devices of a round's entry, as the run has them."""
    (line,) = (one for one in folder.lines("instructions.jsonl") if one["root"] == entry.body["root"])
    return sorted(line["sent"])


def test_a_runs_statements_are_what_it_did(run):
    folder, sent = run
    entries = federation_log(folder.path.parent, create=False).entries()
    assert [one.kind for one in entries] == ["instructions"] * 2 + ["verdicts"] * 2 + ["ledger_head", "release"]
    assert b"writer-" not in (folder.path.parent / FOLDER / "log.jsonl").read_bytes()
    opened = [instruction_of(folder.path.parent, one, device) for one in entries[:2] for device in _asked(folder, one)]
    assert {one.digest for one in opened} == {envelope_digest(envelope) for envelope in sent}
    assert len(opened) == len(sent)
    lines = verdicts_by_round(folder)
    assert [one.body["digest"] for one in entries[2:4]] == [round_digest(lines[number]) for number in (1, 2)]
    assert round_digest(lines[1]) != round_digest(lines[2])
    assert entries[5].body["manifest"] == folder.result["delivery"]["manifest_digest"]
    assert folder.notices == () or not any("log" in sentence for sentence in folder.notices)


def _page(folder):
    return write_report(folder).read_text(encoding="utf-8")


def test_the_report_shows_proofs_that_a_stranger_checks_with_the_key_alone(run, tmp_path):
    folder, _ = run
    page = _page(folder)
    assert page.count("have the same") == 6
    assert "no evidence: " not in page
    assert "run of the same scenario" not in page  # none was asked for
    saved = tmp_path / "saved.json"
    saved.write_text(html.unescape(re.search(r'<code id="proofs">(.*?)</code>', page, re.DOTALL)[1]))
    key = str(federation_log(folder.path.parent).key)
    checked = CliRunner().invoke(cli, ["security", "log", "verify", str(saved), "--key", key, "--json"])
    assert checked.exit_code == 0
    assert [one["number"] for one in json.loads(checked.stdout)["proofs"]] == list(range(6))
    value = json.loads(saved.read_text())
    value["proofs"][3]["path"][0] = "00" * 32
    saved.write_text(json.dumps(value))
    assert CliRunner().invoke(cli, ["security", "log", "verify", str(saved), "--key", key]).exit_code == 3


def test_a_report_says_where_the_run_differs_from_its_entries_and_where_there_is_no_evidence(run, tmp_path):
    copied = RunFolder(shutil.copytree(run[0].path, tmp_path / run[0].id))
    lines = (copied.path / "verdicts.jsonl").read_text().splitlines()
    (copied.path / "verdicts.jsonl").write_text("\n".join(lines[1:]) + "\n")  # of round 1
    page = _page(copied)
    assert page.count("have the same") == 5
    assert page.count(">differ<") == 1
    (copied.path / "verdicts.jsonl").write_text("".join(f"{one}\n" for one in lines if json.loads(one)["round"] != 2))
    page = _page(copied)
    assert (page.count("have the same"), page.count(">differ<")) == (5, 1)  # what is gone differs, and hides nothing
    (copied.path / "verdicts.jsonl").write_text("\n".join(lines) + "\n")
    proofs = copied.path / "log_proofs.json"
    whole = proofs.read_text()
    for text in (
        whole.replace("writer", "x").replace('"round": 1', '"round": 2'),
        "{}",
        "[]",
        whole.replace("skerry/log", "s"),
    ):
        proofs.write_text(text)
        assert "no evidence: the run&#39;s proofs " in _page(copied)
    proofs.unlink()
    assert "no evidence: this run keeps no proofs" in _page(copied)


@pytest.mark.parametrize("damaged", [b"not JSON\n", b"[]\n", b'{"round": 1}\n'])
def test_a_damaged_file_differs_and_hides_nothing_else(run, tmp_path, damaged):
    copied = RunFolder(shutil.copytree(run[0].path, tmp_path / run[0].id))
    (copied.path / "instructions.jsonl").write_bytes(damaged)
    ledger = copied.path / "ledger" / "population.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"round":2', b'"round":3', 1))
    page = _page(copied)
    assert (page.count("have the same"), page.count(">differ<")) == (3, 3)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (0, "instructions of round 1"),
        (3, "verdicts of round 2"),
        (4, "the run&#39;s ledger"),
        (5, "the release"),
    ],
)
def test_a_proof_that_was_taken_out_is_missed(run, tmp_path, place, said):
    copied = RunFolder(shutil.copytree(run[0].path, tmp_path / run[0].id))
    proofs = copied.path / "log_proofs.json"
    value = json.loads(proofs.read_text())
    del value["proofs"][place]
    proofs.write_text(json.dumps(value))
    assert _not_proven(copied) == [said]
    assert _page(copied).count("have the same") == 5
    for name in ("verdicts.jsonl", "instructions.jsonl", "rounds.jsonl"):  # the ledger tells of its rounds too
        (copied.path / name).unlink()
    assert _not_proven(copied) == [said]


def test_a_round_of_another_run_proves_nothing_of_this_one(run, tmp_path):
    copied = RunFolder(shutil.copytree(run[0].path, tmp_path / "another"))
    page = _page(copied)
    assert page.count(">differ<") == 4
    kinds = ("instructions", "verdicts")
    assert _not_proven(copied) == [f"{kind} of round {number}" for kind in kinds for number in (1, 2)]


def _not_proven(folder):
    row = r'<th scope="row">([^<]*)</th><td colspan="4" class="no-evidence">no evidence</td>'
    return re.findall(row, _page(folder))


def test_what_a_device_was_sent_is_shown_and_no_other_device_with_it(run, tmp_path):
    folder, _ = run
    where, file = ["--runs-dir", str(folder.path.parent)], tmp_path / "proof.json"
    log = federation_log(folder.path.parent)
    device, *others = _asked(folder, log.entries()[1])
    command = ["security", "log", "prove", "1", str(file), *where, "--device"]
    assert CliRunner().invoke(cli, [*command, device]).exit_code == 0
    shown = CliRunner().invoke(cli, ["security", "log", "verify", str(file), "--key", str(log.key), "--json"])
    assert json.loads(shown.stdout)["sent"] == {
        "device": device,
        "digest": instruction_of(folder.path.parent, log.entries()[1], device).digest.hex(),
    }
    assert others
    assert not any(other in file.read_text() for other in others)
    assert CliRunner().invoke(cli, [*command, "stranger"]).exit_code == 2
    command[3] = "5"
    assert CliRunner().invoke(cli, [*command, device]).exit_code == 2


def test_a_proof_goes_to_somebody_who_has_the_key_alone(run, tmp_path):
    folder, _ = run
    runner, where = CliRunner(), ["--runs-dir", str(folder.path.parent)]
    listed = runner.invoke(cli, ["security", "log", "list", "--json", *where])
    assert listed.exit_code == 0
    told = json.loads(listed.stdout)
    assert [one["kind"] for one in told["entries"]][-1] == "release"
    file = tmp_path / "proof.json"
    assert runner.invoke(cli, ["security", "log", "prove", "5", str(file), *where]).exit_code == 0
    shown = runner.invoke(cli, ["security", "log", "verify", str(file), "--key", told["key"], "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["body"] == told["entries"][5]["body"]
    proof = json.loads(file.read_text())
    for altered, code in (
        ({**proof, "path": ["00" * 32, *proof["path"][1:]]}, 3),
        ({**proof, "entry": {**proof["entry"], "body": {**proof["entry"]["body"], "version": 2}}}, 3),
        ({**proof, "entry": {**proof["entry"], "hash": "00" * 32}}, 3),
        ({**proof, "entry": {}}, 2),
        ({**proof, "path": ["zz"]}, 2),
    ):
        file.write_text(json.dumps(altered))
        assert runner.invoke(cli, ["security", "log", "verify", str(file), "--key", told["key"]]).exit_code == code


def test_a_log_that_cannot_be_written_costs_a_run_nothing_but_a_notice(run, monkeypatch):
    from skerry.errors import DiskFullError
    from skerry.server import run_statements as module

    told = []

    class Federation:
        folder = type("Folder", (), {"path": run[0].path, "notify": staticmethod(told.append)})
        clock = staticmethod(system_clock)

    def full(*_args, **_named):
        raise DiskFullError("the disk is full")

    monkeypatch.setattr(module, "federation_log", full)
    module.enter_run(Federation, {})
    assert told == ["nothing was entered in the federation's log: the disk is full"]
    Federation.folder.notify = staticmethod(full)  # no room for the notice either
    module.enter_run(Federation, {})


def test_what_is_entered_and_not_published_is_told_as_that(tmp_path):
    federation_log(tmp_path)
    tiles = tmp_path / FOLDER / "published" / "tile"
    tiles.parent.mkdir()
    tiles.write_text("not a folder")
    said = enter_release(tmp_path, "digits", 1, "00" * 32, NOW)
    assert said is not None
    assert said.startswith("entered in the log, and not published yet")
    tiles.unlink()
    assert [one.kind for one in federation_log(tmp_path).entries()] == ["release"]


def _file_in_its_place(runs):
    (runs / FOLDER).write_text("not a folder")


def _entries_that_cannot_be_read(runs):
    federation_log(runs)
    (runs / FOLDER / "log.jsonl").mkdir()


@pytest.mark.parametrize("spoil", [_file_in_its_place, _entries_that_cannot_be_read])
def test_a_log_that_the_system_refuses_costs_nothing_but_a_notice_either(tmp_path, spoil):
    federation = Federation(tmp_path)
    federation.enrol(Agent.fresh("heron"))
    spoil(tmp_path)
    told = []

    class Finished:
        folder = type("Folder", (), {"path": tmp_path / "run", "notify": staticmethod(told.append)})
        clock = staticmethod(system_clock)

    enter_run(Finished, {})
    assert len(told) == 1
    assert told[0].startswith("nothing was entered in the federation's log: [Errno")

    def refuse(_sentence):
        raise PermissionError(13, "no")

    Finished.folder.notify = staticmethod(refuse)
    enter_run(Finished, {})
    where = ["--reason", "lost", "--runs-dir", str(tmp_path)]
    decided = CliRunner().invoke(cli, ["fleet", "revoke", "heron", *where])
    assert decided.exit_code == 0, decided.exception
    assert "decided; nothing was entered in the federation's log: " in decided.output

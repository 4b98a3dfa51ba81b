"""``skerry release`` with a repository: from its making to a device that has the model, and back a version."""

import json
import shutil
import time
from pathlib import Path

import pytest

from skerry.security import Identity, PublicIdentity
from skerry.security.aead import Cipher, ciphers_here
from skerry.security.delivery import publish
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.repository import read_statement
from skerry.security.enrolment import applicant
from skerry.server.federation_log import federation_log

from ._privacy import resign, rewrite


class Shop:
    def __init__(self, skerry, run: Path, root: Path):
        self.skerry, self.run, self.folder = skerry, run, root / "repository"
        self.root, self.models = root / "repository.root.json", root / "models"
        self.directory = root / "devices.json"
        known = json.loads((run / "fleet" / "devices.public.json").read_text())
        self.directory.write_text(json.dumps({"schema": 1, "identities": [known[name] for name in sorted(known)]}))

    def __call__(self, command, *arguments, code=0):
        result = self.skerry("release", command, *arguments, "--repository", self.folder, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def fetch(self, device="writer-00", code=0):
        identity = self.run / "fleet" / device / "identity.json"
        arguments = ("--identity", identity, "--root", self.root, "--to", self.models / device)
        return self("fetch", "digits", *arguments, code=code)

    def verify(self):
        return self.skerry("release", "verify", self.folder, "--json")


def another_head(run: Path) -> None:
    """As a later run would have it: other weights at the end, in a release of its coordinator."""
    with (run / "model" / "model.onnx").open("r+b") as model:
        model.seek(-1000, 2)
        model.write(bytes(1000))
    coordinator = Identity.load(run / "fleet" / "coordinator.json")
    known = json.loads((run / "fleet" / "devices.public.json").read_text()).values()
    files = {name: run / "model" / name for name in ("model.onnx", "card.json")}
    fields = {"name": "digits", "version": 1, "run": run.name, "publisher": coordinator, "now": 0}
    shutil.rmtree(run / "release")
    publish(files, run / "release", recipients=[PublicIdentity.from_json(one) for one in known], **fields)


@pytest.fixture
def shop(skerry, run: Path, tmp_path: Path) -> Shop:
    made = Shop(skerry, run, tmp_path)
    result = skerry("release", "init", made.folder, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["root"] == str(made.root)
    return made


def test_a_run_is_published_verified_taken_and_rolled_back(shop, run):
    first = shop("publish", run.name, "--model", "digits")
    assert (first["version"], first["recipients"]) == (1, 9)
    before = (run / "model" / "model.onnx").read_bytes()
    taken = shop.fetch()
    assert Path(taken["files"]["model.onnx"]).read_bytes() == before
    another_head(run)
    second = shop("publish", run.name, "--model", "digits")
    assert second["delta_bytes"] < 0.1 * second["full_bytes"]
    assert shop.fetch()["blob_bytes"] == second["delta_bytes"]
    third = shop("rollback", "digits", "--to", 1, "--recipients", shop.directory)
    assert (third["version"], third["provenance"]["rolled_back_to"]) == (3, 1)
    taken = shop.fetch()
    assert taken["version"] == 3
    assert Path(taken["files"]["model.onnx"]).read_bytes() == before
    listed = shop("list")["releases"]
    assert [(r["model"], r["version"], r["run"]) for r in listed] == [("digits", n, run.name) for n in (1, 2, 3)]


def test_what_is_published_and_rolled_back_is_entered_in_the_federations_log(shop, run):
    log = federation_log(run.parent)
    first = shop("publish", run.name, "--model", "digits")
    back = shop("rollback", "digits", "--to", 1, "--recipients", shop.directory)
    said = [(one.kind, one.body["name"], one.body["version"], one.body["manifest"]) for one in log.entries()]
    assert said == [("release", "digits", 1, first["digest"]), ("release", "digits", 2, back["digest"])]


def test_a_log_that_cannot_be_written_stops_no_release(shop, run):
    (run.parent / "log").write_text("not a folder")
    arguments = ("publish", run.name, "--model", "digits", "--repository", shop.folder)
    done = shop.skerry("release", *arguments)
    assert done.exit_code == 0
    assert "published; nothing was entered in the federation's log" in done.stderr
    assert [one["version"] for one in shop("list")["releases"]] == [1]


def test_only_what_the_run_evaluated_and_released_is_published_in_its_name(shop, run):
    with (run / "model" / "model.onnx").open("r+b") as model:
        model.write(b"x")
    error = shop("publish", run.name, "--model", "digits", code=2)["error"]
    assert f"not the one that run {run.name} evaluated" in error["what"]
    assert not [path for path in (shop.folder / "blobs").iterdir() if path.is_file()]


def test_verify_says_whose_it_is_and_notices_an_altered_blob(shop, run):
    shop("publish", run.name, "--model", "digits")
    (found,) = json.loads(shop.verify().stdout)["models"]
    result = json.loads((run / "result.json").read_text())
    assert found["run"] == run.name
    assert found["ledger_head"] == result["evidence"]["delivery"]["checkpoint"]
    assert found["evaluation"]["accuracy"] == result["quality"]["final"]["accuracy"]
    assert "writer-00" in found["recipients"]
    blob = max((shop.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert shop.verify().exit_code == 3
    shop.root.unlink()
    assert shop.verify().exit_code == 2


def test_verify_believes_no_list_of_models_that_nobody_signed(shop, run):
    """Who takes the delegations out leaves nothing to check: that is refused, and so is a repository without models."""
    assert "nothing to verify" in json.loads(shop.verify().stdout)["error"]["what"]
    shop("publish", run.name, "--model", "digits")
    for path in (shop.folder / "metadata").glob("*.targets.json"):
        targets = json.loads(path.read_text())
        targets["signed"].pop("delegations", None)
        path.write_text(json.dumps(targets))
    result = shop.verify()
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["reason"] == "under_signed"


def test_a_device_left_out_is_refused_the_next_version_and_keeps_its_own(shop, run):
    shop("publish", run.name, "--model", "digits")
    shop.fetch("writer-01")
    shop("publish", run.name, "--model", "digits", "--without", "writer-01")
    assert shop.fetch("writer-01", code=3)["error"]["reason"] == "not_a_recipient"
    current = shop.models / "writer-01" / "digits" / "current"
    assert (current / "model.onnx").read_bytes() == (run / "model" / "model.onnx").read_bytes()
    shop("publish", run.name, "--model", "digits", "--without", "nobody", code=2)


def test_enrolled_devices_get_a_release_and_a_revoked_one_no_more(shop, run, tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_PASSPHRASE", "correct horse battery")
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    homes = {name: tmp_path / name for name in ("away", "pi-1", "pi-2")}
    for name, home in homes.items():
        with monkeypatch.context() as earlier:
            if name == "away":  # its certificate has ended by now
                then = time.time_ns() - 8 * 86_400 * 10**9
                earlier.setattr(time, "time_ns", lambda then=then: then)
            enrol(shop, home, name)

    def take(name, code=0):
        arguments = ("--home", homes[name], "--root", shop.root, "--to", shop.models / name)
        return shop("fetch", "digits", *arguments, code=code)

    published = shop("publish", run.name, "--model", "digits", "--enrolled")
    assert (published["recipients"], published["ended"]) == (2, ["away"])
    assert published["cipher"] == ciphers_here()[0]
    assert take("away", code=3)["error"]["reason"] == "not_a_recipient"
    assert take("pi-1")["version"] == take("pi-2")["version"] == 1
    revoked = shop.skerry("fleet", "revoke", "pi-2", "--reason", "stolen", "--by", "ann", "--json")
    assert revoked.exit_code == 0, revoked.output
    back = shop("rollback", "digits", "--to", 1, "--enrolled", "--cipher", "chacha20-poly1305")
    assert (back["recipients"], back["cipher"]) == (1, "chacha20-poly1305")
    assert take("pi-1")["version"] == 2
    assert take("pi-2", code=3)["error"]["reason"] == "not_a_recipient"


def test_who_is_left_out_does_not_choose_the_cipher(shop, run, tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_PASSPHRASE", "correct horse battery")
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    for name, opens in (("quick", tuple(Cipher)), ("slow", tuple(reversed(Cipher)))):
        monkeypatch.setattr(applicant, "ciphers_here", lambda opens=opens: opens)
        enrol(shop, tmp_path / name, name)
    publish = ("publish", run.name, "--model", "digits", "--enrolled")
    assert shop(*publish)["cipher"] == "chacha20-poly1305"
    without = shop(*publish, "--without", "slow")
    assert (without["recipients"], without["cipher"]) == (1, "aes-256-gcm")
    back = shop("rollback", "digits", "--to", 1, "--enrolled", "--without", "quick")
    assert (back["recipients"], back["cipher"]) == (1, "chacha20-poly1305")


def enrol(shop, home, name):
    invite = ("fleet", "invite", "--class", "pi", "--federation", "harbour", "--by", "ann", "--approve", "--json")
    invitation = json.loads(shop.skerry(*invite).stdout)["invitation"]
    enrolled = shop.skerry("device", "enrol", invitation, "--home", home, "--name", name, "--json")
    assert enrolled.exit_code == 0, enrolled.output


def test_a_bill_of_the_publishing_machines_software_goes_with_each_version(shop, run):
    from skerry.cli.release.options import open_repository

    shop("publish", run.name, "--model", "digits")
    bill = json.loads(open_repository(shop.folder).read_target("digits", "digits/1/sbom.json"))
    assert {"skerry", "numpy", "cryptography"} <= {one["name"] for one in bill["components"]}


def test_verify_refuses_a_statement_that_speaks_of_another_release(shop, run):
    from skerry.cli.release.options import open_repository

    shop("publish", run.name, "--model", "digits")
    another_head(run)
    shop("publish", run.name, "--model", "digits")
    assert shop.verify().exit_code == 0
    repository = open_repository(shop.folder)
    repository.add("digits", {"statement.json": repository.read_target("digits", "digits/1/statement.json")})
    refused = shop.verify()  # all of TUF's signatures hold
    assert (refused.exit_code, json.loads(refused.stdout)["error"]["reason"]) == (3, "malformed")


def _other_result(run: Path) -> None:
    text = (run / "result.json").read_text()
    accuracy = json.loads(text)["quality"]["final"]["accuracy"]
    (run / "result.json").write_text(text.replace(f'"accuracy": {accuracy}', '"accuracy": 0.99', 1))


def _shorter_ledger(run: Path) -> None:
    path = run / "ledger" / "population.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _other_checkpoint(run: Path) -> None:
    rewrite(
        run / "ledger" / "population.jsonl",
        lambda kind, body: {**body, "manifest": "0" * 64} if kind == "delivery" else body,
    )
    resign(run)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_other_result, "result, evaluation"),
        (_shorter_ledger, "checkpoint"),
        (_other_checkpoint, "checkpoint"),
        (another_head, "files"),
    ],
)
def test_verify_holds_a_statement_to_its_run_and_refuses_what_does_not_agree(shop, run, change, named):
    shop("publish", run.name, "--model", "digits")
    arguments = ("release", "verify", shop.folder, "--run", run.name, "--json")
    good = shop.skerry(*arguments)
    assert (good.exit_code, json.loads(good.stdout)["models"][0]["held_to_run"]) == (0, True)
    change(run)
    refused = shop.skerry(*arguments)
    error = json.loads(refused.stdout)["error"]
    assert (refused.exit_code, error["reason"]) == (3, "other_evidence"), error
    assert f"about {named}" in error["what"]
    assert shop.verify().exit_code == 0  # without the run there is nothing to tell


def test_verify_says_when_no_release_is_of_the_run(shop, run):
    shop("publish", run.name, "--model", "digits")
    shutil.copytree(run, run.with_name("another"))
    asked = shop.skerry("release", "verify", shop.folder, "--run", "another", "--json")
    assert (asked.exit_code, json.loads(asked.stdout)["error"]["mend"]) == (2, f"they are of: {run.name}")


def test_the_statement_holds_the_runs_signed_checkpoint(shop, run):
    from skerry.cli.release.options import open_repository

    shop("publish", run.name, "--model", "digits")
    repository = open_repository(shop.folder)
    manifest = Manifest.from_bytes(repository.read_target("digits", "digits/manifest.cbor"))
    data = repository.read_target("digits", "digits/statement.json")
    stated = read_statement(data, manifest, repository.public_keys("digits"))
    assert stated.checkpoint == (run / "ledger" / "published" / "checkpoint").read_text()
    assert stated.privacy["unit"] == json.loads((run / "result.json").read_text())["privacy"]["unit"]


def test_old_versions_are_dropped_when_asked_for_and_only_those(shop, run):
    for _ in range(4):
        shop("publish", run.name, "--model", "digits")
    assert shop("prune", "digits", "--keep", 2)["dropped"] == []  # all were the newest within a week
    pruned = shop("prune", "digits", "--keep", 3, "--grace-days", 0)
    assert pruned["dropped"] == [1]
    assert (pruned["deleted"], pruned["waiting"] > 0) == (0, True)  # files wait a day at least
    assert [one["version"] for one in shop("list")["releases"]] == [2, 3, 4]
    assert shop.verify().exit_code == 0
    assert shop("renew")["swept"]["deleted"] == 0
    assert shop("rollback", "digits", "--to", 3, "--recipients", shop.directory)["version"] == 5
    shop("rollback", "digits", "--to", 1, "--recipients", shop.directory, code=2)
    shop("prune", "digits", "--keep", 1, code=2)
    for days in (-1, 366):
        assert "--grace-days" in shop("prune", "digits", "--grace-days", days, code=2)["error"]["what"]
    shop("prune", "sounds", code=2)


def test_renewing_needs_no_offline_key_and_rotating_does(shop, run, tmp_path):
    shop("publish", run.name, "--model", "digits")
    shutil.move(tmp_path / "repository.keys" / "offline", tmp_path / "stick")
    roles = {role["role"]: role for role in shop("renew")["roles"]}
    assert set(roles) == {"root", "targets", "digits", "snapshot", "timestamp"}
    assert not any(role["due"] for role in roles.values())
    shop("rotate", "timestamp", code=2)
    assert shop("rotate", "timestamp", "digits", "--offline", tmp_path / "stick")["rotated"] == ["timestamp", "digits"]
    assert shop.fetch()["version"] == 1
    assert shop.verify().exit_code == 0
    assert shop("rollback", "digits", "--to", 1, "--recipients", shop.directory)["version"] == 2


def test_bad_input_is_said_so(shop, run, tmp_path):
    shop("rollback", "digits", "--to", 1, "--recipients", shop.directory, code=2)
    shop("rotate", "nobody", code=2)
    shop("publish", run.name, "--model", "a/b", code=2)
    assert shop.skerry("release", "init", shop.folder).exit_code == 2
    assert shop.skerry("release", "fetch", run.name, "--to", tmp_path / "x").exit_code == 2
    assert shop.skerry("release", "fetch", "digits", "--to", tmp_path / "x", "--repository", "nowhere").exit_code == 2
    assert shop.skerry("release", "list", "--repository", tmp_path).exit_code == 2

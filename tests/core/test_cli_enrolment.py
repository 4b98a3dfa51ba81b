"""From an invitation to a certificate and out again, as an operator and a device type it, with the desk in-process."""

import json
import stat
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli import app
from skerry.errors import RunFailedError
from skerry.security.enrolment import Invitation
from skerry.server.enrolment import local_desk
from skerry.server.federation_home import FederationHome
from skerry.server.running import RunningServer


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("SKERRY_PASSPHRASE", "correct horse battery")
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    return tmp_path


def told(result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result, code: int) -> dict:
    assert result.exit_code == code, result.output
    error = json.loads(result.stdout)["error"]
    assert error["what"]
    return error


def invited(skerry, *more: str) -> str:
    command = ("fleet", "invite", "--class", "pi", "--federation", "harbour", "--by", "ann", "--json")
    return told(skerry(*command, *more))["invitation"]


def test_a_device_waits_is_approved_renews_and_is_revoked(place: Path, skerry) -> None:
    home = ("--home", str(place / "pi-1"))
    first = told(skerry("device", "enrol", invited(skerry), *home, "--name", "pi-1", "--json"))
    assert (first["step"], first["id"]) == ("waiting", None)
    assert stat.S_IMODE(Path(home[1]).stat().st_mode) == 0o700
    assert told(skerry("device", "enrol", *home, "--json"))["step"] == "waiting"
    pending = told(skerry("fleet", "show", "pi-1", "--json"))["enrolment"]
    assert (pending["state"], pending["class"]) == ("pending", "pi")
    digits = first["fingerprint"]
    wrong = "0123456789abcdef"
    compared = refused(skerry("fleet", "approve", "pi-1", "--fingerprint", wrong, "--by", "ann", "--json"), 3)
    assert compared["reason"] == "wrong_fingerprint"
    for short in ("", ":", digits[0], digits[:15], f"{digits[:15]}x"):
        refused(skerry("fleet", "approve", "pi-1", "--fingerprint", short, "--by", "ann", "--json"), 2)
    assert digits in skerry("security", "keys", "status", *home).stdout
    digits = ":".join(digits[i : i + 4] for i in range(0, 16, 4)).upper()  # as people write it
    approved = told(skerry("fleet", "approve", "pi-1", "--fingerprint", digits, "--by", "ann", "--json"))
    assert approved["state"] == "enrolled"
    enrolled = told(skerry("device", "enrol", *home, "--json"))
    assert (enrolled["step"], enrolled["id"]) == ("enrolled", "spiffe://harbour/device/pi-1")
    assert told(skerry("device", "enrol", *home, "--json"))["step"] == "nothing_due"
    epoch = told(skerry("security", "keys", "rotate", *home, "--json"))
    assert epoch["what"] == "sealing key, epoch 2"
    assert told(skerry("device", "enrol", *home, "--renew", "--json"))["step"] == "renewed"
    (listed,) = told(skerry("fleet", "list", "--json"))["devices"]
    assert listed["enrolment"]["kem"]["epoch"] == 2
    assert "spiffe" not in skerry("fleet", "list").stdout
    assert "enrolled" in skerry("fleet", "list").stdout
    told(skerry("fleet", "revoke", "pi-1", "--reason", "stolen", "--by", "ann", "--json"))
    assert refused(skerry("device", "enrol", *home, "--renew", "--json"), 3)["reason"] == "revoked"
    assert "revoked as device of class pi, by ann: stolen" in skerry("fleet", "show", "pi-1").stdout


def test_an_invitation_is_shown_as_text_and_as_a_code_to_scan(place: Path, skerry) -> None:
    shown = skerry("fleet", "invite", "--class", "pi", "--federation", "harbour", "--by", "ann")
    assert shown.exit_code == 0
    assert "skerry-enrol:" in shown.stdout
    assert "▀" in shown.stdout
    token = next(word for word in shown.stdout.split() if word.startswith("skerry-enrol:"))
    kept = b"".join(one.read_bytes() for one in (place / "runs").rglob("*") if one.is_file())
    assert token.encode() not in kept
    assert (place / "runs" / "federation" / "authority" / "root.key").read_bytes().startswith(b"-----BEGIN ENCRYPTED")


def test_a_phone_is_invited_by_a_link_whose_secret_part_no_browser_sends(place: Path, skerry) -> None:
    command = ("fleet", "invite", "--class", "phone", "--federation", "harbour", "--by", "ann")
    assert refused(skerry(*command, "--json"), 2)["where"] == "--address"
    at = ("--address", "https://fleet.example:8443/")
    made = told(skerry(*command, *at, "--json"))
    page, _, secret = made["link"].partition("#")
    assert (page, secret) == ("https://fleet.example:8443/phone/", made["invitation"])
    assert Invitation.parse(made["link"]) == Invitation.parse(made["invitation"])
    shown = skerry(*command, *at).stdout
    assert "https://fleet.example:8443/phone/#skerry-enrol:" in shown
    assert "▀" in shown
    assert told(skerry("fleet", "invite", "--class", "pi", "--by", "ann", "--json"))["link"] is None


@pytest.mark.parametrize(
    "address",
    ["https://", "https:///phone", "https://fleet.example/sub", "https://fleet.example:port", "https://ann@fleet.example",
     "https://fleet.example?x", "https://fleet.example#x", "https://fleet.example//", "https://fleet .example"],
)  # fmt: skip
def test_an_address_where_no_gateway_can_be_is_refused(place: Path, skerry, address: str) -> None:
    command = ("fleet", "invite", "--class", "phone", "--federation", "harbour", "--address", address, "--json")
    assert refused(skerry(*command), 2)["where"] == "--address"


@pytest.mark.parametrize("address", ["https://fleet.example", "https://Fleet.Example:8443", "https://[::1]:8443/"])
def test_an_address_of_a_gateway_is_taken(place: Path, skerry, address: str) -> None:
    command = ("fleet", "invite", "--class", "phone", "--federation", "harbour", "--address", address, "--json")
    assert told(skerry(*command))["address"] == address


def test_an_invitation_is_read_from_standard_input_where_no_list_of_processes_shows_it(place: Path, skerry) -> None:
    command = ["device", "enrol", "-", "--home", str(place / "pi-1"), "--name", "pi-1", "--json"]
    result = CliRunner().invoke(app, command, input=f"{invited(skerry, '--approve')}\n")
    assert told(result)["step"] == "enrolled"


def test_a_name_that_no_certificate_takes_is_refused_before_there_are_keys_of_it(place: Path, skerry) -> None:
    invitation, home = invited(skerry), ("--home", str(place / "pi-1"))
    assert "'a b'" in refused(skerry("device", "enrol", invitation, *home, "--name", "a b", "--json"), 2)["what"]
    assert told(skerry("device", "enrol", invitation, *home, "--name", "pi-1", "--json"))["name"] == "pi-1"


def test_keys_of_another_name_are_not_taken_in_silence(place: Path, skerry) -> None:
    home = ("--home", str(place / "pi-1"))
    told(skerry("device", "enrol", invited(skerry), *home, "--name", "pi-1", "--json"))
    for more in (), (invited(skerry),):
        error = refused(skerry("device", "enrol", *more, *home, "--name", "pi-2", "--json"), 2)
        assert "'pi-1'" in error["what"]
    told(skerry("device", "enrol", *home, "--name", "pi-1", "--json"))


@pytest.mark.parametrize(("answer", "code", "told"), [("n\n", 1, "did not agree"), ("", 2, "nobody is there")])
def test_a_question_without_a_yes_is_not_told_as_ctrl_c(place: Path, skerry, answer: str, code: int, told: str) -> None:
    home = place / "pi-1"
    assert skerry("device", "enrol", invited(skerry), "--home", str(home), "--name", "pi-1").exit_code == 0
    result = CliRunner().invoke(app, ["device", "forget", "--home", str(home)], input=answer)
    assert result.exit_code == code
    assert told in result.stderr
    assert (home / "keys").exists()


def test_a_used_invitation_says_so_and_another_may_be_taken(place: Path, skerry) -> None:
    text = invited(skerry, "--approve")
    told(skerry("device", "enrol", text, "--home", str(place / "a"), "--name", "a", "--json"))
    second = ("--home", str(place / "b"), "--name", "b", "--json")
    assert refused(skerry("device", "enrol", text, *second), 3)["reason"] == "invite_used"
    assert told(skerry("device", "enrol", invited(skerry, "--approve"), *second))["step"] == "enrolled"


def test_a_lost_answer_to_the_first_request_is_asked_for_again(
    place: Path, skerry, monkeypatch: pytest.MonkeyPatch
) -> None:
    desks: list[str] = []

    class Lossy:
        """A desk over https whose first answer to ``enrol`` does not arrive."""

        def __init__(self, invitation: Invitation) -> None:
            self.desk = local_desk(place / "runs")
            self.challenge = self.desk.challenge
            desks.append(invitation.address)

        def enrol(self, request: bytes) -> bytes:
            answer = self.desk.enrol(request)
            if len(desks) == 1:
                raise RunFailedError("the gateway does not answer")
            return answer

    monkeypatch.setattr("skerry.device.service.HttpsEnrolment", Lossy)
    text = invited(skerry, "--approve", "--address", "https://fleet.example")
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(place / "elsewhere"))  # nothing of the federation is on the device
    home = ("--home", str(place / "pi-1"), "--json")
    assert "does not answer" in refused(skerry("device", "enrol", text, *home, "--name", "pi-1"), 1)["what"]
    kept = b"".join(one.read_bytes() for one in (place / "pi-1").iterdir())
    assert Invitation.parse(text).token not in kept
    assert text.encode() not in kept
    assert told(skerry("device", "enrol", *home))["step"] == "enrolled"
    assert desks == ["https://fleet.example"] * 2


def test_keys_that_do_not_open_are_told(place: Path, skerry, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ("--home", str(place / "pi-1"))
    told(skerry("device", "enrol", invited(skerry, "--approve"), *home, "--name", "pi-1", "--json"))
    monkeypatch.setenv("SKERRY_PASSPHRASE", "wrong horse battery")
    assert refused(skerry("security", "keys", "status", *home, "--json"), 3)["reason"] == "wrong_passphrase"
    (place / "pi-1" / "keys").chmod(0o644)
    assert refused(skerry("device", "enrol", *home, "--json"), 3)["reason"] == "open_key_file"


def test_a_key_file_opens_instead_of_a_passphrase(place: Path, skerry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKERRY_PASSPHRASE")
    home = ("--home", str(place / "pi-1"), "--key-file", str(place / "machine.key"))
    told(skerry("device", "enrol", invited(skerry, "--approve"), *home, "--name", "pi-1", "--json"))
    (found, *_) = told(skerry("security", "keys", "status", *home, "--json"))["keys"]
    assert found["what"] == "certificate of spiffe://harbour/device/pi-1"
    (place / "machine.key").chmod(0o640)
    assert refused(skerry("security", "keys", "status", *home, "--json"), 3)["reason"] == "open_key_file"


def test_the_federations_keys_are_listed_and_its_issuing_key_is_made_anew(place: Path, skerry) -> None:
    told(skerry("device", "enrol", invited(skerry, "--approve"), "--home", str(place / "a"), "--name", "a", "--json"))
    before = told(skerry("security", "keys", "status", "--json"))["keys"]
    assert [one["what"] for one in before] == [
        "root of harbour", "issuing harbour", "device a", "sealing key of a, epoch 1",
    ]  # fmt: skip
    assert all(one["renew_at"] < one["ends"] for one in before)
    pem = (place / "runs" / "federation" / "authority" / "issuer.pem").read_bytes()
    told(skerry("security", "keys", "rotate", "--json"))
    assert "issuing harbour, retired" in [
        one["what"] for one in told(skerry("security", "keys", "status", "--json"))["keys"]
    ]
    assert (place / "runs" / "federation" / "authority" / "issuer.pem").read_bytes() != pem
    assert told(skerry("device", "enrol", "--home", str(place / "a"), "--renew", "--json"))["step"] == "renewed"


def test_what_ends_in_a_repository_and_at_the_server_that_runs_is_listed_too(place: Path, skerry) -> None:
    invited(skerry)
    told(skerry("release", "init", str(place / "runs" / "repository"), "--json"))
    home = FederationHome(place / "runs")
    now = time.time_ns() // 1_000_000
    RunningServer(*RunningServer.ourselves(), "harbour", now, {}, now + 90 * 86_400_000, "", "", "").write(home.server)
    document = told(skerry("security", "keys", "status", "--json"))
    days = {
        one["what"]: [round((one[at] - document["now"]) / 86_400_000, 1) for at in ("renew_at", "ends")]
        for one in document["keys"]
    }
    assert {what.rpartition(" ")[2]: days[what] for what in days if "role" in what} == {
        "root": [182.5, 365], "targets": [45, 90], "snapshot": [3.5, 7], "timestamp": [0.5, 1],
    }  # fmt: skip
    assert days["certificate of the server that runs"] == [60, 90]
    elsewhere = refused(skerry("security", "keys", "status", "--repository", str(place / "none"), "--json"), 2)
    assert "no repository" in elsewhere["what"]


def test_who_an_invitation_lets_in_by_itself_is_in_the_log_at_once(place: Path, skerry) -> None:
    told(skerry("device", "enrol", invited(skerry, "--approve"), "--home", str(place / "a"), "--name", "a", "--json"))
    told(skerry("device", "enrol", invited(skerry), "--home", str(place / "b"), "--name", "b", "--json"))
    entries = told(skerry("security", "log", "list", "--json"))["entries"]
    assert [(one["kind"], one["body"]["device"]) for one in entries] == [("enrolment", "a")]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("fleet", "invite", "--class", "pi", "--federation", "Harbour!"), "not a usable name"),
        (("fleet", "invite", "--class", "pi", "--federation", "harbour", "--role", "king"), "no role 'king'"),
        (("fleet", "invite", "--class", "pi", "--federation", "harbour", "--address", "http://x"), "by https"),
        (("fleet", "invite", "--class", "pi", "--hours", "nan"), "no number of hours"),
        (("fleet", "approve", "nobody"), "no device 'nobody'"),
        (("device", "enrol", "--home", "HOME"), "needs an invitation"),
        (("device", "enrol", "hello", "--home", "HOME", "--name", "a"), "not an invitation"),
        (("security", "keys", "status"), "no certificate authority"),
        (("security", "keys", "status", "--home", "HOME"), "no key file"),
        (("security", "keys", "unlock"), "Missing option '--home'"),
    ],
)
def test_bad_input_says_what_is_missing(place: Path, skerry, command: tuple[str, ...], said: str) -> None:
    words = [str(place / "home") if one == "HOME" else one for one in command]
    assert said in refused(skerry(*words, "--json"), 2)["what"]


def test_a_device_leaves_the_federation_is_told_and_its_place_is_erased(place: Path, skerry) -> None:
    home = ("--home", str(place / "pi-1"))
    told(skerry("device", "enrol", invited(skerry, "--approve", "--tag", "attic"), *home, "--name", "pi-1", "--json"))
    assert told(skerry("fleet", "tag", "pi-1", "garden", "--by", "ann", "--json"))["tags"] == ["garden"]
    assert "--yes" in refused(skerry("device", "leave", *home, "--json"), 2)["mend"]
    left = told(skerry("device", "leave", *home, "--yes", "--json"))
    assert (left["left"], left["out_before"]) == (True, False)
    assert {"keys", "membership.json"} <= set(left["erased"])
    entry = told(skerry("fleet", "show", "pi-1", "--json"))["enrolment"]
    decision = entry["decision"]
    assert (entry["state"], entry["left"], decision["by"]) == ("revoked", decision["at"], "the device")
    assert "left" in skerry("fleet", "list").stdout
    assert (place / "pi-1" / "device.toml").exists()


def test_who_cannot_reach_the_federation_keeps_its_place(place: Path, skerry, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ("--home", str(place / "pi-1"))
    told(skerry("device", "enrol", invited(skerry, "--approve"), *home, "--name", "pi-1", "--json"))

    def down(*_: object) -> None:
        raise RunFailedError("the gateway does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(sys.modules["skerry.cli.device.leave"], "desk_transport", down)
        refused(skerry("device", "leave", *home, "--yes", "--json"), 1)
    assert (place / "pi-1" / "keys").exists()
    told(skerry("fleet", "revoke", "pi-1", "--reason", "lost", "--by", "ann", "--json"))
    assert told(skerry("device", "leave", *home, "--yes", "--json"))["out_before"] is True
    assert not (place / "pi-1" / "keys").exists()

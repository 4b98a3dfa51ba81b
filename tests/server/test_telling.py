"""A device that wants to tells its federation how it is; the operator sees that, and nothing finer."""

import json
import secrets
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.clock import system_clock
from skerry.device.membership import Folder, Step
from skerry.device.service import EnrolmentClient
from skerry.device.service import device_pb2 as pb
from skerry.fsio import write_atomic
from skerry.security.identity import PassphraseLock, SealedKeyStore
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome
from skerry.server.service import Inbox, LastCondition, ServerIdentity, device_service

from ._federation import Federation

STEPS = {"LEVEL_UNSPECIFIED", "LEVEL_NEARLY_NONE", "LEVEL_LITTLE", "LEVEL_HALF", "LEVEL_PLENTY"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of runs whose device port is served, the port's address, and the home of a device that enrolled."""
    folder = tmp_path_factory.mktemp("telling")
    harbour, home, key = Federation(folder), folder / "pi-1", secrets.token_hex(32).encode()
    write_atomic(folder / "key", key, mode=0o600)
    (folder / "repository").mkdir()
    chain, server_key = harbour.server_pem()
    with device_service(
        identity=ServerIdentity(chain, server_key, harbour.root_pem),
        desk=harbour.desk,
        devices=harbour.devices,
        repository=folder / "repository",
        inbox=FederationHome(folder).inbox,
        clock=harbour.clock,
    ) as ports:
        store = SealedKeyStore.create(Folder(home).keys, "pi-1", PassphraseLock(key), now=system_clock())
        with EnrolmentClient(f"127.0.0.1:{ports.enrolment_port}", harbour.root_pem) as desk:
            step, _ = Folder(home).apply(harbour.invite(), store, desk, now=system_clock())
        assert step is Step.ENROLLED
        yield folder, f"127.0.0.1:{ports.device_port}", home


def skerry(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def tell(home: Path, address: str) -> Result:
    return skerry("device", "tell", address, "--home", home, "--key-file", home.parent / "key", "--json")


def shown(folder: Path) -> dict:
    result = skerry("fleet", "show", "pi-1", "--json", "--runs-dir", folder)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_a_device_told_is_printed_there_and_seen_by_the_operator(place):
    folder, address, home = place
    assert (shown(folder)["told"], shown(folder)["receipts"]) == (None, 0)
    (home / "device.toml").write_text('[conditions]\nquiet_hours = ["00:00-23:59", "23:59-00:00"]\n')
    before = system_clock()
    result = tell(home, address)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["told"]
    assert told["activity"] == "ACTIVITY_PAUSED_BY_OWNER"
    assert {told["battery"], told["free_memory"], told["free_disk"]} <= STEPS
    seen = shown(folder)["told"]
    assert before <= seen.pop("at") <= system_clock()
    assert seen == told
    page = " ".join(skerry("fleet", "show", "pi-1", "--runs-dir", folder).output.split())
    assert "activity paused by owner, battery" in page


def test_the_operator_sees_how_many_receipts_a_device_handed_in(place):
    folder, _, _ = place
    inbox = Inbox(FederationHome(folder).inbox, most=10)
    for body in (b"a", b"b"):
        inbox.keep_receipt("pi-1", "installed", body, now=1)
        inbox.keep_receipt("pi-2", "installed", body, now=1)
    inbox.keep_condition(LastCondition("pi-2", 1, pb.ACTIVITY_TRAINING, 1, 1, 1))
    assert shown(folder)["receipts"] == 2
    inbox.keep_receipt("pi-1", "installed", b"c", now=1)
    assert shown(folder)["receipts"] == 3


def test_who_may_not_tells_nothing(place, tmp_path):
    folder, address, home = place
    assert tell(tmp_path / "nobody", address).exit_code == 2
    silent = tell(home, "127.0.0.1:9")
    assert silent.exit_code == 1, silent.output
    office = Office(folder)
    office.revoke(office.find("pi-1"), by="ann", why="lost", now=system_clock())
    refused = tell(home, address)
    assert refused.exit_code == 3
    assert json.loads(refused.stdout)["error"]["reason"] == "unknown_device"

"""What each role may do at the ports of a federation: a certificate of another role opens nothing of a device's."""

from dataclasses import dataclass

import pytest

from skerry.clock import system_clock
from skerry.device.service import Credentials, DeviceClient
from skerry.errors import RefusedError
from skerry.security.certificates import Role
from skerry.security.enrolment import Membership, apply, ask, renew
from skerry.security.identity import Identity
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Log
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.tiles import TiledTree
from skerry.server.devices import EVERYBODY, READERS
from skerry.server.gateway import FLEET_CALLS
from skerry.server.recipients import enrolled_recipients
from skerry.server.registry.enrolled import State
from skerry.server.service import ServerIdentity, device_service

from ._federation import Agent, Federation
from ._gateway import Signing, reason, running

DIGEST = "a" * 64
OTHERS = [Role.OPERATOR, Role.AUDITOR, Role.PUBLISHER]
SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)


@dataclass
class Member:
    agent: Agent
    membership: Membership
    signing: Signing


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    return Federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def members(federation) -> dict[Role, Member]:
    """One of each role, let in by an operator's word."""
    found = {}
    for role in Role:
        agent = Agent(f"the-{role}")
        invitation = federation.invite(role=role, approve=False)
        asked = apply(invitation, agent, federation.desk, now=system_clock())
        assert ask(asked, "harbour", agent, federation.desk, now=system_clock()) is None
        waits = federation.office.find(agent.identity.name, State.PENDING)
        federation.office.approve(waits, federation.authority, by="ann", why="known", now=system_clock())
        membership = ask(asked, "harbour", agent, federation.desk, now=system_clock())
        assert membership.subject.role is role
        found[role] = Member(agent, membership, Signing(agent.identity.name, agent.device_key))
    return found


@pytest.fixture(scope="module")
def served(federation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    chain, key = federation.server_pem()
    (folder / "chain.pem").write_bytes(chain)
    (folder / "chain.key").write_bytes(key)
    for path in (f"blobs/{DIGEST}", "metadata/timestamp.json", "targets/digits/1/x.manifest.cbor", "metadata_of_mine"):
        (folder / "repository" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "repository" / path).write_bytes(path.encode())
    log = Log(folder / "whole", SIGNER)
    log.append([Event(EventKind.RELEASE, {"name": "digits", "version": 1, "manifest": DIGEST})], system_clock())
    (folder / "log").symlink_to(folder / "whole" / "published")
    with running(folder, desk=federation.desk, devices=federation.devices, shown=folder / "chain") as gateway:
        yield gateway


PLACES = {
    f"/v1/blobs/{DIGEST}": {Role.DEVICE},
    f"/v1/repository/blobs/{DIGEST}": {Role.DEVICE},
    "/v1/repository/metadata_of_mine": {Role.DEVICE},
    "/v1/repository/metadata/timestamp.json": {Role.DEVICE, Role.AUDITOR},
    "/v1/repository/targets/digits/1/x.manifest.cbor": {Role.DEVICE, Role.AUDITOR},
    "/v1/log/checkpoint": {Role.AUDITOR},
    "/v1/log/tile/0/000.p/1": {Role.AUDITOR},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", PLACES)
def test_the_gateway_shows_each_role_its_own(served, members, path: str, role: Role) -> None:
    answer = served.get(path, members[role].signing)
    if role in PLACES[path]:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, reason(answer)) == (403, "wrong_role")


@pytest.mark.parametrize("role", OTHERS)
@pytest.mark.parametrize("call", sorted(FLEET_CALLS))
def test_nobody_but_a_device_takes_part_in_rounds(served, members, call: str, role: Role) -> None:
    answer = served.post(f"/v1/fleet/{call}", members[role].signing, b"")
    assert (answer.status_code, reason(answer)) == (403, "wrong_role")


def test_no_model_is_sealed_for_anybody_but_devices(federation, members) -> None:
    found = enrolled_recipients(federation.folder, now=system_clock())
    assert (list(found.devices), found.ended) == (["the-device"], ())


def test_who_asks_for_devices_finds_nobody_else(federation, members) -> None:
    for role, member in members.items():
        found = federation.devices.find(member.signing.name)
        assert (found is not None) == (role is Role.DEVICE)
        assert federation.devices.find(member.signing.name, EVERYBODY).role is role
        assert (federation.devices.find(member.signing.name, READERS) is not None) == (role in READERS)


def test_a_role_is_not_taken_by_who_signs_for_another_name(served, members) -> None:
    auditor = members[Role.AUDITOR].signing
    answer = served.get("/v1/log/checkpoint", Signing(auditor.name, members[Role.DEVICE].agent.device_key))
    assert reason(answer) == "not_authentic"


def test_what_an_auditor_reads_of_the_log_is_checked_by_its_key_and_names_nobody(served, members, tmp_path) -> None:
    auditor = members[Role.AUDITOR].signing
    for path in ("checkpoint", "tile/0/000.p/1"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(served.get(f"/v1/log/{path}", auditor).content)
    state = Checkpoint.open((tmp_path / "checkpoint").read_text(), [SIGNER.key], origin=SIGNER.key.name)
    assert TiledTree(tmp_path, state.size).root() == state.root
    for outside in ("log.jsonl", "../log.jsonl", "key.json"):
        assert served.get(f"/v1/log/{outside}", auditor).status_code in {400, 404}


@pytest.fixture(scope="module")
def ports(federation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "repository").mkdir()
    (folder / "repository" / "held").write_bytes(b"content")
    with device_service(
        identity=ServerIdentity(*federation.server_pem(), federation.root_pem),
        desk=federation.desk,
        devices=federation.devices,
        repository=folder / "repository",
        inbox=folder / "inbox.sqlite",
        clock=federation.clock,
    ) as running_ports:
        yield running_ports


def client(ports, federation, member: Member) -> DeviceClient:
    shown = Credentials(federation.root_pem, member.membership.chain_pem, member.agent.key_pem)
    return DeviceClient(f"127.0.0.1:{ports.device_port}", shown)


@pytest.mark.parametrize("role", OTHERS)
def test_the_devices_port_is_closed_to_other_roles(ports, federation, members, role: Role) -> None:
    with client(ports, federation, members[role]) as asked:
        for call in (lambda: list(asked.fetch("held")), asked.revocations, lambda: asked.submit_receipt("x", b"y")):
            with pytest.raises(RefusedError) as refused:
                call()
            assert refused.value.reason == "wrong_role"


def test_the_devices_port_is_open_to_a_device(ports, federation, members) -> None:
    with client(ports, federation, members[Role.DEVICE]) as asked:
        assert b"".join(asked.fetch("held")) == b"content"


@pytest.mark.parametrize("role", list(Role))
def test_every_role_renews_its_certificate_and_keeps_its_role(federation, members, role: Role) -> None:
    member = members[role]
    federation.hurry_ms = 5 * 86_400_000
    try:
        later = renew(member.membership, member.agent, federation.desk, attempt=bytes(16), now=federation.clock())
    finally:
        federation.hurry_ms = 0
    assert later.subject.role is role


@pytest.mark.parametrize("role", OTHERS)
def test_an_invitation_alone_makes_nobody_but_a_device(federation, role: Role) -> None:
    with pytest.raises(RefusedError):
        federation.invite(role=role, approve=True)

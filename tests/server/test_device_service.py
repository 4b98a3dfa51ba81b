"""The device service over real TLS: who has no good certificate is not answered, and who has is held to limits."""

import os
import threading
from pathlib import Path

import grpc
import pytest

from skerry.clock import system_clock
from skerry.device.service import Credentials, DeviceClient, EnrolmentClient
from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc
from skerry.errors import PortTakenError, RefusedError, RunFailedError
from skerry.security.enrolment import EnrolmentRefusedError, apply, ask, renew
from skerry.server.limits import Rate
from skerry.server.service import Inbox, ServerIdentity, ServiceLimits, device_service

from ._federation import Agent, Federation, drain

CONTENT = os.urandom(1_500_001)


class Served:
    """The running service, and clients of it."""

    def __init__(self, folder: Path, limits: ServiceLimits) -> None:
        self.folder = folder
        self.federation = Federation(folder)
        chain, key = self.federation.server_pem()
        self.identity = ServerIdentity(chain, key, self.federation.root_pem)
        (folder / "repository" / "blobs").mkdir(parents=True)
        (folder / "repository" / "blobs" / "a").write_bytes(CONTENT)
        (folder / "repository" / "blobs" / "large").touch()
        os.truncate(folder / "repository" / "blobs" / "large", 64 << 20)  # more than the buffers between take
        (folder / "repository" / ".hidden").write_bytes(b"secret")
        (folder / "secret").write_bytes(b"secret")
        (folder / "repository" / "out").symlink_to(folder / "secret")
        self.limits = limits

    def serve(self, **ports: int):
        return device_service(
            identity=self.identity,
            desk=self.federation.desk,
            devices=self.federation.devices,
            repository=self.folder / "repository",
            inbox=self.folder / "inbox.sqlite",
            clock=self.federation.clock,
            limits=self.limits,
            **ports,
        )

    def enrolling(self) -> EnrolmentClient:
        return EnrolmentClient(f"127.0.0.1:{self.ports.enrolment_port}", self.federation.root_pem)

    def client(self, agent: Agent, chain: bytes) -> DeviceClient:
        return DeviceClient(self.address, Credentials(self.federation.root_pem, chain, agent.key_pem))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports.device_port}"

    def channel(self, agent: Agent, chain: bytes) -> grpc.Channel:
        shown = grpc.ssl_channel_credentials(self.federation.root_pem, agent.key_pem, chain)
        return grpc.secure_channel(self.address, shown)


def running(folder: Path, **limits):
    served = Served(folder, ServiceLimits(**limits))
    with served.serve() as served.ports:
        yield served


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("service"), downloads=2)


@pytest.fixture
def narrow(tmp_path):
    yield from running(tmp_path, device=Rate(per_s=0.1, burst=3), stranger=Rate(per_s=0.1, burst=2), receipts=2)


def enrolled(served: Served, name: str) -> tuple[Agent, bytes]:
    agent = Agent(name)
    with served.enrolling() as transport:
        member = served.federation.enrol(agent, transport)
    return agent, member.chain_pem


@pytest.fixture(scope="module")
def device(served):
    return enrolled(served, "pi-1")


def code_of(call) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code()


def test_a_device_enrols_renews_and_hears_of_revocations(served):
    agent = Agent("pi-new")
    with served.enrolling() as transport:
        member = served.federation.enrol(agent, transport)
        assert transport.authorities() == served.federation.desk.authorities()
    served.federation.hurry_ms = 5 * 86_400_000
    try:
        with served.client(agent, member.chain_pem) as client:
            later = renew(member, agent, client, attempt=os.urandom(16), now=served.federation.clock())
            assert later.certificate.serial_number != member.certificate.serial_number
            assert client.revocations()
    finally:
        served.federation.hurry_ms = 0


def test_a_token_is_good_once_and_the_desk_s_reason_arrives(served):
    invitation = served.federation.invite()
    with served.enrolling() as transport:
        first, second = Agent("pi-a"), Agent("pi-b")
        ask(apply(invitation, first, transport, now=system_clock()), "harbour", first, transport, now=system_clock())
        with pytest.raises(EnrolmentRefusedError) as refused:
            apply(invitation, second, transport, now=system_clock())
    assert refused.value.reason == "invite_used"


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (1_000_000, 7), (1_500_000, 0), (1_500_001, 0), (3, 10**9)])
def test_any_part_of_a_file_is_fetched(served, device, offset: int, length: int):
    with served.client(*device) as client:
        got = b"".join(client.fetch("blobs/a", offset=offset, length=length))
    assert got == CONTENT[offset : offset + length if length else None]


def test_that_a_download_cannot_be_noted_costs_no_download(narrow):
    (narrow.folder / "inbox.sqlite").write_bytes(b"this is no database any more")
    agent, chain = enrolled(narrow, "pi-1")
    with narrow.client(agent, chain) as client:
        assert b"".join(client.fetch("blobs/a")) == CONTENT


@pytest.mark.parametrize("path", ["", ".", "..", "../secret", "/etc/passwd", ".hidden", "out", "blobs", "a\0b", "none"])
def test_what_is_no_plain_file_of_the_repository_is_not_fetched(served, device, path: str):
    with served.client(*device) as client, pytest.raises(RefusedError) as refused:
        list(client.fetch(path))
    assert refused.value.reason == "no_such_file"


def test_a_part_behind_the_end_is_refused(served, device):
    with served.client(*device) as client, pytest.raises(RefusedError) as refused:
        list(client.fetch("blobs/a", offset=len(CONTENT) + 1))
    assert refused.value.reason == "bad_range"


def test_a_device_has_so_many_downloads_at_once_and_more_when_they_end(served, device):
    with served.client(*device) as client:
        open_ones = [client.fetch("blobs/large") for _ in range(2)]
        for one in open_ones:
            next(one)
        with pytest.raises(RunFailedError, match="too much at once"):
            next(client.fetch("blobs/a"))
        for one in open_ones:
            one.close()
        deadline = threading.Event()
        for _ in range(3600):  # the server hears of the end a moment later
            try:
                assert b"".join(client.fetch("blobs/a")) == CONTENT
                break
            except RunFailedError:
                deadline.wait(0.05)
        else:
            pytest.fail("the ended downloads still count")


def test_receipts_are_kept_once_with_who_handed_them_in(served, device):
    with served.client(*device) as client:
        assert [client.submit_receipt("installed", b"signed"), client.submit_receipt("installed", b"signed")] == [
            False,
            True,
        ]
        with pytest.raises(RefusedError):
            client.submit_receipt("../x", b"signed")
        with pytest.raises(RefusedError):
            client.submit_receipt("installed", b"")
    (kept,) = Inbox(served.folder / "inbox.sqlite", most=1).receipts()
    assert (kept.device, kept.kind, kept.body) == ("pi-1", "installed", b"signed")


def test_the_last_condition_is_kept_and_only_in_steps(served, device):
    with served.client(*device) as client:
        client.report(pb.Condition(activity=pb.ACTIVITY_IDLE, battery=pb.LEVEL_HALF))
        client.report(pb.Condition(activity=pb.ACTIVITY_TRAINING, battery=pb.LEVEL_LITTLE))
        with pytest.raises(RefusedError):
            client.report(pb.Condition(battery=73))
    (last,) = Inbox(served.folder / "inbox.sqlite", most=1).conditions()
    assert (last.device, last.activity, last.battery) == ("pi-1", pb.ACTIVITY_TRAINING, pb.LEVEL_LITTLE)


def test_without_a_certificate_the_device_port_does_not_answer(served):
    with grpc.secure_channel(served.address, grpc.ssl_channel_credentials(served.federation.root_pem)) as channel:
        assert (
            code_of(lambda: rpc.DeviceStub(channel).Revocations(pb.Nothing(), timeout=180))
            is grpc.StatusCode.UNAVAILABLE
        )


def test_a_certificate_of_another_federation_is_not_answered(served, tmp_path):
    foreign = Federation(tmp_path, "elsewhere")
    agent = Agent("pi-1")
    chain = foreign.enrol(agent).chain_pem
    with served.channel(agent, chain) as channel:
        assert (
            code_of(lambda: rpc.DeviceStub(channel).Revocations(pb.Nothing(), timeout=180))
            is grpc.StatusCode.UNAVAILABLE
        )


def test_a_revoked_device_is_out_with_its_next_call_on_the_same_connection(served):
    agent, chain = enrolled(served, "pi-lost")
    with served.client(agent, chain) as client:
        assert client.revocations()
        served.federation.revoke("pi-lost")
        with pytest.raises(RefusedError) as refused:
            client.revocations()
    assert refused.value.reason == "unknown_device"


@pytest.mark.parametrize("how", ["revoked", "expired", "succeeded"])
def test_an_open_download_ends_when_its_device_is_out(served, how: str):
    agent, chain = enrolled(served, f"pi-{how}")
    with served.client(agent, chain) as client:
        stream = client.fetch("blobs/large")
        got = [len(next(stream))]
        if how == "expired":
            served.federation.hurry_ms = 8 * 86_400_000
        else:
            served.federation.revoke(agent.identity.name)
        if how == "succeeded":  # by another device under the same name
            enrolled(served, agent.identity.name)
        try:
            with pytest.raises(RefusedError) as refused:
                drain(stream, got)
        finally:
            served.federation.hurry_ms = 0
    assert refused.value.reason == "unknown_device"
    assert sum(got) < 32 << 20  # what was in the buffers between, and no more


def test_the_certificate_of_a_lost_device_does_not_open_for_the_one_that_took_its_name(served):
    lost, old_chain = enrolled(served, "pi-again")
    served.federation.revoke("pi-again")
    found, chain = enrolled(served, "pi-again")
    with served.client(found, chain) as client:
        assert client.revocations()
    with served.client(lost, old_chain) as client, pytest.raises(RefusedError) as refused:
        client.revocations()
    assert refused.value.reason == "unknown_device"


def test_an_expired_certificate_is_out_although_the_connection_holds(served):
    agent, chain = enrolled(served, "pi-old")
    with served.client(agent, chain) as client:
        assert client.revocations()
        served.federation.hurry_ms = 8 * 86_400_000
        try:
            with pytest.raises(RefusedError):
                client.revocations()
        finally:
            served.federation.hurry_ms = 0


def test_the_certificate_before_a_renewal_ends_in_its_time_although_the_device_is_in_good_standing(served):
    agent = Agent("pi-renewed")
    with served.enrolling() as transport:
        member = served.federation.enrol(agent, transport)
    with served.client(agent, member.chain_pem) as client:
        try:
            served.federation.hurry_ms = 5 * 86_400_000
            renew(member, agent, client, attempt=os.urandom(16), now=served.federation.clock())
            assert client.revocations()
            served.federation.hurry_ms = 8 * 86_400_000
            with pytest.raises(RefusedError) as refused:
                client.revocations()
        finally:
            served.federation.hurry_ms = 0
    assert refused.value.reason == "certificate_expired"


def test_the_enrolment_port_serves_no_device_and_the_device_port_no_enrolment(served, device):
    with served.channel(*device) as channel:
        stub = rpc.EnrolmentStub(channel)
        assert code_of(lambda: stub.Authorities(pb.Nothing(), timeout=180)) is grpc.StatusCode.UNIMPLEMENTED
    open_port = f"127.0.0.1:{served.ports.enrolment_port}"
    with grpc.secure_channel(open_port, grpc.ssl_channel_credentials(served.federation.root_pem)) as channel:
        stub = rpc.DeviceStub(channel)
        assert code_of(lambda: stub.Revocations(pb.Nothing(), timeout=180)) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("timeout", [None, 3600])
def test_a_call_without_a_near_deadline_is_refused(served, device, timeout):
    with served.channel(*device) as channel:
        stub = rpc.DeviceStub(channel)
        assert code_of(lambda: stub.Revocations(pb.Nothing(), timeout=timeout)) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused(served, device):
    with served.channel(*device) as channel:
        stub = rpc.DeviceStub(channel)
        large = pb.Receipt(kind="installed", body=bytes(1 << 20))
        assert code_of(lambda: stub.SubmitReceipt(large, timeout=180)) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_rates_are_kept_for_each_device_and_for_strangers(narrow):
    agent, chain = enrolled(narrow, "pi-1")
    with narrow.client(agent, chain) as client:
        for _ in range(3):
            client.revocations()
        with pytest.raises(RunFailedError, match="come back in"):
            client.revocations()
    with narrow.enrolling() as transport, pytest.raises(RunFailedError, match="come back in"):
        transport.authorities()


def test_no_more_receipts_of_a_device_are_kept_than_agreed(tmp_path):
    inbox = Inbox(tmp_path / "inbox.sqlite", most=2)
    for body in (b"1", b"2"):
        inbox.keep_receipt("pi-1", "installed", body, now=1)
    assert inbox.keep_receipt("pi-1", "installed", b"1", now=2)
    with pytest.raises(RefusedError):
        inbox.keep_receipt("pi-1", "installed", b"3", now=3)
    assert not inbox.keep_receipt("pi-2", "installed", b"3", now=3)


def test_a_taken_port_is_said(served):
    with pytest.raises(PortTakenError), served.serve(device_port=served.ports.device_port):
        pytest.fail("two servers on one port")


def test_a_registry_that_cannot_be_read_is_no_fault_of_the_device_and_no_text_of_ours_leaves(tmp_path, caplog):
    for served in running(tmp_path):
        agent, chain = enrolled(served, "pi-1")
        with served.client(agent, chain) as client:
            assert client.revocations()
            path = served.federation.office.registry.path
            for name in (path, path.with_name(path.name + "-wal")):
                if name.exists():
                    name.write_bytes(b"no database" * 1000)
            with pytest.raises(RunFailedError, match="cannot do this now"):
                list(client.fetch("blobs/a"))
            with pytest.raises(RunFailedError, match="cannot do this now") as failed:
                client.revocations()
        assert str(tmp_path) not in str(failed.value)
        assert "registry" in caplog.text

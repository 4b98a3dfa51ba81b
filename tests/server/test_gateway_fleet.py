"""Against a real SuperLink with node authentication: a device takes part through the gateway, in its own name only."""

import base64
import ssl
import time
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message, Metadata, PushObjectRequest
from flwr.proto.node_pb2 import Node

from skerry.server.bells import Bells
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.flwr_calls import fleet_claim
from skerry.server.engines.processes import Children
from skerry.server.gateway import GatewayLimits, SuperlinkNodes

from ._gateway import Running, Signing, reason, running

pytestmark = pytest.mark.engine
COORDINATOR = 1


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    folder = tmp_path_factory.mktemp("link")
    folder.chmod(0o700)
    with Children() as children:
        deployment = Deployment(folder, folder, children)
        deployment.start([])
        yield deployment


@pytest.fixture(scope="module")
def served(link, tmp_path_factory):
    trusted = ssl.create_default_context(cafile=str(link._tls.authority))
    with link.control() as control:
        url = f"https://{link.address}"
        folder = tmp_path_factory.mktemp("gateway")
        with running(
            folder, superlink=url, verify=trusted, nodes=SuperlinkNodes(control), bells=Bells(folder)
        ) as gateway:
            yield gateway


@pytest.fixture(scope="module")
def devices(served) -> tuple[Signing, Signing]:
    made = Signing("pi-1"), Signing("pi-2")
    served.roll.known |= {device.name: device.enrolled for device in made}
    return made


def presence(device: Signing) -> dict[str, str]:
    stamp = datetime.now(UTC).isoformat()
    return {
        "flwr-public-key": device.enrolled.node_key_header,
        "flwr-timestamp": stamp,
        "flwr-signature": base64.b64encode(device.key.sign(stamp.encode(), ec.ECDSA(SHA256()))).decode(),
    }


def call(served: Running, device: Signing, name: str, request, **headers: str):
    return served.post(f"/v1/fleet/{name}", device, request.SerializeToString(), **{**presence(device), **headers})


@pytest.fixture(scope="module")
def nodes(served, devices) -> tuple[int, int]:
    """Both devices online; their node ids."""
    found = []
    for device in devices:
        request = ActivateNodeRequest(public_key=device.enrolled.node_key, heartbeat_interval=30)
        answer = call(served, device, "activate-node", request)
        assert answer.status_code == 200, answer.text
        found.append(ActivateNodeResponse.FromString(answer.content).node_id)
    return tuple(found)


def test_an_enrolled_device_comes_online_and_asks_for_work(served, devices, nodes, link):
    node = nodes[0]
    beat = call(
        served,
        devices[0],
        "send-node-heartbeat",
        SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=30),
    )
    assert SendNodeHeartbeatResponse.FromString(beat.content).success
    pulled = call(served, devices[0], "pull-messages", PullMessagesRequest(node=Node(node_id=node)))
    assert pulled.status_code == 200
    assert not PullMessagesResponse.FromString(pulled.content).messages_list
    with link.control() as control:
        assert control.online() >= 1


def test_a_device_that_waits_at_the_bell_is_online_by_that(served, devices, nodes, link):
    silent = Signing("pi-silent")
    served.roll.known[silent.name] = silent.enrolled
    with link.control() as control:
        before = control.online()
        for headers in ({}, presence(devices[0])):  # nothing said; and somebody else's word, which is not its own
            assert served.post("/v1/bell", silent, b"", **headers).status_code == 200
            time.sleep(0.5)
            assert control.online() == before
        end = time.monotonic() + 60
        while control.online() == before:
            assert served.post("/v1/bell", silent, b"", **presence(silent)).status_code == 200
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_device_cannot_speak_for_another_node(served, devices, nodes):
    ours, theirs = nodes
    assert ours != theirs
    for name, request in [
        ("pull-messages", PullMessagesRequest(node=Node(node_id=theirs))),
        ("send-node-heartbeat", SendNodeHeartbeatRequest(node=Node(node_id=theirs), heartbeat_interval=30)),
        ("push-object", PushObjectRequest(node=Node(node_id=theirs), run_id=1, object_id="0" * 64)),
        ("activate-node", ActivateNodeRequest(public_key=devices[1].enrolled.node_key, heartbeat_interval=30)),
    ]:
        answer = call(served, devices[0], name, request)
        assert (answer.status_code, reason(answer)) == (403, "other_node"), name


@pytest.mark.parametrize("forged", ["source", "destination", "instruction"])
def test_a_device_cannot_queue_instructions_for_another(served, devices, nodes, forged: str):
    ours, theirs = nodes
    metadata = Metadata(src_node_id=ours, dst_node_id=COORDINATOR, reply_to_message_id="0" * 64, message_type="train")
    if forged == "source":
        metadata.src_node_id = COORDINATOR
    elif forged == "destination":
        metadata.dst_node_id = theirs
    else:
        metadata.reply_to_message_id = ""
    request = PushMessagesRequest(node=Node(node_id=ours), messages_list=[Message(metadata=metadata)])
    answer = call(served, devices[0], "push-messages", request)
    assert (answer.status_code, reason(answer)) == (403, "other_node")


def test_headers_of_another_node_are_replaced_by_our_own(served, devices, nodes):
    """The SuperLink's own signature covers a timestamp only: taken from somebody else it must open nothing."""
    ours = nodes[0]
    stamp = datetime.now(UTC).isoformat()
    stolen = {
        "flwr-public-key": devices[1].enrolled.node_key_header,
        "flwr-timestamp": stamp,
        "flwr-signature": base64.b64encode(devices[1].key.sign(stamp.encode(), ec.ECDSA(SHA256()))).decode(),
    }
    answer = call(served, devices[0], "pull-messages", PullMessagesRequest(node=Node(node_id=ours)), **stolen)
    assert answer.status_code == 401
    # which key speaks is the gateway's to say, whatever the request says
    for key in ("nonsense", devices[1].enrolled.node_key_header):
        request = PullMessagesRequest(node=Node(node_id=ours))
        assert call(served, devices[0], "pull-messages", request, **{"flwr-public-key": key}).status_code == 200


@pytest.mark.parametrize("name", ["register-node", "unregister-node", "get-fab", "nothing"])
def test_other_calls_are_not_passed_on(served, devices, name: str):
    assert reason(served.post(f"/v1/fleet/{name}", devices[0], b"")) == "no_such_place"


@pytest.mark.parametrize(
    ("path", "request_"),
    [("/v1/control/list-runs", ListRunsRequest()), ("/v1/control/list-nodes", ListNodesRequest())],
)
def test_the_control_api_that_answers_on_loopback_does_not_answer_through_the_gateway(
    served, devices, link, path: str, request_
):
    import httpx

    trusted = ssl.create_default_context(cafile=str(link._tls.authority))
    kind = {"content-type": "application/protobuf", "accept": "application/protobuf"}
    body = request_.SerializeToString()
    direct = httpx.post(f"https://{link.address}{path}", content=body, headers=kind, verify=trusted)
    assert direct.status_code == 200  # the path is right, and open to whoever reaches the port
    assert served.post(path, devices[0], body).status_code == 404


@pytest.mark.parametrize("body", [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", bytes(range(256))])
def test_garbage_is_refused_before_the_superlink_sees_it(served, devices, body: bytes):
    assert reason(served.post("/v1/fleet/pull-messages", devices[0], body)) == "malformed"


def test_a_superlink_that_is_gone_is_said(tmp_path):
    with running(tmp_path) as gateway:
        device = Signing("pi-1")
        gateway.roll.known["pi-1"] = device.enrolled
        answer = gateway.post("/v1/fleet/pull-messages", device, b"")
        assert (answer.status_code, reason(answer)) == (502, "superlink_down")
        assert "retry-after" in answer.headers


class SlowNodes:
    def node_id(self, device):
        time.sleep(1.0)
        raise ConnectionError("too late")

    def known(self, device):
        return None

    def forget(self, device):
        pass


def test_a_superlink_that_does_not_answer_is_not_waited_for(tmp_path):
    with running(tmp_path, nodes=SlowNodes(), limits=GatewayLimits(superlink_s=0.2)) as gateway:
        device = Signing("pi-1")
        gateway.roll.known["pi-1"] = device.enrolled
        answer = gateway.post("/v1/fleet/pull-messages", device, b"")
        assert (answer.status_code, reason(answer)) == (504, "superlink_slow")


def test_of_an_unknown_call_nothing_is_read():
    assert fleet_claim("register-node", b"") is None

"""Past some of the SuperLink's layers, and never past those that let in; the rest is Flower's own."""

import asyncio
import ssl
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import GetNodesRequest
from starlette.middleware import Middleware

from skerry.server.engines import flwr_superlink
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.flwr_superlink import Past
from skerry.server.engines.processes import Children


def passed(path: str, kind: str = "http") -> list[str]:
    """What a request of this path meets, from the outside."""
    met: list[str] = []

    async def app(*_: Any) -> None:
        met.append("app")

    class Layer:
        def __init__(self, within: Any) -> None:
            self.within = within

        async def __call__(self, *given: Any) -> None:
            met.append("layer")
            await self.within(*given)

    asyncio.run(Past(app, Middleware(Layer))({"type": kind, "path": path}, None, None))
    return met


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/v1/runtime/push-object"])
def test_calls_of_a_round_go_past_a_layer(path: str) -> None:
    assert passed(path) == ["app"]


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/health", "/v1/fleetx", "/docs", "//v1/fleet/", "/v1"])
def test_everything_else_goes_through_it(path: str) -> None:
    assert passed(path) == ["layer", "app"]


def test_the_beginning_and_end_of_the_server_are_heard_by_all_layers() -> None:
    assert passed("/v1/fleet/", kind="lifespan") == ["layer", "app"]


def test_only_layers_without_a_say_in_a_round_are_passed_and_all_of_them_exist() -> None:
    names = [layer.cls.__name__ for layer in import_module("flwr.superlink.main")._get_middleware()]
    assert set(names) - flwr_superlink.PASSED == {
        "BaseHTTPMiddleware",  # errors, in the words of the protocol
        "ProtobufTranslationMiddleware",
        "NodeAuthMiddleware",
    }
    assert set(names) >= flwr_superlink.PASSED


@pytest.mark.engine
def test_nobody_is_let_in_who_was_not_before(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with Children() as children:
        link = Deployment(private, tmp_path, children, secret=bytes(range(32)))
        link.start([])
        trusted = ssl.create_default_context(cafile=str(link.authority))
        headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
        with httpx.Client(base_url=f"https://{link.address}", verify=trusted, headers=headers) as client:
            pull = PullMessagesRequest(node=Node(node_id=7)).SerializeToString()
            answer = client.post("/v1/fleet/pull-messages", content=pull)
            assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid SuperNode authentication")
            assert client.post("/v1/fleet/pull-messages", content=b"\xff").status_code == 400
            nodes = GetNodesRequest().SerializeToString()
            assert client.post("/v1/runtime/get-nodes", content=nodes).status_code == 401

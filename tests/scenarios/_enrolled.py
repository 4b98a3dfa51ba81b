"""A federation that is up, and devices that enrolled in it over HTTPS: threads that answer at its SuperLink.

The servers are those of ``skerry server up``; a device's home is that of a real device: no seed, a ledger of its own.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

from skerry.clock import system_clock
from skerry.config import Scenario, default_scenario
from skerry.device.service import HttpsEnrolment
from skerry.device.state import DeviceHome
from skerry.fsio import write_json
from skerry.security.enrolment import apply, ask
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.server.engines.certificates import write_node_key
from skerry.server.engines.flwr_adapter import Control
from skerry.server.federation_home import FederationHome
from skerry.server.fleet_server import FleetServer, Ports, fleet_server

from ._fleet import Device

POLL_S = 0.05
PLENTY = 1000.0  # of privacy: a module's devices take part in many runs


def honest_rounds(*overrides: str) -> Scenario:
    """Two rounds of ``digits`` in which nobody is hostile, nobody is tolerated, and nothing is compared afterwards."""
    return default_scenario([
        "rounds=2",
        "attack.kind=none",
        "attack.devices=0",
        "defence.aggregator=mean",
        "defence.tolerate=0",
        "report.references=false",
        *overrides,
    ])  # fmt: skip


class Keys:
    """What a device enrols with, in memory."""

    def __init__(self, name: str) -> None:
        self.kem = KemKeys.begin(system_clock(), 14)
        self.identity = Identity(name, Identity.generate(name).signing, self.kem.newest.key)
        self.device_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def epoch(self) -> KemEpoch:
        return self.kem.newest


@dataclass
class Link:
    """The SuperLink of the servers, as :class:`Device` knows one."""

    home: Path
    address: str
    authority: bytes

    def register(self, key: Path) -> None:
        with Control(self.address, self.authority) as control:
            control.register(write_node_key(key))


class Enrolled(Device):
    """A device that answers for as long as it is on; ``trained`` sends its answer to an instruction."""

    def __init__(self, name: str, home: Path, link: Link) -> None:
        super().__init__(name, home, link)
        self.trained: Callable[[Callable[[], None]], object] = lambda send: send()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def off(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def join(self, link: Link) -> None:
        """Go on at another SuperLink, as a node that it has not seen; it is on when this returns."""
        self.off()
        self.close()
        self.link = link
        self.__post_init__()
        self.on()

    @property
    def is_on(self) -> bool:
        return self._thread is not None

    def ledger(self) -> Ledger:
        return Ledger.open(self.home / "ledger.jsonl")

    def announce(self, reply: Message, parts: InflatableObject | None = None) -> PushMessagesResponse:
        """Push the head of a reply, and nothing of what it holds; its parts are those of ``parts``, if it is given."""
        of = reply if parts is None else parts
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = of.object_id
            head = message_to_proto(remove_content_from_message(reply))
            request = PushMessagesRequest(
                node=self.node,
                messages_list=[head],
                message_object_trees=[get_object_tree(of)],
                clientapp_runtime_list=[0.0],
            )
            return self._client.PushMessages(request)

    def send_records_for(self, reply: Message) -> None:
        """Answer with records where a message belongs."""
        records = RecordDict({"a": ConfigRecord({"b": 1})})
        taken = self.announce(reply, records)
        for name, part in get_all_nested_objects(records).items():
            asked = PushObjectRequest(
                node=self.node,
                run_id=reply.metadata.run_id,
                object_id=name,
                object_content=part.deflate(),
                session_id=taken.session_id,
            )
            assert self._client.PushObject(asked).stored

    def _push(self, reply: Message, run: int) -> None:
        if reply.metadata.message_type == "train":
            self.reply = reply
            self.trained(lambda: super(Enrolled, self)._push(reply, run))
        else:
            super()._push(reply, run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                busy = self.serve()
            except (httpx.HTTPError, ObjectPullError):  # of a run that has ended meanwhile
                busy = False
            if not busy:
                self._stop.wait(POLL_S)


@dataclass
class Up:
    """A federation whose servers run in this process."""

    runs: Path
    server: FleetServer
    devices: dict[str, Enrolled] = field(default_factory=dict)
    _held: ExitStack = field(default_factory=ExitStack)

    @staticmethod
    def begin(runs: Path) -> "Up":
        """With servers that answer, and no devices."""
        held = ExitStack()
        return Up(runs, held.enter_context(_serving(runs)), _held=held)

    def down(self) -> None:
        """End the servers; devices stay, and reach nobody."""
        self._held.close()

    def again(self) -> None:
        """Start servers in the same folder of runs, after :meth:`down`: all devices go on there."""
        self.server = self._held.enter_context(_serving(self.runs))
        for device in self.devices.values():
            device.join(self.link)

    def end(self) -> None:
        """End everything."""
        for device in self.devices.values():
            device.off()
            device.close()
        self.down()

    @property
    def link(self) -> Link:
        noted = self.server.noted
        home = self.runs / "nodes"
        home.mkdir(exist_ok=True)
        return Link(home, noted.addresses["superlink"], Path(noted.superlink_authority).read_bytes())

    def enrol(self, name: str, scenario: Scenario) -> Enrolled:
        """Invite a device, let it in, and make its home; it is on when this returns."""
        keys = Keys(name)
        invitation = self.server.office.invite(
            self.server.authority, device_class="pi", by="ann", now=system_clock(), life=3_600_000, approve=True,
            address=f"https://{self.server.noted.addresses['gateway']}",
        )  # fmt: skip
        with HttpsEnrolment(invitation) as transport:
            asked = apply(invitation, keys, transport, now=system_clock())
            member = ask(asked, self.server.noted.federation, keys, transport, now=system_clock())
        home = self.runs / "homes" / name
        privacy = scenario.privacy
        policy = Policy(unit=privacy.unit, epsilon=PLENTY, delta=privacy.delta, simulated=False, data=name)
        keys.identity.save(home / "identity.json")
        write_json(home / "trust.json", member.coordinator.to_json())
        ledger = home / "ledger.jsonl"
        Ledger.create(ledger, scope="device", subject=name, policy=policy, now=system_clock()).close()
        DeviceHome(home, name, False, scenario.task, scenario.model, policy, ledger, None).save()
        self.devices[name] = Enrolled(name, home, self.link)
        self.devices[name].on()
        return self.devices[name]

    def revoke(self, name: str) -> None:
        self.server.office.revoke(self.server.office.find(name), by="ann", why="lost", now=system_clock())


def _serving(runs: Path) -> AbstractContextManager[FleetServer]:
    home = FederationHome(runs)
    return fleet_server(home, home.authority(now=system_clock()), clock=system_clock, ports=Ports(0, 0, 0))


@contextmanager
def up(runs: Path) -> Iterator[Up]:
    found = Up.begin(runs)
    try:
        yield found
    finally:
        found.end()

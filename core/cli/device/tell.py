"""``skerry device tell``: tell the federation how the device is, once."""

from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, emit, facts, out
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.device.service import device_pb2 as pb

__all__ = ["tell"]


def tell(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The federation's port for devices, as `server up` shows it.")
    ],
    *,
    home: HomeOption,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell the federation once how this device is: what it does, and battery, memory and disk in one of four steps.

    Nothing else does so: `skerry device run` sends nothing of the kind. Who wants it calls this from a timer. What is
    told is printed; `skerry fleet show` shows the last one to the operator.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from skerry.device.agent.telemetry import words
    from skerry.device.membership import Folder
    from skerry.device.service import Credentials, DeviceClient
    from skerry.errors import InputError

    member = Folder(home).membership()
    if member is None:
        raise InputError("this device is not enrolled", where=str(home), mend="call `skerry device enrol` first")
    store = open_store(home, key_file)
    if store.backend == "tpm":
        raise InputError(
            "this port needs mutual TLS, which Python does not speak with a key in a TPM",
            where=str(home),
            mend="keys of another backend can do it; they are chosen when a device enrols",
        )
    key = store.device_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    told = _condition(home)
    shown = Credentials(member.root.public_bytes(Encoding.PEM), member.chain_pem, key)
    with DeviceClient(address, shown) as client:
        client.report(told)
    if as_json:
        emit({"told": words(told), "to": address})
        return
    out().print(facts([*words(told).items()]))


def _condition(home: "Path") -> "pb.Condition":
    from skerry.device.agent.alone import holder
    from skerry.device.agent.eligibility import DeviceConditions
    from skerry.device.agent.enrolled import agent_folder
    from skerry.device.agent.host import Host
    from skerry.device.agent.journal import Journal
    from skerry.device.agent.settings import read_settings
    from skerry.device.agent.telemetry import condition

    host, private = Host(), agent_folder(home)
    lapses = DeviceConditions(read_settings(home).conditions, home, host).lapses()
    at_work = holder(private) is not None and Journal(private).letter() is not None
    return condition(host, home, lapses, training=at_work)

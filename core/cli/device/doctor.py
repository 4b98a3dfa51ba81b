"""``skerry device doctor``: whether this device can take part, and what to do where it cannot."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.console import AsJson, emit, fail, out, table
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

if TYPE_CHECKING:
    from skerry.device.agent.conditions import Lapse
    from skerry.device.agent.terms import DeviceTerms
    from skerry.security.identity import KeyStore

__all__ = ["doctor"]


def doctor(*, home: HomeOption, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Check this device: keys, certificate, clock, gateway, ledger, room, heat, runtimes, and whether it may train now.

    Measures for two seconds how quick it is. Changes nothing, and does not disturb an agent that runs.
    """
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.device.agent.asking import ask_gateway
    from skerry.device.agent.capability import capability
    from skerry.device.agent.checkup import checkup
    from skerry.device.agent.eligibility import DeviceConditions
    from skerry.device.agent.host import Host
    from skerry.device.agent.telemetry import condition, words
    from skerry.errors import RunFailedError

    host, can = Host(), capability(Host())
    found: tuple[Lapse, ...] = ()

    def conditions(terms: "DeviceTerms") -> "tuple[Lapse, ...]":
        nonlocal found
        found = DeviceConditions(terms.conditions, home, host).lapses()
        return found

    findings = checkup(
        home,
        open_keys=lambda: _opened(home, key_file),
        ask_gateway=ask_gateway,
        conditions=conditions,
        capability=lambda: can,
        host=host,
        clock=system_clock,
    )
    failed = [finding.name for finding in findings if finding.state == "fail"]
    document = {
        "ok": not failed,
        "findings": [asdict(finding) for finding in findings],
        "lapses": [asdict(lapse) for lapse in found],
        "capability": asdict(can),
        "telemetry": words(condition(host, home, found, training=False)),
    }
    if as_json and not failed:
        emit(document)
    if not as_json:
        shown = table("this device", ["", "check", "found", "what to do"])
        marks = {"ok": Text("✓", "green"), "warn": Text("!", "yellow"), "fail": Text("✗", "red")}
        for finding in findings:
            shown.add_row(marks[finding.state], Text(finding.name), Text(finding.found), Text(finding.mend or ""))
        out().print(shown)
    if failed:
        error = RunFailedError(f"in the way: {', '.join(failed)}", mend="do what the table says, then try again")
        fail(error, document, as_json=as_json)


def _opened(home: Path, key_file: Path | None) -> "KeyStore":
    """The keys; a passphrase that nobody can be asked for is a finding."""
    import click

    from skerry.errors import InputError

    try:
        return open_store(home, key_file)
    except click.Abort as error:
        raise InputError(
            "no passphrase of the keys was told", mend="name the key file with --key-file, or set SKERRY_PASSPHRASE"
        ) from error

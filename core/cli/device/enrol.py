"""``skerry device enrol``: take a place in a federation, ask how it stands, renew."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.device.desk_transport import desk_transport
from skerry.cli.keystore_options import Backend, BackendOption, HomeOption, KeyFile, lock_for, open_store

__all__ = ["enrol"]


def enrol(
    invitation: Annotated[
        str | None,
        typer.Argument(metavar="[INVITATION]", help="Of `skerry fleet invite`; - reads it."),
    ] = None,
    *,
    home: HomeOption,
    name: Annotated[str | None, typer.Option("--name", help="The device's name; needed the first time.")] = None,
    backend: BackendOption = Backend.FILE,
    key_file: KeyFile = None,
    terms: Annotated[
        Path | None, typer.Option("--terms", help="What the device may do, as a file; else one to fill in is written.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Renew the certificate although it is not due.")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Enrol this device; called again, it asks how that stands, and renews the certificate when it is due.

    An invitation that names an address is taken there; one that names none is of the federation in this folder of runs.
    """
    from skerry.clock import system_clock
    from skerry.device.agent.terms import TERMS, write_template
    from skerry.device.membership import Folder, Step
    from skerry.errors import InputError
    from skerry.security.certificates import Role, Subject, fingerprint, spki
    from skerry.security.enrolment import Invitation
    from skerry.security.identity import SealedKeyStore
    from skerry.wording import moment

    folder, now = Folder(home), system_clock()
    asked = None
    if invitation is not None:
        asked = Invitation.parse(sys.stdin.read(1 << 16) if invitation == "-" else invitation)
    if folder.keys.exists():
        store = open_store(home, key_file)
        if name is not None and name != store.identity.name:
            mend = "leave --name out, or choose another folder with --home"
            raise InputError(f"the keys here are of a device {store.identity.name!r}", where=str(home), mend=mend)
    elif asked is None or name is None:
        missing = "its name (--name)" if asked is not None else "an invitation"
        raise InputError(
            f"a device that has no keys yet needs {missing}", where=str(home), mend="see `skerry fleet invite`"
        )
    else:
        Subject(asked.federation, Role(asked.role), name)  # before there are keys: a name is theirs for good
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that is there is its owner's to close: see the doctor
        store = SealedKeyStore.create(folder.keys, name, lock_for(backend, home, key_file, new=True), now=now)
    to_fill_in = write_template(home, store.identity.name, terms) and terms is None
    transport = desk_transport(asked or folder.desk(), runs_dir)
    if asked is not None:
        step, member = folder.apply(asked, store, transport, now=now)
    else:
        step, member = folder.go_on(store, transport, now=now, force=renew)
    ends = None if member is None else member.certificate.not_valid_after_utc
    digits = fingerprint(spki(store.device_key.public_key()))
    document = {
        "step": step.value,
        "name": store.identity.name,
        "backend": store.backend,
        "fingerprint": digits,
        "id": None if member is None else member.subject.uri,
        "certificate_ends": None if ends is None else round(1000 * ends.timestamp()),
        "renew_at": None if member is None else member.renew_at,
        "terms": str(home / TERMS),
    }
    if as_json:
        emit(document)
        return
    out().print(f"fingerprint of the device key: {digits}", soft_wrap=True)
    if step is Step.WAITING or member is None or ends is None:
        out().print(f"{store.identity.name} waits for approval; call this again without the invitation")
        return
    until = moment(round(1000 * ends.timestamp()))
    said = {Step.ENROLLED: "is enrolled", Step.RENEWED: "is renewed", Step.NOTHING: "is enrolled, nothing is due"}[step]
    out().print(f"{member.subject.uri} {said}; certificate until {until} UTC", soft_wrap=True)
    out().print(f"renew from {moment(member.renew_at)} UTC on, by calling this again", style="dim", soft_wrap=True)
    if to_fill_in:
        out().print(f"say in {home / TERMS} what this device may do, then: skerry device run", soft_wrap=True)

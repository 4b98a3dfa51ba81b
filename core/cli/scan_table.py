"""What ``skerry security scan`` prints for people."""

from typing import TYPE_CHECKING

from rich.text import Text

from skerry.cli.console import out, table
from skerry.wording import percent

if TYPE_CHECKING:
    from skerry.server.scan import Cleaning, Scan

__all__ = ["tell"]

_TOO_FEW = {
    "probes": "the probes, for want of three classes, or of a public model that tells two apart",
    "shortcuts": "the smallest patches, for want of five classes",
    "head": "the head's change, for want of five classes",
}


def tell(found: "Scan", cleaning: "Cleaning | None") -> None:
    """Evidence class by class, devices of which anything was said, findings, what cannot be seen, what cleaning did."""
    from skerry.server.scan import CANNOT_SEE

    _classes(found)
    _devices(found)
    if found.subject.trigger_success is not None:
        known = f"the trigger of this run's simulated attackers works on {percent(found.subject.trigger_success)}"
        out().print(Text(known))
    if cleaning is not None:
        _cleaning(cleaning)
    for sentence in found.found:
        out().print(Text(f"found: {sentence}", style="yellow"))
    for part, judged in found.judged.items():
        if not judged:
            out().print(Text(f"not judged: {_TOO_FEW[part]}"))
    if not found.found and any(found.judged.values()):
        out().print(Text("nothing found, which is no proof that nothing is there"))
    out().print(Text("a scan does not see"))
    for sentence in CANNOT_SEE:
        out().print(Text(f"  - {sentence}", style="dim"))


def _classes(found: "Scan") -> None:
    document = found.to_json()
    columns = ["class", "turned by a patch", "public model", "deviations"]
    columns += ["smallest patch", "deviations of it"] if found.shortcuts is not None else []
    columns += ["row's change", "deviations of change"] if found.head is not None else []
    shown = table(f"{found.subject.name}: each class, {found.examples} public examples", columns, right=columns[1:])
    for number, (name, probe) in enumerate(zip(found.subject.task.classes, found.probes, strict=True)):
        public = "" if probe.public is None else percent(probe.public)
        cells = [percent(probe.share), public, "" if probe.index is None else f"{probe.index:.1f}"]
        if found.shortcuts is not None:
            shortcut = document["shortcuts"][number]
            cells += [f"{shortcut['size']:.0f} places", f"{shortcut['index']:.1f}"]
        if found.head is not None:
            cells += [f"{found.head.lengths[number]:.2f}", f"{found.head.indices[number]:.1f}"]
        shown.add_row(Text(name), *cells)
    out().print(shown)


def _devices(found: "Scan") -> None:
    if not found.record:
        return
    columns = ["device", "kept out", "let in despite an alarm", "quarantined", "says"]
    shown = table("devices of which anything was said, in rounds: told, not judged", columns, right=columns[1:3])
    for device in found.record:
        says = Text("; ".join(device.says))
        shown.add_row(
            Text(device.device), str(device.kept_out), str(device.despite), "yes" if device.quarantined else "", says
        )
    out().print(shown)


def _cleaning(done: "Cleaning") -> None:
    told = (
        f"cleaned model in {done.path}: accuracy {percent(done.accuracy)} before, {percent(done.accuracy_after)} after"
    )
    if done.success is not None and done.success_after is not None:
        told += f"; the trigger works on {percent(done.success)} before, {percent(done.success_after)} after"
    out().print(Text(told))

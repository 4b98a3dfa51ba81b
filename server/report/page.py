"""The page itself: facts and figures laid into the template, style and script inlined, nothing loaded."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from skerry.fsio import write_atomic
from skerry.runfolder import RunFolder
from skerry.server.report import figures, prose
from skerry.server.report.audit import audit_context
from skerry.server.report.facts import Facts, gather
from skerry.server.report.participation import participation_context
from skerry.server.report.templates import environment, part
from skerry.server.report.verdict_map import verdict_map
from skerry.wording import amount, delta, duration, epsilon, percent, size

__all__ = ["render", "write_report"]

SIZE_MARK = "000.0\u00a0kB"
NUMBER_AND_UNIT = re.compile(r"(?<=[\d]) (?=(?:%|B|kB|MB|GB|MiB|s|min|h|points)(?!\w))|(?<=[εδ=]) (?=[\d=])")
EXPONENT = re.compile(r"(?<=\de)-(?=\d)")


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` from the run's files, also for a run that was interrupted or failed.

    Everything that a user or a device named is escaped, and a content security policy forbids the page to load
    or run anything but its own inline style and script.

    Raises:
        InputError: a file of the run was changed or damaged.
    """
    path = folder.path / "report.html"
    write_atomic(path, render(gather(folder)).encode())
    return path


def render(facts: Facts) -> str:
    """The page as HTML text."""
    templates = environment(
        ("page.html.j2", "parts.html.j2", "sections.html.j2"),
        {"percent": percent, "epsilon": epsilon, "delta": delta, "duration": duration, "size": size},
        _together,
    )
    script = part("report.js")
    page = templates.get_template("page.html.j2").render(
        **_context(facts),
        style=part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        size_mark=SIZE_MARK,
    )
    return page.replace(SIZE_MARK, size(len(page.encode())), 1)


def _context(facts: Facts) -> dict[str, Any]:
    result = facts.result
    private = facts.scenario.privacy.unit != "none"
    rows, scale_from = figures.device_rows(result) if result else ([], 0.0)
    return {
        "facts": facts,
        "scenario": facts.scenario,
        "result": result,
        "private": private,
        "lead": prose.lead(facts),
        "tiles": figures.tiles(result) if result else [],
        "accuracy": figures.accuracy_plot(facts),
        "epsilon_by_round": figures.epsilon_plot(facts),
        "traffic": figures.bytes_plot(facts),
        "quality_rows": figures.quality_rows(result) if result else [],
        "devices": rows,
        "scale_from": scale_from,
        "verdicts": verdict_map(
            facts.verdicts,
            facts.last_round,
            kept_out={record.round: record.extra.get("quarantined", ()) for record in facts.rounds},
            attackers=result.defence.attackers if result else None,
        ),
        "stages": figures.stage_rows(facts),
        "evidence": figures.evidence_rows(result) if result else [],
        **audit_context(result),
        **participation_context(facts),
        "guarantee": prose.guarantee_says(result.privacy) if result else [],
        "defence_sentence": prose.defence_sentence(result) if result else "",
        "simulated": facts.simulated,
        "limits": prose.simulated(facts) if facts.simulated else prose.not_known(facts),
        "amount": amount,
    }


def _together(value: object) -> object:
    """Keep a number on one line, and its unit with it."""
    if type(value) is not str:
        return value
    return EXPONENT.sub("\u2011", NUMBER_AND_UNIT.sub("\u00a0", value))

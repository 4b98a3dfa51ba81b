"""A forgotten name is nowhere in the registry's files; what was judged stays, and what keeps a revoked key out."""

import pytest

from skerry.errors import InputError, RefusedError, RegistryError
from skerry.records import Action, Reason, Score, Verdict
from skerry.security.enrolment import EnrolmentRefusedError
from skerry.server.registry import Registry
from skerry.server.registry.place import database_of

from ._enrolment import Agent, Federation
from ._registry import LAB, NOW, accepted, guards, judged, kept, rejected

pytestmark = pytest.mark.usefixtures("both")


@pytest.fixture
def registry(tmp_path) -> Registry:
    """Two devices of a simulation, each of which is named in what was said of the other."""
    made = Registry(tmp_path)
    told = Score("similarity", 1.0, None, 0.9, "As like writer-07 as a copy; not writer-070's.")
    other = Verdict(1, "writer-08", Action.DROP, (Reason.SIMILARITY,), (told,))
    made.record(LAB, "run-1", [judged(1, rejected(1, "writer-07"), other, *accepted(1, "writer-070"))])
    made.quarantine(made.find("writer-08"), by="ann", why="copies writer-07.", now=NOW)
    return made


def test_the_name_is_nowhere_and_the_evidence_stays(registry: Registry) -> None:
    before = registry.standing(registry.find("writer-07"), NOW, 30.0)
    number = len(registry.standings(NOW, 30.0))
    assert b"writer-07" in kept(registry.folder).replace(b"writer-070", b"")
    beside = database_of(registry.folder).watch()  # as a gateway has it open: then the log beside the file stays
    assert beside.changed()
    alias = registry.forget(registry.find("writer-07"), by="ann", now=NOW)
    assert b"writer-07\x00" not in kept(registry.folder)
    assert b"writer-07" not in kept(registry.folder).replace(b"writer-070", b"")
    beside.close()
    after = registry.standing(registry.find(alias), NOW, 30.0)
    assert (after.judged, after.rejected, after.device.id) == (before.judged, before.rejected, before.device.id)
    assert len(registry.standings(NOW, 30.0)) == number
    (said,) = registry.history(registry.find("writer-08")).judgements
    assert said.verdict.scores[0].sentence == f"As like {alias} as a copy; not writer-070's."
    assert registry.history(registry.find("writer-08")).decisions[0].why == f"copies {alias}."
    with pytest.raises(InputError, match="no device 'writer-07'"):
        registry.find("writer-07")


def test_rows_stay_guarded_afterwards(registry: Registry) -> None:
    registry.forget(registry.find("writer-07"), by="ann", now=NOW)
    for table in ("device", "outcome", "decision", "admission", "certificate", "erasure"):
        assert guards(registry.folder, table) >= 3
    with pytest.raises(RegistryError, match="only grows"), database_of(registry.folder).writing() as base:
        base.exec_driver_sql("update device set name = 'x'")


def test_a_run_that_goes_on_knows_the_name_anew(registry: Registry) -> None:
    registry.forget(registry.find("writer-07"), by="ann", now=NOW)
    registry.record(LAB, "run-2", [judged(1, *accepted(1, "writer-07"))])
    assert registry.standing(registry.find("writer-07"), NOW, 30.0).judged == 1


def test_an_enrolled_device_is_put_out_before_it_is_forgotten_and_stays_out(tmp_path) -> None:
    harbour, registry = Federation(tmp_path), Registry(tmp_path)
    agent = Agent.fresh("anns-phone")
    member = harbour.enrol(agent)
    with pytest.raises(RefusedError, check=lambda error: error.reason == "still_enrolled"):
        registry.forget(registry.find("anns-phone"), by="ann", now=NOW)
    harbour.office.revoke(harbour.office.find("anns-phone"), by="ann", why="anns-phone was sold", now=NOW)
    alias = registry.forget(registry.find("anns-phone"), by="ann", now=NOW)
    assert b"anns-phone" not in kept(registry.folder)
    assert harbour.office.find(alias).admission.why == f"{alias} was sold"
    revoked = harbour.desk.revocations()
    assert member.certificate.serial_number.to_bytes(20, "big") in revoked
    with pytest.raises(EnrolmentRefusedError, check=lambda error: error.reason == "revoked"):
        harbour.enrol(agent)

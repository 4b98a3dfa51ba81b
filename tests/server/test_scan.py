"""What a scan looks at beside the model's answers: the change of a head, and the record of verdicts."""

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.records import Action, Examples, Reason, Score, Verdict
from skerry.server.scan import Subject, scan
from skerry.server.scan.head_change import head_change
from skerry.server.scan.verdict_record import verdict_record

CLASSES, WIDTH = 10, 40


def heads(pull: float):
    draw = np.random.default_rng(0)
    public = draw.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    change = draw.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    change[7] *= pull
    return (public + change).ravel(), public.ravel()


def test_a_class_that_changed_far_more_than_the_others_is_found_and_no_other_is() -> None:
    found = head_change(*heads(6.0), CLASSES)
    assert found.suspicious == (7,)
    assert found.pulls == 7
    assert found.first > 0.5
    quiet = head_change(*heads(1.0), CLASSES)
    assert quiet.suspicious == ()
    assert quiet.first < 0.3


def test_a_head_that_did_not_change_says_nothing_and_one_of_another_size_is_refused() -> None:
    _, public = heads(1.0)
    assert head_change(public, public, CLASSES).suspicious == ()
    with pytest.raises(InputError, match="no rows"):
        head_change(public[:-1], public, CLASSES)


def verdict(number: int, device: str, action: Action = Action.ACCEPT, *, value: float = 0.0, scale: float = 1.0):
    reasons = () if action in {Action.ACCEPT, Action.CLIP} else (Reason.NORM,)
    return Verdict(number, device, action, reasons, (Score("norm", value, None, 5.0, f"{value:g} long"),), scale)


def test_the_record_tells_who_was_kept_out_and_who_got_in_despite_an_alarm() -> None:
    lines = [
        verdict(1, "quiet"),
        verdict(1, "loud", value=9.0),
        verdict(2, "loud", Action.CLIP, value=4.0, scale=0.5),
        Verdict(1, "away", Action.DROP, (Reason.NO_REPLY,)),
        Verdict(1, "slow", Action.DROP, (Reason.NOT_AWAITED,)),
        verdict(1, "out", Action.DROP, value=8.0),
        verdict(2, "out", Action.QUARANTINE, value=8.0),
    ]
    loud, out = verdict_record(lines)
    assert (loud.device, loud.kept_out, loud.despite, loud.quarantined) == ("loud", 0, 2, False)
    assert loud.says == ("9 long",)
    assert (out.device, out.kept_out, out.despite, out.quarantined) == ("out", 2, 0, True)


class Pictures:
    """Public examples of 8×8 of any number of classes; what is in the middle says which."""

    name = "pictures"

    def __init__(self, classes: int) -> None:
        self.classes = tuple(f"class {number}" for number in range(classes))

    def public_data(self) -> Examples:
        x = np.random.default_rng(0).integers(0, 200, (64, 8, 8, 1)).astype(np.uint8)
        return Examples(x, x[:, 3, 3, 0].astype(np.int64) % len(self.classes))


def middle(task: Pictures, x):
    """Scores of a model without a backdoor."""
    return np.eye(len(task.classes), dtype=np.float32)[x[:, 3, 3, 0] % len(task.classes)]


def test_devices_that_got_in_despite_an_alarm_are_told_and_are_no_finding_about_the_model() -> None:
    """Limits that are learned flag honest updates at the rate that was asked for, and let them in."""
    task = Pictures(5)
    excused = Verdict(1, "excused", Action.ACCEPT, (Reason.COSINE,), ())
    looked = scan(Subject("run", task, lambda x: [middle(task, x)] * 2, verdicts=(excused,), round=1))
    assert [(device.device, device.despite) for device in looked.record] == [("excused", 1)]
    assert looked.found == ()
    document = looked.to_json()
    assert (document["found"], document["record"][0]["despite"]) == ([], 1)


def planted(task: Pictures, x):
    """The same model, and class 1 wherever the last corner is bright."""
    scores = middle(task, x)
    scores[(x[:, 6:, 6:, 0] >= 190).all(axis=(1, 2)), 1] = 9
    return scores


def test_of_two_classes_a_backdoor_is_found_against_the_public_model_and_an_honest_one_is_left_alone() -> None:
    task = Pictures(2)
    looked = scan(Subject("run", task, lambda x: [planted(task, x), middle(task, x)], head=heads(6.0)))
    (sentence,) = looked.found
    assert "'class 1' (0% of the public model's)" in sentence
    assert "deviations" not in sentence
    assert looked.judged == {"probes": True, "head": False}
    assert scan(Subject("run", task, lambda x: [middle(task, x)] * 2)).found == ()
    assert scan(Subject("run", task, lambda x: [planted(task, x)] * 2)).found == ()


def test_two_classes_without_a_public_model_are_not_judged_and_three_are() -> None:
    for public in ([], [np.eye(2, dtype=np.float32)[[0] * 64]]):  # one that takes all for the same class says nothing
        looked = scan(Subject("file", Pictures(2), lambda x, public=public: [planted(Pictures(2), x), *public]))
        assert looked.found == ()
        assert looked.judged == {"probes": False}
        assert looked.to_json()["judged"] == {"probes": False}
        assert [probe.index for probe in looked.probes] == [None, None]
    assert scan(Subject("file", Pictures(3), lambda x: [planted(Pictures(3), x)])).judged == {"probes": True}


def test_four_rows_of_a_head_are_not_judged_and_five_are() -> None:
    vector, public = (head.reshape(CLASSES, WIDTH) for head in heads(20.0))
    four, five = (head_change(vector[-n:].ravel(), public[-n:].ravel(), n) for n in (4, 5))
    assert (four.judged, four.suspicious) == (False, ())
    assert (five.judged, five.suspicious) == (True, (2,))

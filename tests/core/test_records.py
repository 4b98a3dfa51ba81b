"""Records keep their shape between rooms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InputError
from skerry.records import Action, Examples, ParameterLayout, Reason, RoundRecord, Score, Verdict

LAYOUT = ParameterLayout((("head.weight", (3, 4)), ("head.bias", (3,))))


def test_a_vector_splits_into_named_views_and_joins_back():
    vector = np.arange(15, dtype=np.float32)
    parts = LAYOUT.split(vector)
    assert parts["head.weight"].shape == (3, 4)
    assert parts["head.bias"].tolist() == [12, 13, 14]
    assert np.array_equal(LAYOUT.join(parts), vector)
    assert np.shares_memory(parts["head.weight"], vector)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(InputError, match="15"):
        LAYOUT.split(np.zeros(14, np.float32))


@given(st.permutations([("a", (2,)), ("b", (3,)), ("c", (1, 4))]))
def test_two_layouts_share_a_digest_only_when_equal(tensors):
    layout = ParameterLayout(tuple(tensors))
    same = ParameterLayout((("a", (2,)), ("b", (3,)), ("c", (1, 4))))
    assert (layout.digest == same.digest) == (layout == same)


def test_round_records_survive_their_json():
    record = RoundRecord(
        1, 0.5, 1.0, 2.0, 1.5, ("a",), ("b",), {"b": "norm"}, 10, 20, {"plan": 0.1}, "00", 5, {"ece": 0.1}
    )
    assert RoundRecord.from_json(record.to_json()) == record


def test_a_verdict_line_carries_the_sentence_for_the_operator():
    scores = (Score("norm", 9.0, 1.0, 2.0, "Far too large."),)
    verdict = Verdict(1, "d", Action.DROP, (Reason.NORM,), scores, scale=0.5, propose_revocation=True)
    line = verdict.to_json()
    assert line["action"] == "drop"
    assert line["reasons"] == ["norm"]
    assert line["scores"][0]["sentence"] == "Far too large."
    assert Verdict.from_json(line) == verdict


def test_examples_select_and_concatenate():
    a = Examples(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
    both = Examples.concatenate([a, a.select(np.array([1]))])
    assert len(both) == 3
    assert both.y.tolist() == [0, 1, 1]

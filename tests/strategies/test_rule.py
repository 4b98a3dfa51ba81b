"""A scenario's text becomes the rule it names, or an error that helps."""

import inspect

import numpy as np
import pytest

from skerry.errors import AggregationError, ScenarioError
from skerry.strategies import (
    RULES,
    STEPS,
    AdaptiveClipping,
    Clipping,
    Composed,
    Mean,
    Median,
    MultiKrum,
    NearestNeighbourMixing,
    NormClippedMean,
    Rule,
    TrimmedMean,
    parse_rule,
)

NAMES = (*RULES, *(f"{step}+{rule}" for step in STEPS for rule in RULES), "clipping+nnm+median")


@pytest.mark.parametrize("name", NAMES)
def test_every_named_rule_can_be_parsed_and_says_its_name(name: str) -> None:
    rule = parse_rule(name, tolerate=2)
    assert rule.name == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean", Mean()),
        ("median", Median(2)),
        ("trimmed_mean", TrimmedMean(2)),
        ("nnm+trimmed_mean", Composed((NearestNeighbourMixing(2),), TrimmedMean(2))),
        (" nnm + median ", Composed((NearestNeighbourMixing(2),), Median(2))),
        ("nnm+mean", Composed((NearestNeighbourMixing(2),), Mean())),
        ("multi_krum", MultiKrum(2)),
        ("norm_clipped_mean", NormClippedMean()),
        ("arc+clipping+nnm+mean", Composed((AdaptiveClipping(2), Clipping(), NearestNeighbourMixing(2)), Mean())),
    ],
)
def test_parsing_gives_the_rule_with_the_scenarios_tolerance(text: str, expected: Rule) -> None:
    assert parse_rule(text, tolerate=2) == expected


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("trimed_mean", "trimmed_mean"),
        ("nnm+trimmedmean", "nnm+trimmed_mean"),
        ("medain", "median"),
        ("NNM+mean", "nnm+mean"),
    ],
)
def test_an_unknown_rule_names_the_near_match(text: str, near: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_rule(text, tolerate=1)
    assert caught.value.mend == f"did you mean {near!r}?"
    assert caught.value.where == "defence.aggregator"


def test_an_unknown_rule_without_near_match_lists_what_there_is() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_rule("zzz", tolerate=1)
    assert all(name in str(caught.value.mend) for name in RULES)


@pytest.mark.parametrize("text", ["nnm", "nnm+", "mean+nnm", "mean+median", "+mean", "nnm++mean", "arc+clipping", ""])
def test_steps_need_exactly_one_rule_after_them(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse_rule(text, tolerate=1)


def test_a_negative_tolerance_is_refused_everywhere() -> None:
    with pytest.raises(ScenarioError):
        parse_rule("mean", tolerate=-1)
    for build in (
        lambda: Median(-1),
        lambda: TrimmedMean(-1),
        lambda: NearestNeighbourMixing(-1),
        lambda: MultiKrum(-1),
    ):
        with pytest.raises(AggregationError):
            build()


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("mean", 1),
        ("median", 5),
        ("trimmed_mean", 5),
        ("nnm+mean", 5),
        ("nnm+median", 5),
        ("nnm+trimmed_mean", 5),
        ("krum", 7),
        ("multi_krum", 7),
        ("nnm+krum", 7),
        ("geometric_median", 5),
        ("centred_clipping", 5),
        ("monna", 5),
        ("norm_clipped_mean", 1),
        ("arc+mean", 5),
        ("meamed", 5),
        ("bulyan", 11),
        ("nnm+bulyan", 11),
        ("dnc", 5),
        ("caf", 5),
        ("flame", 5),
        ("bucketing+mean", 1),
        ("bucketing+trimmed_mean", 9),
        ("arc+bucketing+krum", 13),
    ],
)
def test_a_rule_refuses_fewer_rows_than_its_guarantee_needs(name: str, minimum: int) -> None:
    rule = parse_rule(name, tolerate=2)
    assert rule.minimum() == minimum
    np.testing.assert_allclose(rule(np.ones((minimum, 3), np.float32)), np.ones(3), rtol=1e-6)
    with pytest.raises(AggregationError, match=f"at least {minimum}"):
        rule(np.ones((minimum - 1, 3), np.float32))


def test_a_refusal_says_which_bound_is_not_met() -> None:
    for name, bound in (("krum", "2f + 3"), ("nnm+krum", "2f + 3 for krum"), ("nnm+mean", "2f + 1 for nnm")):
        with pytest.raises(AggregationError) as caught:
            parse_rule(name, tolerate=2)(np.ones((2, 3), np.float32))
        assert f"n ≥ {bound}" in caught.value.what


def test_devices_that_are_all_alike_are_sybils_to_foolsgold_and_the_model_stays() -> None:
    assert not parse_rule("foolsgold", tolerate=2)(np.ones((5, 3), np.float32)).any()
    assert not parse_rule("clipping+foolsgold", tolerate=2)(np.ones((5, 3), np.float32)).any()


def test_fltrust_is_named_with_what_it_needs() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_rule("fltrust", tolerate=1)
    assert "root" in str(caught.value.mend)


def test_bucketing_takes_its_shuffle_from_the_seed() -> None:
    rows = np.random.default_rng(0).standard_normal((9, 40)).astype(np.float32)
    one, again, other = (parse_rule("bucketing+median", tolerate=1, seed=seed)(rows) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_rule_after_mixing_may_need_more_rows_than_mixing() -> None:
    assert Composed((NearestNeighbourMixing(1),), TrimmedMean(3)).minimum() == 7


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_device_claims_about_itself_can_be_passed_to_a_rule(name: str) -> None:
    rule = parse_rule(name, tolerate=2)
    assert list(inspect.signature(rule.__call__).parameters) == ["deltas"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "rows", [np.ones((7, 3), np.float64), np.ones(7, np.float32), np.ones((7, 3, 1), np.float32), [[1.0]] * 7]
)
def test_another_form_than_a_float32_matrix_is_refused(name: str, rows: object) -> None:
    with pytest.raises(AggregationError, match="float32 matrix"):
        parse_rule(name, tolerate=2)(rows)

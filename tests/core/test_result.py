"""``result.json``: what is written can be read, and what cannot be true cannot be written."""

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from skerry.errors import InputError
from skerry.result import CLAIMS, Cost, Defence, Measured, Metrics, Privacy, Result, RunInfo, load_result, write_result


def _least(**privacy: object) -> Result:
    return Result(
        run=RunInfo(
            id="digits-1",
            scenario="digits",
            engine="inprocess",
            seed=0,
            versions={"skerry": "0", "ray": None},
            state="interrupted",
            rounds_done=2,
            rounds=20,
            started="2026-01-01T00:00:00+00:00",
        ),
        privacy=Privacy(**({"unit": "none", "simulated": True} | privacy)),
        defence=Defence(aggregator="mean"),
    )


def test_a_result_reads_back_as_it_was_written(run: Path, tmp_path: Path) -> None:
    result = load_result(run)
    write_result(tmp_path / "result.json", result)
    assert load_result(tmp_path) == result
    assert json.loads((tmp_path / "result.json").read_text())["schema"] == 1


def test_what_is_not_known_is_null() -> None:
    value = _least().to_json()
    assert value["quality"]["final"] is None
    assert value["quality"]["references"] == {"non_private": None, "undefended": None}
    assert value["privacy"]["epsilon_rdp"] is None
    assert value["delivery"] is None
    assert value["cost"]["wall_s"] is None


def test_float_is_the_key_of_the_float_figures() -> None:
    value = Measured(accuracy=0.5, floating=Metrics(accuracy=0.6)).model_dump(by_alias=True)
    assert value["float"]["accuracy"] == 0.6


@pytest.mark.parametrize(
    "privacy",
    [
        {"unit": "example", "relation": "add/remove", "epsilon_rdp": 3.0},
        {"unit": "example", "delta": 1e-5, "epsilon_pld": 3.0},
        {"unit": "none", "delta": 1e-5, "relation": "add/remove", "epsilon_budget": 8.0},
    ],
)
def test_an_epsilon_needs_delta_unit_and_relation(privacy: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="an epsilon needs"):
        _least(**privacy)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_an_accuracy_is_a_finite_share(value: float) -> None:
    with pytest.raises(ValidationError):
        Metrics(accuracy=value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_is_infinite(value: float) -> None:
    with pytest.raises(ValidationError):
        Metrics(loss=value)
    with pytest.raises(ValidationError):
        Cost(wall_s=value)


def test_every_claim_is_a_figure_of_the_schema(run: Path) -> None:
    result = load_result(run)
    values = {claim.figure: result.figure(claim.figure) for claim in CLAIMS}
    assert values["quality.final.accuracy"] == result.quality.final.accuracy
    assert values["privacy.audit.epsilon_lower_bound"] is None
    with pytest.raises(KeyError):
        result.figure("quality.finale.accuracy")
    with pytest.raises(KeyError):
        result.figure("run.id.length")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v | {"schema": 2}, "schema: 2"),
        (lambda v: v | {"surplus": 1}, "surplus"),
        (lambda v: v | {"defence": {}}, "defence.aggregator"),
        (lambda v: [v], "schema: None"),
    ],
)
def test_a_damaged_result_is_refused_with_the_key_that_is_wrong(tmp_path: Path, change, told: str) -> None:
    (tmp_path / "result.json").write_text(json.dumps(change(_least().to_json())))
    with pytest.raises(InputError) as caught:
        load_result(tmp_path)
    assert told in caught.value.what
    assert caught.value.where == str(tmp_path / "result.json")
    assert caught.value.mend


@pytest.mark.parametrize("text", ["{", '{"schema": 1, "cost": {"wall_s": NaN}}', "\xff\xfe"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="cannot be read"):
        load_result(tmp_path)


def test_no_result_yet_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no result yet") as caught:
        load_result(tmp_path)
    assert "skerry runs show" in caught.value.mend

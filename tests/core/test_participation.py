"""Who took part, how evenly, and who never did and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.participation import gini, participation, participation_words
from skerry.records import RoundRecord


def record(number: int, accepted: str, dropped: dict[str, str] | None = None, **extra: object) -> RoundRecord:
    return RoundRecord(
        round=number,
        accuracy=0.5,
        loss=1.0,
        epsilon_max=1.0,
        epsilon_median=1.0,
        accepted=tuple(accepted),
        flagged=tuple(device for device, reason in (dropped or {}).items() if reason == "norm"),
        dropped=dropped or {},
        bytes_down=0,
        bytes_up=0,
        seconds={},
        vector_digest="",
        finished_ms=0,
        extra=extra,
    )


RECORDS = (
    record(1, "ab", {"c": "no_reply", "d": "norm"}),
    record(2, "ab", {"d": "late"}, late={"c": 1}),
    record(3, "a", {"d": "norm"}, late={"d": 2}),
    record(4, "a", {"e": "not_awaited"}),
)


def test_each_device_has_its_share_of_the_rounds() -> None:
    found = participation(RECORDS, "abcdef", {"f": "in quarantine"})
    told = {name: (one.asked, one.counted, one.late, one.share) for name, one in found.devices.items()}
    assert told["a"] == (4, 4, 0, 1.0)
    assert told["b"] == (2, 2, 0, 0.5)
    assert told["c"] == (1, 0, 1, 0.0)
    assert told["d"] == (3, 0, 1, 0.0)  # late once: in its round's record, and when it came
    assert told["e"] == (1, 0, 0, 0.0)  # nobody waited for it, and nothing came
    assert told["f"] == (0, 0, 0, 0.0)
    assert (found.rounds, found.least, found.most) == (4, 0.0, 1.0)
    assert found.gini == pytest.approx(gini([4, 2, 0, 0, 0, 0]))


def test_who_never_took_part_is_told_with_the_reason() -> None:
    found = participation(RECORDS, "abcdef", {"f": "class == 'pi': class is 'phone'", "a": "in quarantine"})
    assert found.never == ("c", "d", "e", "f")
    why = {name: found.devices[name].why for name in "abcdef"}
    assert why == {
        "a": None,
        "b": None,
        "c": "asked in one round, no_reply in one round",
        "d": "asked in three rounds, norm in two rounds",
        "e": "asked in one round, not_awaited in one round",
        "f": "class == 'pi': class is 'phone'",
    }
    words = participation_words(found)
    assert words.startswith("each device in 0.0 % to 100.0 % of four rounds, Gini 0.72; never: c (asked in one round")
    assert words.endswith("and 1 more")


def test_nothing_is_said_before_a_round_is_over() -> None:
    assert participation((), "ab").gini is None
    assert participation_words(participation((), "ab")) == "–"


@pytest.mark.parametrize(("counts", "value"), [([1, 1, 1], 0.0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25), ([0, 0], None)])
def test_gini_of_known_counts(counts: list[int], value: float | None) -> None:
    assert gini(counts) == (None if value is None else pytest.approx(value))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int]) -> None:
    found, total = gini(counts), sum(counts)
    if not total:
        assert found is None
        return
    differences = sum(abs(a - b) for a in counts for b in counts)
    assert found == pytest.approx(differences / (2 * len(counts) * total))
    assert 0 <= found < 1

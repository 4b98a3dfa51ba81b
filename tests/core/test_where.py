"""Conditions on devices: what they choose, what they refuse and where they point; nothing in them is executed."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InputError
from skerry.where import FACTS, LEVELS, DeviceFacts, Kind, parse_where

PI = DeviceFacts(
    name="pi-1",
    device_class="pi",
    tags=frozenset({"garden", "site=north", "ram_mb=1024"}),
    trust=0.8,
    days_silent=2.5,
    rounds_asked=3,
    rounds_since=2,
    epsilon_left=1.5,
    battery="half",
)
NEW = DeviceFacts(name="new", device_class="phone", days_silent=math.inf)


@pytest.mark.parametrize(
    "text",
    [
        "class == 'pi'",
        'class != "phone" and name == "pi-1"',
        "class in ('phone', 'pi')",
        "tag('garden')",
        "tag('site')",
        "tag('site') == 'north'",
        "tag('site') in ('north', 'south')",
        "tag('ram_mb') >= 900 and tag('ram_mb') == 1024",
        "epsilon_left >= 1 and not trust < 0.8",
        "battery >= 'half' and battery < 'plenty'",
        "rounds_since > 1 and rounds_asked == 3 and days_silent < 3",
        "trust > 0.9 or class == 'pi' and epsilon_left > 1",
        "not (class == 'phone' or tag('attic'))",
        "battery == 'little' or class == 'pi'",
        "free_disk == 'little' or class == 'pi'",
    ],
)
def test_a_condition_chooses_the_device_that_it_describes(text: str) -> None:
    assert parse_where(text).chooses(PI)
    assert not parse_where(f"not ({text})").chooses(PI)


@pytest.mark.parametrize(
    "text",
    [
        "trust >= 0",
        "trust < 0.5",
        "not trust >= 0.5",
        "tag('site') != 'north'",
        "tag('site') in ('north')",
        "not tag('site') == 'north'",
        "battery != 'half'",
        "trust > 0 or free_disk > 'little'",
        "trust > 0 and class == 'phone'",
    ],
)
def test_what_is_not_known_satisfies_nothing_neither_way(text: str) -> None:
    assert not parse_where(text).chooses(NEW)
    assert not parse_where(f"not ({text})").chooses(NEW)


def test_a_tag_that_is_no_number_is_not_known_as_one() -> None:
    assert not parse_where("tag('site') >= 0 or tag('site') < 1").chooses(PI)


def test_and_binds_closer_than_or_and_not_closest() -> None:
    assert parse_where("class == 'pi' or class == 'phone' and trust > 1").chooses(PI)
    assert not parse_where("(class == 'pi' or class == 'phone') and trust > 1").chooses(PI)
    assert not parse_where("not class == 'phone' and class == 'phone'").chooses(NEW)


def test_who_never_took_part_is_silent_for_ever() -> None:
    assert parse_where("days_silent > 10000 and rounds_since > 10000 and rounds_asked == 0").chooses(NEW)


def test_the_parts_that_keep_a_device_out_are_told_with_how_it_is() -> None:
    where = parse_where("class == 'pi' and (trust >= 0.9 or tag('attic')) and epsilon_left >= 2 and free_disk > 'half'")
    assert where.misses(PI) == (
        "trust >= 0.9 or tag('attic'): trust is 0.8, it has no tag 'attic'",
        "epsilon_left >= 2: epsilon_left is 1.5",
        "free_disk > 'half': free_disk is not known",
    )
    assert parse_where("tag('garden')").misses(PI) == ()
    assert where.names == {"class", "trust", "tag", "epsilon_left", "free_disk"}


@pytest.mark.parametrize(
    ("text", "column", "marked", "said"),
    [
        ("", 1, "»«", "a fact must stand here"),
        ("class == 'pi' and clas == 'x'", 19, "»clas«", "did you mean 'class'?"),
        ("class = 'pi'", 7, "»=«", "did you mean ==?"),
        ("class == 'pi' && trust > 1", 15, "»&«", "did you mean and?"),
        ("class == pi", 10, "»pi«", "write it as 'north'"),
        ("class < 'pi'", 7, "»<«", "by one of: == !="),
        ("trust >= 'much'", 10, "»'much'«", "write a number"),
        ("trust", 6, "»«", "to be compared"),
        ("trust >= 0.5 >= 0.1", 14, "»>=«", "the condition is over"),
        ("trust in ('a')", 7, "»in«", "<= or >="),
        ("0.5 <= trust", 1, "»0.5«", "a fact must stand here"),
        ("battery > 'hlf'", 11, "»'hlf'«", "did you mean 'half'?"),
        ("(class == 'pi'", 15, "»«", "every bracket"),
        ("class == 'pi')", 14, "»)«", "over here"),
        ("class == 'pi", 10, "»'pi«", "same quote"),
        ("trust > 1e3", 9, "»1e3«", "as 12 or 0.5"),
        ("trust > -1", 9, "»-«", "not negative"),
        ("trust > .5", 9, "».«", "means nothing"),
        ("tag(site)", 5, "»site«", "'north'"),
        ("tag('ram_mb') >= 'much'", 18, "»'much'«", "a number"),
        ("class == 'pi' class == 'pi'", 15, "»class«", "join conditions"),
        ("not", 4, "»«", "a fact"),
        ("name == 'a' and and", 17, "»and«", "a fact"),
        ("class in ()", 11, "»)«", "in quotes"),
        ("__import__('os') == 'x'", 1, "»__import__«", "there are"),
        ("__import__('os').system('x')", 17, "».«", "means nothing"),
    ],
)
def test_an_error_points_at_its_column_and_says_how_to_mend_it(text: str, column: int, marked: str, said: str) -> None:
    with pytest.raises(InputError) as told:
        parse_where(text)
    assert told.value.what.startswith(f"column {column}: ")
    assert marked in (told.value.where or "")
    assert said in f"{told.value.what} {told.value.mend}"


def test_neither_length_nor_depth_is_without_bounds() -> None:
    with pytest.raises(InputError, match="at most 1000 characters"):
        parse_where("class == 'pi' or " * 100)
    for text in ("(" * 400 + "tag('x')" + ")" * 400, "not " * 200 + "tag('x')"):
        with pytest.raises(InputError, match="lie within one another"):
            parse_where(text)
    assert parse_where("(" * 30 + "tag('garden')" + ")" * 30).chooses(PI)


@given(st.text(alphabet=st.sampled_from("clastrunodei '\"()=<>!,.01_ \n\\")) | st.text())
def test_any_text_is_a_condition_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert parse_where(text).text == text


def _literals(name: str) -> st.SearchStrategy[str]:
    kind = FACTS[name].kind
    if kind is Kind.NUMBER:
        return st.integers(0, 9).map(str)
    return st.sampled_from(LEVELS if kind is Kind.LEVEL else ("pi", "phone", "pi-1")).map(repr)


_STATEMENTS = st.sampled_from(sorted(FACTS)).flatmap(
    lambda name: st.builds(
        lambda sign, literal: f"{name} {sign} {literal}",
        st.sampled_from(("==", "!=") if FACTS[name].kind is Kind.TEXT else ("==", "!=", "<", "<=", ">", ">=")),
        _literals(name),
    )
)
_CONDITIONS = st.recursive(
    _STATEMENTS,
    lambda inner: (
        st.builds(lambda a, word, b: f"({a}) {word} ({b})", inner, st.sampled_from(("and", "or")), inner)
        | inner.map(lambda a: f"not ({a})")
    ),
    max_leaves=6,
)


@given(_CONDITIONS, st.sampled_from((PI, NEW)))
def test_a_condition_and_its_opposite_never_both_choose_and_what_is_left_out_has_a_reason(
    text: str, device: DeviceFacts
) -> None:
    where, opposite = parse_where(text), parse_where(f"not ({text})")
    assert not (where.chooses(device) and opposite.chooses(device))
    assert bool(where.misses(device)) != where.chooses(device)
    assert parse_where(where.text).names == where.names

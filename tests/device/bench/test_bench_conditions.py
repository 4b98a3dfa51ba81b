"""Conditions read as they are written, and what is none is named."""

import pytest

from skerry.device.bench.conditions import DEFAULT_CONDITIONS, Condition, parse_conditions
from skerry.errors import InputError


def test_values_belong_to_the_key_before_them():
    found = parse_conditions(["idle,burn,batch=1,4,16,quota25,memory=128MB,256 MB", "memory,sustained,idle"])
    batches = ["batch=1", "batch=4", "batch=16"]
    limits = ["memory=128MB", "memory=256MB", "memory"]
    assert [condition.name for condition in found] == ["idle", "burn", *batches, "quota25", *limits, "sustained"]
    assert parse_conditions([condition.name for condition in found]) == found


def test_the_default_is_all_of_them():
    assert {condition.kind for condition in parse_conditions(DEFAULT_CONDITIONS)} == {
        "idle",
        "burn",
        "quota",
        "memory",
        "batch",
        "sustained",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("idel", "did you mean 'idle'"),
        ("quota0", "quota50"),
        ("quota100", "quota50"),
        ("batch", "batch=1,4,16"),
        ("batch=0", "batch=1,4,16"),
        ("memory=64", "memory=256MB"),
        ("memory=0MB", "memory=256MB"),
        ("4", "batch=1,4,16"),
        ("idle=3", "the forms are"),
        (",", "write some of"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_would_be(text, told):
    with pytest.raises(InputError) as caught:
        parse_conditions([text])
    assert told in caught.value.mend


def test_only_batches_have_a_size():
    assert (Condition("batch", 4).batch, Condition("quota", 50).batch, Condition("memory", 64).batch) == (4, 1, 1)

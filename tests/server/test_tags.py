"""What operators call devices, and whom that chooses."""

from pathlib import Path

import pytest

from skerry.errors import InputError
from skerry.server.registry import Registry
from skerry.server.registry.enrolled import State

from ._enrolment import NOW, Agent, Federation
from ._registry import kept

pytestmark = pytest.mark.usefixtures("both_in_full")


@pytest.fixture
def harbour(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


def test_who_enrols_by_an_invite_has_its_tags_until_an_operator_says_others(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["garden", "attic", "garden"]))
    harbour.enrol(Agent.fresh("pi-2"))
    tags = {one.device.name: one.tags for one in harbour.office.enrolled()}
    assert tags == {"pi-1": ("attic", "garden"), "pi-2": ()}
    office = harbour.office
    assert office.tag(office.find("pi-1"), ["pi4"], by="ann", now=NOW).tags == ("pi4",)
    assert office.find("pi-1").tags == ("pi4",)
    assert office.tag(office.find("pi-1"), [], by="ann", now=NOW).tags == ()


def test_a_device_is_chosen_by_its_class_or_any_of_its_tags(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["garden", "slow"]))
    harbour.enrol(Agent.fresh("pi-2"))
    harbour.enrol(Agent.fresh("phone-1"), harbour.invite(device_class="phone", tags=["garden"]))
    found = harbour.recipients()
    assert found.tagged(()) == ("phone-1", "pi-1", "pi-2")
    assert found.tagged(["pi"]) == ("pi-1", "pi-2")
    assert found.tagged(["garden"]) == ("phone-1", "pi-1")
    assert found.tagged(["slow", "phone"]) == ("phone-1", "pi-1")
    assert found.tagged(["elsewhere"]) == ()


def test_tags_are_of_keys_and_not_of_a_name_that_somebody_else_takes(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["trusted"]))
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="lost", now=NOW)
    harbour.enrol(Agent.fresh("pi-1"))
    assert harbour.office.find("pi-1", State.ENROLLED).tags == ()
    assert harbour.recipients().tagged(["trusted"]) == ()


def test_a_tag_may_be_a_key_with_a_value_of_which_a_device_has_one(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["site=north", "ram_mb=906.5", "garden"]))
    assert harbour.office.find("pi-1").tags == ("garden", "ram_mb=906.5", "site=north")
    assert harbour.recipients().tagged(["site=north"]) == ("pi-1",)
    assert harbour.recipients().tagged(["site"]) == ()
    with pytest.raises(InputError, match="one value of 'site'"):
        harbour.office.tag(harbour.office.find("pi-1"), ["site=north", "site=south"], by="ann", now=NOW)


@pytest.mark.parametrize(
    "word", ["", "Two Words", "../up", "x" * 65, "-dash", "a\nb", "site=", "=north", "a=b=c", "x=" + "y" * 63, "a.b"]
)
def test_what_is_no_plain_word_is_no_tag_and_nothing_is_entered(harbour: Federation, word: str) -> None:
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["attic"]))
    with pytest.raises(InputError):
        harbour.invite(tags=[word])
    with pytest.raises(InputError):
        harbour.office.tag(harbour.office.find("pi-1"), ["ok", word], by="ann", now=NOW)
    assert harbour.office.find("pi-1").tags == ("attic",)
    assert len(harbour.office.invites()) == 1


def test_a_forgotten_name_is_in_no_tag(harbour: Federation) -> None:
    for name in ("pi-1", "pi-2"):
        harbour.enrol(Agent.fresh(name), harbour.invite(tags=["near-pi-1", "pi-1"]))
    registry = Registry(harbour.folder)
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="lost", now=NOW)
    alias = registry.forget(registry.find("pi-1"), by="ann", now=NOW)
    assert b"pi-1" not in kept(harbour.folder).replace(b"near-pi-1", b"")
    assert alias in harbour.office.find("pi-2").tags

"""The gateway learns and gives out node ids without asking the SuperLink for all of them again and again."""

import pytest

from skerry.server.gateway import SuperlinkNodes

from ._gateway import Signing


class Superlink:
    """Registers keys; ``lists`` counts how often it had to name all of them."""

    def __init__(self, *known: Signing) -> None:
        self.known = {device.enrolled.node_key: number for number, device in enumerate(known, start=100)}
        self.lists = 0
        self.loses_answer = False

    def nodes(self) -> dict[bytes, int]:
        self.lists += 1
        return dict(self.known)

    def register(self, key) -> int:
        node_key = next(one.enrolled.node_key for one in DEVICES if one.key.public_key() == key)
        if node_key in self.known:
            raise ConnectionError("the key is registered already")
        self.known[node_key] = 100 + len(self.known)
        if self.loses_answer:
            raise ConnectionError("the line is gone")
        return self.known[node_key]


DEVICES = [Signing(f"pi-{number}") for number in range(6)]


def test_whoever_the_superlink_has_keeps_its_number_and_the_others_are_registered_without_another_look() -> None:
    superlink = Superlink(*DEVICES[:2])
    nodes = SuperlinkNodes(superlink)
    found = [nodes.node_id(device.enrolled) for device in DEVICES]
    assert found == [100, 101, 102, 103, 104, 105]
    assert [nodes.node_id(device.enrolled) for device in DEVICES] == found
    assert superlink.lists == 1


def test_a_registration_whose_answer_was_lost_is_found_again() -> None:
    superlink = Superlink()
    nodes = SuperlinkNodes(superlink)
    superlink.loses_answer = True
    with pytest.raises(ConnectionError):
        nodes.node_id(DEVICES[0].enrolled)
    superlink.loses_answer = False
    assert nodes.node_id(DEVICES[0].enrolled) == 100


def test_who_is_not_accepted_is_asked_for_again_and_has_not_all_of_them_listed_each_time() -> None:
    superlink, now = Superlink(*DEVICES[:3]), [0.0]
    nodes = SuperlinkNodes(superlink, lambda: now[0])
    assert nodes.node_id(DEVICES[0].enrolled) == 100
    superlink.known[DEVICES[0].enrolled.node_key] = 7  # by another SuperLink
    for _ in range(50):
        nodes.forget(DEVICES[0].enrolled)
        assert nodes.node_id(DEVICES[0].enrolled) == 100
    assert superlink.lists == 1
    now[0] = 11.0
    assert nodes.node_id(DEVICES[0].enrolled) == 7
    assert nodes.node_id(DEVICES[1].enrolled) == 101
    assert superlink.lists == 2

"""The agent's loop against a SuperLink that loses, repeats, withholds and lies."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from flwr.proto import fleet_pb2, message_pb2

from skerry.device.agent import ear as ear_module
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.diary import Event, read_diary
from skerry.device.agent.flwr_fleet import Parcel
from skerry.device.agent.journal import Journal
from skerry.device.agent.pace import Backoff
from skerry.device.agent.remembered import RememberedNode
from skerry.device.agent.watch import pause
from skerry.device.care import Unattended
from skerry.device.yielding import NotYetError
from skerry.errors import DiskFullError

from ._ashore import Ashore
from ._superlink import NODE, Superlink, letter


@pytest.fixture
def link() -> Superlink:
    return Superlink()


@pytest.fixture
def ashore(tmp_path: Path, link: Superlink) -> Iterator[Ashore]:
    made = Ashore(tmp_path, link)
    with made.bell:
        yield made


def failing(call: str, fault: Fault, *, times: int = 1) -> Callable[[str], None]:
    left = [times]

    def fail(called: str) -> None:
        if called == call and left[0]:
            left[0] -= 1
            raise CallFailedError(fault, "as the test wants it")

    return fail


def test_a_message_comes_in_and_its_reply_goes_out_whole(ashore: Ashore, link: Superlink):
    link.letters.append(letter(b"dig"))
    link.hidden = 3  # a message is visible before its objects are
    ashore.turn(2)
    assert ashore.worked == [b"dig"]
    assert len(link.whole()) == 1
    assert ashore.agent.journal.letter() is None


def test_a_device_that_hears_gives_signs_of_life_of_its_own_while_it_works(tmp_path: Path, link: Superlink):
    """The gateway drops those that it gives in its name when a round takes all its places; a reply would be lost."""
    beaten, when_idle = threading.Event(), []

    def works(text: bytes) -> bytes:
        return b"kept alive" if beaten.wait(20) else b"called offline meanwhile"

    ashore = Ashore(tmp_path, link, app=works)
    ashore.agent.fleet.heartbeat_s = 0.01
    ashore.agent._ear.hears = True
    link.fail = lambda called: beaten.set() if called == "send-node-heartbeat" else None
    with ashore.bell:
        ashore.agent._node.start()
        ashore.turn()  # comes online; nothing is to do
        time.sleep(0.2)
        when_idle += link.heard
        link.letters.append(letter(b"dig"))
        ashore.turn()
        ashore.agent._node.end()
    assert b"kept alive" in link.whole()[0]
    assert "send-node-heartbeat" not in when_idle


class Belled(Superlink):
    """With a bell: ``waits`` counts how often the device came to it, ``strokes`` are what it then hears."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waits, self.strokes = threading.Semaphore(0), SimpleQueue[bytes]()

    def post(self, path: str, body: bytes, headers, *, longest: int) -> bytes:
        if path != "/v1/bell":
            return super().post(path, body, headers, longest=longest)
        self.waits.release()
        return self.strokes.get()

    def comes(self) -> bool:
        """Whether the device comes to the bell once more."""
        return self.waits.acquire(timeout=20)


@pytest.mark.parametrize("letters", [0, 1])
def test_after_a_ring_a_device_is_at_the_bell_again_when_it_has_its_message_or_there_was_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letters: int
):
    monkeypatch.setattr(ear_module, "_ASKS_S", 180.0)
    link = Belled()
    ashore = Ashore(tmp_path, link, app=lambda _: b"hears" if link.comes() else b"hears nothing while it works")
    with ashore.bell:
        ashore.turn()
        ashore.agent._ear.start()
        assert link.comes()
        link.strokes.put(b"a ring")
        ashore.bell.wait(20)
        assert ashore.bell.nudged()
        link.letters += [letter(b"dig") for _ in range(letters)]
        ashore.turn()
        assert [b"hears nothing" in reply for reply in link.whole()] == [False] * letters
        assert letters or link.comes()
        ashore.agent._ear.end()
        link.strokes.put(b"over")


def test_a_message_whose_sender_died_over_it_does_not_hold_the_next_one_for_long(ashore: Ashore, link: Superlink):
    waited: list[float] = []
    ashore.agent.fleet._sleep = waited.append
    link.letters.append(letter(b"half"))
    link.hidden = 1_000
    ashore.turn()
    assert Event.DROPPED in ashore.events()
    assert 5.0 < sum(waited) < 30.0  # a coordinator that comes again gives devices half a minute to answer
    link.hidden = 0
    link.letters.append(letter(b"dig"))
    ashore.turn()
    assert ashore.worked == [b"dig"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_upload_that_breaks_off_goes_on_in_its_session_and_is_not_made_again(
    ashore: Ashore, link: Superlink, at: int
):
    link.letters.append(letter(b"dig"))
    uploads = []

    def fail(called: str) -> None:
        if called == "push-object":
            uploads.append(called)
            if len(uploads) == at:
                raise CallFailedError(Fault.UNREACHABLE, "cut")

    link.fail = fail
    ashore.turn(3)
    assert len(link.whole()) == 1
    assert link.heard.count("push-messages") == 1
    assert ashore.worked == [b"dig"]


def test_killed_after_the_announcement_the_next_process_ends_the_same_upload(tmp_path: Path, link: Superlink):
    link.letters.append(letter(b"dig"))
    link.fail = failing("push-object", Fault.UNREACHABLE, times=100)
    first = Ashore(tmp_path, link)
    with first.bell:
        first.turn(2)
        assert not link.whole()
    link.fail = lambda _: None
    second = Ashore(tmp_path, link, app=lambda text: b"other words")
    with second.bell:
        second.turn()
    assert len(link.whole()) == 1
    assert b"other words" not in link.whole()[0]
    assert second.worked == []


def test_killed_before_its_reply_was_made_the_next_process_makes_it(tmp_path: Path, link: Superlink):
    link.letters.append(letter(b"dig"))
    link.fail = failing("pull-object", Fault.UNREACHABLE)
    first = Ashore(tmp_path, link)
    with first.bell:
        first.turn()
        assert first.worked == []
    second = Ashore(tmp_path, link)
    with second.bell:
        second.turn()
    assert (second.worked, len(link.whole())) == ([b"dig"], 1)


def test_a_message_larger_than_a_device_holds_is_dropped_and_the_next_one_answered(
    ashore: Ashore, link: Superlink, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("skerry.device.agent.flwr_fleet._LARGEST", 10_000)
    link.letters += [letter(b"x" * 20_000), letter(b"dig")]
    ashore.turn(2)
    assert ashore.worked == [b"dig"]
    assert Event.DROPPED in ashore.events()


def test_a_message_of_which_nobody_waits_for_an_answer_costs_nothing(ashore: Ashore, link: Superlink):
    link.letters.append(letter(b"dig", ttl=0.001))
    ashore.turn(2)
    assert ashore.worked == []
    assert "pull-object" not in link.heard
    assert ashore.agent.journal.letter() is None


def test_a_message_that_comes_while_the_disk_is_full_is_answered_when_there_is_room(
    ashore: Ashore, link: Superlink, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise DiskFullError("no space left")

    link.letters.append(letter(b"dig"))
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "keep_letter", full)
        ashore.turn(3)
        assert ashore.worked == []
        assert "confirm-message-received" not in link.heard
    ashore.turn()
    assert (ashore.worked, len(link.whole())) == ([b"dig"], 1)


@pytest.mark.parametrize("call", ["pull-object", "push-messages", "push-object"])
def test_what_belongs_to_a_run_that_is_over_is_dropped(ashore: Ashore, link: Superlink, call: str):
    link.letters.append(letter(b"dig"))
    link.fail = failing(call, Fault.GONE, times=100)
    ashore.turn(2)
    assert ashore.agent.journal.letter() is None
    assert Event.DROPPED in ashore.events()
    link.fail = lambda _: None
    link.letters.append(letter(b"sow"))
    ashore.turn(1)
    assert len(link.whole()) >= 1


def test_a_superlink_that_was_started_anew_is_joined_anew_and_what_it_never_sent_is_dropped(
    ashore: Ashore, link: Superlink
):
    link.letters.append(letter(b"dig"))
    link.fail = failing("push-messages", Fault.NOT_REGISTERED)
    link.node = NODE
    ashore.turn()
    link.node = NODE + 1
    ashore.turn()
    assert ashore.agent.remembered.read() == NODE + 1
    assert ashore.agent.journal.letter() is None
    assert link.replies == {}
    link.letters.append(letter(b"sow", node=NODE + 1))
    ashore.turn()
    assert len(link.whole()) == 1


def test_the_node_of_last_time_comes_back_without_being_activated(tmp_path: Path, link: Superlink):
    RememberedNode(tmp_path / "node").write(NODE)
    made = Ashore(tmp_path, link)
    with made.bell:
        made.turn()
    assert link.heard[0] == "send-node-heartbeat"
    assert "activate-node" not in link.heard


def test_it_says_that_it_goes_but_not_right_after_a_reply_which_would_be_lost(ashore: Ashore, link: Superlink):
    ashore.turn()
    ashore.agent._leave()
    assert link.heard.count("deactivate-node") == 1
    link.letters.append(letter(b"dig"))
    ashore.turn(2)
    assert len(link.whole()) == 1
    ashore.agent._leave()
    assert link.heard.count("deactivate-node") == 1


NONSENSE = {
    "a time to live without end": lambda head: setattr(head.metadata, "ttl", math.inf),
    "no time to live": lambda head: setattr(head.metadata, "ttl", math.nan),
    "made at no time": lambda head: setattr(head.metadata, "created_at", math.nan),
    "made after all times": lambda head: setattr(head.metadata, "created_at", 1e300),
    "of no kind": lambda head: setattr(head.metadata, "message_type", "zzz"),
    "of nobody": lambda head: head.ClearField("metadata"),
}


def nonsense(kind: str) -> Parcel:
    """A message that no honest SuperLink sends."""
    good = letter(b"dig")
    if kind not in NONSENSE:
        return replace(good, head=b"\xff\xff")
    head = message_pb2.Message.FromString(good.head)
    NONSENSE[kind](head)
    return replace(good, head=head.SerializeToString())


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_message_that_is_nonsense_is_dropped_and_the_next_one_answered(ashore: Ashore, link: Superlink, kind: str):
    link.letters += [nonsense(kind), letter(b"sow")]
    ashore.turn(6)
    assert b"dig" not in ashore.worked
    assert ashore.worked == [b"sow"]
    assert len(link.whole()) >= 1
    assert Event.DROPPED in ashore.events()
    assert ashore.agent.journal.letter() is None


@pytest.mark.parametrize("kind", [*NONSENSE, "no message at all"])
def test_nonsense_that_was_written_down_does_not_end_the_next_process(tmp_path: Path, link: Superlink, kind: str):
    RememberedNode(tmp_path / "node").write(NODE)
    Journal(tmp_path).keep_letter(nonsense(kind))
    link.letters.append(letter(b"sow"))
    made = Ashore(tmp_path, link)
    with made.bell:
        made.turn(6)
    assert made.worked == [b"sow"]


@pytest.mark.parametrize("without", ["tree", "objects"])
def test_a_message_in_parts_that_do_not_fit_is_dropped(ashore: Ashore, link: Superlink, without: str):
    link.letters += [replace(letter(b"dig"), **{without: type(getattr(letter(b""), without))()}), letter(b"sow")]
    ashore.turn(6)
    assert ashore.worked == [b"sow"]
    assert Event.DROPPED in ashore.events()


def test_a_message_without_a_tree_is_dropped(ashore: Ashore, link: Superlink, monkeypatch: pytest.MonkeyPatch):
    def bare(body: bytes) -> fleet_pb2.PullMessagesResponse:
        return fleet_pb2.PullMessagesResponse(messages_list=[message_pb2.Message.FromString(letter(b"dig").head)])

    with monkeypatch.context() as patched:
        patched.setattr(link, "_pull_messages", bare)
        ashore.turn(2)
    link.letters.append(letter(b"sow"))
    ashore.turn(2)
    assert ashore.worked == [b"sow"]
    assert Event.DROPPED in ashore.events()


def test_work_that_lacks_something_now_is_begun_again_until_nobody_waits(ashore: Ashore, link: Superlink):
    lacking = [True]

    def app(text: bytes) -> bytes:
        if lacking[0]:
            raise NotYetError("the gateway is being started")
        return text

    ashore.app = app
    link.letters.append(letter(b"dig"))
    ashore.turn(3)
    assert ashore.worked == [b"dig"] * 3
    assert link.replies == {}
    assert ashore.events().count(Event.LOST) == 1
    lacking[0] = False
    ashore.turn()
    assert len(link.whole()) == 1
    lacking[0] = True
    link.letters.append(letter(b"sow", ttl=1.0))
    ashore.turn()
    while ashore.agent.journal.letter() is not None:
        ashore.turn()
    assert Event.DROPPED in ashore.events()
    assert len(link.whole()) == 1


def test_what_nobody_waits_for_is_erased_also_while_the_device_may_not_work(
    ashore: Ashore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expired = []
    monkeypatch.setattr(Unattended, "expire", lambda _: expired.append(True), raising=False)
    pause(tmp_path)
    ashore.turn(3)
    assert len(expired) == 3


def test_the_owner_is_told_of_the_contact_from_the_moment_the_device_is_online(ashore: Ashore, tmp_path: Path):
    ashore.agent.diary.tell(Event.STARTED, "now")
    ashore.agent._join()
    assert read_diary(tmp_path / "diary.json")["last_contact"] is not None


def test_trouble_is_told_once_however_long_it_lasts(ashore: Ashore, link: Superlink):
    ashore.turn()
    link.fail = failing("pull-messages", Fault.UNREACHABLE, times=5)
    ashore.turn(5)
    assert ashore.events().count(Event.LOST) == 1


def test_a_gateway_that_has_just_started_is_asked_again_when_it_says_and_not_after_a_wait_that_has_grown(
    ashore: Ashore,
):
    for _ in range(20):
        ashore.agent._meet(CallFailedError(Fault.UNREACHABLE, "nobody is there"))
    started = CallFailedError(Fault.WRONG_CLOCK, "signed before the gateway started", retry_after_s=3.0)
    assert 3.0 <= ashore.agent._meet(started) <= 4.0
    assert ashore.agent._meet(CallFailedError(Fault.UNREACHABLE, "nobody is there")) <= 0.5
    assert Event.TURNED_AWAY not in ashore.events()


def test_waits_after_failures_grow_up_to_a_longest_and_begin_anew():
    backoff = Backoff(1.0, 4.0, lambda low, high: high)
    assert [backoff.failed() for _ in range(6)] == [1, 1.5, 2.25, 3.375, 4, 4]
    assert backoff.failed(at_least=20.0) == 20
    backoff.worked()
    assert backoff.failed() == 1

"""A roll call over real devices: they may be slow, die with the question, or answer anything at all."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from skerry.device.app import RECORD
from skerry.device.participation import answer_challenge
from skerry.security.identity import Directory, Identity
from skerry.server.discover import CHALLENGE_S, RollCall
from skerry.server.engines.flwr_adapter import task_identity

AGAIN_S = 60.0
COORDINATOR, PI, OTHER = (Identity.generate(name) for name in ("coordinator", "pi", "other"))


class Grid:
    """One node, whose answers a test gives by hand."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self._answers: list[Message] = []

    def get_node_ids(self) -> list[int]:
        return [7]

    def push_messages(self, messages: list[Message]) -> list[str]:
        found = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"question {len(self.asked)}"
            self.asked.append(message)
            found.append(message.metadata.message_id)
        return found

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        given = [one for one in self._answers if one.metadata.reply_to_message_id in message_ids]
        self._answers = [one for one in self._answers if one not in given]
        return given

    def says(self, number: int, envelopes: object) -> None:
        content = RecordDict({RECORD: ConfigRecord({"envelopes": envelopes})})  # type: ignore[dict-item]
        self._answers.append(Message(content, reply_to=self.asked[number]))

    def fails(self, number: int) -> None:
        self._answers.append(Message(Error(2, "no"), reply_to=self.asked[number]))


class Call:
    """A roll call, its grid and its clock."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.grid = Grid()
        self.call = RollCall(self.grid, "run", COORDINATOR, lambda: self.now, again_s=AGAIN_S)  # type: ignore[arg-type]
        self.look()

    def look(self, *devices: Identity) -> bool:
        return self.call.look(Directory({one.name: one.public for one in devices or (PI,)}))

    def later(self, seconds: float = AGAIN_S + 1) -> bool:
        self.now += int(1000 * seconds)
        return self.look()

    def answers(self, number: int, device: Identity = PI) -> None:
        asked = self.grid.asked[number].content[RECORD]
        resident = SimpleNamespace(
            coordinator=COORDINATOR.public, home=SimpleNamespace(device=device.name), identity=device
        )
        envelope = answer_challenge(asked["challenge"], asked["signature"], resident, now=self.now)  # type: ignore[arg-type]
        self.grid.says(number, [envelope])


@pytest.fixture
def call() -> Iterator[Call]:
    with task_identity(1):
        yield Call()


def test_who_answers_the_first_question_after_it_was_asked_again_is_found(call: Call) -> None:
    call.later()
    assert len(call.grid.asked) == 2
    call.answers(0)
    assert call.look()
    assert call.call.found == {"pi": 7}
    for _ in range(3):
        call.later()
    assert len(call.grid.asked) == 2  # and is left alone


@pytest.mark.parametrize(
    "nonsense",
    [5, 1.5, "text", b"bytes", [1, 2], ["text"], [b"", b"no envelope"], [b"x"] * 10_000],
    ids=["number", "float", "text", "bytes", "numbers", "texts", "no envelopes", "many"],
)
def test_nonsense_is_no_answer_ends_nothing_and_its_node_is_asked_again(call: Call, nonsense: object) -> None:
    call.grid.says(0, nonsense)
    assert not call.look()
    call.later()
    call.answers(1)
    assert call.look()
    assert call.call.found == {"pi": 7}


def test_an_error_or_a_stranger_s_answer_is_not_the_last_word(call: Call) -> None:
    call.grid.fails(0)
    assert not call.look()
    call.later()
    call.answers(1, OTHER)
    assert not call.look()
    call.later()
    assert len(call.grid.asked) == 2  # it is asked ever more rarely
    call.later()
    call.answers(2, OTHER)
    assert call.look(PI, OTHER)  # meanwhile it is enrolled
    assert call.call.found == {"other": 7}


def test_a_node_that_stays_silent_is_asked_ever_more_rarely_and_not_less_than_that(call: Call) -> None:
    for _ in range(16):
        call.later(AGAIN_S)
        call.later(0.001)
    assert len(call.grid.asked) == 1 + 1 + 1 + 3  # at first, after one, two and ever four times as long


def test_what_holds_no_more_is_not_asked_again(call: Call) -> None:
    call.later(CHALLENGE_S + 1)
    first, second = (message.content[RECORD]["challenge"] for message in call.grid.asked)
    assert first != second
    call.answers(1)
    call.look()
    assert call.call.found == {"pi": 7}

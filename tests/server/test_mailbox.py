"""A message that the grid does not take costs its own receiver the round, whatever the grid says about it."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.device.app import RECORD
from skerry.server import mailbox as mailbox_module
from skerry.server.engines.flwr_adapter import ErrorKind, task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.mailbox import Mailbox, exchange

Say = Callable[[list[str]], list[str]]

NODES = {"a": 2, "b": 3, "c": 4}
AGAIN_S = 0.4  # also how long a copy lives that was sent meanwhile: a busy machine must not let it die unanswered


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(1):
        yield


class Choosy(InProcessGrid):
    """Does not take messages for node 3; ``say`` makes what it returns out of all ids, that one's being empty."""

    def __init__(self, say: Say) -> None:
        client = ClientApp()

        @client.train()
        def train(message: Message, context: Context) -> Message:
            fields = {"was": str(message.content[RECORD]["you"]), "node": context.node_id}
            return Message(RecordDict({RECORD: ConfigRecord(fields)}), reply_to=message)

        super().__init__(client, [{}] * len(NODES))
        self._say = say

    def push_messages(self, messages: list[Message]) -> list[str]:
        return self._say([self._take(message) for message in messages])

    def _take(self, message: Message) -> str:
        return "" if message.metadata.dst_node_id == 3 else super().push_messages([message])[0]


def answers(grid: InProcessGrid) -> Mapping[str, tuple[str, int] | None]:
    contents = {key: (node, {"you": key}) for key, node in NODES.items()}
    found = exchange(grid, contents, "train", deadline_s=180)
    return {key: record and (record["was"], record["node"]) for key, record in found}


@pytest.mark.parametrize(
    "say",
    [
        lambda ids: [one or None for one in ids],  # Flower's HttpGrid
        lambda ids: [one for one in ids if one],  # Flower's InMemoryGrid
        lambda ids: ids,
    ],
)
def test_one_message_that_is_not_taken_costs_its_receiver_only(say: Say) -> None:
    assert answers(Choosy(say)) == {"a": ("a", 2), "c": ("c", 4)}
    mailbox = Mailbox(Choosy(say))
    mailbox.send({key: (node, {}) for key, node in NODES.items()}, "train", ttl_s=180)
    assert len(mailbox) == 2  # nobody waits for what was never sent


def test_what_is_not_cleared_does_not_leave() -> None:
    said: list[str] = []

    def take(ids: list[str]) -> list[str]:
        said.append("taken")
        return ids

    def refuse() -> None:
        raise OSError("no space left on the device")

    contents = {"a": (NODES["a"], {"you": "a"})}
    with pytest.raises(OSError, match="no space"):
        Mailbox(Choosy(take), cleared=refuse).send(contents, "train", ttl_s=180)
    assert said == []
    Mailbox(Choosy(take), cleared=lambda: said.append("cleared")).send(contents, "train", ttl_s=180)
    assert said == ["cleared", "taken"]


def test_when_nothing_was_taken_nobody_answers_and_nobody_waits() -> None:
    assert answers(Choosy(lambda _: [])) == {}  # HttpGrid, when all of it together was too large


def test_an_id_that_belongs_to_no_message_is_not_believed() -> None:
    assert answers(Choosy(lambda ids: [ids[0], "made up", ids[2], "again"])) == {"a": ("a", 2), "c": ("c", 4)}


class Forgetful(InProcessGrid):
    """Node 3 loses the first copies of what it is sent, as a node that dies with them does; others answer each copy."""

    def __init__(self, lost: int) -> None:
        client = ClientApp()

        @client.train()
        def train(message: Message, context: Context) -> Message:
            fields = {"was": str(message.content[RECORD]["you"]), "node": context.node_id}
            return Message(RecordDict({RECORD: ConfigRecord(fields)}), reply_to=message)

        super().__init__(client, [{}] * len(NODES))
        self.lost, self.copies = lost, 0

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        kept = []
        for reply in replies:
            if reply.metadata.src_node_id == NODES["b"]:
                self.copies += 1
                if self.copies <= self.lost:
                    continue
            kept.append(reply)
        return kept


def test_who_is_silent_is_sent_the_same_again_and_answers_once() -> None:
    grid = Forgetful(lost=2)
    contents = {key: (node, {"you": key}) for key, node in NODES.items()}
    found = list(exchange(grid, contents, "train", deadline_s=180, again_s=0.05))
    assert sorted(key for key, _ in found) == ["a", "b", "c"]
    assert grid.copies == 3


def test_nobody_is_sent_anything_again_where_nodes_do_not_die() -> None:
    grid = Forgetful(lost=1)
    contents = {key: (node, {"you": key}) for key, node in NODES.items()}
    assert sorted(key for key, _ in exchange(grid, contents, "train", deadline_s=0.5)) == ["a", "c"]
    assert grid.copies == 1


def test_of_two_answers_under_one_key_the_first_counts() -> None:
    grid = Forgetful(lost=0)
    mailbox = Mailbox(grid)
    for _ in range(2):
        mailbox.send({"a": (NODES["a"], {"you": "a"})}, "train", ttl_s=180)
    assert [key for key, _ in mailbox.receive()] == ["a"]
    assert len(mailbox) == 0
    assert mailbox.receive() == []


class Drowsy(InProcessGrid):
    """Node 3 says first that it rests, and then answers, or fails; node 4 is silent the first time when told so."""

    def __init__(self, *, fails: bool = False, silent: bool = False) -> None:
        client = ClientApp()
        self.asked = dict.fromkeys(NODES.values(), 0)
        self.copies: list[tuple[int, float]] = []  # to which node, and how long it lives

        @client.train()
        def train(message: Message, context: Context) -> Message:
            node = context.node_id
            self.asked[node] += 1
            if node == NODES["b"] and self.asked[node] > 1 and fails:
                raise ValueError("a private word: xyzzy")
            fields = {"rests": node == NODES["b"] and self.asked[node] == 1}
            return Message(RecordDict({RECORD: ConfigRecord(fields)}), reply_to=message)

        super().__init__(client, [{}] * len(NODES))
        self._silent = silent

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        kept = [one for one in replies if not (self._silent and one.metadata.src_node_id == NODES["c"])]
        self._silent = self._silent and len(kept) == len(replies)
        return kept

    def push_messages(self, messages: list[Message]) -> list[str]:
        self.copies += [(one.metadata.dst_node_id, one.metadata.ttl) for one in messages]
        return super().push_messages(messages)

    def told(self, *, enough: int) -> list[tuple[str, bool]]:
        """What is yielded by whom; no error."""
        contents = {key: (node, {}) for key, node in NODES.items()}
        rests = lambda _, record: bool(record["rests"])  # noqa: E731 - what a record of this test says
        found = exchange(self, contents, "train", deadline_s=180, again_s=AGAIN_S, rests=rests, enough=enough)
        return sorted((key, bool(record["rests"])) for key, record in found)


def test_who_rests_is_not_waited_for() -> None:
    grid = Drowsy()
    assert grid.told(enough=2) == [("a", False), ("b", True), ("c", False)]
    assert grid.asked[NODES["b"]] == 1


def test_who_rests_is_asked_again_while_others_are_waited_for_or_are_too_few() -> None:
    both = [("a", False), ("b", False), ("b", True), ("c", False)]
    for grid, enough in ((Drowsy(silent=True), 2), (Drowsy(), 3)):
        assert grid.told(enough=enough) == both
        assert grid.asked[NODES["b"]] == 2


def test_what_one_that_rests_said_holds_when_it_fails_later() -> None:
    assert Drowsy(fails=True, silent=True).told(enough=2) == [("a", False), ("b", True), ("c", False)]


def test_a_copy_for_one_that_rests_does_not_outlive_the_round_by_long() -> None:
    grid = Drowsy(silent=True)
    grid.told(enough=2)
    lives = dict(grid.copies[len(NODES) :])
    assert lives[NODES["b"]] <= AGAIN_S < lives[NODES["c"]]  # who is silent is waited for to the end


class Away(Drowsy):
    """Node 3 is away for the first looks, which a SuperLink says at once in its place."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.asked[NODES["b"]] = 1  # it does not rest
        self.looks = looks

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        gone = [one for one in message_ids & self._pushed.keys() if self._of(one) == NODES["b"]]
        away = [self._pushed.pop(one) for one in gone] if self.looks > 0 else []
        self.looks -= bool(away)
        said = [Message(Error(ErrorKind.NODE_UNAVAILABLE, "offline"), reply_to=one) for one in away]
        return said + super().pull_messages(message_ids - set(gone) if away else message_ids)

    def _of(self, identifier: str) -> int:
        return self._pushed[identifier].metadata.dst_node_id

    def heard(self, *, enough: int, last: bool = False) -> list[tuple[str, bool]]:
        """What is yielded by whom; whether it is an answer. The ``last`` word is that a node is away, or it is not."""
        contents = {key: (node, {}) for key, node in NODES.items()}
        rests = None if last else lambda _, __: False
        found = exchange(self, contents, "train", deadline_s=180, again_s=AGAIN_S, rests=rests, enough=enough)
        return sorted((key, record is not None) for key, record in found)


def test_who_is_away_is_not_waited_for_where_enough_others_answer() -> None:
    assert Away(1).heard(enough=2) == [("a", True), ("b", False), ("c", True)]


def test_who_is_away_is_asked_again_where_others_are_too_few() -> None:
    """Else a fleet that is offline for a minute ends all rounds of a run, one after the other, in a few seconds."""
    assert Away(2).heard(enough=3) == [("a", True), ("b", False), ("b", True), ("c", True)]


def test_where_nobody_rests_it_is_the_last_word_that_a_node_is_away() -> None:
    assert Away(1).heard(enough=3, last=True) == [("a", True), ("b", False), ("c", True)]


class Pushed(InProcessGrid):
    """Answers at once, and notes what was pushed together, and for how long each copy may be answered."""

    def __init__(self, clock: "Clock") -> None:
        client = ClientApp()

        @client.train()
        def train(message: Message, context: Context) -> Message:
            return Message(RecordDict({RECORD: ConfigRecord({"node": context.node_id})}), reply_to=message)

        super().__init__(client, [{}] * len(NODES))
        self.rest = clock.rest
        self.batches: list[list[tuple[int, float]]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed = list(messages)
        self.batches.append([(message.metadata.dst_node_id, round(message.metadata.ttl, 1)) for message in pushed])
        return super().push_messages(pushed)


class Clock:
    """A time that passes only while somebody rests."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.now += seconds


def test_first_copies_are_sent_evenly_over_a_time_and_die_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    grid = Pushed(clock)
    monkeypatch.setattr(mailbox_module, "time", clock)
    contents = {key: (node, {"you": key}) for key, node in NODES.items()}
    came = [(key, clock.now) for key, _ in exchange(grid, contents, "train", deadline_s=180, spread_s=30)]
    assert [key for key, _ in came] == ["a", "b", "c"]
    assert [int(at - 100) // 10 for _, at in came] == [0, 1, 2]
    assert [[node for node, _ in batch] for batch in grid.batches] == [[2], [3], [4]]
    lasting = [ttl for batch in grid.batches for _, ttl in batch]
    assert lasting[0] == 180
    assert 150 < lasting[2] < lasting[1] < 171


def test_who_was_not_reached_when_a_round_closed_is_not_asked_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    grid = Pushed(clock)
    monkeypatch.setattr(mailbox_module, "time", clock)
    contents, came = {key: (node, {"you": key}) for key, node in NODES.items()}, []
    for key, _ in exchange(grid, contents, "train", deadline_s=180, spread_s=30, closed=lambda: len(came) >= 2):
        came.append(key)
    assert came == ["a", "b"]
    assert [[node for node, _ in batch] for batch in grid.batches] == [[2], [3]]

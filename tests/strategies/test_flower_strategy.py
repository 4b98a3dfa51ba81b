"""The rules inside a plain Flower app: what one bad reply can do there, which is nothing."""

import inspect
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from skerry.errors import InputError, ScenarioError
from skerry.server.engines import flwr_adapter
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.strategies import RULES, STEPS, FLTrust, Krum, RobustStrategy, parse_rule

N, F = 11, 2
MODEL = {
    "w": np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float32),
    "b": np.array([0.5, 0.25], np.float64),
    "h": np.array([1.0, 2.0], np.float16),
    "steps": np.array(7, np.int64),
}
rng = np.random.default_rng(0)
CHANGES = [
    {
        "w": 0.1 * rng.standard_normal((3, 4)).astype(np.float32),
        "b": 0.1 * rng.standard_normal(2),
        "h": rng.integers(-2, 3, 2).astype(np.float16) / 8,
        "steps": np.array(3, np.int64),
    }
    for _ in range(N)
]


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with flwr_adapter.task_identity(1):
        yield


def record(arrays: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.array(value)) for name, value in arrays.items()})


def trained(index: int) -> dict[str, np.ndarray]:
    return {name: (MODEL[name] + change).astype(MODEL[name].dtype) for name, change in CHANGES[index].items()}


class Nodes(Grid):
    """As much of a grid as sampling asks for."""

    def get_node_ids(self) -> list[int]:
        return list(range(2, N + 2))

    create_message = push_messages = pull_messages = send_and_receive = set_run = run = None  # type: ignore[assignment]


Nodes.__abstractmethods__ = frozenset()


class Round:
    """A strategy that has asked all nodes, and the messages that they got."""

    def __init__(self, rule: str | FLTrust = "multi_krum", **options: object) -> None:
        self.strategy = RobustStrategy(rule, tolerate=F, **options)
        asked = self.strategy.configure_train(1, record(MODEL), ConfigRecord(), Nodes())
        self.asked = sorted(asked, key=lambda message: message.metadata.dst_node_id)  # sampled in any order

    def reply(self, index: int, arrays: ArrayRecord | None = None, **metrics: float) -> Message:
        content = {"arrays": record(trained(index)) if arrays is None else arrays}
        content["metrics"] = MetricRecord({"num-examples": 10, "loss": float(index), **metrics})
        return Message(RecordDict(content), reply_to=self.asked[index])

    def finish(self, replies: list[Message]) -> tuple[dict[str, np.ndarray], MetricRecord]:
        arrays, metrics = self.strategy.aggregate_train(1, replies)
        assert arrays is not None
        return {name: array.numpy() for name, array in arrays.items()}, metrics


def expected(rule: str, indices: list[int]) -> dict[str, np.ndarray]:
    order = ("w", "b", "h", "steps")
    rows = []
    for index in indices:
        there = trained(index)
        rows.append(np.concatenate([np.ravel(there[k].astype(np.float64) - MODEL[k]) for k in order]))
    step = parse_rule(rule, tolerate=F, seed=1)(np.array(rows, np.float32)).astype(np.float64)
    parts = np.split(step, np.cumsum([MODEL[k].size for k in order])[:-1])
    return {k: MODEL[k] + part.reshape(MODEL[k].shape) for k, part in zip(order, parts, strict=True)}


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in MODEL.items()}
    for name, value in found.items():
        precision = 1e-3 if value.dtype == np.float16 else 1e-6
        np.testing.assert_allclose(
            value.astype(np.float64),
            np.round(wanted[name]) if name == "steps" else wanted[name],
            rtol=precision,
            atol=precision,
        )


@pytest.mark.parametrize("rule", [*RULES, *(f"{step}+mean" for step in STEPS), "nnm+trimmed_mean"])
def test_a_round_moves_the_model_by_the_rules_step_and_keeps_every_type(rule: str) -> None:
    turn = Round(rule)
    found, metrics = turn.finish([turn.reply(i) for i in range(N)])
    assert_same(found, expected(rule, list(range(N))))
    assert metrics["replies-used"] == N
    assert metrics["replies-refused"] == 0
    assert metrics["loss"] == (N - 1) / 2


def test_a_rule_that_no_text_can_name_goes_in_as_an_object() -> None:
    root = np.linspace(-1, 1, sum(value.size for value in MODEL.values())).astype(np.float32)
    turn = Round(FLTrust(root))
    found, metrics = turn.finish([turn.reply(i) for i in range(N)])
    assert metrics["replies-used"] == N
    assert any((found[name] != value).any() for name, value in MODEL.items())


def test_the_order_in_which_replies_arrive_has_no_influence() -> None:
    turn = Round("krum")
    found, _ = turn.finish([turn.reply(i) for i in range(N)])
    again, _ = turn.finish([turn.reply(i) for i in (7, 3, 10, 0, 1, 9, 2, 8, 4, 6, 5)])
    for name, value in found.items():
        np.testing.assert_array_equal(again[name], value)


def changed(name: str, value: np.ndarray) -> ArrayRecord:
    return record({**trained(3), name: value})


def raw(data: bytes, stype: str = "numpy.ndarray") -> ArrayRecord:
    arrays = record(trained(3))
    arrays["w"] = Array(dtype="float32", shape=(3, 4), stype=stype, data=data)
    return arrays


def npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(48)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    return stream.getvalue()


BAD = {
    "nan": lambda: changed("w", np.full((3, 4), np.nan, np.float32)),
    "inf": lambda: changed("b", np.array([0.0, -np.inf])),
    "another shape": lambda: changed("w", np.zeros(3, np.float32)),
    "transposed": lambda: changed("w", np.zeros((4, 3), np.float32)),
    "an axis more": lambda: changed("w", np.zeros((1, 3, 4), np.float32)),
    "another type": lambda: changed("w", np.zeros((3, 4), np.float64)),
    "too large for a float32": lambda: changed("b", np.array([1e300, 0.0])),
    "an array more": lambda: changed("more", np.zeros(3)),
    "an array less": lambda: record({k: v for k, v in trained(3).items() if k != "b"}),
    "no arrays": lambda: record({}),
    "not numpy's format": lambda: raw(b"abc"),
    "a pickle": lambda: raw(pickled()),
    "another serialization": lambda: raw(npy((3, 4)), "torch.tensor"),
    "a header that asks for a terabyte": lambda: raw(npy((3, 4, 10**12))),
    "shorter than it says": lambda: raw(npy((3, 4))[:-8]),
    "longer than it says": lambda: raw(npy((3, 4)) + bytes(8)),
    "a megabyte of nothing": lambda: raw(npy((3, 4)) + bytes(10**6)),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("rule", ["mean", "nnm+trimmed_mean"])
def test_a_bad_reply_costs_that_node_its_place_and_nobody_the_round(
    what: str, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    turn = Round(rule)
    replies = [turn.reply(i) if i != 3 else turn.reply(3, BAD[what]()) for i in range(N)]
    found, metrics = turn.finish(replies)
    assert_same(found, expected(rule, [i for i in range(N) if i != 3]))
    assert (metrics["replies-used"], metrics["replies-refused"]) == (N - 1, 1)
    assert f"node {turn.asked[3].metadata.dst_node_id} left out" in caplog.text


def test_an_array_that_lies_in_memory_column_by_column_is_read_as_it_is_meant() -> None:
    turn = Round("mean")
    arrays = record(trained(3))
    arrays["w"] = Array(np.asfortranarray(trained(3)["w"]))
    found, _ = turn.finish([turn.reply(i) if i != 3 else turn.reply(3, arrays) for i in range(N)])
    assert_same(found, expected("mean", list(range(N))))


def test_metrics_that_only_one_node_sends_stop_nothing_and_outliers_move_nothing() -> None:
    turn = Round("mean")
    replies = [turn.reply(i) if i != 3 else turn.reply(3, extra=1.0, loss=float("nan")) for i in range(N)]
    _, metrics = turn.finish(replies)
    assert "extra" not in metrics
    assert metrics["loss"] == pytest.approx(5.5)
    replies[3] = turn.reply(3, loss=1e300)
    assert turn.finish(replies)[1]["loss"] == 6.0


def test_the_number_of_examples_that_a_node_claims_gives_it_nothing() -> None:
    turn = Round("multi_krum")
    honest, _ = turn.finish([turn.reply(i) for i in range(N)])
    lying, _ = turn.finish([turn.reply(i, **({"num-examples": 10**9} if i == 0 else {})) for i in range(N)])
    for name, value in honest.items():
        np.testing.assert_array_equal(lying[name], value)


def test_a_node_counts_once_and_only_when_it_was_asked() -> None:
    turn = Round("mean", sampling=FedAvg())
    other = Message(RecordDict(), dst_node_id=99, message_type="train")
    stranger = Message(RecordDict({"arrays": record(trained(0))}), reply_to=other)
    replies = [turn.reply(i) for i in range(N)]
    found, metrics = turn.finish([*replies, turn.reply(0), turn.reply(0, changed("w", MODEL["w"] + 9)), stranger])
    assert_same(found, expected("mean", list(range(N))))
    assert metrics["replies-refused"] == 3


def test_in_evaluation_too_a_node_counts_once_and_only_when_it_was_asked() -> None:
    strategy = RobustStrategy("mean", tolerate=F, sampling=FedAvg())
    asked = list(strategy.configure_evaluate(1, record(MODEL), ConfigRecord(), Nodes()))

    def reply(message: Message, loss: float) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"loss": loss})}), reply_to=message)

    stranger = reply(Message(RecordDict(), dst_node_id=99, message_type="evaluate"), 9.0)
    honest = [reply(message, 1.0) for message in asked]
    many = [reply(asked[0], 9.0) for _ in range(3 * len(asked))]
    assert strategy.aggregate_evaluate(1, [*honest, *many, stranger])["loss"] == 1.0
    assert strategy.aggregate_evaluate(1, [stranger]) is None


def test_too_few_good_replies_leave_the_model_and_say_which_bound(caplog: pytest.LogCaptureFixture) -> None:
    turn = Round("krum")
    failed = [Message(Error(code=1, reason="out of memory"), reply_to=turn.asked[i]) for i in range(5, N)]
    with caplog.at_level(logging.WARNING):
        arrays, metrics = turn.strategy.aggregate_train(1, [turn.reply(i) for i in range(5)] + failed)
    assert arrays is None
    assert metrics["replies-refused"] == 6
    assert "out of memory" in caplog.text
    assert "2f + 3" in caplog.text
    assert turn.strategy.aggregate_train(1, [])[0] is None


def test_what_cannot_be_aggregated_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(InputError, match="'mask' is of bool"):
        list(RobustStrategy("mean").configure_train(1, record({"mask": np.ones(3, bool)}), ConfigRecord(), Nodes()))
    with pytest.raises(ScenarioError, match="medain"):
        RobustStrategy("medain")


def make_client(hostile: int) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = message.content["arrays"]["w"].numpy()
        index = int(context.node_config["partition-id"])
        goal = np.array([3.0, -1.0, 2.0], np.float32) + 0.1 * np.cos(np.arange(3) + index).astype(np.float32)
        model = model + 0.5 * (goal - model) if index >= hostile else np.full(3, 1e6, np.float32)
        content = {"arrays": record({"w": model.astype(np.float32)}), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        away = float(np.abs(message.content["arrays"]["w"].numpy() - [3, -1, 2]).max())
        hostile_one = int(context.node_config["partition-id"]) < hostile
        content = {"metrics": MetricRecord({"num-examples": 1, "away": 1e9 if hostile_one else away})}
        return Message(RecordDict(content), reply_to=message)

    return app


@pytest.mark.parametrize("rule", ["nnm+multi_krum", "median", Krum(2)])
def test_a_whole_run_reaches_its_goal_with_two_hostile_nodes_of_nine(rule: object) -> None:
    grid = InProcessGrid(make_client(2), [{"partition-id": i} for i in range(9)])
    result = RobustStrategy(rule, tolerate=2).start(grid, record({"w": np.zeros(3, np.float32)}), num_rounds=8)
    assert np.abs(result.arrays["w"].numpy() - [3, -1, 2]).max() < 0.2
    assert result.evaluate_metrics_clientapp[8]["away"] < 0.2
    hostile = RobustStrategy("mean").start(grid, record({"w": np.zeros(3, np.float32)}), num_rounds=2)
    assert np.abs(hostile.arrays["w"].numpy()).min() > 1e5


IMPORTS = """
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

"""

SIMULATION = """
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from skerry.strategies import RobustStrategy

server = ServerApp()

@server.main()
def main(grid, context):
    start = record({"w": np.zeros(3, np.float32)})
    result = RobustStrategy("nnm+trimmed_mean", tolerate=2).start(grid, start, num_rounds=4)
    print("RESULT", float(np.abs(result.arrays["w"].numpy() - [3, -1, 2]).max()))

run_simulation(server, make_client(2), num_supernodes=7, backend_config={"client_resources": {"num_cpus": 1}})
"""


@pytest.mark.engine
@pytest.mark.slow
def test_it_runs_under_flowers_own_simulation(tmp_path: Path) -> None:
    program = tmp_path / "simulation.py"
    program.write_text(IMPORTS + inspect.getsource(record) + inspect.getsource(make_client) + SIMULATION)
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=220, check=False, cwd=tmp_path
    )
    said = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert said, done.stderr[-3000:]
    assert said[0] < 0.4

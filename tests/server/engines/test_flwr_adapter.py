"""Every private part of Flower that is used is still there, does what is believed of it, and is missed politely.

The Control API needs a SuperLink: see ``test_superlink.py``.
"""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import flwr.supercore.telemetry
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from skerry.errors import MissingDependencyError, RunFailedError
from skerry.server.engines import flwr_adapter

ROOT = Path(__file__).parents[3]


def message() -> Message:
    return Message(RecordDict({"a": ConfigRecord({"b": 1})}), 7, "train")


def test_messages_carry_the_identity_of_the_task_and_the_identity_ends_with_the_block() -> None:
    with flwr_adapter.task_identity(41, task_id=9):
        metadata = message().metadata
        assert (metadata.run_id, metadata.src_node_id, metadata.src_task_id) == (41, 1, 9)
        with flwr_adapter.task_identity(42):
            assert message().metadata.run_id == 42
        assert message().metadata.run_id == 41
    with pytest.raises(RuntimeError):
        _ = TaskIdentity.run_id
    with pytest.raises(RuntimeError):
        message()


def test_the_identity_ends_with_the_block_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), flwr_adapter.task_identity(41):
        1 / 0  # noqa: B018
    with pytest.raises(RuntimeError):
        message()


def test_a_message_takes_the_id_it_is_given_and_a_reply_refers_to_it() -> None:
    with flwr_adapter.task_identity(1):
        instruction = message()
        flwr_adapter.assign_id(instruction, "00000007")
        assert instruction.metadata.message_id == "00000007"
        reply = Message(Error(2, "x"), reply_to=instruction)
        assert reply.metadata.reply_to_message_id == "00000007"


def test_the_run_record_is_flowers_own() -> None:
    run = flwr_adapter.empty_run(5)
    assert isinstance(run, Run)
    assert run.run_id == 5


def test_numbers_agree_with_flowers() -> None:
    assert flwr_adapter.COORDINATOR_NODE == SUPERLINK_NODE_ID
    assert flwr_adapter.ErrorKind.APP_FAILED == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert flwr_adapter.ErrorKind.EXPIRED == ErrorCode.MESSAGE_UNAVAILABLE
    assert flwr_adapter.ErrorKind.NODE_UNAVAILABLE == ErrorCode.NODE_UNAVAILABLE


def test_telemetry_is_off_even_when_flower_was_imported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flwr.supercore.telemetry, "FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    sent: list[object] = []
    monkeypatch.setattr(flwr.supercore.telemetry.urllib.request, "urlopen", lambda *a, **k: sent.append(a))
    flwr_adapter.keep_to_ourselves()
    flwr.supercore.telemetry.create_event(flwr.supercore.telemetry.EventType.PING, {})
    assert not sent
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert os.environ["FLWR_DISABLE_UPDATE_CHECK"] == "1"


def test_the_adapter_itself_does_not_import_flower() -> None:
    code = (
        "import sys; from skerry.server.engines import flwr_adapter as a; assert 'flwr' not in sys.modules;"
        "a.keep_to_ourselves(); import flwr.supercore.telemetry as t; assert t.FLWR_TELEMETRY_ENABLED == '0'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


@pytest.mark.parametrize("version", ["1.40.9", "1.43.0", "2.0", "0.9", "odd"])
def test_an_unsupported_flower_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(flwr_adapter, "version", lambda _: version)
    with pytest.raises(MissingDependencyError) as refused:
        flwr_adapter.require_flwr()
    assert f"flwr {version}" in refused.value.what
    assert "pip install" in (refused.value.mend or "")


@pytest.mark.parametrize("version", ["1.41.0", "1.42.3", "1.41.0rc1"])
def test_a_supported_flower_is_accepted(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(flwr_adapter, "version", lambda _: version)
    assert flwr_adapter.require_flwr() == version


def test_a_missing_flower_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(flwr_adapter, "version", absent)
    with pytest.raises(MissingDependencyError, match="not installed"):
        flwr_adapter.require_flwr()


def test_a_part_that_flower_has_moved_is_named_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(TaskIdentity, "_run_id")
    with pytest.raises(RunFailedError, match="the task's identity") as moved, flwr_adapter.task_identity(1):
        pass
    assert metadata.version("flwr") in moved.value.what
    monkeypatch.setitem(sys.modules, "flwr.supercore.run", None)
    with pytest.raises(RunFailedError, match="the record of a run"):
        flwr_adapter.empty_run(1)
    monkeypatch.delattr(flwr.supercore.telemetry, "FLWR_TELEMETRY_ENABLED")
    with pytest.raises(RunFailedError, match="telemetry"):
        flwr_adapter.keep_to_ourselves()


def test_an_error_of_the_block_itself_is_not_taken_for_flowers() -> None:
    with pytest.raises(TypeError), flwr_adapter.task_identity(1):
        raise TypeError("mine")


def test_the_simulation_entry_point_has_the_arguments_that_are_used() -> None:
    import inspect

    wanted = {"server_app", "client_app", "num_supernodes", "backend_config"}
    assert wanted <= inspect.signature(flwr_adapter.simulation()).parameters.keys()


def test_only_the_adapters_touch_private_parts_of_flower() -> None:
    public = {"flwr.app", "flwr.serverapp", "flwr.serverapp.strategy", "flwr.clientapp"}
    found = []
    for room in ("core", "security", "device", "strategies", "server"):
        for file in (ROOT / room).rglob("*.py"):
            if file.name.startswith("flwr_"):
                continue
            for number, line in enumerate(file.read_text().splitlines(), 1):
                words = line.split()
                if words[:1] in (["from"], ["import"]) and words[1].split(".")[0] == "flwr" and words[1] not in public:
                    found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found


def test_a_message_and_its_reply_are_the_same_after_their_bytes() -> None:
    with flwr_adapter.task_identity(3):
        sent = Message(RecordDict({"one": ConfigRecord({"data": b"\x00\xff", "n": 2})}), 7, "train", ttl=9.5)
        flwr_adapter.assign_id(sent, "00000004")
        arrived = flwr_adapter.message_of(flwr_adapter.message_bytes(sent))
        failed = flwr_adapter.message_of(flwr_adapter.message_bytes(Message(Error(2, "no"), reply_to=arrived)))
    assert vars(arrived.metadata) == vars(sent.metadata)
    assert dict(arrived.content["one"]) == {"data": b"\x00\xff", "n": 2}
    assert (failed.error.code, failed.error.reason) == (2, "no")
    assert (failed.metadata.reply_to_message_id, failed.metadata.src_node_id) == ("00000004", 7)

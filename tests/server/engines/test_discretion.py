"""What a device's app says of its own failure: the class of the error, on every engine, and its text to nobody."""

import json
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from skerry.device.app import RECORD, app
from skerry.device.discretion import discreetly
from skerry.server.engines import Components, flwr_adapter, get_engine
from skerry.server.engines.processes import last_lines

SECRET = "patient 17 has label 3"
WORDS = "the device's app failed (InputError)"
# A home whose task cannot be read: pydantic's message, which our error passes on, quotes the value.
HOME = {"device": "writer-00", "simulated": True, "task": {"name": [SECRET]}}


def test_the_app_itself_answers_instead_of_raising(caplog: pytest.LogCaptureFixture) -> None:
    with flwr_adapter.task_identity(1):
        asked = Message(RecordDict({RECORD: ConfigRecord({"device": SECRET})}), 2, "train")
        reply = app(asked, Context(1, 2, {"skerry-home": "/nowhere"}, RecordDict(), {}))
    assert (reply.error.code, reply.error.reason) == (flwr_adapter.ErrorKind.APP_FAILED, WORDS)
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id
    assert "no bytes named 'envelope'" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_process_passes(stop: type[BaseException]) -> None:
    def answer(message: Message, context: Context) -> Message:
        raise stop

    with pytest.raises(stop):
        discreetly(None, None, answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "log"),
    [
        ("inprocess", "inprocess.log"),
        pytest.param("ray", "ray/worker-*.err", marks=[pytest.mark.engine, pytest.mark.slow]),
        pytest.param("superlink", "supernode-00.log", marks=[pytest.mark.engine, pytest.mark.slow]),
    ],
)
def test_the_text_of_a_devices_error_stays_on_the_device(
    engine: str, log: str, echo: Components, make_run: Any, seen: Any
) -> None:
    folder = make_run(1)
    (folder.path / "fleet" / "writer-00" / "device.json").write_text(json.dumps(HOME))
    runner = get_engine(engine)
    runner.components = Components("echo_apps:curious", "skerry.device.app:app")
    runner.run(folder)
    assert seen(folder) == {"errors": [[flwr_adapter.ErrorKind.APP_FAILED, WORDS]], "replies": 1}
    own = [path for path in (folder.path / "logs").glob(log) if SECRET in path.read_text()]
    assert own, "the operator of the device cannot find out what went wrong"
    for path in (folder.path / "logs").rglob("*"):
        assert path in own or not path.is_file() or SECRET not in path.read_text(), last_lines(path)

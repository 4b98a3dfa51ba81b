"""One device's agent whose work is made up: ``python _agent_process.py HOME KEY_FILE SECONDS``; ends on SIGTERM.

It is the agent of ``skerry device run``, with its journal, its line to the gateway and its sealed envelopes; only the
training is replaced, by so many seconds of processor time and an answer as large as the instruction. What goes wrong
is told by the instruction's first bytes, to the device that the rest of its first line names:

``stall``  the answer is announced, and never uploaded;
``die``    the process ends with the instruction in its hands;
``twice``  the answer is sent, and announced once more.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from _agent_here import agent_here
from _round_split import ANNOUNCED, FETCHED, HEARD, SENT, TIMELINE, WORKED, Diary, noting
from flwr.app import ConfigRecord, Context, Message, RecordDict

from skerry.clock import system_clock
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.app import RECORD
from skerry.device.app import app as real
from skerry.device.replying import sealed_reply
from skerry.device.worker import process_worker
from skerry.security.envelope import Expected, Kind, open_envelope


class Work:
    """Stands in for the ``ClientApp``; other messages than instructions go to the real one."""

    def __init__(self, home: Path, seconds: float) -> None:
        self._home, self._seconds = home, seconds
        self.fault = ""

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type != "train":
            return real(message, context)
        resident = process_worker().resident(self._home)
        opened = open_envelope(
            message.content[RECORD]["envelope"],
            me=resident.identity,
            directory=resident.directory,
            expected=Expected(kind=frozenset({Kind.INSTRUCTION}), receiver=resident.home.device),
            now=system_clock(),
            replay=None,
        )
        fault, _, whom = bytes(opened.payload).partition(b"\n")[0].decode().partition(" ")
        self.fault = fault if whom == resident.home.device else ""
        if self.fault == "die":
            os._exit(9)
        until = time.process_time() + self._seconds
        while time.process_time() < until:
            pass
        made_up = os.urandom(len(opened.payload))
        answer = sealed_reply(Kind.UPDATE, made_up, opened, resident, now=system_clock())
        return Message(RecordDict({RECORD: ConfigRecord({"envelope": answer})}), reply_to=message)


def main(home: Path, key_file: Path, seconds: float) -> None:
    with agent_here(home, key_file, say=lambda _: None) as agent:
        work = Work(agent.home.path, seconds)
        diary, calls = Diary(home / TIMELINE), agent.fleet
        calls.pull, calls.fetch = noting(calls.pull, HEARD, diary), noting(calls.fetch, FETCHED, diary)
        calls.announce = noting(calls.announce, ANNOUNCED, diary)
        agent.app = noting(work, WORKED, diary)
        clear = agent.journal.clear

        def cleared() -> None:
            clear()
            diary.done()

        agent.journal.clear = cleared
        upload = agent.fleet.upload

        def uploads(node: int, reply: Any, session: Any, identifier: str) -> None:
            if work.fault == "stall":
                raise CallFailedError(Fault.GONE, "made up")
            upload(node, reply, session, identifier)
            diary.note(SENT)
            if work.fault == "twice":
                agent.fleet.announce(node, reply)

        agent.fleet.upload = uploads
        agent.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))

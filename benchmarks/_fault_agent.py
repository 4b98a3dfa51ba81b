"""One device's agent that keeps a record of all it answers: ``python _fault_agent.py HOME KEY_FILE RECORD``.

It is the agent of ``skerry device run`` with the real app. Each answer to an instruction is written down before the
agent has it, so that the record holds everything that can have left the device: ``RECORD.answers``. What a power cut
may not take away is in ``RECORD.synced``.
"""

import os
import struct
import sys
from pathlib import Path

from _agent_here import agent_here
from _power import record_syncs
from flwr.app import Context, Message

from skerry.clock import system_clock
from skerry.device.app import RECORD

LENGTHS = struct.Struct(">QI")
"""Before each answer: when it was made (ms since the epoch), and its bytes."""


def main(home: Path, key_file: Path, record: Path) -> None:
    record_syncs(home, record)
    answers = os.open(record.with_suffix(".answers"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with agent_here(home, key_file, lambda entry: print(entry, flush=True)) as agent:
        real = agent.app

        def answer(message: Message, context: Context) -> Message:
            reply = real(message, context)
            if message.metadata.message_type == "train" and reply.has_content():
                envelope = reply.content[RECORD]["envelope"]
                os.write(answers, LENGTHS.pack(system_clock(), len(envelope)) + envelope)
            return reply

        agent.app = answer
        agent.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

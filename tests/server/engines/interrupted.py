"""Runs an engine in a process of its own, for tests that stop it: `python interrupted.py ENGINE RUN_FOLDER`."""

import signal
import sys
from importlib import import_module
from pathlib import Path

from skerry.runfolder import RunFolder
from skerry.server.engines import Components

name, path = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits a deaf one
classes = {"ray": "RayEngine", "superlink": "SuperlinkEngine"}
made = getattr(import_module(f"skerry.server.engines.{name}"), classes[name])
try:
    made(Components("echo_apps:server", "echo_apps:client")).run(RunFolder(Path(path)))
except KeyboardInterrupt:
    sys.exit(130)

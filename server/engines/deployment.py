"""A SuperLink and its SuperNodes on this machine: real programs, real TLS, real node keys, all of them ours to end.

In order: keys and certificates in a private folder, the SuperLink, the nodes' public keys registered with it, then the
SuperNodes, a few at a time, because each of them needs seconds of processor time to start.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tomli_w

from skerry.errors import PortTakenError, RunFailedError
from skerry.fsio import write_atomic
from skerry.server.engines.certificates import LoopbackTls, write_node_key
from skerry.server.engines.engine import child_environment
from skerry.server.engines.flwr_adapter import Control
from skerry.server.engines.ports import free_ports, require_free
from skerry.server.engines.processes import Child, Children, last_lines

__all__ = ["Deployment"]

_START_S = 120.0
_POLL_S = 0.1
_OURS = "skerry.server.engines.flwr_superlink"


class Deployment:
    """One SuperLink and one stock SuperNode per node configuration.

    Args:
        home: a folder that only its owner can enter (0700); keys, certificates and Flower's homes go there.
        logs: where the programs' output goes.
        children: who ends the programs.
        port: where the SuperLink listens; ``None`` takes a free one.
        secret: the SuperLink starts no coordinator itself: whoever shows that it knows this may claim a run's task
            (:func:`~skerry.server.engines.flwr_run.driven_run`). ``None``: it starts them.
        database: file in which the SuperLink keeps messages; ``None``: in memory.

    Raises:
        PortTakenError: ``port`` is taken.
    """

    def __init__(
        self,
        home: Path,
        logs: Path,
        children: Children,
        *,
        port: int | None = None,
        secret: bytes | None = None,
        database: Path | None = None,
    ) -> None:
        if home.stat().st_mode & 0o077:
            raise RunFailedError("the folder for keys must be closed to others", where=str(home))
        self._home = home
        self._logs = logs
        self._children = children
        self._tls = LoopbackTls(home)
        self._port = require_free(port) if port is not None else free_ports(1)[0]
        self.address = f"127.0.0.1:{self._port}"
        self._database = database
        self.secret = None if secret is None else home / "superexec.secret"
        if self.secret is not None and secret is not None:
            write_atomic(self.secret, secret, mode=0o600, durable=False)
        self.authority = self._tls.authority  # PEM: whom a client of the SuperLink has to trust

    def control(self) -> Control:
        """A client of the SuperLink's Control API."""
        return Control(self.address, self._tls.authority.read_bytes())

    def start(self, nodes: Sequence[Mapping[str, str | int]]) -> None:
        """Start everything and return when all nodes are online.

        Raises:
            RunFailedError: a program ended by itself, or is not up in time; quotes its log.
            MissingDependencyError: Flower's programs are not installed.
        """
        link = self._start_link()
        with self.control() as control:
            self._await(link, lambda: _online(control) >= 0, "the SuperLink did not come up")
            keys = [self._home / f"node-{index}.key" for index in range(len(nodes))]
            for key in keys:
                control.register(write_node_key(key))
            ports = free_ports(len(nodes))
            together = max(2, os.cpu_count() or 1)
            for first in range(0, len(nodes), together):
                batch = range(first, min(first + together, len(nodes)))
                started = [self._start_node(i, nodes[i], keys[i], ports[i], len(nodes)) for i in batch]
                self._await(
                    started[-1],
                    lambda wanted=batch.stop: _online(control) >= wanted,  # type: ignore[misc]
                    "a SuperNode did not come online",
                )

    def _start_link(self) -> Child:
        # a coordinator of ours and agents of ours wait for this process more than for anything else
        program = [_program("flower-superlink")] if self.secret is None else [sys.executable, "-m", _OURS]
        command = [
            *program,
            *self._certificates(),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            *("--host", "127.0.0.1", "--port", str(self._port)),
        ]
        if self.secret is not None:
            command += ["--isolation", "process", "--superexec-auth-secret-file", str(self.secret)]
        if self._database is not None:
            command += ["--database", str(self._database)]
        return self._children.start(
            "the SuperLink", command, self._logs / "superlink.log", self._environment("link", poll_s=0.1)
        )

    def _start_node(self, index: int, config: Mapping[str, str | int], key: Path, port: int, count: int) -> Child:
        # A file, because Flower's own syntax for the command line cannot quote every path.
        settings = self._home / f"node-{index}.toml"
        write_atomic(settings, tomli_w.dumps(dict(config)).encode(), durable=False)
        command = [
            _program("flower-supernode"),
            *("--superlink", self.address, "--root-certificates", str(self._tls.authority)),
            *("--auth-supernode-private-key", str(key)),
            *self._certificates(),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--node-config", str(settings)),
        ]
        # Each node's task starter asks its node for work; a few requests a second in all leave the processors alone.
        poll_s = max(0.1, 0.03 * count)
        return self._children.start(
            f"SuperNode {index}",
            command,
            self._logs / f"supernode-{index:02}.log",
            self._environment(f"node-{index}", poll_s=poll_s),
        )

    def _certificates(self) -> list[str]:
        tls = self._tls
        return [
            *("--ssl-certfile", str(tls.certificate)),
            *("--ssl-keyfile", str(tls.key)),
            *("--ssl-ca-certfile", str(tls.authority)),
        ]

    def _environment(self, name: str, *, poll_s: float) -> dict[str, str]:
        home = self._home / name
        home.mkdir(mode=0o700)
        return child_environment({"FLWR_HOME": str(home), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": f"{poll_s:.2f}"})

    def _await(self, child: Child, ready: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            if "address already in use" in last_lines(child.log).lower():
                raise PortTakenError(f"{child.name} found its port taken", where=str(child.log), mend="run it again")
            self._children.check()
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"{otherwise} within {_START_S:.0f} s: {last_lines(child.log)}", where=str(child.log)
                )
            time.sleep(_POLL_S)


def _online(control: Control) -> int:
    """How many nodes are connected; -1 when the SuperLink is not up, or too busy to say."""
    try:
        return control.online()
    except ConnectionError:
        return -1


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)

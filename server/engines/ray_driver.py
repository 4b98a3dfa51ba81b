"""The child process of the ray engine: starts or joins a Ray, and hands the two apps to Flower's simulation.

The coordinator runs in a thread of Flower's. Its outcome is caught where it happens, because Flower loses what is not
an ``Exception``, and what is raised while another error is being handled. Standard output and error are the log.

Exit code 0 means that the coordinator returned. Anything else is a failure, whose one-line description is the last line
of the log.
"""

import argparse
import logging
import os
import signal
import sys
import traceback

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from skerry.fsio import home
from skerry.server.engines import flwr_adapter
from skerry.server.engines.engine import Components

__all__ = ["main"]

_GIVEN = (
    *flwr_adapter.QUIET,
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYTHONPATH",
)


class _Outcome:
    """How the coordinator ended; ``None`` until it has."""

    def __init__(self) -> None:
        self.failure: str | None = "the coordinator did not run to its end"


def main(arguments: list[str]) -> int:
    """Run the simulation; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--temporary", required=True)
    parser.add_argument("--address")
    asked = parser.parse_args(arguments)
    flwr_adapter.keep_to_ourselves()
    server, client = Components(asked.server, asked.client).load()
    if asked.address is None:
        _start_ray(asked.temporary, asked.nodes)
    else:
        _join_ray(asked.address)
    outcome = _Outcome()
    flwr_adapter.simulation()(
        server_app=_remembering(server, outcome),
        client_app=client,
        num_supernodes=asked.nodes,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    if outcome.failure is not None:
        sys.stderr.write(f"{outcome.failure}\n")
        return 1
    return 0


def _remembering(real: ServerApp, outcome: _Outcome) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            real(grid, context)
            outcome.failure = None
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to; main() tells it
            traceback.print_exc()
            outcome.failure = f"{type(error).__name__}: {error}"

    return app


def _start_ray(temporary: str, nodes: int) -> None:
    """Flower uses a Ray that is there already; ours writes into our folder and leaves signals alone."""
    import ray

    ray.init(
        address="local",
        num_cpus=min(_processors(), nodes),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=temporary,
    )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _join_ray(address: str) -> None:
    """Workers of a cluster that is there get what ours get by inheritance."""
    import ray

    given = {name: os.environ[name] for name in _GIVEN if name in os.environ} | {"SKERRY_HOME": str(home())}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": given})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _processors() -> int:
    """Those this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run() -> None:
    try:
        code = main(sys.argv[1:])
    except BaseException as error:  # noqa: BLE001 - the last line of the log tells the parent
        traceback.print_exc()
        sys.stderr.write(f"Ray broke down: {type(error).__name__}: {error}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of Flower may still wait for a broken Ray, or a coordinator for its nodes: nobody needs them any more.
    os._exit(code)


if __name__ == "__main__":
    _run()

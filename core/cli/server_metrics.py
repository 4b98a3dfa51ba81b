"""``skerry server metrics``: what Prometheus scrapes."""

from typing import Annotated

import typer

from skerry.cli.console import RunsDir, note, out

__all__ = ["metrics"]


def metrics(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="To listen on; 0: any.")] = 9464,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many runs are told of.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="Print them once, for a text file.")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Tell Prometheus of runs, privacy spent, verdicts and the fleet, until Ctrl-C.

    Reads the folder of runs at each scrape, and names no device. Plain HTTP: for this machine, or behind a proxy.
    """
    import threading

    from prometheus_client import generate_latest, start_http_server

    from skerry.clock import system_clock
    from skerry.errors import PortTakenError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.metrics import metrics_of

    registry = metrics_of(runs_in(runs_dir), system_clock, newest=newest)
    if once:
        out().print(generate_latest(registry).decode(), highlight=False, soft_wrap=True, end="")
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        mend = "stop the program that listens there, or choose another port"
        raise PortTakenError(f"port {port} on {host} cannot be listened on: {error.strerror}", mend=mend) from error
    note().print(f"http://{host}:{server.server_port}/metrics", soft_wrap=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.shutdown()
        thread.join()
        note().print("stopped")

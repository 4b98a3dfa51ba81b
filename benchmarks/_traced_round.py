"""Processor time that the spans of rounds cost the process that makes them and hands them to a collector; as JSON.

Its one argument is how many devices a round has. The collector is another process, and takes everything.
"""

import json
import multiprocessing
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from skerry.server.otel import CollectedTracing

ROUNDS = 400
STAGES = ("plan", "checkpoint", "collect", "open", "validate", "screen", "aggregate", "account", "evaluate")


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def make_round(tracing: CollectedTracing, number: int, devices: int) -> None:
    now = time.time_ns() // 1_000_000
    with tracing.span("round", {"skerry.round": number}):
        for stage in STAGES:
            with tracing.span(stage):
                pass
        tracing.behind("checkpoint", lambda: None)()
        tracing.tell({"skerry.devices.accepted": devices, "skerry.bytes.up": 1})
        for device in range(devices):
            told = {"skerry.device": f"writer-{device}", "skerry.outcome": "accepted"}
            tracing.finished("exchange", told, began=now, ended=now + 1)


def main(devices: int) -> None:
    server = HTTPServer(("127.0.0.1", 0), Taking)
    collector = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    collector.start()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    begin = time.process_time()
    tracing = CollectedTracing()
    for number in range(ROUNDS):
        make_round(tracing, number, devices)
    lost = tracing.close()
    spent = time.process_time() - begin
    collector.terminate()
    print(json.dumps({"cpu_ms": 1000 * spent / ROUNDS, "spans": tracing.made / ROUNDS, "lost": lost}))


if __name__ == "__main__":
    main(int(sys.argv[1]))

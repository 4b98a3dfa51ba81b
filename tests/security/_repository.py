"""A repository with its keys, a clock that tests turn, and a plain file server with ranges that can be made hostile."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tuf.ngclient import Updater

from skerry.security.delivery.repository import Repository, RoleKeys

DAY_MS = 86_400_000


class Clock:
    """The system's time, moved by what a test says."""

    def __init__(self):
        self.offset_ms = 0

    def __call__(self):
        return time.time_ns() // 1_000_000 + self.offset_ms


class Publisher:
    """A repository folder below ``root``, made with a clock of its own."""

    def __init__(self, root: Path):
        self.root, self.clock = root, Clock()
        self.folder = root / "repository"
        self.keys = RoleKeys(root / "online", root / "offline")
        self.repository = Repository.create(self.folder, self.keys, self.clock)
        self.anchor = self.repository.root_bytes


def stock_updater(url: str, home: Path, anchor: bytes) -> Updater:
    """python-tuf's own client with its own fetcher."""
    (home / "targets").mkdir(parents=True, exist_ok=True)
    return Updater(str(home / "metadata"), f"{url}metadata/", str(home / "targets"), f"{url}targets/", bootstrap=anchor)


@contextmanager
def serving(folder: Path, *, hook=None):
    """Serve the folder on a free port of 127.0.0.1; yields the address and the list of what was asked for.

    ``hook(path, data)`` may answer other bytes, or an iterator of bytes that never ends.
    """
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path, span = self.path.lstrip("/"), self.headers.get("Range")
            asked.append((path, span))
            file = folder / path
            data = file.read_bytes() if file.is_file() else None
            data = hook(path, data) if hook else data
            if data is None:
                self.send_error(404)
            elif isinstance(data, bytes):
                self._send(data, span)
            else:
                self._send_endlessly(data)

        def _send(self, data, span):
            self.send_response(206 if span else 200)
            if span:
                first, last = (int(n) for n in span.removeprefix("bytes=").split("-"))
                self.send_header("Content-Range", f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}")
                data = data[first : last + 1]
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _send_endlessly(self, parts):
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for part in parts:
                    self.wfile.write(part)
            except OSError:
                pass
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

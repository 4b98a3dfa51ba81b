"""A PostgreSQL server of the tests' own: a folder, a socket in it, an unprivileged user, and nothing after it."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "between-skerries"  # asked for by the server, and looked for in all that is printed


def programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL, or that of another on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class Postgresql:
    """A server that answers at a Unix socket."""

    def __init__(self, folder: Path, bin_: Path, user: str | None) -> None:
        self.folder, self._bin, self._user = folder, bin_, user
        self._numbers = itertools.count(1)

    def run(self, *words: str) -> None:
        done = subprocess.run(words, user=self._user, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off -c shared_buffers=16MB"
        log = str(self.folder / "log")
        self.run(str(self._bin / "pg_ctl"), "-D", f"{self.folder}/data", "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self.run(str(self._bin / "pg_ctl"), "-D", f"{self.folder}/data", "-w", "-m", "fast", "stop")

    def url(self, password: str = PASSWORD, **query: str) -> str:
        words = "&".join(f"{name}={value}" for name, value in {"host": str(self.folder), **query}.items())
        return f"postgresql://skerry:{password}@/postgres?{words}"

    def schema(self) -> str:
        """The URL of a schema that nobody used before."""
        name = f"fleet_{next(self._numbers)}"
        self.ask(f"create schema {name}")
        return self.url(options=f"-csearch_path%3D{name}")

    def ask(self, statement: str) -> list[tuple]:
        import psycopg

        with psycopg.connect(
            host=str(self.folder), user="skerry", password=PASSWORD, dbname="postgres", autocommit=True
        ) as base:
            rows = base.execute(statement)
            return rows.fetchall() if rows.description else []


@contextmanager
def postgresql_server() -> Iterator[Postgresql]:
    """Start one; skips where there is none."""
    bin_ = programs()
    if bin_ is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed here (pip install 'skerry[postgres]')")
    folder = Path(tempfile.mkdtemp(prefix="skerry-pg-"))
    try:
        user = None
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            entry = pwd.getpwnam("nobody")
            user = entry.pw_name
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        server = Postgresql(folder, bin_, user)
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            shutil.chown(folder / "password", user)
        server.run(
            str(bin_ / "initdb"), "-D", f"{folder}/data", "-U", "skerry", "--auth=scram-sha-256", "--no-sync",
            "-E", "UTF8", "--locale=C", f"--pwfile={folder}/password",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""A PostgreSQL server of one's own: on loopback, in a folder of its own, started, stopped and killed at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

PASSWORD = "a-password-nobody-may-see"


def binaries() -> Path | None:
    """The folder of the newest server that is installed, `None` where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return None if here is None else Path(here).resolve().parent


class Postgres:
    """A server with a database of its own for each that is asked for.

    Args:
        address: where it listens.
        durable: whether it waits for the disk, as it should where that is what is measured.
        settings: of `postgresql.conf`.
    """

    def __init__(self, address: str = "127.0.0.1", *, durable: bool = False, settings: str = "") -> None:
        self.address = address
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = int(probe.getsockname()[1])
        self._durable = durable
        self._settings = settings
        self._folder = Path()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process, for who wants to know what it costs."""
        assert self._server is not None
        return self._server.pid

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://kling:{PASSWORD}@{self.address}:{self.port}/{database}"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="kling-postgres-"))
        (self._folder / "password").write_text(PASSWORD, "utf-8")
        if self._user is not None:
            for path in (self._folder, self._folder / "password"):
                shutil.chown(path, self._user)
        self._run(
            "initdb", "--no-sync", "--username=kling", f"--pwfile={self._folder / 'password'}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", f"--pgdata={self._folder / 'data'}",
        )  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    @property
    def _user(self) -> str | None:
        """Whom the server runs as: it refuses root."""
        return "postgres" if os.geteuid() == 0 else None

    def _command(self, name: str, *arguments: str) -> list[str]:
        folder = binaries()
        assert folder is not None, "no PostgreSQL server is installed"
        return [str(folder / name), *arguments]

    def _run(self, name: str, *arguments: str, check: bool = True) -> int:
        return subprocess.run(  # noqa: S603 - a command of ours
            self._command(name, *arguments), check=check, capture_output=True, user=self._user, cwd="/",
            group=self._user and pwd.getpwnam(self._user).pw_gid, extra_groups=[] if self._user else None,
        ).returncode  # fmt: skip

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        options = {
            "listen_addresses": self.address, "port": str(self.port), "unix_socket_directories": str(self._folder),
            "fsync": "on" if self._durable else "off", "max_connections": "200", "log_min_messages": "panic",
        }  # fmt: skip
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        hba = self._folder / "data" / "pg_hba.conf"
        hba.write_text("host all all all scram-sha-256\n", "utf-8")
        self._server = subprocess.Popen(  # noqa: S603 - likewise
            self._command("postgres", "-D", str(self._folder / "data"), *given), user=self._user, cwd="/",
            group=self._user and pwd.getpwnam(self._user).pw_gid, extra_groups=[] if self._user else None,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            if self._run("pg_isready", "--host", self.address, "--port", str(self.port), check=False) == 0:
                return
            time.sleep(0.05)
        raise RuntimeError("PostgreSQL did not start")

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stops the server at once: its clients are thrown out."""
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait()
            self._server = None

    async def new(self) -> str:
        """The address of a new database."""
        name = f"kling_{uuid.uuid4().hex}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)

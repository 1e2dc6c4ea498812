"""A private PostgreSQL cluster."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from tests.services.install import require
from tests.services.service import Service

USER = "surehook"
SETTINGS: Mapping[str, str | int] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": 200,
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_min_messages": "warning",
    # In the cluster's folder, so that a killed server leaves nothing behind in the machine's shared memory.
    "dynamic_shared_memory_type": "mmap",
}
StopMode = Literal["smart", "fast", "immediate"]
STOPS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
#: Bytes that have to be free in memory before a cluster is put there.
ROOM = 2 << 30

_numbers = itertools.count(1)


def unique_name(prefix: str = "test") -> str:
    """A name for a database that no other one of this process has."""
    return f"{prefix}_{next(_numbers)}"


class PostgresServer(Service):
    """A cluster with the superuser ``surehook``, who needs no password. It is made at the first start.

    ``settings`` are added to its configuration. ``in_memory`` puts its files into the machine's shared memory where
    that is large enough: databases then come and go four times as fast, and no setting shows it, ``fsync`` is on as
    well. What survives ``kill`` is the same; do not choose it for gigabytes of rows or to measure commits.
    """

    def __init__(self, settings: Mapping[str, str | int] | None = None, *, in_memory: bool = False) -> None:
        # Resolved, since on the PATH there may be only a link to it, without its like-versioned initdb.
        self._programs = require("postgres", "postgresql").resolve().parent
        super().__init__("postgres", parent=_memory() if in_memory else None)
        self._data = self.folder / "data"
        self._settings = {**SETTINGS, "port": self.port, **(settings or {})}

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self, *, within: float = 60.0) -> None:
        """Run it and wait until it answers, which includes its recovery after a crash."""
        if not self._data.exists():
            self._make()
        self.configure()
        super().start(within=within)

    def stop(self, mode: StopMode = "fast", *, within: float = 60.0) -> None:
        """As ``pg_ctl stop`` does; "immediate" is a crash of the server without a checkpoint."""
        self._end(STOPS[mode], within)

    def configure(self, **settings: str | int) -> None:
        """Change settings; they take effect when it starts."""
        self._settings.update(settings)
        lines = [f"{name} = {_quoted(value)}\n" for name, value in self._settings.items()]
        self._write("settings.conf", "".join(lines))

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """Make a database, empty or as a copy of one that nobody is connected to; returns its name."""
        name = name or unique_name()
        copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copied)
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database if it exists; whoever is connected to it is thrown out."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def database(self, *, template: str | None = None) -> Iterator[str]:
        """The URL of a database that exists inside the ``with`` only."""
        name = self.create_database(template=template)
        try:
            yield self.url(name)
        finally:
            if self.running:
                self.drop_database(name)

    def _make(self) -> None:
        initdb = [str(self._programs / "initdb"), "--no-sync", "--username", USER, "--auth=trust"]
        self._run([*initdb, "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata", str(self._data)])
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("include = '../settings.conf'\n")

    def _command(self) -> list[str]:
        return [str(self._programs / "postgres"), "-D", str(self._data)]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url(), connect_timeout=2) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row == (str(self._data),)

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)


def _quoted(value: str | int) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _memory() -> str | None:
    """A folder in memory, or None where it lacks, has no room (containers often have 64 MB), or TMPDIR is set."""
    folder = Path("/dev/shm")
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM
    return str(folder) if roomy and "TMPDIR" not in os.environ else None

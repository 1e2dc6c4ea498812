"""A private PgBouncer in front of a private PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import psycopg

from tests.services.install import require
from tests.services.postgres import USER, PostgresServer
from tests.services.service import Service

#: Otherwise as Debian's: it refuses start-up parameters that it does not know.
SETTINGS: Mapping[str, str | int] = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "trust",
    "pool_mode": "transaction",
    "admin_users": USER,
    "max_client_conn": 500,
}


class Pgbouncer(Service):
    """A pooler in transaction mode: a connection to it has a server's connection for one transaction at a time.

    ``settings`` are those of the section ``[pgbouncer]`` of its configuration file.
    """

    def __init__(self, server: PostgresServer, settings: Mapping[str, str | int] | None = None) -> None:
        self._program = require("pgbouncer", "pgbouncer")
        super().__init__("pgbouncer")
        self._server = server
        self._settings = {**SETTINGS, "listen_port": self.port, **(settings or {})}

    def url(self, database: str = "postgres") -> str:
        """Where a database of the server is, by way of the pooler."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def _command(self) -> list[str]:
        settings = {**self._settings, "auth_file": self._write("users.txt", f'"{USER}" ""\n')}
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={self._server.port}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        return [str(self._program), str(self._write("pgbouncer.ini", "\n".join(lines) + "\n"))]

    def _answers(self) -> bool:
        """Asked at its own console, which needs no server behind it."""
        try:
            with psycopg.connect(self.url("pgbouncer"), autocommit=True, connect_timeout=2) as console:
                return console.execute("SHOW VERSION").fetchone() is not None
        except psycopg.OperationalError:
            return False

"""A private Redis."""

from __future__ import annotations

from collections.abc import Mapping

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services.install import require
from tests.services.service import Service

SETTINGS: Mapping[str, str] = {"bind": "127.0.0.1", "save": "", "appendonly": "no", "daemonize": "no"}


class RedisServer(Service):
    """A Redis that writes nothing to disk: however it ends, it is empty when it starts again.

    ``settings`` are those of its configuration file and hold for every start.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._program = require("redis-server", "redis-server")
        super().__init__("redis")
        self._settings = {**SETTINGS, "port": str(self.port), **(settings or {})}

    def url(self, database: int = 0) -> str:
        """Where one of its sixteen databases is."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, *, timeout: float = 5.0) -> redis.Redis:
        """A client that gives up after ``timeout`` seconds and never tries again; close it."""
        return redis.Redis(
            port=self.port,
            host="127.0.0.1",
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )

    def config_set(self, *, maxmemory: str, policy: str = "noeviction") -> None:
        """Limit its memory, e.g. to "2mb" ("0": no limit), and say what it evicts; until it ends."""
        with self.client() as client:
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", maxmemory)

    def flush(self) -> None:
        """Empty all of its databases."""
        with self.client() as client:
            client.flushall()

    def _command(self) -> list[str]:
        options = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        return [str(self._program), *options, "--dir", str(self.folder)]

    def _answers(self) -> bool:
        try:
            with self.client(timeout=2.0) as client:
                return bool(client.info("server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError):
            return False

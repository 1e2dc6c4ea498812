"""Private servers: each in a folder and on a port of its own, and gone when the process that started it is.

They are plain blocking code, for fixtures and for scripts; from an event loop use ``asyncio.to_thread``.
"""

from __future__ import annotations

from tests.services.install import require
from tests.services.pgbouncer import Pgbouncer
from tests.services.ports import free_port
from tests.services.postgres import PostgresServer, unique_name
from tests.services.redis import RedisServer
from tests.services.service import Service, ServiceError
from tests.services.waiting import until

__all__ = [
    "Pgbouncer",
    "PostgresServer",
    "RedisServer",
    "Service",
    "ServiceError",
    "free_port",
    "require",
    "unique_name",
    "until",
]

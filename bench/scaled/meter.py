"""What the servers spend while something runs: CPU time, log, disk, transactions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import msgspec

from bench.looking import ServerLook, looking_at_server
from bench.processes import cpu_seconds, family_seconds
from bench.scaled.ground import Ground, await_clients

_LOG_END: Final = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)"
#: Tables with their indexes and what is too long for a row; a partitioned table has nothing itself.
DISK: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
WHERE relkind = 'r' AND relnamespace = to_regnamespace('public')
"""
_TRANSACTIONS: Final = (
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)
_PAGES: Final = "SELECT wal_fpi FROM pg_stat_wal"
_SYNCS: Final = "SELECT wal_sync FROM pg_stat_wal"
#: Where version 18 has moved it.
_SYNCS_18: Final = "SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'"
_CONNECTIONS: Final = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'surehook%'
"""


class _Spent(msgspec.Struct, frozen=True):
    """What is known at once."""

    log: int
    postgres_cpu: float
    redis_cpu: float


class _Counted(msgspec.Struct, frozen=True):
    """What a client's end brings up to date."""

    disk: int
    transactions: int
    page_images: int
    syncs: int


class Meter:
    """Spans one run. Begins with a checkpoint, so that every run writes the same pages to the log as a whole."""

    def __init__(self, ground: Ground, url: str) -> None:
        self._ground = ground
        self._url = url
        self._looks = ExitStack()
        self.look: ServerLook
        self._spent: _Spent
        self._counted: _Counted
        self._after: _Spent
        self._connections = 0

    def __enter__(self) -> Self:
        self.look = self._looks.enter_context(looking_at_server(self._url))
        self.look.rows("CHECKPOINT")
        self._counted = _count(self.look)
        self._spent = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._looks.close()

    def stop(self) -> None:
        """The run is over; its processes still live."""
        self._after = self._read()
        self._connections = self.look.number(_CONNECTIONS)

    def figures(self, events: int) -> dict[str, float]:
        """For each event, when the run's processes have ended: bytes, microseconds, counts; and the connections in all."""
        asked = self.look.asked
        self._looks.close()
        with looking_at_server(self._url) as look:
            await_clients(look)
            counted = _count(look)
        before, after = self._spent, self._after
        return {
            "postgres_cpu_us": (after.postgres_cpu - before.postgres_cpu) / events * 1e6,
            "redis_cpu_us": (after.redis_cpu - before.redis_cpu) / events * 1e6,
            "wal_bytes": (after.log - before.log) / events,
            "page_images": (counted.page_images - self._counted.page_images) / events,
            "disk_bytes": (counted.disk - self._counted.disk) / events,
            "transactions": max(0, counted.transactions - self._counted.transactions - asked) / events,
            "syncs": (counted.syncs - self._counted.syncs) / events,
            "connections": float(self._connections),
        }

    def _read(self) -> _Spent:
        return _Spent(
            self.look.number(_LOG_END),
            family_seconds(self._ground.postgres.pid),
            cpu_seconds(self._ground.redis.pid),
        )


def _count(look: ServerLook) -> _Counted:
    moved = look.number("SELECT CAST(current_setting('server_version_num') AS integer)") >= 180_000
    return _Counted(
        look.number(DISK),
        look.number(_TRANSACTIONS),
        look.number(_PAGES),
        look.number(_SYNCS_18 if moved else _SYNCS),
    )


def seconds_of(pids: Iterable[int]) -> float:
    """User and system time of some processes."""
    return sum(map(cpu_seconds, pids))

"""The two kinds of database, and what a run needs of them: a fresh one, what their servers spend, how large they are."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import psutil

from bench.looking import looking_at_server
from bench.processes import family_seconds
from bench.scaled.ground import Ground, await_clients
from bench.scaled.meter import DISK
from bench.scaled.places import OnFiles, OnServer, Place
from surehook.config import database_path


class Store(ABC):
    """One kind of database."""

    #: As tables name it.
    name: str
    #: What its settings promise.
    durability: str
    #: Where databases with many rows are made and copied.
    place: Place

    @contextmanager
    @abstractmethod
    def fresh(self) -> Iterator[str]:
        """The URL of a migrated database without rows, gone afterwards."""

    @abstractmethod
    def seconds(self) -> float:
        """CPU time of its server so far, all processes; 0 where it has none."""

    @abstractmethod
    def size(self, url: str) -> int:
        """Bytes on disk, indexes included, when nobody uses it any more."""


class FileStore(Store):
    """SQLite, in one folder."""

    name = "SQLite"
    durability = "SQLite WAL, synchronous=FULL"

    def __init__(self, folder: Path) -> None:
        self.place = OnFiles(folder)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A new file."""
        url = self.place.new("running")
        try:
            yield url
        finally:
            self.place.drop(url)

    def seconds(self) -> float:
        """None: it is a library."""
        return 0.0

    def size(self, url: str) -> int:
        """Of the file, with all that stood in its log."""
        path = database_path(url)
        with closing(apsw.Connection(str(path))) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return path.stat().st_size


class ServerStore(Store):
    """The private PostgreSQL."""

    name = "PostgreSQL"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.place = OnServer(ground)
        settings = ground.durability().settings
        self.durability = "PostgreSQL " + ", ".join(
            f"{name}={settings[name]}" for name in ("fsync", "synchronous_commit", "full_page_writes")
        )

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Begins after a checkpoint, as every other run does."""
        with self._ground.database() as url:
            with looking_at_server(url) as look:
                look.rows("CHECKPOINT")
            yield url

    def seconds(self) -> float:
        """Of all its processes, also of those that have ended."""
        return family_seconds(self._ground.postgres.pid)

    def size(self, url: str) -> int:
        """Of all tables, with what is too long for a row."""
        with looking_at_server(url) as look:
            await_clients(look)
            return look.number(DISK)


class Others:
    """The share of the machine that others took meanwhile: how far a round's times can be trusted."""

    def __init__(self) -> None:
        self._total, self._busy, self._own = _spent()

    def percent(self) -> float:
        """What other programs and the hypervisor took, of all the time of all cores since this was made."""
        total, busy, own = _spent()
        passed = total - self._total
        return max(0.0, 100 * (busy - self._busy - own + self._own) / passed) if passed else 0.0


def _spent() -> tuple[float, float, float]:
    """CPU time of the machine: all of it, what was not idle, what this process and its descendants took."""
    times = psutil.cpu_times()
    total = sum(times[:8])
    return total, total - times.idle - times.iowait, family_seconds(os.getpid())

"""Connections to one SQLite file, with the settings that the promises rest on, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import apsw
import msgspec

from surehook.errors import ConfigurationError, Unavailable

#: Below this, SQLite can lose rows in WAL mode (https://sqlite.org/wal.html, "the WAL-reset bug").
MINIMUM_SQLITE = (3, 51, 3)

#: Places for prepared statements. apsw gives one to every execution and frees the oldest, so that the claim of a batch is
#: still there after all that its handlers have executed.
PREPARED = 500

_SCHEME = "sqlite:///"

#: Faults of the disk, the file or a lock: not the statement's.
_FAULTS = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoLFSError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.InterruptError,
    apsw.NoMemError,
    apsw.ConnectionClosedError,
)


class Location(msgspec.Struct, frozen=True):
    """Which file, and how durable its commits are."""

    path: Path
    #: FULL survives a power cut; NORMAL and OFF are for measurements only and lose acknowledged events.
    synchronous: str = "FULL"


def parse_location(url: str) -> Location:
    """The parts of ``sqlite:///PATH``.

    Raises ConfigurationError when it is none.
    """
    path, _, query = url.removeprefix(_SCHEME).partition("?")
    options = parse_qs(query, strict_parsing=bool(query))
    synchronous = options.pop("synchronous", ["FULL"])[-1].upper()
    if not url.startswith(_SCHEME) or not path or path == ":memory:" or options:
        raise ConfigurationError(f"database = {url!r}: write sqlite:///PATH, e.g. sqlite:///surehook.db")
    if synchronous not in {"FULL", "EXTRA", "NORMAL", "OFF"}:
        raise ConfigurationError(
            f"database = {url!r}: synchronous is FULL (the default), EXTRA, NORMAL or OFF"
        )
    # absolute, so that a change of the working directory does not lead to another file
    return Location(Path(path).absolute(), synchronous)


def connect(location: Location, *, writable: bool, create: bool = False) -> apsw.Connection:
    """Open the file; with ``create`` it is made when it is missing, readable by its owner only.

    Raises ConfigurationError for a SQLite that is too old, Unavailable when the file cannot be opened.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < MINIMUM_SQLITE:
        raise ConfigurationError(
            f"SQLite {apsw.sqlite_lib_version()} can lose rows in WAL mode: install apsw 3.51.3 or newer from its wheels"
        )
    with faults(f"cannot open {location.path}"):
        connection = _open(location.path, create)
        connection.set_busy_timeout(5_000)
        # else SQLite, built with STAT4, prepares a statement anew whenever a value that is compared to an index changes
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        pragmas: Mapping[str, tuple[str, Any]] = {
            "journal_mode": ("WAL", "wal"),
            "synchronous": (
                location.synchronous,
                {"OFF": 0, "NORMAL": 1, "FULL": 2, "EXTRA": 3}[location.synchronous],
            ),
            "foreign_keys": ("ON", 1),
            "trusted_schema": ("OFF", 0),
            "cache_size": ("-16000", -16000),
        }
        for name, (wanted, seen) in pragmas.items():
            if writable or name != "journal_mode":
                connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
            if connection.pragma(name) != seen:
                raise Unavailable(
                    f"{location.path}: SQLite refuses PRAGMA {name} = {wanted}; is it on a network disk?"
                )
        if not writable:
            connection.execute("PRAGMA query_only = ON").fetchall()
    return connection


def _open(path: Path, create: bool) -> apsw.Connection:
    if not create or path.exists():
        flags = apsw.SQLITE_OPEN_READWRITE
        return apsw.Connection(str(path), flags=flags, statementcachesize=PREPARED)
    before = os.umask(0o077)  # payloads are nobody else's business
    try:
        return apsw.Connection(str(path), statementcachesize=PREPARED)
    finally:
        os.umask(before)


class faults:  # noqa: N801 - used like a function: with faults(...)
    """Turns faults of the disk or the file into Unavailable; errors of a statement pass.

    A class, since a generator would cost as much as the statement inside.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _FAULTS):
            raise Unavailable(f"{self._what}: {error or type(error).__name__}") from error

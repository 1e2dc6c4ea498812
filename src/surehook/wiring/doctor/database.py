"""The database: reachable, current, durable."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from surehook.clock import SystemClock
from surehook.config import Settings
from surehook.config.units import size_text
from surehook.storage.sqlite.connection import parse_location
from surehook.wiring.database import (
    MigratableDatabase,
    ServerDatabase,
    database_file,
    open_server,
    open_unmigrated,
)
from surehook.wiring.doctor.findings import Finding, Level
from surehook.wiring.timekeeping import DatabaseClock
from surehook.wiring.urls import database_url, listen_url

#: Connections of a process beside those for handlers.
OWN_CONNECTIONS: Final = 7
#: Milliseconds by which two clocks may differ before somebody should look at them.
CLOCKS_APART: Final = 1_000


async def check_database(settings: Settings) -> AsyncGenerator[Finding, None]:
    """What is to be said of the configured database. Raises what opening it raises."""
    path = database_file(settings)
    checks = _check_server(settings) if path is None else _check_file(settings, path)
    async for finding in checks:
        yield finding


async def check_listening(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Whether ``postgres.listen_url`` leads past a pooler. Nothing is said where it is not set, or without a meaning."""
    url = listen_url(settings)
    if url is None or database_file(settings) is not None:
        return
    place = "postgres.listen_url"
    database = await open_server(replace(settings, database=url))
    try:
        if database.pooled:
            text = "leads to a transaction pooler, which LISTEN cannot pass: name the server itself"
            yield Finding(place, "warning", text)
        else:
            yield Finding(place, "ok", "leads to the server")
    finally:
        await database.close()


async def _check_file(settings: Settings, path: Path) -> AsyncGenerator[Finding, None]:
    if await asyncio.to_thread(path.exists):
        database = await open_unmigrated(settings)
        try:
            yield _found("ok", f"{path} opens")
            yield await _schema(database)
        finally:
            await database.close()
    else:
        yield _missing(path)
    for finding in (_durability(settings), _disk(path, settings.server.min_free_disk)):
        yield finding


def _missing(path: Path) -> Finding:
    folder = path.absolute().parent
    if not folder.is_dir():
        return _found("failed", f"{path}: there is no folder {folder}: make it")
    if not os.access(folder, os.W_OK | os.X_OK):
        return _found("failed", f"{path}: this user may not make files in {folder}")
    return _found("warning", f"there is no {path} yet: `surehook run` and `surehook migrate up` make it")


def _durability(settings: Settings) -> Finding:
    synchronous = parse_location(database_url(settings)).synchronous
    if synchronous in {"FULL", "EXTRA"}:
        return _found("ok", f"synchronous={synchronous}: what was acknowledged survives a power cut")
    return _found(
        "warning",
        f"synchronous={synchronous}: a power cut loses acknowledged events. Take the option out of the URL",
    )


def _disk(path: Path, wanted: int) -> Finding:
    folder = next(each for each in path.absolute().parents if each.is_dir())
    free = shutil.disk_usage(folder).free
    if free < wanted:
        return _found(
            "failed",
            f"{free // 2**20} MiB are free in {folder}, and server.min_free_disk is {size_text(wanted)}: make room",
        )
    return _found("ok", f"{free // 2**20} MiB are free in {folder}")


async def _check_server(settings: Settings) -> AsyncGenerator[Finding, None]:
    database = await open_server(settings)
    try:
        major, minor = divmod(database.server.version, 10_000)
        yield _found("ok", f"PostgreSQL {major}.{minor} answers")
        yield await _schema(database)
        for text in await database.warnings():
            yield _found("warning", text)
        for finding in _connections(settings, database):
            yield finding
        yield await _clock(database)
    finally:
        await database.close()


def _connections(settings: Settings, database: ServerDatabase) -> Iterator[Finding]:
    if database.pooled:
        deaf = settings.queue == "database" and settings.postgres.listen_url is None
        polls = (
            "; LISTEN cannot pass it, so workers poll. Set postgres.listen_url to the server itself" * deaf
        )
        yield _found("warning" if deaf else "ok", f"a transaction pooler stands in between{polls}")
        return
    there, needed = database.server.max_connections, settings.postgres.connections + OWN_CONNECTIONS
    if there < needed:
        yield _found(
            "warning",
            f"max_connections is {there}, and one process may need {needed} (postgres.connections and {OWN_CONNECTIONS}): "
            "raise the one or lower the other",
        )
    else:
        yield _found("ok", f"max_connections is {there}: enough for {there // needed} processes of {needed}")


async def _clock(database: MigratableDatabase) -> Finding:
    clock = DatabaseClock(SystemClock())
    await clock.measure(database.reader)
    if abs(clock.offset) <= CLOCKS_APART:
        return _found("ok", "its clock and this machine's agree within a second")
    return _found(
        "warning",
        f"its clock is {clock.offset / 1000:+.1f} s from this machine's. Surehook follows the database's; "
        "signatures and logs need the right time: keep both on time with NTP",
    )


async def _schema(database: MigratableDatabase) -> Finding:
    missing = [each.version for each in await database.migrations() if each.applied_at is None]
    if missing:
        return _found(
            "warning",
            f"it lacks migrations {missing}: `surehook migrate up` applies them, as does `surehook run` by itself",
        )
    await database.check()
    return _found("ok", "its schema is current, and it can be written to")


def _found(level: Level, text: str) -> Finding:
    return Finding("database", level, text)

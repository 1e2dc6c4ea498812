"""Crash images: every state in which a power cut could leave the files, with lost, torn and reordered writes.

A recording file system keeps the order of writes, syncs and deletions and of our own acknowledgements. For every point of
that history an image is built: what was synced is there; of what came later, each write is there or not, or is torn at a
sector. Every image must open, be whole, hold every acknowledged event, and hold no half of a transaction. This is the idea
of SQLite's own crash tests (https://sqlite.org/testing.html, section 3.3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from surehook.clock import ManualClock, Millis
from surehook.storage import UnitOfWork
from surehook.storage.sqlite import open_sqlite
from tests.builders import NOW, arrival, message, settlement

SECTOR = 512
Entry = tuple[Any, ...]


class RecordingFile(apsw.VFSFile):
    """A file that writes down what is done to it."""

    log: list[Entry] = []  # noqa: RUF012 - set for one recording at a time

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's names
        self.log.append(("write", self.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self.log.append(("truncate", self.name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self.log.append(("sync", self.name))


class RecordingVFS(apsw.VFS):
    """The file system of every database that is opened while it is registered."""

    def __init__(self) -> None:
        super().__init__("recording", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> RecordingFile:  # noqa: N802
        return RecordingFile(name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        RecordingFile.log.append(("delete", filename))


@contextmanager
def recording() -> Iterator[list[Entry]]:
    log: list[Entry] = []
    RecordingFile.log = log
    vfs = RecordingVFS()
    try:
        yield log
    finally:
        vfs.unregister()


async def record(folder: Path, synchronous: str) -> list[Entry]:
    """Arrivals, completions with an effect and a message, and their acknowledgements, as they reached the disk."""
    clock = ManualClock()
    with recording() as log:
        database = await open_sqlite(f"sqlite:///{folder}/live.db?synchronous={synchronous}")
        await database.migrate(clock)

        async def setup(unit: UnitOfWork) -> None:
            await unit.execute("CREATE TABLE effects (name TEXT)")

        await database.run_setup([setup])
        log.append(("ready",))
        for number in range(12):
            await database.storage.accept([arrival(f"e{number}", f"{number}".encode() * 900)])
            log.append(("ack", f"e{number}"))
            if number % 2:
                [claim, *_] = await database.storage.claim(1, NOW, Millis(NOW + 1000))
                unit = database.storage.begin(claim)
                await unit.execute("INSERT INTO effects VALUES (?)", (claim.external_id,))
                await unit.complete(settlement(claim, messages=(message(),)))
                log.append(("done", claim.external_id))
        recorded = list(log)
        await database.close()
    return recorded


def image(history: list[Entry], chance: random.Random) -> dict[str, bytearray]:
    """The files after a power cut at the end of ``history``."""
    synced = {entry[1]: index for index, entry in enumerate(history) if entry[0] == "sync"}
    files: dict[str, bytearray] = {}
    for index, (kind, *rest) in enumerate(history):
        if kind in {"ready", "ack", "done", "sync"}:
            continue
        name = rest[0]
        durable = index < synced.get(name, -1)
        if kind == "delete":
            files.pop(name, None)
        elif kind == "truncate":
            if durable or chance.random() < 0.5:
                del files.setdefault(name, bytearray())[rest[1] :]
        elif durable or chance.random() < 0.5:
            offset, data = rest[1], rest[2]
            if not durable and chance.random() < 0.2:
                data = data[: chance.randrange(len(data) // SECTOR + 1) * SECTOR]
            content = files.setdefault(name, bytearray())
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
    return files


def losses(folder: Path, history: list[Entry], files: dict[str, bytearray]) -> list[str]:
    """What an image has lost, or in which way it is broken."""
    for stale in folder.iterdir():
        stale.unlink()
    for name, content in files.items():
        if not name.endswith("-shm"):
            (folder / Path(name).name).write_bytes(content)
    connection = apsw.Connection(str(folder / "live.db"))
    try:
        return list(_losses(connection, history))
    except apsw.SQLError as error:
        return [f"a table is lost: {error}"]
    finally:
        connection.close()


def _losses(connection: apsw.Connection, history: list[Entry]) -> Iterator[str]:
    def names(sql: str) -> set[str]:
        return {str(row[0]) for row in connection.execute(sql)}

    if names("PRAGMA integrity_check") != {"ok"}:
        yield "the file is not whole"
        return
    acknowledged = {entry[1] for entry in history if entry[0] == "ack"}
    yield from (f"{name} is lost" for name in acknowledged - names("SELECT external_id FROM inbox_events"))
    orphans = "SELECT external_id FROM inbox_events WHERE payload_id NOT IN (SELECT id FROM inbox_payloads)"
    yield from (f"{name} has no payload" for name in names(orphans))
    processed = names("SELECT external_id FROM inbox_events WHERE state = 'PROCESSED'")
    done = {entry[1] for entry in history if entry[0] == "done"}
    yield from (f"the completion of {name} is lost" for name in done - processed)
    effects = names("SELECT name FROM effects")
    published = names(
        "SELECT external_id FROM inbox_events JOIN outbox_messages ON event_id = inbox_events.id"
    )
    if not effects == processed == published:
        yield f"half a transaction: {effects} {processed} {published}"


def judge(folder: Path, recorded: list[Entry], seed: int) -> tuple[int, list[str]]:
    """Build and check an image for every point after the set-up; how many, and what was lost."""
    chance = random.Random(seed)
    start = recorded.index(("ready",)) + 1
    found: list[str] = []
    for end in range(start, len(recorded) + 1):
        history = recorded[:end]
        found += losses(folder, history, image(history, chance))
    return len(recorded) + 1 - start, found


@pytest.mark.parametrize("seed", range(3))
async def test_no_image_has_lost_anything_acknowledged(tmp_path: Path, seed: int) -> None:
    (tmp_path / "image").mkdir()
    count, found = judge(tmp_path / "image", await record(tmp_path, "FULL"), seed)
    assert found == []
    assert count >= 100


async def test_the_images_show_the_loss_with_synchronous_normal(tmp_path: Path) -> None:
    """The control: the same judge sees what a weaker setting loses."""
    (tmp_path / "image").mkdir()
    _, found = judge(tmp_path / "image", await record(tmp_path, "NORMAL"), 1)
    assert any("is lost" in each for each in found)
